//! The local commands as a user runs them: `journal demo` tells the truth, and `journal dev` loses nothing, whatever
//! happens to its tables and to itself.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use journal::documents::EndDocument;
use journal::embedded::{EmbeddedDynamoDb, dynamodb_client};
use journal_tests::processes::{Finished, Program, Running, journal, replay};
use serde_json::{Value, json};

const NOTES: &str = "notes-table-dev";
const KEY: &str = "noteId";

/// Items by key, in DynamoDB JSON.
type Items = BTreeMap<String, Value>;

async fn run(program: Program) -> Finished {
    tokio::task::spawn_blocking(|| program.run()).await.unwrap()
}

fn as_json(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::L(values) => json!({ "L": values.iter().map(as_json).collect::<Vec<_>>() }),
        AttributeValue::M(values) => {
            json!({ "M": values.iter().map(|(name, value)| (name.clone(), as_json(value))).collect::<BTreeMap<_, _>>() })
        }
        other => panic!("not written by these tests: {other:?}"),
    }
}

async fn table_items(client: &Client, table: &str) -> Items {
    let items = client.scan().table_name(table).into_paginator().items().send();
    let items = items.collect::<Result<Vec<_>, _>>().await.unwrap();
    items
        .into_iter()
        .map(|item| (item[KEY].as_s().unwrap().clone(), as_json(&AttributeValue::M(item))["M"].take()))
        .collect()
}

/// What `replay export` gives of a table at a cut.
async fn export(location: &str, table: &str, cut: [&str; 2]) -> Items {
    let program = replay().args(["export", "--journal", location, "--table", table, "--format", "dynamodb-json"]);
    let text = run(program.args(cut)).await.success().stdout;
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["Item"].take());
    lines.map(|item| (item[KEY]["S"].as_str().unwrap().to_owned(), item)).collect()
}

