//! The endpoint as the Rust SDK sees it.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType,
};
use aws_sdk_dynamodbstreams::types::{OperationType, Record, ShardIteratorType, StreamStatus};

use super::*;
use crate::error::{Classify, Kind};

const TABLE: &str = "notes-table-dev";

fn with_stream(enabled: bool) -> StreamSpecification {
    let specification = StreamSpecification::builder().stream_enabled(enabled);
    let specification =
        if enabled { specification.stream_view_type(StreamViewType::NewAndOldImages) } else { specification };
    specification.build().unwrap()
}

/// Makes the table and gives its stream's ARN.
async fn make_table(client: &aws_sdk_dynamodb::Client, stream: bool) -> Option<String> {
    client
        .create_table()
        .table_name(TABLE)
        .attribute_definitions(
            AttributeDefinition::builder()
                .attribute_name("noteId")
                .attribute_type(ScalarAttributeType::S)
                .build()
                .unwrap(),
        )
        .key_schema(KeySchemaElement::builder().attribute_name("noteId").key_type(KeyType::Hash).build().unwrap())
        .billing_mode(BillingMode::PayPerRequest)
        .set_stream_specification(stream.then(|| with_stream(true)))
        .send()
        .await
        .unwrap();
    stream_arn(client).await
}

async fn stream_arn(client: &aws_sdk_dynamodb::Client) -> Option<String> {
    client.describe_table().table_name(TABLE).send().await.unwrap().table.unwrap().latest_stream_arn
}

async fn put(client: &aws_sdk_dynamodb::Client, id: &str, content: &str) {
    client
        .put_item()
        .table_name(TABLE)
        .item("noteId", AttributeValue::S(id.to_owned()))
        .item("content", AttributeValue::S(content.to_owned()))
        .send()
        .await
        .unwrap();
}

async fn items(client: &aws_sdk_dynamodb::Client) -> usize {
    client.scan().table_name(TABLE).send().await.unwrap().items().len()
}

/// All records of a stream, from its beginning until an answer is empty or the shard has ended; and whether it has.
async fn read(streams: &aws_sdk_dynamodbstreams::Client, arn: &str) -> (Vec<Record>, bool) {
    let description = streams.describe_stream().stream_arn(arn).send().await.unwrap().stream_description.unwrap();
    let shard = description.shards()[0].shard_id().unwrap().to_owned();
    let mut iterator = streams
        .get_shard_iterator()
        .stream_arn(arn)
        .shard_id(shard)
        .shard_iterator_type(ShardIteratorType::TrimHorizon)
        .send()
        .await
        .unwrap()
        .shard_iterator;
    let mut records = Vec::new();
    while let Some(at) = iterator {
        let answer = streams.get_records().shard_iterator(at).limit(3).send().await.unwrap();
        if answer.records().is_empty() && answer.next_shard_iterator.is_some() {
            return (records, false);
        }
        records.extend(answer.records.unwrap_or_default());
        iterator = answer.next_shard_iterator;
    }
    (records, true)
}

fn contents(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|record| {
            let image: Option<&HashMap<_, _>> = record.dynamodb().unwrap().new_image();
            image.map_or_else(|| "-".to_owned(), |image| image["content"].as_s().unwrap().clone())
        })
        .collect()
}

