//! The stack with the SDK as its client, in this process.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType,
};

use super::stack::Notice;
use super::*;
use crate::documents::{self, EndDocument, StartDocument, TableDocument};
use crate::embedded::{dynamodb_client, streams_client};
use crate::layout;
use crate::model::{StreamArn, TableName};
use crate::store::{self, ReadStore};

const TABLE: &str = "notes";

/// A stack, and what it told.
struct Told {
    stack: Stack,
    client: Client,
    notices: Arc<Mutex<Vec<Notice>>>,
}

impl Told {
    async fn start(folder: &Path, leave_streams_alone: bool) -> Self {
        let notices = Arc::<Mutex<Vec<Notice>>>::default();
        let heard = Arc::clone(&notices);
        let options = StackOptions {
            folder: folder.to_owned(),
            port: None,
            leave_streams_alone,
            listener: Arc::new(move |notice| heard.lock().unwrap().push(notice)),
        };
        let stack = Stack::start(options).await.unwrap();
        Self { client: dynamodb_client(stack.endpoint()), stack, notices }
    }

    fn notices(&self) -> Vec<Notice> {
        self.notices.lock().unwrap().clone()
    }

    async fn hears(&self, is_it: impl Fn(&Notice) -> bool) {
        let hears = async {
            while !self.notices().iter().any(&is_it) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_mins(1), hears).await.is_ok(), "only {:?}", self.notices());
    }

    async fn make_table(&self, view: Option<StreamViewType>) {
        let key = AttributeDefinition::builder().attribute_name("noteId").attribute_type(ScalarAttributeType::S);
        let stream = view
            .map(|view| StreamSpecification::builder().stream_enabled(true).stream_view_type(view).build().unwrap());
        self.client
            .create_table()
            .table_name(TABLE)
            .attribute_definitions(key.build().unwrap())
            .key_schema(KeySchemaElement::builder().attribute_name("noteId").key_type(KeyType::Hash).build().unwrap())
            .billing_mode(BillingMode::PayPerRequest)
            .set_stream_specification(stream)
            .send()
            .await
            .unwrap();
    }

    async fn stream(&self) -> Option<StreamArn> {
        let answer = self.client.describe_table().table_name(TABLE).send().await.unwrap();
        answer.table.unwrap().latest_stream_arn.map(|arn| StreamArn::parse(&arn).unwrap())
    }

    async fn put(&self, id: &str) {
        let id = AttributeValue::S(id.to_owned());
        self.client.put_item().table_name(TABLE).item("noteId", id).send().await.unwrap();
    }

    async fn delete_table(&self) {
        self.client.delete_table().table_name(TABLE).send().await.unwrap();
    }

    async fn start_of(&self, stream: &StreamArn) -> Option<StartDocument> {
        documents::read(self.stack.store(), &layout::start_document(stream.timeline())).await.unwrap()
    }
}

fn table() -> TableName {
    TableName::parse(TABLE).unwrap()
}

#[tokio::test]
async fn a_table_made_without_a_stream_has_one_that_began_with_it_before_its_client_hears_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let told = Told::start(folder.path(), false).await;
    told.make_table(None).await;
    let stream = told.stream().await.unwrap();
    let start = told.start_of(&stream).await.unwrap();
    assert!(start.whole, "{start:?}");
    assert_eq!(told.notices(), [Notice::StreamSwitchedOn(table()), Notice::Following(table())]);
    told.stack.stop().await.unwrap();
}

