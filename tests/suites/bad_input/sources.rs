//! What is to be journalled: tables and files.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, StreamSpecification,
    StreamViewType,
};
use journal::Kind;
use journal::embedded::{EmbeddedDynamoDb, dynamodb_client, environment};
use journal_tests::processes::{Finished, journal, replay};

use super::{TABLE, assert_refused, content, history, new_journal, without_service};

async fn make_table(client: &aws_sdk_dynamodb::Client, table: &str, stream: Option<StreamSpecification>) {
    let id = AttributeDefinition::builder().attribute_name("noteId").attribute_type(ScalarAttributeType::S);
    let key = KeySchemaElement::builder().attribute_name("noteId").key_type(KeyType::Hash);
    let request = client
        .create_table()
        .table_name(table)
        .attribute_definitions(id.build().unwrap())
        .key_schema(key.build().unwrap())
        .billing_mode(BillingMode::PayPerRequest)
        .set_stream_specification(stream);
    request.send().await.unwrap();
}

/// What `follow` and `baseline` say of a table; neither may write anything.
async fn follow_and_baseline(service: &EmbeddedDynamoDb, table: &str) -> [Finished; 2] {
    let (folder, url) = new_journal();
    let before = content(folder.path());
    let commands = ["follow", "baseline"].map(|command| {
        journal().args([command, "--journal", &url, "--table", table]).envs(environment(service.endpoint()))
    });
    let finished = tokio::task::spawn_blocking(|| commands.map(journal_tests::processes::Program::run)).await.unwrap();
    assert!(content(folder.path()) == before, "nothing is written for a table that cannot be followed");
    finished
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_does_not_exist() {
    let data = tempfile::tempdir().unwrap();
    let service = EmbeddedDynamoDb::start(data.path(), None).await.unwrap();
    for finished in follow_and_baseline(&service, "no-such-table").await {
        assert_refused(finished, Kind::Invalid, &["no-such-table", "does not exist", "AWS_ENDPOINT_URL"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_stream() {
    let data = tempfile::tempdir().unwrap();
    let service = EmbeddedDynamoDb::start(data.path(), None).await.unwrap();
    make_table(&dynamodb_client(service.endpoint()), "notes", None).await;
    for finished in follow_and_baseline(&service, "notes").await {
        let says = ["table notes", "no stream", "update-table --table-name notes", "StreamViewType=NEW_AND_OLD_IMAGES"];
        assert_refused(finished, Kind::Invalid, &says);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_both_images() {
    let data = tempfile::tempdir().unwrap();
    let service = EmbeddedDynamoDb::start(data.path(), None).await.unwrap();
    for view in [StreamViewType::KeysOnly, StreamViewType::NewImage, StreamViewType::OldImage] {
        let table = format!("notes-{}", view.as_str());
        let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(view.clone());
        make_table(&dynamodb_client(service.endpoint()), &table, Some(stream.build().unwrap())).await;
        for finished in follow_and_baseline(&service, &table).await {
            let off_and_on = ["StreamEnabled=false", "StreamEnabled=true", "NEW_AND_OLD_IMAGES", "ARN"];
            assert_refused(
                finished,
                Kind::Invalid,
                &[&[table.as_str(), view.as_str()], off_and_on.as_slice()].concat(),
            );
        }
    }
}

#[test]
fn table_names_that_are_none() {
    let (_folder, url) = new_journal();
    for name in ["a", "no/slash", "..", &"n".repeat(256)] {
        for command in ["follow", "baseline"] {
            let finished = without_service(journal().args([command, "--journal", &url, "--table", name])).run();
            let finished = finished.failure(2);
            assert!(finished.stderr.contains("3 to 255 characters"), "{}", finished.stderr);
        }
    }
}

#[test]
fn settings_without_a_region() {
    let (_folder, url) = new_journal();
    for command in ["follow", "baseline"] {
        let finished = journal().args([command, "--journal", &url, "--table", "notes"]).run();
        assert_refused(finished, Kind::Invalid, &["region", "AWS_REGION"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_denies() {
    let denial = axum::Router::new().fallback(|| async {
        let body = r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"User: arn:aws:iam::000000000000:user/ada is not authorized"}"#;
        (axum::http::StatusCode::BAD_REQUEST, [("content-type", "application/x-amz-json-1.0")], body)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, denial).await });
    let (_folder, url) = new_journal();
    for command in ["follow", "baseline"] {
        let program = journal().args([command, "--journal", &url, "--table", "notes"]).envs(environment(&endpoint));
        let finished = tokio::task::spawn_blocking(move || program.run()).await.unwrap();
        assert_refused(finished, Kind::Invalid, &["notes", "not authorized", "DescribeTable"]);
    }
    server.abort();
}

#[test]
fn a_file_that_is_not_there() {
    let (folder, url) = new_journal();
    let missing = folder.path().join("missing.jsonl");
    let finished = journal().args(["ingest", "--journal", &url]).arg(&missing).run();
    let finished = finished.failure(2);
    assert!(finished.stderr.contains("missing.jsonl"), "{}", finished.stderr);
    assert!(finished.stderr.contains("hint: "), "{}", finished.stderr);
}

#[test]
fn what_is_no_record_is_kept_aside_and_the_rest_goes_on() {
    let (folder, url) = new_journal();
    let mut lines = unpacked_history();
    let count = lines.len();
    lines.insert(1, "{\"eventName\": \"INSERT\"}".to_owned());
    lines.insert(700, "not JSON at all".to_owned());
    let file = folder.path().join("records.jsonl");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let finished = journal().args(["ingest", "--journal", &url]).arg(&file).run().success();
    assert!(finished.stderr.contains("2 records could not be understood"), "{}", finished.stderr);
    assert!(finished.stderr.contains("quarantine"), "{}", finished.stderr);
    let strict = journal().args(["ingest", "--strict", "--json", "--journal", &url]).arg(&file).run().failure(2);
    let report: serde_json::Value = serde_json::from_str(&strict.stdout).unwrap();
    assert_eq!(report["appended"]["records"], count, "{report}");
    assert_eq!(report["appended"]["quarantined"], 2, "{report}");
    let export = replay().args(["export", "--journal", &url, "--table", TABLE, "--at", "latest"]).run().success();
    assert_eq!(export.stdout.lines().count(), 237);
    // Both are there to be read, byte for byte.
    let kept: Vec<_> =
        content(folder.path()).into_keys().filter(|path| path.to_str().unwrap().contains("quarantine/")).collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
}

#[test]
fn a_file_cut_in_the_middle_keeps_what_was_whole() {
    let (folder, url) = new_journal();
    let whole = std::fs::read(history()).unwrap();
    let file = folder.path().join("cut.jsonl.gz");
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let ingest = journal().args(["ingest", "--json", "--journal", &url]).arg(&file).run();
    let code = ingest.code().unwrap();
    assert!([2, 4].contains(&code), "exit code {code}: {}", ingest.stderr);
    assert!(ingest.stderr.contains("cut.jsonl.gz"), "{}", ingest.stderr);
    let report: serde_json::Value = serde_json::from_str(&ingest.stdout).unwrap();
    assert!(report["appended"]["records"].as_u64().unwrap() > 1000, "{report}");
    // The whole file then brings the rest.
    let _ = journal().args(["ingest", "--journal", &url]).arg(history()).run().success();
    let export = replay().args(["export", "--journal", &url, "--table", TABLE, "--at", "latest"]).run().success();
    assert_eq!(export.stdout.lines().count(), 237);
}

/// The lines of the history.
pub(super) fn unpacked_history() -> Vec<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(history()).unwrap();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}
