//! A table made again from its description: what `CreateTable` is told, and what is set once the items are back.
//!
//! What enters is a [`TableDocument`]; what leaves are the SDK's inputs and, in words, what cannot be made the same.
//! Nothing here asks the service. A table without protection, TTL and backups is restored first, and gets them at the
//! end: TTL would delete what is being written, and deletion protection would keep a failed restore from being removed.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableInputBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, LocalSecondaryIndex,
    OnDemandThroughput, Projection, ProjectionType, ProvisionedThroughput, ScalarAttributeType, SseSpecification,
    SseType, StreamSpecification, StreamViewType, TableClass,
};
use serde::Deserialize;
use thiserror::Error;

use crate::documents::TableDocument;
use crate::error::{Classify, Kind};
use crate::model::TableName;

/// Why a table cannot be made from its description.
#[derive(Debug, Error)]
pub enum RecreateError {
    /// The description is not one.
    #[error("description of table {table} cannot be used to make a table: {reason}")]
    Description {
        /// The table that is described.
        table: TableName,
        /// What is wrong.
        reason: String,
    },
}

impl Classify for RecreateError {
    fn kind(&self) -> Kind {
        Kind::Corrupt
    }

    fn hint(&self) -> Option<String> {
        Some("make the table by hand with the same key, then restore into it".to_owned())
    }
}

/// What makes a table again.
#[derive(Debug, Clone)]
pub struct Recreation {
    /// `CreateTable`'s input: key, attributes, indexes, billing, stream, class, encryption. Send it with `send_with(client)`.
    pub input: CreateTableInputBuilder,
    /// What the new table will not have, or have otherwise, in sentences for the plan and the report.
    pub notes: Vec<String>,
    /// What it will not have and who restores can add afterwards.
    pub by_hand: Vec<ByHand>,
}

/// A setting that no restore makes, and the command that makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByHand {
    /// What it is.
    pub setting: String,
    /// Why it is not made.
    pub reason: String,
    /// The command, for a shell; words in capital letters are to be filled in.
    pub command: String,
}

/// What a restore sets at its end, when the items are back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsAfter {
    /// The TTL attribute, where TTL was on.
    pub time_to_live: Option<String>,
    /// Tags, those of CloudFormation left out: only the service may set them.
    pub tags: BTreeMap<String, String>,
    /// Point-in-time recovery, where it was on: its period in days, where that was said.
    pub point_in_time_recovery: Option<PointInTimeRecovery>,
    /// Whether the table was protected from deletion.
    pub deletion_protection: bool,
    /// What is not known and who restores has to set.
    pub by_hand: Vec<ByHand>,
    /// What cannot be set, in sentences for the report.
    pub notes: Vec<String>,
}

