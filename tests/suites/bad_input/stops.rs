//! Ctrl-C in long commands: the step is finished or rolled back, and how to go on is told.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use journal::Kind;
use journal::embedded::{EmbeddedDynamoDb, dynamodb_client, environment};
use journal_tests::faulty_proxy::{FaultyProxy, Seen};
use journal_tests::processes::{journal, replay};

use super::{TABLE, assert_refused, content, filled_journal, new_journal};

/// How long something that must come may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until something is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "{what} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn segments(folder: &Path) -> usize {
    content(folder).keys().filter(|path| path.extension().is_some_and(|extension| extension == "seg")).count()
}

#[test]
fn ingest_stores_what_it_has_read_and_goes_on_with_the_same_files() {
    let (folder, url) = new_journal();
    let lines = super::sources::unpacked_history();
    // A pipe whose other end stays open: the file does not end by itself.
    let fifo = folder.path().join("records.jsonl");
    make_fifo(&fifo);
    let running = journal().args(["ingest", "--journal", &url, "--batch-records", "10"]).arg(&fifo).start();
    let mut pipe = std::fs::File::options().write(true).open(&fifo).unwrap();
    for line in &lines[..1000] {
        writeln!(pipe, "{line}").unwrap();
    }
    let journal_folder = folder.path().join("journal");
    until("a segment", || segments(&journal_folder) > 10);
    let finished = running.interrupt();
    assert_eq!(finished.code(), Some(130), "{}", finished.stderr);
    for text in ["stopped ", "records.jsonl", "hint: ", "again"] {
        assert!(finished.stderr.contains(text), "{text:?} is not said: {}", finished.stderr);
    }
    drop(pipe);
    let verify = replay().args(["verify", "--journal", &url]).run();
    assert_eq!(verify.code(), Some(0), "{}{}", verify.stdout, verify.stderr);
    std::fs::remove_file(&fifo).unwrap();
    std::fs::write(&fifo, lines.join("\n")).unwrap();
    let _ = journal().args(["ingest", "--journal", &url, "--batch-records", "10"]).arg(&fifo).run().success();
    let export = replay().args(["export", "--journal", &url, "--table", TABLE, "--at", "latest"]).run().success();
    assert_eq!(export.stdout.lines().count(), 237);
}

/// A journal of many segments, which takes a while to read.
fn journal_of_many_segments() -> (tempfile::TempDir, String) {
    let (folder, url) = new_journal();
    let history = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/histories/quarantinenotes.records.jsonl.gz");
    let _ = journal().args(["ingest", "--batch-records", "50", "--journal", &url]).arg(history).run().success();
    (folder, url)
}

#[test]
fn export_leaves_no_file_behind() {
    let (folder, url) = journal_of_many_segments();
    // At this second the table has 2,711 items.
    let export = replay().args(["export", "--journal", &url, "--table", "quarantinenotes", "--at", "1585022472"]);
    let file = folder.path().join("export.json");
    let running = export.arg("--output").arg(&file).start();
    let entries =
        || -> Vec<_> { std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect() };
    until("the file that becomes the export", || entries().len() > 1);
    assert_refused(running.interrupt(), Kind::Interrupted, &["again"]);
    assert_eq!(entries(), ["journal"], "nothing half-written is left");
}

#[test]
fn an_export_that_nobody_reads_stops_at_the_second_wish() {
    let (folder, url) = filled_journal();
    let fifo = folder.path().join("fifo");
    make_fifo(&fifo);
    // More than a pipe holds.
    let export = replay().args(["export", "--journal", &url, "--table", TABLE, "--at", "latest"]);
    let running = export.inside(&["sh", "-c", "exec \"$@\" >\"$0\"", fifo.to_str().unwrap()]).start();
    let mut pipe = std::fs::File::open(&fifo).unwrap();
    std::io::Read::read_exact(&mut pipe, &mut [0]).unwrap();
    running.signal("INT");
    let _ = running.wait_for_error("once more ends the process at once");
    running.signal("INT");
    assert_eq!(running.wait().code(), Some(130));
}

#[test]
fn verify_stops_while_it_reads() {
    let (_folder, url) = journal_of_many_segments();
    let running = replay().args(["verify", "--journal", &url]).start();
    assert_refused(running.interrupt(), Kind::Interrupted, &["again"]);
}

