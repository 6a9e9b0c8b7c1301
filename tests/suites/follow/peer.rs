//! The services that are followed: MiniStack, DynamoDB Local where its licence is accepted, and the embedded DynamoDB.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, StreamSpecification,
    StreamViewType,
};
use journal::embedded::{self, EmbeddedDynamoDb};
use journal_tests::dynamodb_local::DynamoDbLocal;
use journal_tests::ministack::MiniStack;

use super::item::{Item, Items, PARTITION_KEY, SORT_KEY, by_key, of_table};
use super::stream::{At, Placed};

/// A service with its clients.
pub(crate) struct Peer {
    pub(crate) tables: Client,
    pub(crate) streams: aws_sdk_dynamodbstreams::Client,
    /// Leads our programs to it.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Whether its stream times can be trusted to the second.
    seconds: bool,
    _service: Service,
}

enum Service {
    MiniStack { _service: MiniStack },
    DynamoDbLocal { _service: DynamoDbLocal },
    Embedded { _service: EmbeddedDynamoDb, _folder: tempfile::TempDir },
}

impl Peer {
    pub(crate) async fn ministack(test: &str) -> Option<Self> {
        let service = MiniStack::start_or_skip(test)?;
        Some(Self {
            tables: service.dynamodb().await,
            streams: service.streams().await,
            environment: service.environment(),
            seconds: false,
            _service: Service::MiniStack { _service: service },
        })
    }

    pub(crate) async fn dynamodb_local(test: &str) -> Option<Self> {
        let service = DynamoDbLocal::start_or_skip(test)?;
        let settings = service.settings().await;
        Some(Self {
            tables: Client::new(&settings),
            streams: aws_sdk_dynamodbstreams::Client::new(&settings),
            environment: service.environment(),
            // Rounded down to the minute.
            seconds: false,
            _service: Service::DynamoDbLocal { _service: service },
        })
    }

    pub(crate) async fn embedded(_test: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let service = EmbeddedDynamoDb::start(folder.path(), None).await.unwrap();
        Some(Self {
            tables: embedded::dynamodb_client(service.endpoint()),
            streams: embedded::streams_client(service.endpoint()),
            environment: embedded::environment(service.endpoint()).into(),
            seconds: true,
            _service: Service::Embedded { _service: service, _folder: folder },
        })
    }

    /// A cut right after a change: by second where stream times are true, else by sequence number.
    pub(crate) fn cut_at(&self, change: &Placed) -> At {
        if self.seconds { At::Second(change.second) } else { At::Sequence(change.sequence) }
    }

    /// Makes a table; gives its stream's ARN, if it is to have one.
    pub(crate) async fn make_table(&self, table: &str, stream: bool) -> Option<String> {
        let attribute = |name: &str, kind: ScalarAttributeType| {
            AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
        };
        let element = |name: &str, kind: KeyType| {
            KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
        };
        let mut request = self
            .tables
            .create_table()
            .table_name(table)
            .attribute_definitions(attribute(PARTITION_KEY, ScalarAttributeType::S))
            .attribute_definitions(attribute(SORT_KEY, ScalarAttributeType::N))
            .key_schema(element(PARTITION_KEY, KeyType::Hash))
            .key_schema(element(SORT_KEY, KeyType::Range))
            .billing_mode(BillingMode::PayPerRequest);
        if stream {
            request = request.stream_specification(images());
        }
        request.send().await.unwrap();
        if stream { Some(self.stream_arn(table).await) } else { None }
    }

    /// Switches the stream of a table on.
    pub(crate) async fn switch_stream_on(&self, table: &str) -> String {
        self.tables.update_table().table_name(table).stream_specification(images()).send().await.unwrap();
        self.stream_arn(table).await
    }

    async fn stream_arn(&self, table: &str) -> String {
        loop {
            let answer = self.tables.describe_table().table_name(table).send().await.unwrap();
            let table = answer.table.unwrap();
            let active = table.table_status().is_some_and(|status| status.as_str() == "ACTIVE");
            if let Some(arn) = table.latest_stream_arn.filter(|_| active) {
                return arn;
            }
            pause().await;
        }
    }

    /// Deletes a table and waits until it is gone.
    pub(crate) async fn delete_table(&self, table: &str) {
        self.tables.delete_table().table_name(table).send().await.unwrap();
        loop {
            match self.tables.describe_table().table_name(table).send().await {
                Ok(_) => pause().await,
                Err(error)
                    if error.as_service_error().is_some_and(DescribeTableError::is_resource_not_found_exception) =>
                {
                    return;
                }
                Err(error) => panic!("{table}: {error:?}"),
            }
        }
    }

    /// Everything in a table.
    pub(crate) async fn scan(&self, table: &str) -> Items {
        let mut items: Vec<Item> = Vec::new();
        let mut pages = self.tables.scan().table_name(table).consistent_read(true).into_paginator().send();
        while let Some(page) = pages.next().await {
            items.extend(page.unwrap().items().iter().map(of_table));
        }
        by_key(items)
    }
}

fn images() -> StreamSpecification {
    StreamSpecification::builder()
        .stream_enabled(true)
        .stream_view_type(StreamViewType::NewAndOldImages)
        .build()
        .unwrap()
}

/// Between two looks at something that must become true.
pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}