/// Point-in-time recovery as it was on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointInTimeRecovery {
    /// How far back it reaches; the service's default when none.
    pub days: Option<i32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    #[serde(default)]
    attribute_definitions: Vec<Attribute>,
    key_schema: Vec<Element>,
    provisioned_throughput: Option<Throughput>,
    billing_mode_summary: Option<Billing>,
    on_demand_throughput: Option<OnDemand>,
    #[serde(default)]
    global_secondary_indexes: Vec<Index>,
    #[serde(default)]
    local_secondary_indexes: Vec<Index>,
    #[serde(rename = "SSEDescription")]
    sse: Option<Sse>,
    table_class_summary: Option<Class>,
    #[serde(default)]
    deletion_protection_enabled: bool,
    #[serde(default)]
    replicas: Vec<Replica>,
    #[serde(default)]
    vector_indexes: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    attribute_name: String,
    attribute_type: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Element {
    attribute_name: String,
    key_type: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Throughput {
    #[serde(default)]
    read_capacity_units: i64,
    #[serde(default)]
    write_capacity_units: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Billing {
    billing_mode: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OnDemand {
    max_read_request_units: Option<i64>,
    max_write_request_units: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Index {
    #[serde(rename = "IndexName")]
    name: String,
    key_schema: Vec<Element>,
    projection: Option<Projected>,
    provisioned_throughput: Option<Throughput>,
    on_demand_throughput: Option<OnDemand>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Projected {
    projection_type: Option<String>,
    non_key_attributes: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Sse {
    #[serde(rename = "Status")]
    status: Option<String>,
    #[serde(rename = "SSEType")]
    kind: Option<String>,
    #[serde(rename = "KMSMasterKeyArn")]
    key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Class {
    table_class: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Replica {
    region_name: Option<String>,
}

fn description(document: &TableDocument) -> Result<Description, RecreateError> {
    Description::deserialize(&document.description).map_err(|error| unusable(document, &error))
}

fn unusable(document: &TableDocument, reason: &dyn std::fmt::Display) -> RecreateError {
    RecreateError::Description { table: document.table.clone(), reason: reason.to_string() }
}

/// `CreateTable`'s input for a table like the described one, named `new_name`. Deletion protection is off, whatever it
/// was: [`settings_after`] says what is set once the items are back.
///
/// # Errors
/// When the description lacks what no table can be made without.
pub fn create_table_input(document: &TableDocument, new_name: &TableName) -> Result<Recreation, RecreateError> {
    let description = description(document)?;
    let mut notes = Vec::new();
    let built = |error: BuildError| unusable(document, &error);
    let on_demand = is_on_demand(&description);

    let mut input = CreateTableInputBuilder::default()
        .table_name(new_name.as_str())
        .set_key_schema(Some(key_schema(&description.key_schema).map_err(built)?))
        .billing_mode(if on_demand { BillingMode::PayPerRequest } else { BillingMode::Provisioned })
        .set_provisioned_throughput(throughput(on_demand, description.provisioned_throughput.as_ref()).map_err(built)?)
        .set_on_demand_throughput(on_demand_limits(on_demand, description.on_demand_throughput.as_ref()))
        .deletion_protection_enabled(false)
        .stream_specification(
            StreamSpecification::builder()
                .stream_enabled(true)
                .stream_view_type(StreamViewType::from(document.stream_view_type.as_str()))
                .build()
                .map_err(built)?,
        );
    for attribute in attribute_definitions(document, &description) {
        input = input.attribute_definitions(
            AttributeDefinition::builder()
                .attribute_name(attribute.0)
                .attribute_type(ScalarAttributeType::from(attribute.1))
                .build()
                .map_err(built)?,
        );
    }
    for index in &description.global_secondary_indexes {
        input = input.global_secondary_indexes(
            GlobalSecondaryIndex::builder()
                .index_name(&index.name)
                .set_key_schema(Some(key_schema(&index.key_schema).map_err(built)?))
                .projection(projection(index))
                .set_provisioned_throughput(
                    throughput(on_demand, index.provisioned_throughput.as_ref()).map_err(built)?,
                )
                .set_on_demand_throughput(on_demand_limits(on_demand, index.on_demand_throughput.as_ref()))
                .build()
                .map_err(built)?,
        );
    }
    for index in &description.local_secondary_indexes {
        input = input.local_secondary_indexes(
            LocalSecondaryIndex::builder()
                .index_name(&index.name)
                .set_key_schema(Some(key_schema(&index.key_schema).map_err(built)?))
                .projection(projection(index))
                .build()
                .map_err(built)?,
        );
    }
    if let Some(class) = description.table_class_summary.and_then(|summary| summary.table_class) {
        input = input.table_class(TableClass::from(class.as_str()));
    }
    if let Some(sse) = description.sse.filter(|sse| sse.kind.as_deref() == Some("KMS")) {
        let on = matches!(sse.status.as_deref(), Some("ENABLED" | "ENABLING" | "UPDATING"));
        if on {
            if let Some(key) = &sse.key {
                notes.push(format!("it is encrypted with the KMS key {key}, which must still be there and allow it"));
            }
            input = input.sse_specification(
                SseSpecification::builder().enabled(true).sse_type(SseType::Kms).set_kms_master_key_id(sse.key).build(),
            );
        }
    }
    let replicas = description.replicas.iter().filter_map(|replica| replica.region_name.as_deref());
    let by_hand = replicas.map(|region| replica_by_hand(new_name, region));
    let by_hand = by_hand.chain(description.vector_indexes.iter().map(|index| vector_index_by_hand(new_name, index)));
    Ok(Recreation { input, notes, by_hand: by_hand.collect() })
}

/// One at a time may be added (`UpdateTable`, Amazon DynamoDB API Reference).
fn replica_by_hand(table: &TableName, region: &str) -> ByHand {
    let update = serde_json::json!([{ "Create": { "RegionName": region } }]);
    ByHand {
        setting: format!("replica in {region}"),
        reason: "a replica takes all items anew, and is added once they are there".to_owned(),
        command: update_table(table, "replica-updates", &update),
    }
}

fn vector_index_by_hand(table: &TableName, index: &serde_json::Value) -> ByHand {
    const OF_INDEX: [&str; 6] =
        ["IndexName", "VectorAttribute", "Dimensions", "DistanceFunction", "SearchSchema", "Projection"];
    let described = OF_INDEX.into_iter().filter_map(|name| Some((name.to_owned(), index.get(name)?.clone())));
    let create: serde_json::Map<String, serde_json::Value> = described.collect();
    let name = index.get("IndexName").and_then(serde_json::Value::as_str).unwrap_or("without a name");
    ByHand {
        setting: format!("vector index {name}"),
        reason: "restores do not make it".to_owned(),
        command: update_table(table, "vector-index-updates", &serde_json::json!([{ "Create": create }])),
    }
}

fn update_table(table: &TableName, option: &str, value: &serde_json::Value) -> String {
    format!("aws dynamodb update-table --table-name {table} --{option} {}", shell_word(&value.to_string()))
}

/// A text as one word for a shell.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:/@".contains(&b));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Attribute definitions as described, or at least those of the key.
fn attribute_definitions<'a>(document: &'a TableDocument, description: &'a Description) -> Vec<(&'a str, &'a str)> {
    if description.attribute_definitions.is_empty() {
        document.key_schema.iter().map(|element| (element.name.as_str(), element.key_type.as_str())).collect()
    } else {
        let definitions = description.attribute_definitions.iter();
        definitions.map(|attribute| (attribute.attribute_name.as_str(), attribute.attribute_type.as_str())).collect()
    }
}

/// Whether capacity is paid by request. The summary is absent for a table that never was; some emulators leave it out and
/// say it with a throughput of 0, which no provisioned table has.
fn is_on_demand(description: &Description) -> bool {
    match description.billing_mode_summary.as_ref().and_then(|summary| summary.billing_mode.as_deref()) {
        Some(mode) => mode == "PAY_PER_REQUEST",
        None => description
            .provisioned_throughput
            .as_ref()
            .is_none_or(|units| units.read_capacity_units == 0 && units.write_capacity_units == 0),
    }
}

fn key_schema(elements: &[Element]) -> Result<Vec<KeySchemaElement>, BuildError> {
    let element = |element: &Element| {
        KeySchemaElement::builder()
            .attribute_name(&element.attribute_name)
            .key_type(KeyType::from(element.key_type.as_str()))
            .build()
    };
    elements.iter().map(element).collect()
}

fn throughput(on_demand: bool, units: Option<&Throughput>) -> Result<Option<ProvisionedThroughput>, BuildError> {
    let Some(units) = units.filter(|_| !on_demand) else { return Ok(None) };
    ProvisionedThroughput::builder()
        .read_capacity_units(units.read_capacity_units.max(1))
        .write_capacity_units(units.write_capacity_units.max(1))
        .build()
        .map(Some)
}

fn on_demand_limits(on_demand: bool, limits: Option<&OnDemand>) -> Option<OnDemandThroughput> {
    let limits = limits.filter(|_| on_demand)?;
    Some(
        OnDemandThroughput::builder()
            .set_max_read_request_units(limits.max_read_request_units)
            .set_max_write_request_units(limits.max_write_request_units)
            .build(),
    )
}

fn projection(index: &Index) -> Projection {
    let projected = index.projection.as_ref();
    let kind = projected.and_then(|projected| projected.projection_type.as_deref()).unwrap_or("ALL");
    let names = projected.and_then(|projected| projected.non_key_attributes.clone());
    Projection::builder()
        .projection_type(ProjectionType::from(kind))
        .set_non_key_attributes(names.filter(|_| kind == "INCLUDE"))
        .build()
}

/// What is set when the items are back on the table `new_name`: TTL, tags, point-in-time recovery, deletion protection.
#[must_use]
pub fn settings_after(document: &TableDocument, new_name: &TableName) -> SettingsAfter {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct TimeToLive {
        time_to_live_status: Option<String>,
        attribute_name: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Recovery {
        point_in_time_recovery_status: Option<String>,
        recovery_period_in_days: Option<i32>,
    }

    let mut settings = SettingsAfter { by_hand: not_known(document, new_name), ..SettingsAfter::default() };
    if let Some(value) = &document.time_to_live {
        match TimeToLive::deserialize(value) {
            Ok(ttl) if matches!(ttl.time_to_live_status.as_deref(), Some("ENABLED" | "ENABLING")) => {
                settings.time_to_live = ttl.attribute_name;
            }
            Ok(_) => {}
            Err(error) => settings.notes.push(format!("TTL as described is not understood: {error}")),
        }
    }
    if let Some(value) = &document.point_in_time_recovery {
        match Recovery::deserialize(value) {
            Ok(recovery) if recovery.point_in_time_recovery_status.as_deref() == Some("ENABLED") => {
                settings.point_in_time_recovery = Some(PointInTimeRecovery { days: recovery.recovery_period_in_days });
            }
            Ok(_) => {}
            Err(error) => {
                settings.notes.push(format!("point-in-time recovery as described is not understood: {error}"));
            }
        }
    }
    for (name, value) in document.tags.iter().flatten() {
        if name.starts_with("aws:") {
            settings.notes.push(format!("tag {name} can only be set by AWS itself"));
        } else {
            settings.tags.insert(name.clone(), value.clone());
        }
    }
    settings.deletion_protection =
        description(document).is_ok_and(|description| description.deletion_protection_enabled);
    settings
}

/// Settings that could not be read, and what the journal has of no earlier look either.
fn not_known(document: &TableDocument, new_name: &TableName) -> Vec<ByHand> {
    let wanted = |setting: &str| {
        match setting {
        "TTL" => document.time_to_live.is_none().then(|| {
            format!("aws dynamodb update-time-to-live --table-name {new_name} --time-to-live-specification Enabled=true,AttributeName=ATTRIBUTE")
        }),
        "point-in-time recovery" => document.point_in_time_recovery.is_none().then(|| {
            format!("aws dynamodb update-continuous-backups --table-name {new_name} --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true")
        }),
        "tags" => document.tags.is_none().then(|| {
            "aws dynamodb tag-resource --resource-arn ARN --tags Key=NAME,Value=VALUE".to_owned()
        }),
        _ => Some(format!("aws dynamodb describe-table --table-name {}", document.table)),
    }
    };
    let told = document.not_read.iter().filter_map(|told| {
        let (setting, reason) = told.split_once(": ").unwrap_or((told, "it could not be read"));
        let (setting, reason) = (setting.to_owned(), format!("whether it was set is not known: {reason}"));
        Some(ByHand { command: wanted(&setting)?, setting, reason })
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::super::{describe, fake};
    use super::*;
    use crate::model::Second;
    use serde_json::{Value, json};

    async fn document(table: Value) -> TableDocument {
        let fake = fake::start(move |operation, _| fake::describe(operation, &table)).await;
        describe(&fake.client, &fake::table_name(), Second::MIN).await.unwrap()
    }

    /// What the service is asked to make.
    async fn request(recreation: Recreation) -> Value {
        let (sender, receiver) = std::sync::mpsc::channel();
        let fake = fake::start(move |operation, body| {
            assert_eq!(operation, "CreateTable");
            sender.send(body.clone()).unwrap();
            (200, json!({}))
        })
        .await;
        recreation.input.send_with(&fake.client).await.unwrap();
        receiver.recv().unwrap()
    }

    fn new_name() -> TableName {
        TableName::parse("notes-restored").unwrap()
    }

    #[tokio::test]
    async fn a_table_is_made_again_with_everything_but_what_would_hinder_a_restore() {
        let mut described = fake::table();
        let vectors = json!({"IndexName": "by-meaning", "VectorAttribute": {"AttributeName": "it's"}, "Dimensions": 3, "IndexStatus": "ACTIVE"});
        described["VectorIndexes"] = json!([vectors]);
        let recreation = create_table_input(&document(described).await, &new_name()).unwrap();
        assert_eq!(recreation.notes.len(), 1, "{:?}", recreation.notes);
        let commands: Vec<&str> = recreation.by_hand.iter().map(|one| one.command.as_str()).collect();
        let update = "aws dynamodb update-table --table-name notes-restored";
        let index =
            r#"{"Create":{"Dimensions":3,"IndexName":"by-meaning","VectorAttribute":{"AttributeName":"it'\''s"}}}"#;
        assert_eq!(
            commands,
            [
                format!(r#"{update} --replica-updates '[{{"Create":{{"RegionName":"eu-north-1"}}}}]'"#),
                format!("{update} --vector-index-updates '[{index}]'")
            ]
        );
        let body = request(recreation).await;
        let table = fake::table();
        assert_eq!(body["TableName"], "notes-restored");
        for same in ["KeySchema", "AttributeDefinitions", "StreamSpecification"] {
            assert_eq!(body[same], table[same], "{same}");
        }
        assert_eq!(body["BillingMode"], "PROVISIONED");
        assert_eq!(body["ProvisionedThroughput"], json!({"ReadCapacityUnits": 5, "WriteCapacityUnits": 6}));
        assert_eq!(body["DeletionProtectionEnabled"], false);
        assert_eq!(body["TableClass"], "STANDARD_INFREQUENT_ACCESS");
        assert_eq!(body["SSESpecification"]["KMSMasterKeyId"], "arn:aws:kms:eu-west-1:0:key/k");
        let index = &body["GlobalSecondaryIndexes"][0];
        assert_eq!(index["IndexName"], "by-country");
        assert_eq!(index["Projection"], json!({"ProjectionType": "INCLUDE", "NonKeyAttributes": ["a", "b"]}));
        assert_eq!(index["ProvisionedThroughput"], json!({"ReadCapacityUnits": 3, "WriteCapacityUnits": 4}));
        assert_eq!(body["LocalSecondaryIndexes"][0]["Projection"], json!({"ProjectionType": "ALL"}));
    }

    #[tokio::test]
    async fn a_table_paid_by_request_is_made_so_again() {
        for (summary, units) in [(json!({"BillingMode": "PAY_PER_REQUEST"}), 0), (Value::Null, 0)] {
            let mut table = fake::table();
            table["BillingModeSummary"] = summary;
            table["OnDemandThroughput"] = json!({"MaxReadRequestUnits": 100, "MaxWriteRequestUnits": 50});
            table["ProvisionedThroughput"] = json!({"ReadCapacityUnits": units, "WriteCapacityUnits": units});
            table["GlobalSecondaryIndexes"][0]["ProvisionedThroughput"] = table["ProvisionedThroughput"].clone();
            let body = request(create_table_input(&document(table).await, &new_name()).unwrap()).await;
            assert_eq!(body["BillingMode"], "PAY_PER_REQUEST");
            assert_eq!(body["OnDemandThroughput"]["MaxWriteRequestUnits"], 50);
            assert!(body.get("ProvisionedThroughput").is_none());
            assert!(body["GlobalSecondaryIndexes"][0].get("ProvisionedThroughput").is_none());
        }
    }

    #[tokio::test]
    async fn a_description_without_a_key_cannot_make_a_table() {
        let mut document = document(fake::table()).await;
        document.description = json!({"TableName": "notes"});
        let error = create_table_input(&document, &new_name()).unwrap_err();
        assert!(error.to_string().contains("KeySchema"), "{error}");
        assert_eq!(error.kind(), Kind::Corrupt);
    }

    #[tokio::test]
    async fn what_comes_after_the_items_is_told() {
        let mut document = document(fake::table()).await;
        document.not_read = vec!["TTL: denied".to_owned(), "tags: denied".to_owned()];
        document.not_read.push("point-in-time recovery: denied".to_owned());
        let settings = settings_after(&document, &new_name());
        assert_eq!(settings.by_hand, [], "what an earlier look found is set");
        assert_eq!(settings.time_to_live.as_deref(), Some("expires"));
        assert_eq!(settings.tags, BTreeMap::from([("team".to_owned(), "notes".to_owned())]));
        assert_eq!(settings.point_in_time_recovery, Some(PointInTimeRecovery { days: Some(7) }));
        assert!(settings.deletion_protection);
        assert_eq!(settings.notes.len(), 1, "{:?}", settings.notes);
        assert!(settings.notes[0].contains("aws:cloudformation:stack-name"));

        (document.time_to_live, document.point_in_time_recovery, document.tags) = (None, None, None);
        let unknown = settings_after(&document, &new_name()).by_hand;
        let told: Vec<&str> = unknown.iter().map(|one| one.setting.as_str()).collect();
        assert_eq!(told, ["TTL", "tags", "point-in-time recovery"]);
        assert!(unknown.iter().all(|one| one.reason.contains("denied") && one.command.starts_with("aws dynamodb ")));
        assert!(unknown[0].command.contains("update-time-to-live --table-name notes-restored"), "{unknown:?}");

        document.time_to_live = Some(json!({"TimeToLiveStatus": "DISABLED"}));
        document.point_in_time_recovery = Some(json!({"PointInTimeRecoveryStatus": "DISABLED"}));
        document.tags = None;
        document.description["DeletionProtectionEnabled"] = json!(false);
        document.not_read.clear();
        assert_eq!(settings_after(&document, &new_name()), SettingsAfter::default());
    }
}