#[tokio::test]
async fn every_life_of_a_table_comes_to_its_end_in_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let told = Told::start(folder.path(), false).await;
    let streams = streams_client(told.stack.endpoint());
    let mut lives = Vec::new();
    for life in 0..5 {
        told.make_table(None).await;
        let stream = told.stream().await.unwrap();
        for item in 0..life {
            told.put(&item.to_string()).await;
        }
        told.delete_table().await;
        let described = streams.describe_stream().stream_arn(stream.as_str()).send().await.unwrap();
        let shard = described.stream_description.unwrap().shards()[0].clone();
        let last = shard.sequence_number_range.unwrap().ending_sequence_number.unwrap();
        lives.push((stream, (life > 0).then_some(last)));
    }
    let location = told.stack.location().to_owned();
    told.stack.stop().await.unwrap();

    let store = store::open_read(&location).await.unwrap();
    for (stream, last) in lives {
        let end: EndDocument =
            documents::read(&*store, &layout::end_document(stream.timeline())).await.unwrap().unwrap();
        assert_eq!(end.last_sequence.map(|last| last.to_string()), last, "{stream}");
        assert_eq!(end.reason, "table deleted");
        let gaps = store.list_all(&layout::gaps_folder(stream.timeline())).await.unwrap();
        assert_eq!(gaps, [], "{stream}");
    }
}

#[tokio::test]
async fn streams_left_alone_are_left_alone_and_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let told = Told::start(folder.path(), true).await;
    told.make_table(None).await;
    assert_eq!(told.stream().await, None);
    assert!(matches!(told.notices().as_slice(), [Notice::NotFollowed { .. }]), "{:?}", told.notices());
    told.delete_table().await;
    told.stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_stream_without_both_images_is_not_followed_and_its_table_can_be_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let told = Told::start(folder.path(), false).await;
    told.make_table(Some(StreamViewType::KeysOnly)).await;
    let stream = told.stream().await.unwrap();
    assert_eq!(told.start_of(&stream).await, None);
    let notices = told.notices();
    assert!(matches!(notices.as_slice(), [Notice::NotFollowed { reason, .. }] if reason.contains("KEYS_ONLY")));
    told.delete_table().await;
    told.stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_table_that_is_older_than_its_stream_gets_a_baseline() {
    let folder = tempfile::tempdir().unwrap();
    let told = Told::start(folder.path(), true).await;
    told.make_table(None).await;
    // Older by more than what may be between a table's birth and that of its stream.
    let made = told.client.describe_table().table_name(TABLE).send().await.unwrap();
    let made = made.table.unwrap().creation_date_time.unwrap().secs();
    while jiff::Timestamp::now().as_second() <= made + 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for item in 0..3 {
        told.put(&item.to_string()).await;
    }
    told.stack.stop().await.unwrap();

    let told = Told::start(folder.path(), false).await;
    told.hears(|notice| *notice == Notice::Baseline { table: table(), items: 3 }).await;
    told.stack.stop().await.unwrap();

    // Once is enough.
    let told = Told::start(folder.path(), false).await;
    told.hears(|notice| *notice == Notice::Following(table())).await;
    told.stack.stop().await.unwrap();
    let location = stack::journal_location(folder.path()).unwrap();
    let store = store::open_read(&location).await.unwrap();
    let snapshots = list_snapshots(&*store).await;
    assert_eq!(snapshots, 1);
}

async fn list_snapshots(store: &dyn ReadStore) -> usize {
    store.list_all("").await.unwrap().iter().filter(|object| object.key.ends_with("/snapshot.json")).count()
}

#[tokio::test]
async fn a_stream_that_the_app_switches_off_stays_off() {
    let folder = tempfile::tempdir().unwrap();
    let told = Told::start(folder.path(), false).await;
    told.make_table(Some(StreamViewType::NewAndOldImages)).await;
    let first = told.stream().await.unwrap();
    told.put("1").await;
    let off = StreamSpecification::builder().stream_enabled(false).build().unwrap();
    told.client.update_table().table_name(TABLE).stream_specification(off).send().await.unwrap();
    assert!(matches!(told.notices().last(), Some(Notice::NotFollowed { .. })), "{:?}", told.notices());
    let location = told.stack.location().to_owned();
    told.stack.stop().await.unwrap();
    let store = store::open_read(&location).await.unwrap();
    let end: EndDocument = documents::read(&*store, &layout::end_document(first.timeline())).await.unwrap().unwrap();
    assert_eq!(end.reason, "stream disabled");
    let document: TableDocument =
        documents::read(&*store, &layout::table_document(first.timeline())).await.unwrap().unwrap();
    assert_eq!(document.table, table());
}