/// The last sequence numbers of the timelines of a table that have ended, in the order of their labels.
fn ends(folder: &Path, table: &str) -> Vec<String> {
    let mut timelines: Vec<_> = std::fs::read_dir(folder.join("journal").join(table))
        .unwrap()
        .filter_map(|timeline| std::fs::read(timeline.unwrap().path().join("end.json")).ok())
        .map(|end| serde_json::from_slice::<EndDocument>(&end).unwrap().last_sequence.unwrap())
        .collect();
    timelines.sort();
    timelines.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_brings_the_table_back_and_its_journal_can_be_exported() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("demo");
    let text = run(journal().arg("demo").arg("--folder").arg(&folder)).await.success().stdout;
    assert!(!text.contains('\u{1b}'), "colours where there is no terminal: {text}");
    assert!(text.contains(r#"{ "Count": 0 }"#), "{text}");
    let after = |mark: &str| {
        let (_, rest) = text.split_once(mark).unwrap_or_else(|| panic!("no {mark:?} in {text}"));
        rest.split_whitespace().next().unwrap().to_owned()
    };
    let (location, cut) = (after("export JOURNAL_URL="), after("--at "));
    let sequence = after("--at-sequence ");

    // The restored table is in the database that the demo keeps; the lost one's history is in its journal.
    let embedded = EmbeddedDynamoDb::start(&folder, None).await.unwrap();
    let client = dynamodb_client(embedded.endpoint());
    let restored = table_items(&client, "notes-table-dev-restored").await;
    assert!(restored.len() > 50, "{}", restored.len());
    assert!(text.contains(&format!("{0} of {0} notes are equal", restored.len())), "{text}");
    assert!(table_items(&client, NOTES).await.is_empty());
    embedded.stop().await.unwrap();
    assert_eq!(export(&location, NOTES, ["--at", &cut]).await, restored);
    assert_eq!(export(&location, NOTES, ["--at-sequence", &sequence]).await, restored);

    // What it says to try next works.
    let shown = text.lines().find(|line| line.trim_start().starts_with("replay show")).unwrap();
    let shown = run(replay().args(shown.split_whitespace().skip(1)).env("JOURNAL_URL", &location)).await.success();
    assert!(shown.stdout.contains("content"), "{}", shown.stdout);
    let _ = run(replay().arg("verify").env("JOURNAL_URL", &location)).await.success();
    let _ = run(journal().arg("status").env("JOURNAL_URL", &location)).await.success();

    let again = run(journal().arg("demo").arg("--folder").arg(&folder)).await.failure(2);
    assert!(again.stderr.contains("is not empty"), "{}", again.stderr);
}

/// `journal dev` on a free port.
struct Dev {
    running: Running,
    endpoint: String,
    location: String,
    client: Client,
}

impl Dev {
    async fn start(folder: &Path) -> Self {
        let program = journal().args(["dev", "--port", "0", "--folder"]).arg(folder);
        tokio::task::spawn_blocking(|| {
            let running = program.start();
            let line = running.wait_for_output("DynamoDB listens on ");
            let words: Vec<_> = line.split_whitespace().collect();
            let endpoint = words[3].trim_end_matches(',').to_owned();
            let location = (*words.last().unwrap()).to_owned();
            Self { running, client: dynamodb_client(&endpoint), endpoint, location }
        })
        .await
        .unwrap()
    }

    /// Stops it as a service manager does.
    async fn stop(self) -> Finished {
        self.running.signal("TERM");
        let finished = tokio::task::spawn_blocking(|| self.running.wait()).await.unwrap().success();
        let port = self.endpoint.rsplit(':').next().unwrap().parse().unwrap();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), "something still listens on {port}");
        finished
    }

    /// Kills it in the middle of whatever it does.
    async fn kill(self) {
        let _ = tokio::task::spawn_blocking(|| self.running.kill()).await.unwrap();
    }

    /// Makes a table as most local set-ups do: without a stream.
    async fn make_table(&self, table: &str) {
        let key = AttributeDefinition::builder().attribute_name(KEY).attribute_type(ScalarAttributeType::S);
        self.client
            .create_table()
            .table_name(table)
            .attribute_definitions(key.build().unwrap())
            .key_schema(KeySchemaElement::builder().attribute_name(KEY).key_type(KeyType::Hash).build().unwrap())
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await
            .unwrap();
    }

    async fn delete_table(&self, table: &str) {
        self.client.delete_table().table_name(table).send().await.unwrap();
    }

    /// Writes `count` notes, changes each, and deletes every fourth; gives what is left.
    async fn write(&self, table: &str, count: u32) -> Items {
        let put = async |note: u32, content: String| {
            self.client
                .put_item()
                .table_name(table)
                .item(KEY, AttributeValue::S(format!("note-{note}")))
                .item("content", AttributeValue::S(content))
                .send()
                .await
                .unwrap();
        };
        for note in 0..count {
            put(note, "first".to_owned()).await;
            put(note, format!("note {note} of {table}")).await;
            if note % 4 == 3 {
                let key = AttributeValue::S(format!("note-{note}"));
                self.client.delete_item().table_name(table).key(KEY, key).send().await.unwrap();
            }
        }
        let items = table_items(&self.client, table).await;
        assert_eq!(items.len(), usize::try_from(count - count / 4).unwrap());
        items
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_keeps_data_and_journal_over_a_restart_and_a_table_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path()).await;
    dev.make_table(NOTES).await;
    let before = dev.write(NOTES, 40).await;
    dev.delete_table(NOTES).await;
    dev.make_table(NOTES).await;
    let since = dev.write(NOTES, 8).await;
    let finished = dev.stop().await;
    assert!(finished.stderr.contains("had no stream"), "{}", finished.stderr);
    assert!(finished.stderr.contains("start again with: journal dev"), "{}", finished.stderr);

    let dev = Dev::start(folder.path()).await;
    assert_eq!(table_items(&dev.client, NOTES).await, since);
    let more = dev.write(NOTES, 12).await;
    let ended = ends(folder.path(), NOTES);
    assert_eq!(ended.len(), 1);
    assert_eq!(export(&dev.location, NOTES, ["--at-sequence", &ended[0]]).await, before);
    let location = dev.location.clone();
    dev.stop().await;
    assert_eq!(export(&location, NOTES, ["--at", "latest"]).await, more);
    let _ = run(replay().args(["verify", "--journal", &location])).await.success();
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_killed_right_after_a_table_was_deleted_has_all_of_it_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path()).await;
    dev.make_table(NOTES).await;
    let before = dev.write(NOTES, 20).await;
    dev.delete_table(NOTES).await;
    let location = dev.location.clone();
    dev.kill().await;

    Dev::start(folder.path()).await.stop().await;
    let ended = ends(folder.path(), NOTES);
    assert_eq!(ended.len(), 1);
    assert_eq!(export(&location, NOTES, ["--at-sequence", &ended[0]]).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_lived_for_a_moment_is_in_the_journal_to_its_last_change() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path()).await;
    let mut lives = Vec::new();
    for life in 1..=6 {
        dev.make_table(NOTES).await;
        lives.push(dev.write(NOTES, life).await);
        dev.delete_table(NOTES).await;
    }
    let location = dev.location.clone();
    dev.stop().await;
    let ended = ends(folder.path(), NOTES);
    assert_eq!(ended.len(), lives.len());
    for (last, life) in ended.iter().zip(&lives) {
        assert_eq!(export(&location, NOTES, ["--at-sequence", last]).await, *life);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_dev_on_the_same_port_or_folder_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(&folder.path().join("one")).await;
    let port = dev.endpoint.rsplit(':').next().unwrap();
    let other =
        run(journal().args(["dev", "--port", port, "--folder"]).arg(folder.path().join("two"))).await.failure(6);
    assert!(other.stderr.contains(&format!("port {port} of 127.0.0.1 is taken")), "{}", other.stderr);
    let other = run(journal().args(["dev", "--port", "0", "--folder"]).arg(folder.path().join("one"))).await.failure(6);
    assert!(other.stderr.contains("another process uses"), "{}", other.stderr);
    dev.stop().await;
}
