//! Events of every shape, and what the journal has of them: nothing lost, nothing made up.

use std::collections::BTreeMap;

use journal::model::{AttributeValue, ChangeKind, ChangeRecord, Image, UserIdentity};
use journal_tests::largest_event::{PAYLOAD_BYTES_MAX, RECORDS, largest_event};
use journal_tests::runtime_api::output_of;
use journal_tests::workload;
use serde_json::{Value, json};

use super::events::{SECOND, STREAM, bare, event, insert, modify, note, of_table, remove, replicated, ttl_delete};
use super::function::{Function, key};

const SEQUENCE: &str = "4421584500000000017450439091";

fn sequence(number: u32) -> String {
    format!("{SEQUENCE}{number:02}")
}

fn found<'a>(records: &'a [ChangeRecord], id: &str, at: u32) -> &'a ChangeRecord {
    let (key, sequence) = (key(id), sequence(at));
    let mut found = records.iter().filter(|record| record.key == key && record.sequence.to_string() == sequence);
    let record = found.next().unwrap_or_else(|| panic!("no record {at} of {id}"));
    assert!(found.next().is_none(), "record {at} of {id} is there twice");
    record
}

fn content(image: Option<&Image>) -> Option<String> {
    let attributes = image?.decode().unwrap();
    match &attributes["content"] {
        AttributeValue::S(text) => Some(text.clone()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_kind_of_record_is_kept_as_what_it_says() {
    let mut function = Function::start();
    let mut milliseconds = insert("ms", &sequence(6), note("ms", "late"));
    milliseconds["dynamodb"]["ApproximateCreationDateTime"] = json!((SECOND + 7) * 1000 + 999);
    let mut fraction = insert("fraction", &sequence(7), note("fraction", "x"));
    fraction["dynamodb"]["ApproximateCreationDateTime"] = json!(1_774_778_401.75);
    let long = "9".repeat(40);
    let payload = event(&[
        insert("a", &sequence(1), note("a", "one")),
        modify("a", &sequence(2), note("a", "one"), note("a", "two")),
        remove("a", &sequence(3), note("a", "two")),
        ttl_delete("b", &sequence(4), note("b", "old")),
        bare(insert("bare", &sequence(5), note("bare", "plain"))),
        milliseconds,
        fraction,
        replicated("global", &sequence(8)),
        insert("long", &long, note("long", "x")),
    ]);
    function.succeed(payload).await;

    let records = function.records(STREAM).await;
    assert_eq!(records.len(), 9);
    let second = |id, at| found(&records, id, at).second.map(journal::model::Second::get);
    for (at, kind, old, new) in [
        (1, ChangeKind::Insert, None, Some("one")),
        (2, ChangeKind::Modify, Some("one"), Some("two")),
        (3, ChangeKind::Remove, Some("two"), None),
    ] {
        let record = found(&records, "a", at);
        assert_eq!(record.kind, kind);
        assert_eq!(content(record.old.as_ref()).as_deref(), old);
        assert_eq!(content(record.new.as_ref()).as_deref(), new);
        assert_eq!(record.user, None);
    }
    assert_eq!(found(&records, "b", 4).user, Some(UserIdentity::ttl()));
    assert_eq!(second("a", 1), Some(SECOND));
    assert_eq!(second("bare", 5), None);
    assert_eq!(second("ms", 6), Some(SECOND + 7));
    assert_eq!(second("fraction", 7), Some(1_774_778_401));
    let global = found(&records, "global", 8).new.as_ref().unwrap().decode().unwrap();
    let names: Vec<&str> = global.keys().map(String::as_str).collect();
    assert_eq!(names, ["aws:rep:deleting", "aws:rep:updateregion", "aws:rep:updatetime", "content", "stars", "tags"]);
    assert!(records.iter().any(|record| record.sequence.to_string() == long));

    let (metrics, logs) = output_of(&function.stop());
    assert_eq!(metrics.len(), 1, "{metrics:?}");
    let metrics = &metrics[0];
    assert_eq!(metrics["Table"], "notes");
    assert_eq!(metrics["_aws"]["CloudWatchMetrics"][0]["Namespace"], "DynamoDBJournal");
    for (name, value) in [("Records", 9), ("Segments", 1), ("Duplicates", 0), ("Quarantined", 0)] {
        assert_eq!(metrics[name], value, "{name}");
    }
    assert!(metrics["Bytes"].as_u64().unwrap() > 100 && metrics["OldestRecordAgeSeconds"].as_u64().is_some());
    // The table could not be described, for no DynamoDB answers: that is said, and the records are kept all the same.
    let said = logs.iter().any(|line| {
        line["level"] == "WARN" && line["message"].as_str().unwrap_or_default().contains("could not be described")
    });
    assert!(said, "{logs:?}");
}

#[tokio::test]
async fn an_event_of_several_tables_is_one_segment_and_one_metric_line_each() {
    let mut function = Function::start();
    let tables = ["notes", "users", "orders"];
    let records: Vec<Value> = (0..30_u32)
        .map(|number| {
            let id = format!("item {number}");
            of_table(insert(&id, &sequence(number), note(&id, "x")), tables[usize::try_from(number).unwrap() % 3])
        })
        .collect();
    function.succeed(event(&records)).await;
    for table in tables {
        let folder = format!("{table}/2026-03-29T10:00:00.123/segments/");
        assert_eq!(function.objects(&folder).await.len(), 1, "{table}");
        let stream = records.iter().map(|r| r["eventSourceARN"].as_str().unwrap()).find(|arn| arn.contains(table));
        assert_eq!(function.records(stream.unwrap()).await.len(), 10);
    }
    let (metrics, _) = output_of(&function.stop());
    let mut of: Vec<&str> = metrics.iter().map(|line| line["Table"].as_str().unwrap()).collect();
    of.sort_unstable();
    assert_eq!(of, ["notes", "orders", "users"]);
}

#[tokio::test]
async fn two_images_of_four_hundred_kilobytes_come_through() {
    let mut function = Function::start();
    // An item may have 400 KB, names included (DynamoDB's limits).
    let text = |letter: &str| letter.repeat(400 * 1024 - 64);
    let records: Vec<Value> = (0..7_u32)
        .map(|number| {
            let id = format!("{number}");
            modify(&id, &sequence(number), note(&id, &text("o")), note(&id, &text("n")))
        })
        .collect();
    let payload = event(&records);
    assert!(payload.len() > 5_500_000, "as large as an event becomes: {}", payload.len());
    function.succeed(payload).await;
    let records = function.records(STREAM).await;
    assert_eq!(records.len(), 7);
    for number in 0..7 {
        let record = found(&records, &number.to_string(), number);
        assert_eq!(content(record.old.as_ref()), Some(text("o")));
        assert_eq!(content(record.new.as_ref()), Some(text("n")));
    }
}

#[tokio::test]
async fn ten_thousand_records_of_one_event_are_one_segment_and_come_again_as_the_same_object() {
    let mut function = Function::start();
    let payload = largest_event();
    assert!((5_000_000..=PAYLOAD_BYTES_MAX).contains(&payload.len()), "{}", payload.len());
    function.succeed(payload.clone()).await;
    println!("an event of {} bytes: peak memory of the function {:?} KiB", payload.len(), function.memory_peak_kib());
    let stream = workload::stream().unwrap();
    let objects = function.objects(&format!("{}/", stream.timeline().table)).await;
    assert_eq!(objects.len(), 1, "{objects:?}");
    let found = function.records(stream.as_str()).await;
    assert_eq!(found.len(), RECORDS);
    for (number, record) in found.iter().enumerate() {
        // Keys and sequence numbers rise together, and a run is sorted by key.
        assert_eq!(record.sequence.to_string(), format!("4421584500000000{number:012}"));
        let image = record.new.as_ref().unwrap().decode().unwrap();
        assert_eq!(image["content"], AttributeValue::S(format!("a note of some words, number {number}")));
        assert_eq!((record.kind, record.old.as_ref()), (ChangeKind::Insert, None));
    }

    function.succeed(payload).await;
    assert_eq!(function.objects(&format!("{}/", stream.timeline().table)).await, objects);
    let (metrics, _) = output_of(&function.stop());
    let of: BTreeMap<&str, Vec<u64>> = ["Records", "Segments", "Duplicates"]
        .into_iter()
        .map(|name| (name, metrics.iter().map(|line| line[name].as_u64().unwrap()).collect()))
        .collect();
    assert_eq!(of["Records"], [10_000, 10_000]);
    assert_eq!(of["Segments"], [1, 0]);
    assert_eq!(of["Duplicates"], [0, 10_000]);
}
