//! What a mapping gave up comes into the journal after all, once, and is marked.

use std::sync::Arc;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType,
};
use aws_sdk_dynamodbstreams::types::ShardIteratorType;
use aws_sdk_s3::primitives::ByteStream;
use journal::model::StreamArn;
use journal::store::{self, ReadStore};
use journal_tests::ministack::MiniStack;
use journal_tests::processes::{Program, journal};
use journal_tests::recorded;
use journal_tests::workload::{Profile, Workload, lambda_document, sorted_records, stream};
use serde_json::{Value, json};

/// A record of a mapping that gave a batch up. An S3 destination's has the event as text.
fn given_up(info: &Value, payload: Option<&str>) -> String {
    let mut document = json!({
        "requestContext": {"requestId": "1", "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 3},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": "2026-11-14T00:13:49.717Z",
        "DDBStreamBatchInfo": info,
    });
    if let Some(payload) = payload {
        document["payload"] = json!(payload);
    }
    document.to_string()
}

fn range(stream: &str, shard: &str, first: &str, last: &str) -> Value {
    json!({"shardId": shard, "startSequenceNumber": first, "endSequenceNumber": last, "streamArn": stream, "batchSize": 9})
}

fn settings(program: Program, journal: &str) -> Program {
    program
        .env("JOURNAL_URL", journal)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
}

async fn made(folder: &std::path::Path) -> (String, Arc<dyn ReadStore>) {
    let location = store::file_url(folder).unwrap();
    store::init(&location).await.unwrap();
    let opened = store::open_read(&location).await.unwrap();
    (location, opened)
}

#[tokio::test]
async fn what_was_given_up_is_appended_once_and_marked() {
    let (journal_folder, failed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (location, store) = made(&journal_folder.path().join("journal")).await;
    let changes: Vec<_> = Workload::new(Profile::w1()).take(300).collect();
    let day = failed.path().join("aws/lambda/esm/shardId-1/2026/11/14");
    std::fs::create_dir_all(&day).unwrap();
    let info = range(stream().unwrap().as_str(), "shardId-1", "1", "2");
    for (number, part) in changes.chunks(100).enumerate() {
        std::fs::write(day.join(format!("{number}")), given_up(&info, Some(&lambda_document(part)))).unwrap();
    }
    std::fs::write(day.join("3-holiday.jpg"), b"\xff\xd8").unwrap();
    let destination = store::file_url(failed.path()).unwrap();
    let redrive = || settings(journal().args(["redrive", "--json", &destination]), &location).run();

    let first = redrive().failure(2);
    let report: Value = serde_json::from_str(&first.stdout).unwrap();
    assert_eq!((&report["batches"], &report["redriven"]), (&json!(4), &json!(3)), "{report}");
    assert!(first.stderr.contains("3-holiday.jpg") && first.stderr.contains("not what an event source mapping"));
    let (records, segments) = recorded::records(&*store, stream().unwrap().timeline()).await;
    let mut records = records;
    records.sort_by(|a, b| (&a.key, a.sequence).cmp(&(&b.key, b.sequence)));
    assert_eq!(records, sorted_records(&changes).unwrap());

    std::fs::remove_file(day.join("3-holiday.jpg")).unwrap();
    let again: Value = serde_json::from_str(&redrive().success().stdout).unwrap();
    assert_eq!((&again["redriven"], &again["done_before"]), (&json!(0), &json!(3)), "{again}");
    // A mark that was lost costs the work again, and nothing else.
    std::fs::remove_dir_all(failed.path().join("redriven")).unwrap();
    let third: Value = serde_json::from_str(&redrive().success().stdout).unwrap();
    assert_eq!(third["appended"]["segments_already_there"], 3, "{third}");
    assert_eq!(recorded::records(&*store, stream().unwrap().timeline()).await.1, segments);
}

#[tokio::test]
async fn records_that_are_only_named_are_read_again_from_their_shard_or_said_to_be_gone() {
    let test = "records_that_are_only_named_are_read_again_from_their_shard_or_said_to_be_gone";
    let Some(ministack) = MiniStack::start_or_skip(test) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (location, store) = made(&folder.path().join("journal")).await;
    let (arn, shard, sequences) = written(&ministack, 40).await;
    ministack.make_bucket("failed", false).await;
    let document = given_up(&range(&arn, &shard, &sequences[10], &sequences[29]), None);
    let body = ByteStream::from(document.clone().into_bytes());
    ministack.s3().await.put_object().bucket("failed").key("esm/one").body(body).send().await.unwrap();

    let redrive = |destination: &str| {
        settings(journal().args(["redrive", "--json", destination]), &location).envs(ministack.environment())
    };
    let first: Value = serde_json::from_str(&redrive("s3://failed").run().success().stdout).unwrap();
    assert_eq!((&first["fetched_again"], &first["appended"]["records"]), (&json!(1), &json!(20)), "{first}");
    let again: Value = serde_json::from_str(&redrive("s3://failed").run().success().stdout).unwrap();
    assert_eq!(again["done_before"], 1, "{again}");
    let timeline = StreamArn::parse(&arn).unwrap().timeline().clone();
    let (records, _) = recorded::records(&*store, &timeline).await;
    let mut found: Vec<String> = records.iter().map(|record| record.sequence.to_string()).collect();
    found.sort_unstable();
    let mut expected = sequences[10..30].to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);

    // As `aws sqs receive-message` prints it, of a stream that is not there any more.
    let gone = arn.replace("/stream/", "/stream/1999");
    let message = given_up(&range(&gone, &shard, &sequences[0], &sequences[1]), None);
    let path = folder.path().join("messages.json");
    std::fs::write(&path, json!({"Messages": [{"Body": message}, {"Body": document}]}).to_string()).unwrap();
    let finished = redrive(path.to_str().unwrap()).run();
    assert!(!finished.status.success());
    assert!(finished.stderr.contains("no longer in the stream"), "{}", finished.stderr);
    assert!(finished.stderr.contains("journal baseline"), "{}", finished.stderr);
}

/// A table with a stream and `count` items: its stream, the shard, and the records' sequence numbers.
async fn written(ministack: &MiniStack, count: usize) -> (String, String, Vec<String>) {
    let tables = ministack.dynamodb().await;
    let made = tables
        .create_table()
        .table_name("notes")
        .attribute_definitions(
            AttributeDefinition::builder()
                .attribute_name("noteId")
                .attribute_type(ScalarAttributeType::S)
                .build()
                .unwrap(),
        )
        .key_schema(KeySchemaElement::builder().attribute_name("noteId").key_type(KeyType::Hash).build().unwrap())
        .billing_mode(BillingMode::PayPerRequest)
        .stream_specification(
            StreamSpecification::builder()
                .stream_enabled(true)
                .stream_view_type(StreamViewType::NewAndOldImages)
                .build()
                .unwrap(),
        )
        .send()
        .await
        .unwrap();
    let arn = made.table_description.unwrap().latest_stream_arn.unwrap();
    for number in 0..count {
        let id = AttributeValue::S(format!("note {number}"));
        tables.put_item().table_name("notes").item("noteId", id).send().await.unwrap();
    }
    let streams = ministack.streams().await;
    let described = streams.describe_stream().stream_arn(&arn).send().await.unwrap();
    let shard = described.stream_description().unwrap().shards()[0].shard_id().unwrap().to_owned();
    let mut iterator = streams
        .get_shard_iterator()
        .stream_arn(&arn)
        .shard_id(&shard)
        .shard_iterator_type(ShardIteratorType::TrimHorizon)
        .send()
        .await
        .unwrap()
        .shard_iterator;
    let mut sequences = Vec::new();
    while sequences.len() < count {
        let page = streams.get_records().set_shard_iterator(iterator.take()).send().await.unwrap();
        let found =
            page.records().iter().map(|record| record.dynamodb().unwrap().sequence_number().unwrap().to_owned());
        sequences.extend(found);
        iterator = page.next_shard_iterator;
    }
    (arn, shard, sequences)
}
