//! What no stream sends, and what a function must survive: it says what is wrong, loses nothing, and goes on.

use journal_tests::processes::stream_trigger;
use journal_tests::runtime_api::{RuntimeApi, output_of};
use serde_json::{Value, json};

use super::events::{STREAM, event, insert, note};
use super::function::{Function, program};

#[tokio::test]
async fn a_payload_that_is_no_event_fails_with_the_way_out_and_the_next_one_is_taken() {
    let mut function = Function::start();
    for (payload, expected) in [
        ("{}", "has no Records"),
        ("{\"task\":\"guard\"}", "task"),
        ("[]", "a list"),
        ("null", "null"),
        ("\"text\"", "a text"),
        ("{\"Records\":null}", "Records is null"),
    ] {
        let (kind, message) = function.api.invoke(payload).await.failure();
        assert_eq!(kind, "Journal.Invalid", "{payload}");
        assert!(message.contains(expected) && message.contains("event source mapping"), "{payload}: {message}");
    }
    for payload in [&b"not json"[..], b"", b"{\"Records\":[{]}", b"{\"Records\":[", b"{\"Records\":{}}", b"\xff\xfe"] {
        let (_, message) = function.api.invoke(payload).await.failure();
        assert!(!message.is_empty());
    }
    let bomb = format!("{{\"Records\":{}", "[".repeat(1 << 20));
    assert!(!function.api.invoke(bomb).await.is_success());
    assert_eq!(function.objects("notes/").await, Vec::<String>::new());
    function.succeed(event(&[insert("a", "1", note("a", "x"))])).await;
    function.succeed(event(&[])).await;
    assert_eq!(function.records(STREAM).await.len(), 1);
}

#[tokio::test]
async fn records_that_are_not_understood_are_kept_as_they_came_and_stop_no_other() {
    let mut function = Function::start();
    let good = |id: &str, at: &str| insert(id, at, note(id, "x"));
    let with = |change: &dyn Fn(&mut Value)| {
        let mut record = good("bad", "100000000000000000000009");
        change(&mut record);
        record
    };
    let bad = [
        json!(null),
        json!(7),
        json!("text"),
        json!({}),
        with(&|record| record["eventName"] = json!("UPSERT")),
        with(&|record| record["dynamodb"]["SequenceNumber"] = json!("minus one")),
        with(&|record| record["dynamodb"]["StreamViewType"] = json!("KEYS_ONLY")),
        with(&|record| record["dynamodb"]["NewImage"]["stars"] = json!({"N": "many"})),
        with(&|record| record["dynamodb"]["NewImage"]["tags"] = json!({"SS": []})),
        with(&|record| record["dynamodb"]["NewImage"]["noteId"] = json!({"S": "another key"})),
        with(&|record| record["dynamodb"]["ApproximateCreationDateTime"] = json!(-5)),
        with(&|record| record["eventSourceARN"] = json!("arn:aws:sqs:eu-west-1:000000000000:queue")),
        with(&|record| {
            let deep = (0..60).fold(json!({"NULL": true}), |value, _| json!({"L": [value]}));
            record["dynamodb"]["NewImage"]["deep"] = deep;
        }),
    ];
    let mut records = vec![good("first", "1")];
    records.extend(bad.iter().cloned());
    records.push(good("last", "2"));
    function.succeed(event(&records)).await;

    assert_eq!(function.records(STREAM).await.len(), 2);
    let mut kept = Vec::new();
    let store = function.store().await;
    for folder in ["~quarantine/", "notes/2026-03-29T10:00:00.123/quarantine/"] {
        for object in store.list_all(folder).await.unwrap() {
            use base64::Engine as _;
            let document: Value = serde_json::from_slice(&store.get(&object.key).await.unwrap()).unwrap();
            assert!(document["reason"].as_str().unwrap().len() > 10, "{document}");
            let raw = base64::engine::general_purpose::STANDARD.decode(document["raw"].as_str().unwrap()).unwrap();
            kept.push(serde_json::from_slice::<Value>(&raw).unwrap());
        }
    }
    assert_eq!(kept.len(), bad.len());
    assert!(bad.iter().all(|record| kept.contains(record)), "{kept:?}");
    let (metrics, _) = output_of(&function.stop());
    let quarantined: u64 = metrics.iter().map(|line| line["Quarantined"].as_u64().unwrap()).sum();
    assert_eq!(quarantined, 13);
    assert!(metrics.iter().any(|line| line["Function"] == "stream-trigger"), "{metrics:?}");
}

#[tokio::test]
async fn a_function_without_a_journal_fails_each_event_and_says_why() {
    let mut api = RuntimeApi::default();
    let running = api.function(program(), "");
    for _ in 0..2 {
        let (kind, message) = api.invoke(event(&[insert("a", "1", note("a", "x"))])).await.failure();
        assert_eq!(kind, "Journal.Invalid");
        assert!(message.contains("JOURNAL_URL=s3://"), "{message}");
    }
    drop(running);
    let running = api.function(program(), "s3:/half/a/url");
    let (_, message) = api.invoke(event(&[])).await.failure();
    assert!(message.contains("two slashes"), "{message}");
    drop(running);
}

#[tokio::test]
async fn a_journal_that_appears_later_is_opened_by_the_same_process() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("mounted");
    let journal = journal::store::file_url(&place).unwrap();
    let mut api = RuntimeApi::default();
    let mut running = api.function(program(), &journal);
    let payload = event(&[insert("a", "1", note("a", "x"))]);
    assert!(!api.invoke(payload.clone()).await.is_success());
    std::fs::create_dir(&place).unwrap();
    assert!(api.invoke(payload).await.is_success());
    assert!(running.runs());
    assert!(place.join("journal.json").is_file());
}

#[test]
fn the_binary_says_what_it_is_where_lambda_did_not_start_it() {
    let finished = stream_trigger().run().failure(2);
    assert!(finished.stderr.contains("AWS_LAMBDA_RUNTIME_API"), "{}", finished.stderr);
    assert!(finished.stderr.contains("journal follow"), "{}", finished.stderr);
}
