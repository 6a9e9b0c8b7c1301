//! The SDK's description of a table as the service's own JSON.
//!
//! What enters are the SDK's types, which have no JSON form; what leaves are documents in wire form, names and times as
//! the API reference writes them. What changes by itself and says nothing of how to make the table is left out: sizes,
//! counts, states, and when throughput was changed. So an unchanged table has an unchanged description.

use aws_sdk_dynamodb::primitives::DateTime;
use aws_sdk_dynamodb::types::{
    GlobalSecondaryIndexDescription, KeySchemaElement, LocalSecondaryIndexDescription, OnDemandThroughput,
    PointInTimeRecoveryDescription, Projection, ProvisionedThroughputDescription, TableDescription,
    TimeToLiveDescription, VectorIndexDescription,
};
use serde_json::{Map, Value, json};

/// An object of those fields that are there.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let present = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(present.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

/// A list, or nothing where it is empty.
fn list<T>(members: &[T], show: impl Fn(&T) -> Value) -> Value {
    if members.is_empty() { Value::Null } else { members.iter().map(show).collect() }
}

/// A list whose order says nothing, sorted by the members' names: the service does not promise the same order twice.
fn named<T>(members: &[T], name: impl Fn(&T) -> Option<&str>, show: impl Fn(&T) -> Value) -> Value {
    let mut members: Vec<&T> = members.iter().collect();
    members.sort_by(|a, b| name(a).cmp(&name(b)));
    list(&members, |member| show(member))
}

fn time(time: Option<&DateTime>) -> Value {
    match time {
        Some(time) if time.has_subsec_nanos() => json!(time.as_secs_f64()),
        Some(time) => json!(time.secs()),
        None => Value::Null,
    }
}

/// `Table` of `DescribeTable`'s answer.
pub(super) fn table(table: &TableDescription) -> Value {
    let attributes = list(
        table.attribute_definitions(),
        |attribute| json!({"AttributeName": attribute.attribute_name(), "AttributeType": attribute.attribute_type().as_str()}),
    );
    let billing = table.billing_mode_summary().map(|summary| {
        object([("BillingMode", json!(summary.billing_mode().map(aws_sdk_dynamodb::types::BillingMode::as_str)))])
    });
    let stream = table.stream_specification().map(|stream| {
        object([
            ("StreamEnabled", json!(stream.stream_enabled())),
            ("StreamViewType", json!(stream.stream_view_type().map(aws_sdk_dynamodb::types::StreamViewType::as_str))),
        ])
    });
    let sse = table.sse_description().map(|sse| {
        object([
            ("Status", json!(sse.status().map(aws_sdk_dynamodb::types::SseStatus::as_str))),
            ("SSEType", json!(sse.sse_type().map(aws_sdk_dynamodb::types::SseType::as_str))),
            ("KMSMasterKeyArn", json!(sse.kms_master_key_arn())),
        ])
    });
    let class = table.table_class_summary().map(|class| {
        object([("TableClass", json!(class.table_class().map(aws_sdk_dynamodb::types::TableClass::as_str)))])
    });
    let replicas = named(table.replicas(), aws_sdk_dynamodb::types::ReplicaDescription::region_name, |replica| {
        object([("RegionName", json!(replica.region_name()))])
    });
    let vectors = named(table.vector_indexes(), VectorIndexDescription::index_name, vector_index);
    object([
        ("TableName", json!(table.table_name())),
        ("TableId", json!(table.table_id())),
        ("TableArn", json!(table.table_arn())),
        ("CreationDateTime", time(table.creation_date_time())),
        ("AttributeDefinitions", attributes),
        ("KeySchema", key_schema(table.key_schema())),
        ("ProvisionedThroughput", throughput(table.provisioned_throughput())),
        ("BillingModeSummary", json!(billing)),
        ("OnDemandThroughput", on_demand(table.on_demand_throughput())),
        (
            "GlobalSecondaryIndexes",
            named(table.global_secondary_indexes(), GlobalSecondaryIndexDescription::index_name, global_index),
        ),
        (
            "LocalSecondaryIndexes",
            named(table.local_secondary_indexes(), LocalSecondaryIndexDescription::index_name, local_index),
        ),
        ("StreamSpecification", json!(stream)),
        ("LatestStreamArn", json!(table.latest_stream_arn())),
        ("LatestStreamLabel", json!(table.latest_stream_label())),
        ("SSEDescription", json!(sse)),
        ("TableClassSummary", json!(class)),
        ("DeletionProtectionEnabled", json!(table.deletion_protection_enabled())),
        ("GlobalTableVersion", json!(table.global_table_version())),
        ("Replicas", replicas),
        ("VectorIndexes", vectors),
    ])
}

