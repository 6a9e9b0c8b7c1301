//! The server that tables are restored into, and the rivals that do so.

use std::path::Path;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableInputBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, Select,
};
use serde::Deserialize;
use tokio::runtime::Runtime;

use crate::cases::{Context, rivals};
use crate::ministack_process::MiniStackProcess;

/// What the server is.
pub(super) const NAME: &str = "MiniStack's DynamoDB";

/// A running server.
pub(super) struct Peer(MiniStackProcess);

impl Peer {
    /// Starts one, on loopback.
    pub(super) fn start(context: &Context) -> Result<Self, String> {
        let python = context.ministack.as_ref().ok_or("MiniStack is not installed: `tests/run bench` installs it")?;
        Ok(Self(MiniStackProcess::start(python)))
    }

    pub(super) fn port(&self) -> u16 {
        self.0.port
    }

    pub(super) fn client(&self) -> Client {
        client_of(self.port())
    }

    /// Makes a table.
    pub(super) fn make(&self, runtime: &Runtime, table: &str) -> Result<(), String> {
        let client = self.client();
        runtime.block_on(table_input(table).send_with(&client)).map(drop).map_err(|error| format!("{error:?}"))
    }

    /// Deletes a table, once it is sure that all items are in it.
    pub(super) fn drop_after_count(&self, runtime: &Runtime, table: &str, items: usize) -> Result<(), String> {
        let client = self.client();
        let found = runtime.block_on(count(&client, table))?;
        if found != items {
            return Err(format!("{table} has {found} items, not {items}"));
        }
        let deleted = runtime.block_on(client.delete_table().table_name(table).send());
        deleted.map(drop).map_err(|error| format!("{error:?}"))
    }
}

async fn count(client: &Client, table: &str) -> Result<usize, String> {
    let (mut found, mut start) = (0, None);
    loop {
        let request = client.scan().table_name(table).select(Select::Count).set_exclusive_start_key(start);
        let page = request.send().await.map_err(|error| format!("{error:?}"))?;
        found += usize::try_from(page.count).unwrap_or(0);
        start = page.last_evaluated_key.filter(|key| !key.is_empty());
        if start.is_none() {
            return Ok(found);
        }
    }
}

/// A client of a port on loopback.
pub(super) fn client_of(port: u16) -> Client {
    let settings = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(format!("http://127.0.0.1:{port}"))
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "bench"))
        .build();
    Client::from_conf(settings)
}

/// The table that all restore into.
pub(super) fn table_input(table: &str) -> CreateTableInputBuilder {
    let key = KeySchemaElement::builder().attribute_name("noteId").key_type(KeyType::Hash).build().expect("a key");
    let of_key = AttributeDefinition::builder().attribute_name("noteId").attribute_type(ScalarAttributeType::S);
    CreateTableInputBuilder::default()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .key_schema(key)
        .attribute_definitions(of_key.build().expect("a definition"))
}

/// The items as the rivals read them.
pub(super) struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    pub(super) fn new(items: &[String]) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let write = |path: &Path, text: String| std::fs::write(path, text).map_err(|error| error.to_string());
        write(&folder.path().join("items.jsonl"), items.join("\n"))?;
        let data = folder.path().join("dump").join("data");
        std::fs::create_dir_all(&data).map_err(|error| error.to_string())?;
        let schema = r#"{"Table":{"TableName":"dump","AttributeDefinitions":[],"KeySchema":[],"ProvisionedThroughput":{"ReadCapacityUnits":0,"WriteCapacityUnits":0}}}"#;
        write(&folder.path().join("dump").join("schema.json"), schema.to_owned())?;
        // A dump has a file for each page of a scan, which is a megabyte.
        for (page, items) in items.chunks(2000).enumerate() {
            write(&data.join(format!("{page:04}.json")), format!(r#"{{"Items":[{}]}}"#, items.join(",")))?;
        }
        Ok(Self { folder })
    }
}

/// What one would otherwise restore with.
#[derive(Clone, Copy)]
pub(super) enum Rival {
    Boto3,
    Dynamodump,
}

#[derive(Deserialize)]
struct Took {
    seconds: f64,
}

impl Rival {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Boto3 => "boto3",
            Self::Dynamodump => "dynamodump",
        }
    }

    /// Seconds that it took to write all items.
    pub(super) fn restore(self, context: &Context, peer: &Peer, table: &str, files: &Files) -> Result<f64, String> {
        let source = match self {
            Self::Boto3 => files.folder.path().join("items.jsonl"),
            Self::Dynamodump => files.folder.path().to_owned(),
        };
        let endpoint = format!("http://127.0.0.1:{}", peer.port());
        let arguments = [self.name(), &endpoint, table, &source.display().to_string()];
        let said = rivals::ask(context, "restore.py", &arguments)?;
        let took: Took = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        Ok(took.seconds)
    }
}
