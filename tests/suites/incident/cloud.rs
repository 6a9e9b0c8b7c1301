//! What the tests stand on: functions from built binaries, tables, notes, and the journal's programs led to MiniStack.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType,
};
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{Architecture, FunctionCode, Runtime};
use journal::model::StreamArn;
use journal_tests::ministack::MiniStack;
use journal_tests::processes::{Finished, Program, binary, journal, replay};
use serde_json::Value;

/// How long something may take that a service does by itself.
const PATIENCE: Duration = Duration::from_mins(5);

pub(crate) type Item = HashMap<String, AttributeValue>;

/// A function's package whose `bootstrap` leads the built binary to MiniStack: MiniStack runs it where it lies, so the binary itself, which in a debug
/// build is large, need not be packed. That a packed one runs is the trigger's own suite's to show.
pub(crate) fn package(ministack: &MiniStack, name: &str) -> Vec<u8> {
    let mut script = String::from("#!/bin/sh\n");
    for (variable, value) in ministack.environment() {
        writeln!(script, "export {variable}='{value}'").unwrap();
    }
    writeln!(script, "exec '{}'", binary(name).display()).unwrap();
    zip("bootstrap", script.as_bytes())
}

/// A zip archive with one file, stored as it is.
fn zip(name: &str, content: &[u8]) -> Vec<u8> {
    let number = |value: usize| u32::try_from(value).unwrap().to_le_bytes();
    let short = |value: usize| u16::try_from(value).unwrap().to_le_bytes();
    let crc = crc32fast::hash(content).to_le_bytes();
    // Version 2.0, no flags, stored, 1 January 2020.
    let common = [
        &[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0x50][..],
        &crc,
        &number(content.len()),
        &number(content.len()),
        &short(name.len()),
        &[0, 0],
    ]
    .concat();
    let local = [&b"PK\x03\x04"[..], &common, name.as_bytes(), content].concat();
    // Made on Unix; the file may be run.
    let attributes = (0o100_755_u32 << 16).to_le_bytes();
    let central = [&b"PK\x01\x02\x14\x03"[..], &common, &[0; 6], &attributes, &[0; 4], name.as_bytes()].concat();
    let end = [&b"PK\x05\x06\0\0\0\0\x01\0\x01\0"[..], &number(central.len()), &number(local.len()), &[0, 0]].concat();
    [local, central, end].concat()
}

/// MiniStack with a journal in a bucket and the trigger's function, made without a stack.
pub(crate) struct Cloud {
    pub(crate) ministack: MiniStack,
    pub(crate) tables: aws_sdk_dynamodb::Client,
    pub(crate) functions: aws_sdk_lambda::Client,
    pub(crate) journal: String,
    pub(crate) function: String,
}

impl Cloud {
    pub(crate) async fn with_function(test: &str) -> Option<Self> {
        let cloud = Self::bare(test, "s3://journal/prod", "stream-trigger").await?;
        cloud.ministack.make_bucket("journal", true).await;
        let _ = cloud.run(journal().arg("init")).await.success();
        let code = FunctionCode::builder().zip_file(Blob::new(package(&cloud.ministack, "stream-trigger"))).build();
        let environment =
            aws_sdk_lambda::types::Environment::builder().variables("JOURNAL_URL", &cloud.journal).build();
        cloud
            .functions
            .create_function()
            .function_name(&cloud.function)
            .runtime(Runtime::Providedal2023)
            .handler("bootstrap")
            .role("arn:aws:iam::000000000000:role/trigger")
            .architectures(Architecture::X8664)
            .timeout(60)
            .environment(environment)
            .code(code)
            .send()
            .await
            .unwrap();
        Some(cloud)
    }

    pub(crate) async fn bare(test: &str, journal: &str, function: &str) -> Option<Self> {
        let ministack = MiniStack::start_or_skip(test)?;
        let settings = ministack.settings().await;
        Some(Self {
            tables: ministack.dynamodb().await,
            functions: aws_sdk_lambda::Client::new(&settings),
            ministack,
            journal: journal.to_owned(),
            function: function.to_owned(),
        })
    }

    /// Runs a program with the journal, the function and MiniStack in its environment.
    pub(crate) async fn run(&self, program: Program) -> Finished {
        let program = program
            .envs(self.ministack.environment())
            .env("JOURNAL_URL", &self.journal)
            .env("JOURNAL_FUNCTION", &self.function);
        tokio::task::spawn_blocking(|| program.run()).await.unwrap()
    }

    /// What `journal status --json` says of a table's timelines.
    pub(crate) async fn timelines(&self, table: &str) -> Vec<Value> {
        let status = self.run(journal().args(["status", "--json", "--table", table])).await.success();
        let status: Value = serde_json::from_str(&status.stdout).unwrap();
        status["tables"][0]["timelines"].as_array().unwrap().clone()
    }