async fn notes_service(items: u32) -> (tempfile::TempDir, EmbeddedDynamoDb, aws_sdk_dynamodb::Client) {
    use aws_sdk_dynamodb::types::{
        AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, PutRequest, ScalarAttributeType,
        StreamSpecification, StreamViewType, WriteRequest,
    };
    let data = tempfile::tempdir().unwrap();
    let service = EmbeddedDynamoDb::start(data.path(), None).await.unwrap();
    let client = dynamodb_client(service.endpoint());
    let id = AttributeDefinition::builder().attribute_name("noteId").attribute_type(ScalarAttributeType::S);
    let key = KeySchemaElement::builder().attribute_name("noteId").key_type(KeyType::Hash);
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewAndOldImages);
    let request = client.create_table().table_name("notes").attribute_definitions(id.build().unwrap());
    let request = request.key_schema(key.build().unwrap()).billing_mode(BillingMode::PayPerRequest);
    request.stream_specification(stream.build().unwrap()).send().await.unwrap();
    let numbers: Vec<u32> = (0..items).collect();
    for numbers in numbers.chunks(25) {
        let puts = numbers.iter().map(|number| {
            let put = PutRequest::builder()
                .item("noteId", AttributeValue::S(format!("note-{number:05}")))
                .item("content", AttributeValue::S("x".repeat(5000)));
            WriteRequest::builder().put_request(put.build().unwrap()).build()
        });
        client.batch_write_item().request_items("notes", puts.collect()).send().await.unwrap();
    }
    (data, service, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_baseline_does_not_count_and_can_be_taken_again() {
    let (_data, service, _client) = notes_service(1000).await;
    let proxy = FaultyProxy::start(service.port());
    let (folder, url) = new_journal();
    let endpoint = proxy.endpoint();
    let baseline = |arguments: &[&str]| {
        let command = journal().args(["baseline", "--journal", &url, "--table", "notes"]);
        command.args(arguments).envs(environment(&endpoint))
    };
    // About 1,250 read units, one a second: it would take 20 minutes.
    let slow = baseline(&["--read-units", "1"]);
    let finished = tokio::task::spawn_blocking(move || {
        let running = slow.start();
        let scans = |seen: &Seen| seen.header("x-amz-target").is_some_and(|target| target.ends_with(".Scan"));
        until("a scan", || proxy.take_seen("POST").iter().any(scans));
        let finished = running.interrupt();
        (finished, proxy)
    });
    let (finished, _proxy) = finished.await.unwrap();
    assert_refused(finished, Kind::Interrupted, &["notes", "does not count", "again"]);
    let complete = || content(folder.path()).into_keys().filter(|path| path.ends_with("snapshot.json")).count();
    assert_eq!(complete(), 0);
    let again = baseline(&["--json"]);
    let finished = tokio::task::spawn_blocking(move || again.run()).await.unwrap().success();
    assert!(finished.stdout.contains("\"items\": 1000"), "{}", finished.stdout);
    assert_eq!(complete(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_follower_has_stored_what_it_read_and_goes_on_after_it() {
    let (_data, service, _client) = notes_service(50).await;
    let (folder, url) = new_journal();
    let follow = |arguments: &[&str]| {
        journal()
            .args(["follow", "--journal", &url, "--table", "notes", "--batch-age", "50ms", "--poll", "50ms"])
            .args(arguments)
            .envs(environment(service.endpoint()))
    };
    let running = follow(&[]);
    let path = folder.path().to_owned();
    let finished = tokio::task::spawn_blocking(move || {
        let running = running.start();
        until("a segment", || segments(&path) > 0);
        running.interrupt()
    });
    let finished = finished.await.unwrap().success();
    assert!(finished.stdout.contains("goes on after the last durable record"), "{}", finished.stdout);
    let once = follow(&["--once"]);
    let _ = tokio::task::spawn_blocking(move || once.run()).await.unwrap().success();
    let export = replay().args(["export", "--journal", &url, "--table", "notes", "--at", "latest"]).run().success();
    assert_eq!(export.stdout.lines().count(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_restore_goes_on_where_it_was() {
    let (_data, service, client) = notes_service(4000).await;
    let (folder, url) = new_journal();
    let run_file = folder.path().join("run.json");
    let follow = journal()
        .args(["follow", "--once", "--journal", &url, "--table", "notes"])
        .envs(environment(service.endpoint()));
    let _ = tokio::task::spawn_blocking(move || follow.run()).await.unwrap().success();
    let restore = |arguments: &[&str]| {
        let restore = replay().args(["restore", "--run-file"]).arg(&run_file).args(arguments);
        restore.envs(environment(service.endpoint()))
    };
    // It is stopped when it has written some items.
    let running = tokio::task::spawn_blocking({
        let arguments = ["--table", "notes", "--at", "latest", "--as", "notes-restored"];
        let program = restore(&[["--journal", &url].as_slice(), &arguments].concat());
        move || program.start()
    });
    let running = running.await.unwrap();
    let written = || async {
        let answer = client.scan().table_name("notes-restored").limit(10).send().await;
        answer.is_ok_and(|answer| answer.count() > 0)
    };
    let waiting = async {
        while !written().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    let finished = tokio::task::spawn_blocking(move || running.interrupt()).await.unwrap();
    let (_, resume) = finished.stderr.split_once("--resume ").expect("how to continue is told");
    let run = resume.split_whitespace().next().unwrap().to_owned();
    assert_refused(finished, Kind::Interrupted, &["notes-restored", "replay restore --resume"]);
    let again = restore(&["--resume", &run]);
    let _ = tokio::task::spawn_blocking(move || again.run()).await.unwrap().success();
    let mut pages = client.scan().table_name("notes-restored").into_paginator().send();
    let mut count = 0;
    while let Some(page) = pages.next().await {
        count += page.unwrap().count();
    }
    assert_eq!(count, 4000);
}

#[test]
fn dev_stops_and_keeps_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let running = journal().args(["dev", "--folder"]).arg(folder.path()).args(["--port", "0"]).start();
    let _ = running.wait_for_output("http://127.0.0.1:");
    let finished = running.interrupt();
    assert_eq!(finished.code(), Some(0), "{}{}", finished.stdout, finished.stderr);
}
