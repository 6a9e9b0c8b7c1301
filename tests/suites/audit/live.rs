//! A cut held against a real table: which items are read, and what differs.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use journal_tests::faulty_proxy::FaultyProxy;
use journal_tests::ministack::{self, MiniStack};
use journal_tests::processes::{Finished, journal, replay};
use serde_json::{Value, json};

const TABLE: &str = "notes-table-dev";
const NOTES: u64 = 250;

fn id(number: u64) -> String {
    format!("note-{number:03}")
}

/// The table's records: all notes at 1000, then four of them change.
fn records() -> Vec<Value> {
    let mut number = 0;
    let mut record = |second: u64, name: &str, note: u64, old: Option<&str>, new: Option<&str>| {
        number += 1;
        let image = |content: &str| json!({ "noteId": { "S": id(note) }, "content": { "S": content } });
        let mut stream = json!({
            "ApproximateCreationDateTime": second,
            "Keys": { "noteId": { "S": id(note) } },
            "SequenceNumber": format!("{}", 100_000_000_000_000_000_000u128 + number),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        });
        for (side, content) in [("OldImage", old), ("NewImage", new)] {
            if let Some(content) = content {
                stream[side] = image(content);
            }
        }
        json!({
            "eventID": number.to_string(), "eventVersion": "1.1", "eventName": name, "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1", "dynamodb": stream,
            "eventSourceARN": format!("arn:aws:dynamodb:us-east-1:000000000000:table/{TABLE}/stream/2020-03-29T00:00:00.000"),
        })
    };
    let base = 1_700_000_000;
    let mut records: Vec<Value> = (0..NOTES).map(|note| record(base, "INSERT", note, None, Some("first"))).collect();
    records.push(record(base + 500, "MODIFY", 1, Some("first"), Some("second")));
    records.push(record(base + 501, "REMOVE", 2, Some("first"), None));
    records.push(record(base + 502, "MODIFY", 3, Some("first"), Some("second")));
    records.push(record(base + 503, "MODIFY", 3, Some("second"), Some("first")));
    records.push(record(base + 504, "INSERT", 900, None, Some("new")));
    records
}

async fn make_table(service: &MiniStack, notes: &BTreeMap<String, String>) {
    let client = service.dynamodb().await;
    let attribute = AttributeDefinition::builder().attribute_name("noteId").attribute_type(ScalarAttributeType::S);
    let element = KeySchemaElement::builder().attribute_name("noteId").key_type(KeyType::Hash);
    let request = client.create_table().table_name(TABLE).billing_mode(BillingMode::PayPerRequest);
    let request = request.attribute_definitions(attribute.build().unwrap()).key_schema(element.build().unwrap());
    request.send().await.unwrap();
    for (id, content) in notes {
        let put = client.put_item().table_name(TABLE).item("noteId", AttributeValue::S(id.clone()));
        put.item("content", AttributeValue::S(content.clone())).send().await.unwrap();
    }
}

/// Keys of the items that were shown, and the exit code.
fn told(finished: &Finished) -> (Vec<String>, Option<i32>) {
    let keys = finished.stdout.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["key"]["noteId"]["S"].as_str().unwrap().to_owned()
    });
    (keys.collect(), finished.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_and_the_live_table_are_told_apart_and_only_what_matters_is_read() {
    let Some(service) =
        MiniStack::start_or_skip("a_cut_and_the_live_table_are_told_apart_and_only_what_matters_is_read")
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let url = journal::store::file_url(&folder.path().join("journal")).unwrap();
    let _ = journal().args(["init", "--journal", &url]).run().success();
    let file = folder.path().join("records.jsonl");
    let lines: Vec<String> = records().iter().map(Value::to_string).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let _ = journal().args(["ingest", "--journal", &url]).arg(&file).run().success();
    // The table is what the records left, but for note 4, which somebody has changed since, and note 5, which is gone.
    let mut notes: BTreeMap<String, String> = (0..NOTES).map(|note| (id(note), "first".to_owned())).collect();
    notes.insert(id(1), "second".to_owned());
    notes.insert(id(4), "unseen".to_owned());
    notes.insert(id(900), "new".to_owned());
    notes.remove(&id(2));
    notes.remove(&id(5));
    make_table(&service, &notes).await;

    let proxy = FaultyProxy::start(service.port());
    let diff = |arguments: &[&str]| {
        let environment = ministack::environment(&proxy.endpoint());
        let program = replay().args(["diff", "--journal", &url, "--table", TABLE, "--to", "live"]);
        program.args(arguments).envs(environment).run()
    };
    let requests = || {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for seen in proxy.take_seen("POST") {
            let target = seen.header("x-amz-target").unwrap_or("none");
            *counts.entry(target.rsplit('.').next().unwrap().to_owned()).or_default() += 1;
        }
        counts
    };
    let cut = ["--from", "1700000000", "--json"];
    let _ = requests();
    let changed = diff(&cut);
    assert_eq!(told(&changed), (vec![id(1), id(2), id(900)], Some(1)), "{}", changed.stderr);
    assert!(
        changed.stderr.contains("1 items added, 1 removed, 1 changed; 1 changed and changed back"),
        "{}",
        changed.stderr
    );
    assert!(changed.stderr.contains("--whole"), "{}", changed.stderr);
    let counts = requests();
    assert!(counts.keys().all(|name| ["DescribeTable", "BatchGetItem"].contains(&name.as_str())), "{counts:?}");
    assert_eq!(counts["BatchGetItem"], 1, "four keys in one request");

    let whole = diff(&[&cut[..], &["--whole"]].concat());
    assert_eq!(told(&whole), (vec![id(1), id(2), id(4), id(5), id(900)], Some(1)), "{}", whole.stderr);
    // Is the table what the journal says?
    let latest = diff(&["--from", "latest", "--whole", "--json"]);
    assert_eq!(told(&latest), (vec![id(4), id(5)], Some(1)), "{}", latest.stderr);
    let first: Value = serde_json::from_str(latest.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["before"]["content"]["S"], &first["after"]["content"]["S"]),
        (&json!("first"), &json!("unseen"))
    );
    let stat = diff(&["--from", "latest", "--whole", "--stat"]);
    assert_eq!(stat.stdout.lines().count(), 1);
    assert!(
        stat.stdout.starts_with("0 items added, 1 removed, 1 changed; 248 are as at 2023-11-14T"),
        "{}",
        stat.stdout
    );

    let one = diff(&["--from", "1700000000", "--key", "noteId=note-004"]);
    assert_eq!(one.code(), Some(1));
    assert!(one.stdout.contains("~ content: \"first\" → \"unseen\""), "{}", one.stdout);
    let same = diff(&["--from", "1700000000", "--key", "note-006"]);
    assert_eq!((same.stdout.as_str(), same.code()), ("", Some(0)), "{}", same.stderr);

    let wrong = replay().args([
        "diff",
        "--journal",
        &url,
        "--table",
        TABLE,
        "--from",
        "1700000000",
        "--to",
        "latest",
        "--whole",
    ]);
    let wrong = wrong.run().failure(2);
    assert!(wrong.stderr.contains("--to live"), "{}", wrong.stderr);
    let client = service.dynamodb().await;
    client.delete_table().table_name(TABLE).send().await.unwrap();
    let gone = diff(&cut).failure(2);
    assert!(gone.stderr.contains(TABLE), "{}", gone.stderr);
}