#[tokio::test]
async fn the_sdk_works_and_data_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedDynamoDb::start(folder.path(), None).await.unwrap();
    let port = embedded.port();
    let client = dynamodb_client(embedded.endpoint());
    make_table(&client, true).await;
    put(&client, "1", "first").await;
    embedded.stop().await.unwrap();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());

    let embedded = EmbeddedDynamoDb::start(folder.path(), Some(port)).await.unwrap();
    assert_eq!(items(&client).await, 1);
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn a_deleted_tables_stream_is_drained_later_and_a_table_made_again_starts_empty() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedDynamoDb::start(folder.path(), None).await.unwrap();
    let (client, streams) = (dynamodb_client(embedded.endpoint()), streams_client(embedded.endpoint()));
    let old = make_table(&client, true).await.unwrap();
    for n in 0..7 {
        put(&client, &n.to_string(), &format!("old {n}")).await;
    }
    client.delete_table().table_name(TABLE).send().await.unwrap();
    let new = make_table(&client, true).await.unwrap();
    assert_ne!(old, new);
    let label = crate::model::StreamArn::parse(&old).unwrap().timeline().label.clone();
    let now = jiff::Timestamp::now().as_millisecond();
    assert!((now - 60_000..=now).contains(&i64::try_from(label.birth_milliseconds().unwrap()).unwrap()), "{label}");
    put(&client, "1", "new").await;

    let (records, ended) = read(&streams, &old).await;
    assert!(ended);
    assert_eq!(contents(&records), (0..7).map(|n| format!("old {n}")).collect::<Vec<_>>());
    let (records, ended) = read(&streams, &new).await;
    assert!(!ended);
    assert_eq!(contents(&records), ["new"]);

    let listed = streams.list_streams().table_name(TABLE).send().await.unwrap();
    let arns: Vec<_> = listed.streams().iter().filter_map(|stream| stream.stream_arn()).collect();
    assert_eq!(arns, [old.as_str(), new.as_str()]);
    let described = streams.describe_stream().stream_arn(&old).send().await.unwrap().stream_description.unwrap();
    assert_eq!(described.stream_status(), Some(&StreamStatus::Disabled));
    let range = described.shards()[0].sequence_number_range().unwrap();
    assert!(range.ending_sequence_number().unwrap() > range.starting_sequence_number().unwrap());
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn an_iterator_of_a_deleted_tables_stream_never_shows_the_next_tables_records() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedDynamoDb::start(folder.path(), None).await.unwrap();
    let (client, streams) = (dynamodb_client(embedded.endpoint()), streams_client(embedded.endpoint()));
    let old = make_table(&client, true).await.unwrap();
    put(&client, "1", "old").await;
    let shard = {
        let description = streams.describe_stream().stream_arn(&old).send().await.unwrap().stream_description.unwrap();
        description.shards()[0].shard_id().unwrap().to_owned()
    };
    let iterator = streams
        .get_shard_iterator()
        .stream_arn(&old)
        .shard_id(shard)
        .shard_iterator_type(ShardIteratorType::Latest)
        .send()
        .await
        .unwrap()
        .shard_iterator
        .unwrap();
    put(&client, "1", "last").await;
    client.delete_table().table_name(TABLE).send().await.unwrap();
    make_table(&client, true).await;
    put(&client, "1", "new").await;
    let answer = streams.get_records().shard_iterator(iterator).send().await.unwrap();
    assert_eq!(contents(answer.records()), ["last"]);
    assert_eq!(answer.next_shard_iterator(), None);
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn a_stream_switched_off_and_on_keeps_its_records_apart() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedDynamoDb::start(folder.path(), None).await.unwrap();
    let (client, streams) = (dynamodb_client(embedded.endpoint()), streams_client(embedded.endpoint()));
    assert_eq!(make_table(&client, false).await, None);
    put(&client, "0", "before any stream").await;
    let switch = async |enabled| {
        client.update_table().table_name(TABLE).stream_specification(with_stream(enabled)).send().await.unwrap();
    };
    switch(true).await;
    let first = stream_arn(&client).await.unwrap();
    put(&client, "1", "one").await;
    switch(false).await;
    put(&client, "2", "unseen").await;
    switch(true).await;
    let second = stream_arn(&client).await.unwrap();
    put(&client, "3", "three").await;
    let (records, ended) = read(&streams, &first).await;
    assert_eq!((contents(&records), ended), (vec!["one".to_owned()], true));
    let (records, ended) = read(&streams, &second).await;
    assert_eq!((contents(&records), ended), (vec!["three".to_owned()], false));
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn a_write_that_changes_nothing_shows_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedDynamoDb::start(folder.path(), None).await.unwrap();
    let (client, streams) = (dynamodb_client(embedded.endpoint()), streams_client(embedded.endpoint()));
    let arn = make_table(&client, true).await.unwrap();
    for content in ["a", "a", "b", "b", "b"] {
        put(&client, "1", content).await;
    }
    client.delete_item().table_name(TABLE).key("noteId", AttributeValue::S("1".into())).send().await.unwrap();
    client.delete_item().table_name(TABLE).key("noteId", AttributeValue::S("1".into())).send().await.unwrap();
    let (records, _) = read(&streams, &arn).await;
    let kinds: Vec<_> = records.iter().map(|record| record.event_name().unwrap().clone()).collect();
    assert_eq!(kinds, [OperationType::Insert, OperationType::Modify, OperationType::Remove]);
    assert!(records.iter().all(|record| record.dynamodb().unwrap().sequence_number().unwrap().len() == 21));
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn an_unknown_stream_is_the_services_own_error() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedDynamoDb::start(folder.path(), None).await.unwrap();
    let streams = streams_client(embedded.endpoint());
    let arn = "arn:aws:dynamodb:dynoxide:000000000000:table/none/stream/1.5";
    let error = streams.describe_stream().stream_arn(arn).send().await.unwrap_err();
    assert!(error.into_service_error().is_resource_not_found_exception());
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn a_taken_port_a_used_folder_and_a_file_for_a_folder_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedDynamoDb::start(&folder.path().join("a"), None).await.unwrap();
    let taken = EmbeddedDynamoDb::start(&folder.path().join("b"), Some(embedded.port())).await.unwrap_err();
    assert!(matches!(taken, EmbeddedError::PortTaken { .. }), "{taken}");
    assert_eq!(taken.kind(), Kind::Conflict);
    let used = EmbeddedDynamoDb::start(&folder.path().join("a"), None).await.unwrap_err();
    assert!(matches!(used, EmbeddedError::FolderInUse { .. }), "{used}");
    std::fs::write(folder.path().join("file"), "").unwrap();
    let file = EmbeddedDynamoDb::start(&folder.path().join("file"), None).await.unwrap_err();
    assert!(matches!(file, EmbeddedError::Folder { .. }), "{file}");
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_that_sent_half_a_request_does_not_hold_up_a_stop() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedDynamoDb::start(folder.path(), None).await.unwrap();
    let mut half = std::net::TcpStream::connect(("127.0.0.1", embedded.port())).unwrap();
    half.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").unwrap();
    embedded.stop().await.unwrap();
    EmbeddedDynamoDb::start(folder.path(), None).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_dropped_endpoint_frees_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    drop(EmbeddedDynamoDb::start(folder.path(), None).await.unwrap());
    let lock = File::open(folder.path().join(LOCK)).unwrap();
    tokio::task::spawn_blocking(move || lock.lock()).await.unwrap().unwrap();
}

