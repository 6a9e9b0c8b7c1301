//! What a table has beside its items comes back with it.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    LocalSecondaryIndex, Projection, ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType,
    TableDescription, Tag, TimeToLiveSpecification,
};
use journal::Kind;
use journal_tests::ministack::MiniStack;
use journal_tests::processes::{journal, replay};
use serde_json::{Value, json};

fn key(name: &str, role: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(role).build().unwrap()
}

fn definition(name: &str, kind: ScalarAttributeType) -> AttributeDefinition {
    AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
}

fn stream() -> StreamSpecification {
    let stream = StreamSpecification::builder().stream_enabled(true);
    stream.stream_view_type(StreamViewType::NewAndOldImages).build().unwrap()
}

fn projection(kind: ProjectionType, names: &[&str]) -> Projection {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let projection = Projection::builder().projection_type(kind);
    if names.is_empty() { projection.build() } else { projection.set_non_key_attributes(Some(names)).build() }
}

/// A table with two global and two local indexes, a numeric sort key, TTL and tags.
async fn make_indexed(client: &Client, table: &str) {
    let global = |name: &str, hash: &str, range: &str, projection: Projection| {
        GlobalSecondaryIndex::builder()
            .index_name(name)
            .key_schema(key(hash, KeyType::Hash))
            .key_schema(key(range, KeyType::Range))
            .projection(projection)
            .build()
            .unwrap()
    };
    let local = |name: &str, range: &str, projection: Projection| {
        LocalSecondaryIndex::builder()
            .index_name(name)
            .key_schema(key("noteId", KeyType::Hash))
            .key_schema(key(range, KeyType::Range))
            .projection(projection)
            .build()
            .unwrap()
    };
    let made = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(definition("noteId", ScalarAttributeType::S))
        .attribute_definitions(definition("createdAt", ScalarAttributeType::N))
        .attribute_definitions(definition("author", ScalarAttributeType::S))
        .attribute_definitions(definition("country", ScalarAttributeType::S))
        .attribute_definitions(definition("likes", ScalarAttributeType::N))
        .key_schema(key("noteId", KeyType::Hash))
        .key_schema(key("createdAt", KeyType::Range))
        .global_secondary_indexes(global("by-author", "author", "createdAt", projection(ProjectionType::All, &[])))
        .global_secondary_indexes(global(
            "by-country",
            "country",
            "likes",
            projection(ProjectionType::Include, &["content"]),
        ))
        .local_secondary_indexes(local("by-likes", "likes", projection(ProjectionType::KeysOnly, &[])))
        .local_secondary_indexes(local("by-country-of-note", "country", projection(ProjectionType::All, &[])))
        .stream_specification(stream())
        .send()
        .await
        .unwrap();
    let arn = made.table_description.unwrap().table_arn.unwrap();
    let tag = Tag::builder().key("team").value("notes & replies").build().unwrap();
    client.tag_resource().resource_arn(arn).tags(tag).send().await.unwrap();
    let ttl = TimeToLiveSpecification::builder().enabled(true).attribute_name("expiresAt").build().unwrap();
    client.update_time_to_live().table_name(table).time_to_live_specification(ttl).send().await.unwrap();
    for at in 0..120 {
        let mut put = client.put_item().table_name(table);
        put = put.item("noteId", AttributeValue::S(format!("note-{}", at % 40)));
        put = put.item("createdAt", AttributeValue::N(format!("{at}.5")));
        put = put.item("content", AttributeValue::S("text".repeat(at % 7)));
        if at % 2 == 0 {
            put = put
                .item("author", AttributeValue::S("ada".to_owned()))
                .item("likes", AttributeValue::N(at.to_string()));
        }
        if at % 3 == 0 {
            put = put.item("country", AttributeValue::S("DE".to_owned()));
        }
        put.send().await.unwrap();
    }
}

/// A table whose keys are bytes.
async fn make_binary(client: &Client, table: &str) {
    client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(definition("hash", ScalarAttributeType::B))
        .attribute_definitions(definition("part", ScalarAttributeType::B))
        .key_schema(key("hash", KeyType::Hash))
        .key_schema(key("part", KeyType::Range))
        .stream_specification(stream())
        .send()
        .await
        .unwrap();
    for at in 0..60u8 {
        let bytes = |bytes: Vec<u8>| AttributeValue::B(aws_sdk_dynamodb::primitives::Blob::new(bytes));
        let put = client.put_item().table_name(table).item("hash", bytes(vec![0, 255, at % 8]));
        put.item("part", bytes(vec![at, 0])).item("size", AttributeValue::N(at.to_string())).send().await.unwrap();
    }
}

