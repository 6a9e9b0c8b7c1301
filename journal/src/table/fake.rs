//! A stand-in for the DynamoDB service in tests: an HTTP endpoint on loopback whose answers a closure gives.

use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::model::TableName;

pub(super) const STREAM: &str = "arn:aws:dynamodb:eu-west-1:000000000000:table/notes/stream/2020-03-29T10:00:00.123";

/// An answer: a status and a body.
pub(super) type Answer = (u16, Value);

type Handler = Arc<Mutex<dyn FnMut(&str, &Value) -> Answer + Send>>;

/// The endpoint; it ends with the test.
pub(super) struct Fake {
    pub(super) client: aws_sdk_dynamodb::Client,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(handler): State<Handler>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let target = headers.get("x-amz-target").unwrap().to_str().unwrap();
    let operation = target.rsplit('.').next().unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let (status, answer) = (handler.lock().unwrap())(operation, &body);
    (StatusCode::from_u16(status).unwrap(), [(header::CONTENT_TYPE, "application/x-amz-json-1.0")], answer.to_string())
}

/// Starts an endpoint that asks `handler` for the answer to each operation. The client makes one attempt each.
pub(super) async fn start(handler: impl FnMut(&str, &Value) -> Answer + Send + 'static) -> Fake {
    let handler: Handler = Arc::new(Mutex::new(handler));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(handler);
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("a", "b", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .build();
    Fake { client: aws_sdk_dynamodb::Client::from_conf(config), server }
}

pub(super) fn table_name() -> TableName {
    TableName::parse("notes").unwrap()
}

pub(super) fn error(code: &str) -> Answer {
    let status = if code.starts_with("Internal") { 500 } else { 400 };
    (status, json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "because"}))
}

/// A table with everything that a description can have.
pub(super) fn table() -> Value {
    json!({
        "TableName": "notes",
        "TableId": "11111111-2222-3333-4444-555555555555",
        "TableArn": "arn:aws:dynamodb:eu-west-1:000000000000:table/notes",
        "TableStatus": "ACTIVE",
        "TableSizeBytes": 1234,
        "ItemCount": 9,
        "CreationDateTime": 1_585_476_000.0,
        "AttributeDefinitions": [
            {"AttributeName": "country", "AttributeType": "S"},
            {"AttributeName": "createdAt", "AttributeType": "N"},
            {"AttributeName": "noteId", "AttributeType": "S"}
        ],
        "KeySchema": [
            {"AttributeName": "noteId", "KeyType": "HASH"},
            {"AttributeName": "createdAt", "KeyType": "RANGE"}
        ],
        "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 6, "NumberOfDecreasesToday": 2},
        "GlobalSecondaryIndexes": [{
            "IndexName": "by-country",
            "KeySchema": [{"AttributeName": "country", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["b", "a"]},
            "ProvisionedThroughput": {"ReadCapacityUnits": 3, "WriteCapacityUnits": 4},
            "IndexStatus": "ACTIVE", "IndexSizeBytes": 1, "ItemCount": 1
        }],
        "LocalSecondaryIndexes": [{
            "IndexName": "by-time",
            "KeySchema": [
                {"AttributeName": "noteId", "KeyType": "HASH"},
                {"AttributeName": "createdAt", "KeyType": "RANGE"}
            ],
            "Projection": {"ProjectionType": "ALL"}
        }],
        "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        "LatestStreamArn": STREAM,
        "LatestStreamLabel": "2020-03-29T10:00:00.123",
        "SSEDescription": {"Status": "ENABLED", "SSEType": "KMS", "KMSMasterKeyArn": "arn:aws:kms:eu-west-1:0:key/k"},
        "TableClassSummary": {"TableClass": "STANDARD_INFREQUENT_ACCESS"},
        "DeletionProtectionEnabled": true,
        "Replicas": [{"RegionName": "eu-north-1"}]
    })
}

/// The answers about a table that say the same each time.
pub(super) fn describe(operation: &str, table: &Value) -> Answer {
    match operation {
        "DescribeTable" => (200, json!({"Table": table})),
        "DescribeTimeToLive" => {
            (200, json!({"TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}}))
        }
        "DescribeContinuousBackups" => (
            200,
            json!({"ContinuousBackupsDescription": {
                "ContinuousBackupsStatus": "ENABLED",
                "PointInTimeRecoveryDescription": {
                    "PointInTimeRecoveryStatus": "ENABLED", "RecoveryPeriodInDays": 7, "LatestRestorableDateTime": 1.5
                }
            }}),
        ),
        "ListTagsOfResource" => (
            200,
            json!({"Tags": [
                {"Key": "team", "Value": "notes"}, {"Key": "aws:cloudformation:stack-name", "Value": "x"}
            ]}),
        ),
        other => panic!("unexpected {other}"),
    }
}