#[derive(Debug, Default)]
struct Recorder {
    heard: std::sync::Mutex<Vec<String>>,
    refusals: std::sync::atomic::AtomicUsize,
}

#[async_trait::async_trait]
impl TableWatch for Recorder {
    fn adds_streams(&self) -> bool {
        true
    }

    async fn after_change(&self, table: &crate::model::TableName, stream_added: bool) {
        let added = if stream_added { ", stream added" } else { "" };
        self.heard.lock().unwrap().push(format!("changed {table}{added}"));
    }

    async fn before_delete(&self, table: &crate::model::TableName) -> Result<(), String> {
        self.heard.lock().unwrap().push(format!("deleting {table}"));
        let refusals = &self.refusals;
        if refusals.load(std::sync::atomic::Ordering::SeqCst) == 0 {
            return Ok(());
        }
        refusals.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        Err("not journalled yet".to_owned())
    }
}

#[tokio::test]
async fn a_watch_hears_of_tables_before_their_clients_do_and_can_hold_up_a_delete() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let watch = Arc::clone(&recorder);
    let embedded = EmbeddedDynamoDb::start_watched(folder.path(), None, move |_| watch).await.unwrap();
    let client = dynamodb_client(embedded.endpoint());
    make_table(&client, true).await;
    assert_eq!(recorder.heard.lock().unwrap().as_slice(), ["changed notes-table-dev"]);
    recorder.refusals.store(1, std::sync::atomic::Ordering::SeqCst);
    // The SDK tries again by itself.
    client.delete_table().table_name(TABLE).send().await.unwrap();
    assert_eq!(
        recorder.heard.lock().unwrap().as_slice(),
        ["changed notes-table-dev", "deleting notes-table-dev", "deleting notes-table-dev"]
    );
    assert!(client.describe_table().table_name(TABLE).send().await.is_err());
    assert!(make_table(&client, false).await.is_some());
    assert_eq!(recorder.heard.lock().unwrap()[3], "changed notes-table-dev, stream added");
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn closed_to_clients_it_still_answers_stream_operations() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedDynamoDb::start(folder.path(), None).await.unwrap();
    let (client, streams) = (dynamodb_client(embedded.endpoint()), streams_client(embedded.endpoint()));
    let arn = make_table(&client, true).await.unwrap();
    put(&client, "1", "kept").await;
    embedded.close_to_clients().await;
    assert!(client.delete_table().table_name(TABLE).send().await.is_err());
    assert_eq!(contents(&read(&streams, &arn).await.0), ["kept"]);
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn point_in_time_recovery_is_said_to_be_off() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedDynamoDb::start(folder.path(), None).await.unwrap();
    let client = dynamodb_client(embedded.endpoint());
    let missing = client.describe_continuous_backups().table_name(TABLE).send().await.unwrap_err();
    assert!(missing.into_service_error().is_table_not_found_exception());
    make_table(&client, false).await;
    let backups = client.describe_continuous_backups().table_name(TABLE).send().await.unwrap();
    let recovery = backups.continuous_backups_description.unwrap().point_in_time_recovery_description.unwrap();
    assert_eq!(recovery.point_in_time_recovery_status.unwrap().as_str(), "DISABLED");
    embedded.stop().await.unwrap();
}