/// What `DescribeTable` says of how a table is made, in one order.
fn shape(table: &TableDescription) -> Value {
    let keys = |keys: &[KeySchemaElement]| -> Vec<Value> {
        keys.iter().map(|key| json!([key.attribute_name, key.key_type.as_str()])).collect()
    };
    let projection = |projection: Option<&Projection>| {
        let projection = projection.unwrap();
        let mut names = projection.non_key_attributes().to_vec();
        names.sort();
        json!([projection.projection_type.as_ref().map(|kind| kind.as_str().to_owned()), names])
    };
    let sorted = |mut values: Vec<Value>| {
        values.sort_by_key(ToString::to_string);
        values
    };
    let definitions = table.attribute_definitions().iter();
    let globals = table.global_secondary_indexes().iter();
    let locals = table.local_secondary_indexes().iter();
    json!({
        "attributes": sorted(definitions.map(|one| json!([one.attribute_name, one.attribute_type.as_str()])).collect()),
        "key": keys(table.key_schema()),
        "globals": sorted(globals.map(|one| json!([one.index_name, keys(one.key_schema()), projection(one.projection())])).collect()),
        "locals": sorted(locals.map(|one| json!([one.index_name, keys(one.key_schema()), projection(one.projection())])).collect()),
        "billing": table.billing_mode_summary().and_then(|one| one.billing_mode()).map(|mode| mode.as_str().to_owned()),
        "stream": table.stream_specification().map(|one| (one.stream_enabled, one.stream_view_type().map(|view| view.as_str().to_owned()))),
        "class": table.table_class_summary().and_then(|one| one.table_class()).map(|class| class.as_str().to_owned()),
        "protected": table.deletion_protection_enabled(),
    })
}

async fn described(client: &Client, table: &str) -> (Value, String) {
    let answer = client.describe_table().table_name(table).send().await.unwrap().table.unwrap();
    let ttl = client.describe_time_to_live().table_name(table).send().await.unwrap();
    let ttl = ttl.time_to_live_description.and_then(|ttl| ttl.attribute_name);
    let arn = answer.table_arn.clone().unwrap();
    let tags = client.list_tags_of_resource().resource_arn(arn).send().await.unwrap();
    let mut tags: Vec<(String, String)> =
        tags.tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect();
    tags.sort();
    (shape(&answer), format!("{ttl:?} {tags:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_with_indexes_ttl_tags_numeric_and_binary_keys_come_back_the_same() {
    let test = "settings::tables_with_indexes_ttl_tags_numeric_and_binary_keys_come_back_the_same";
    let Some(service) = MiniStack::start_or_skip(test) else { return };
    let client = service.dynamodb().await;
    make_indexed(&client, "indexed").await;
    make_binary(&client, "binary").await;
    service.make_bucket("imports", true).await;
    let folder = tempfile::tempdir().unwrap();
    let url = journal::store::file_url(&folder.path().join("journal")).unwrap();
    let _ = journal().args(["init", "--journal", &url]).run().success();
    for table in ["indexed", "binary"] {
        let baseline = journal().args(["baseline", "--journal", &url, "--table", table]);
        let _ = baseline.envs(service.environment()).run().success();
    }
    let restore = |table: &str, more: &[&str]| {
        let restore = replay().args(["restore", "--journal", &url, "--table", table, "--at", "latest", "--json"]);
        restore.args(more).envs(service.environment())
    };
    let digest = |finished: journal_tests::processes::Finished| {
        let report: Value = serde_json::from_str(&finished.success().stdout).unwrap();
        assert_eq!((&report["proven"], &report["unset"]), (&json!(true), &json!([])), "{report}");
        report["digest"].clone()
    };
    let import = ["--import", "s3://imports/x", "--import-compression", "gzip"];
    for (table, items) in [("indexed", 120), ("binary", 60)] {
        let before = described(&client, table).await;
        let target = format!("{table}-restored");
        let written = digest(restore(table, &["--as", &target]).run());
        assert_eq!(described(&client, &target).await, before, "{table}");
        // The restored table read as if it were any other.
        let baseline = journal().args(["baseline", "--journal", &url, "--table", &target]);
        let _ = baseline.envs(service.environment()).run().success();
        let file = folder.path().join(format!("{table}.sqlite"));
        let copied = restore(&target, &["--output", file.to_str().unwrap()]).run().success();
        let copied: Value = serde_json::from_str(&copied.stdout).unwrap();
        assert_eq!((&copied["digest"], &copied["items"]), (&written, &json!(items)));
        if table == "binary" {
            let imported = digest(restore(table, &[&["--as", "imported"][..], &import].concat()).run());
            assert_eq!(imported, written);
            assert_eq!(described(&client, "imported").await, before);
        }
    }
    let refused = restore("indexed", &[&["--as", "imported-2"][..], &import].concat()).run();
    let refused = refused.failure(i32::from(Kind::Invalid.exit_code()));
    assert!(refused.stderr.contains("by-likes") && refused.stderr.contains("without --import"), "{}", refused.stderr);
    assert!(!client.list_tables().send().await.unwrap().table_names().contains(&"imported-2".to_owned()));
}