fn key_schema(elements: &[KeySchemaElement]) -> Value {
    list(elements, |element| json!({"AttributeName": element.attribute_name(), "KeyType": element.key_type().as_str()}))
}

fn throughput(units: Option<&ProvisionedThroughputDescription>) -> Value {
    let Some(units) = units else { return Value::Null };
    object([
        ("ReadCapacityUnits", json!(units.read_capacity_units())),
        ("WriteCapacityUnits", json!(units.write_capacity_units())),
    ])
}

fn on_demand(limits: Option<&OnDemandThroughput>) -> Value {
    let Some(limits) = limits else { return Value::Null };
    object([
        ("MaxReadRequestUnits", json!(limits.max_read_request_units())),
        ("MaxWriteRequestUnits", json!(limits.max_write_request_units())),
    ])
}

fn projection(projection: Option<&Projection>) -> Value {
    let Some(projection) = projection else { return Value::Null };
    let mut names = projection.non_key_attributes().to_vec();
    names.sort_unstable();
    object([
        ("ProjectionType", json!(projection.projection_type().map(aws_sdk_dynamodb::types::ProjectionType::as_str))),
        ("NonKeyAttributes", list(&names, |name| json!(name))),
    ])
}

fn global_index(index: &GlobalSecondaryIndexDescription) -> Value {
    object([
        ("IndexName", json!(index.index_name())),
        ("KeySchema", key_schema(index.key_schema())),
        ("Projection", projection(index.projection())),
        ("ProvisionedThroughput", throughput(index.provisioned_throughput())),
        ("OnDemandThroughput", on_demand(index.on_demand_throughput())),
    ])
}

fn local_index(index: &LocalSecondaryIndexDescription) -> Value {
    object([
        ("IndexName", json!(index.index_name())),
        ("KeySchema", key_schema(index.key_schema())),
        ("Projection", projection(index.projection())),
    ])
}

fn vector_index(index: &VectorIndexDescription) -> Value {
    let search = list(index.search_schema(), |element| {
        json!({
            "AttributeName": element.attribute_name(),
            "SearchSchemaElementType": element.search_schema_element_type().as_str()
        })
    });
    let vector = index.vector_attribute().map(|attribute| json!({ "AttributeName": attribute.attribute_name() }));
    object([
        ("IndexName", json!(index.index_name())),
        ("VectorAttribute", json!(vector)),
        ("Dimensions", json!(index.dimensions())),
        (
            "DistanceFunction",
            json!(index.distance_function().map(aws_sdk_dynamodb::types::VectorDistanceFunction::as_str)),
        ),
        ("SearchSchema", search),
        ("Projection", projection(index.projection())),
    ])
}

/// `TimeToLiveDescription`.
pub(super) fn time_to_live(ttl: &TimeToLiveDescription) -> Value {
    object([
        ("TimeToLiveStatus", json!(ttl.time_to_live_status().map(aws_sdk_dynamodb::types::TimeToLiveStatus::as_str))),
        ("AttributeName", json!(ttl.attribute_name())),
    ])
}

/// `PointInTimeRecoveryDescription`, without the times between which it can restore: they move by themselves.
pub(super) fn point_in_time_recovery(recovery: &PointInTimeRecoveryDescription) -> Value {
    object([
        (
            "PointInTimeRecoveryStatus",
            json!(
                recovery
                    .point_in_time_recovery_status()
                    .map(aws_sdk_dynamodb::types::PointInTimeRecoveryStatus::as_str)
            ),
        ),
        ("RecoveryPeriodInDays", json!(recovery.recovery_period_in_days())),
    ])
}