    /// A table's items at a cut, as the journal says.
    pub(crate) async fn replayed(&self, table: &str, cut: &[&str]) -> BTreeMap<String, Item> {
        let exported =
            self.run(replay().args(["export", "--table", table, "--format", "dynamodb-json"]).args(cut)).await;
        let exported = exported.success();
        let items = exported.stdout.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let item = line["Item"].as_object().unwrap();
            item.iter().map(|(name, value)| (name.clone(), attribute(value))).collect::<Item>()
        });
        by_id(items)
    }

    /// Every item of a live table.
    pub(crate) async fn items(&self, table: &str) -> BTreeMap<String, Item> {
        let mut pages = self.tables.scan().table_name(table).consistent_read(true).into_paginator().items().send();
        let mut items = Vec::new();
        while let Some(item) = pages.next().await {
            items.push(item.unwrap());
        }
        by_id(items.into_iter())
    }

    pub(crate) async fn make_table(&self, table: &str, view: Option<StreamViewType>) {
        let key = AttributeDefinition::builder().attribute_name("noteId").attribute_type(ScalarAttributeType::S);
        let stream = view
            .map(|view| StreamSpecification::builder().stream_enabled(true).stream_view_type(view).build().unwrap());
        self.tables
            .create_table()
            .table_name(table)
            .attribute_definitions(key.build().unwrap())
            .key_schema(KeySchemaElement::builder().attribute_name("noteId").key_type(KeyType::Hash).build().unwrap())
            .billing_mode(BillingMode::PayPerRequest)
            .set_stream_specification(stream)
            .send()
            .await
            .unwrap();
    }

    /// Writes notes with these numbers.
    pub(crate) async fn write_notes(&self, table: &str, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let text = |value: String| AttributeValue::S(value);
            self.tables
                .put_item()
                .table_name(table)
                .item("noteId", text(format!("note-{number}")))
                .item("content", text(format!("day {number} of the quarantine")))
                .item("author", text(format!("somebody {}", number % 7)))
                .item("country", text(["IT", "DE", "FR"][usize::try_from(number % 3).unwrap()].to_owned()))
                .item("createdAt", AttributeValue::N((1_584_810_304 + u64::from(number)).to_string()))
                .item("replies", AttributeValue::L(Vec::new()))
                .send()
                .await
                .unwrap();
        }
    }

    /// Adds a reply to notes with these numbers.
    pub(crate) async fn reply(&self, table: &str, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let reply = HashMap::from([
                ("content".to_owned(), AttributeValue::S(format!("stay strong, {number}"))),
                ("author".to_owned(), AttributeValue::S("a stranger".to_owned())),
            ]);
            self.tables
                .update_item()
                .table_name(table)
                .key("noteId", AttributeValue::S(format!("note-{number}")))
                .update_expression("SET replies = list_append(replies, :reply)")
                .expression_attribute_values(":reply", AttributeValue::L(vec![AttributeValue::M(reply)]))
                .send()
                .await
                .unwrap();
        }
    }

    pub(crate) async fn delete_notes(&self, table: &str, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let key = AttributeValue::S(format!("note-{number}"));
            self.tables.delete_item().table_name(table).key("noteId", key).send().await.unwrap();
        }
    }

    /// Waits until the function, not the guard, has put so many records of the table's latest stream into the journal.
    pub(crate) async fn wait_for_records(&self, table: &str, least: u64) {
        let described = self.tables.describe_table().table_name(table).send().await.unwrap().table.unwrap();
        // Not `LatestStreamLabel`: of a table of a stack MiniStack takes it at another moment than the ARN.
        let arn = StreamArn::parse(&described.latest_stream_arn.unwrap()).unwrap();
        let label = &arn.timeline().label;
        let (bucket, prefix) = self.journal.trim_start_matches("s3://").split_once('/').unwrap();
        let folder = format!("{prefix}/{table}/{label}/segments/0/");
        let s3 = self.ministack.s3().await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listed = s3.list_objects_v2().bucket(bucket).prefix(&folder).send().await.unwrap();
            let mut records = std::collections::BTreeSet::new();
            for object in listed.contents() {
                let key = object.key().unwrap();
                let body = s3.get_object().bucket(bucket).key(key).send().await.unwrap().body.collect().await.unwrap();
                records.extend(sequences(key, &body.into_bytes()));
            }
            if u64::try_from(records.len()).unwrap() >= least {
                return;
            }
            assert!(Instant::now() < deadline, "{} of {least} records of {table} came", records.len());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// The sequence numbers of a segment.
fn sequences(key: &str, bytes: &[u8]) -> Vec<String> {
    use journal::format::{BlockCursor, Columns, Decompressor, verify_object};
    let verified = verify_object(key, bytes).unwrap();
    let mut cursor = BlockCursor::new(key, verified.tail.footer.clone());
    let mut decompressor = Decompressor::new().unwrap();
    let mut found = Vec::new();
    for (number, entry) in verified.tail.blocks.iter().enumerate() {
        cursor.load_from(&mut decompressor, number, entry, bytes, Columns::Keys).unwrap();
        while cursor.advance().unwrap() {
            found.push(cursor.sequence().to_string());
        }
    }
    found
}

fn by_id(items: impl Iterator<Item = Item>) -> BTreeMap<String, Item> {
    items.map(|item| (item["noteId"].as_s().unwrap().clone(), item)).collect()
}

/// An attribute value from its JSON wire form.
fn attribute(value: &Value) -> AttributeValue {
    let (kind, content) = value.as_object().unwrap().iter().next().unwrap();
    match kind.as_str() {
        "S" => AttributeValue::S(content.as_str().unwrap().to_owned()),
        "N" => AttributeValue::N(content.as_str().unwrap().to_owned()),
        "L" => AttributeValue::L(content.as_array().unwrap().iter().map(attribute).collect()),
        "M" => AttributeValue::M(
            content.as_object().unwrap().iter().map(|(name, value)| (name.clone(), attribute(value))).collect(),
        ),
        other => panic!("no note has {other}"),
    }
}
