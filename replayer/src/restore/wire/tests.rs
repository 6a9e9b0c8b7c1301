//! The wire against a stand-in that answers as a service may on its worst day.

mod signature;
mod stand_in;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableInputBuilder;
use journal::model::{AttributeValue, Attributes, KeyAttribute, KeyAttributes, KeyType, TableName};
use journal::source::attribute::{parse_item, write_dynamodb_json};
use journal::source::sdk::item_to_sdk;
use journal::table::recreate::PointInTimeRecovery;

use self::stand_in::{Reply, Request, StandIn};
use super::super::batch::{BatchBuilder, PutBatch};
use super::super::fake::{FakeService, FakeState};
use super::super::scene::{Scene, options};
use super::super::service::{DynamoDb, ScanPage, SdkItem, ServiceError, TableService, TargetTable};
use super::super::{Restore, RestoreError};
use super::learn::{clock, scope};
use super::*;
use crate::key_schema::KeySchema;

const TOKEN: &str = "session-token";
const SECRET: &str = "secret";

fn service(stand_in: &StandIn) -> DynamoDb {
    let settings = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(stand_in.endpoint())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("AKID", SECRET, Some(TOKEN.to_owned()), None, "tests"))
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(1)).build())
        .build();
    DynamoDb::new(Client::from_conf(settings))
}

fn schema() -> KeySchema {
    let names = vec![KeyAttribute { name: "noteId".to_owned(), key_type: KeyType::S }];
    KeySchema::unordered(KeyAttributes::new(names).unwrap())
}

fn item(id: &str) -> Attributes {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    Attributes::from([("noteId".to_owned(), text(id)), ("content".to_owned(), text("\u{1F980} \"x\"\n"))])
}

fn batch(ids: &[&str]) -> PutBatch {
    let mut builder = BatchBuilder::new(TableName::parse("notes").unwrap(), schema());
    for id in ids {
        let item = item(id);
        let pushed = builder.push(|body| {
            write_dynamodb_json(&item, body)?;
            Ok::<_, std::io::Error>((schema().plain_key(&item).unwrap(), 1))
        });
        assert!(pushed.unwrap().is_none());
    }
    builder.finish().unwrap()
}

fn left(table: &str, items: &[&str]) -> String {
    let puts: Vec<String> = items.iter().map(|item| format!(r#"{{"PutRequest":{{"Item":{item}}}}}"#)).collect();
    format!(r#"{{"UnprocessedItems":{{"{table}":[{}]}}}}"#, puts.join(","))
}

/// What two puts get that the service answers so: the first goes the client's own way, the second straight.
async fn both_ways(reply: impl Fn() -> Reply + Send + 'static) -> [Result<Vec<usize>, ServiceError>; 2] {
    let stand_in = StandIn::start(move |request, number| {
        // The client learns from a request that was answered.
        if number == 1 { Reply::ok(r#"{"UnprocessedItems":{}}"#) } else { reply_to(request, &reply) }
    });
    let straight = service(&stand_in);
    assert_eq!(straight.put(&batch(&["z"])).await.unwrap(), [0usize; 0]);
    assert!(straight.wire().is_some(), "the way of the first request is known");
    // A client that has learned nothing.
    let by_client = service(&stand_in);
    [by_client.put(&batch(&["a", "b", "c"])).await, straight.put(&batch(&["a", "b", "c"])).await]
}

fn reply_to(_: &Request, reply: &impl Fn() -> Reply) -> Reply {
    reply()
}

#[tokio::test]
async fn what_goes_straight_is_the_client_s_own_request_and_signed_as_well() {
    let stand_in = StandIn::start(|_, _| Reply::ok(r#"{"UnprocessedItems":{}}"#));
    let service = service(&stand_in);
    for ids in [["a", "b"], ["c", "d"]] {
        assert_eq!(service.put(&batch(&ids)).await.unwrap(), [0usize; 0]);
    }
    let seen = stand_in.seen();
    assert_eq!(seen.len(), 2);
    for (request, ids) in seen.iter().zip([["a", "b"], ["c", "d"]]) {
        assert_eq!(request.line, "POST / HTTP/1.1");
        assert_eq!(request.header("x-amz-target"), Some("DynamoDB_20120810.BatchWriteItem"));
        assert_eq!(request.header("content-type"), Some("application/x-amz-json-1.0"));
        assert_eq!(request.header("x-amz-security-token"), Some(TOKEN));
        assert_eq!(request.body, batch(&ids).body());
        assert_eq!(signature::of(request, SECRET), signature::claimed(request), "{request:?}");
    }
    assert_eq!(seen[0].header("user-agent"), seen[1].header("user-agent"));
    assert_ne!(seen[1].header("user-agent"), None);
    assert_eq!(seen[1].header("x-amz-user-agent"), None, "who sends it is said once");
    assert_ne!(seen[0].header("amz-sdk-invocation-id"), None, "the first went the client's way");
    assert_eq!(seen[1].header("amz-sdk-invocation-id"), None, "the second did not");
    assert_eq!(seen[0].connection, seen[1].connection, "both over one connection");
}

#[tokio::test]
async fn what_is_left_is_known_in_whatever_order_and_spelling_it_comes_back() {
    let body = left("notes", &[r#"{"content":{"S":"other"},"noteId":{"S":"c"}}"#, r#"{"noteId":{"S":"\u0061"}}"#]);
    for result in both_ways(move || Reply::ok(&body)).await {
        assert_eq!(result.unwrap(), [0, 2]);
    }
}

#[tokio::test]
async fn answers_that_leave_open_what_was_written_count_as_nothing_written() {
    let strange = r#"{"noteId":{"S":"never sent"}}"#;
    let bodies = [
        left("notes", &[strange]),
        left("notes", &[r#"{"noteId":{"S":"a"}}"#, r#"{"noteId":{"S":"a"}}"#]),
        left("notes", &[r#"{"noteId":{"N":"1"}}"#]),
    ];
    for body in bodies {
        for result in both_ways(move || Reply::ok(&body)).await {
            let error = result.unwrap_err();
            assert!(matches!(&error, ServiceError::Answer { .. }), "{error}");
        }
    }
    // The client takes these for an answer, or cannot read them; the wire says that it is none.
    for body in [
        left("others", &[r#"{"noteId":{"S":"a"}}"#]),
        "{}".to_owned(),
        "<html>sign in</html>".to_owned(),
        String::new(),
    ] {
        let [_, straight] = both_ways(move || Reply::ok(&body)).await;
        let error = straight.unwrap_err();
        assert!(matches!(&error, ServiceError::Answer { .. }), "{error}");
    }
}

#[tokio::test]
async fn refusals_have_one_kind_whichever_way_the_request_went() {
    let kind = |error: &ServiceError| std::mem::discriminant(error);
    let reason = String::new;
    let service_errors = [
        (400, "ProvisionedThroughputExceededException", ServiceError::Throttled { reason: reason() }),
        (400, "ThrottlingException", ServiceError::Throttled { reason: reason() }),
        (400, "RequestLimitExceeded", ServiceError::Throttled { reason: reason() }),
        (400, "ResourceNotFoundException", ServiceError::NotFound),
        (400, "ValidationException", ServiceError::Refused { reason: reason() }),
        (400, "AccessDeniedException", ServiceError::Denied { reason: reason() }),
        (400, "ExpiredTokenException", ServiceError::Denied { reason: reason() }),
        (500, "InternalServerError", ServiceError::Unavailable { reason: reason() }),
        (503, "ServiceUnavailable", ServiceError::Unavailable { reason: reason() }),
    ];
    for (status, code, expected) in service_errors {
        let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"no"}}"#);
        for result in both_ways(move || Reply::error(status, &body)).await {
            let error = result.unwrap_err();
            assert_eq!(kind(&error), kind(&expected), "{status} {code}: {error:?}");
        }
    }
    for (status, body) in [(502, "<html>bad gateway</html>"), (500, "")] {
        for result in both_ways(move || Reply::error(status, body)).await {
            assert!(matches!(result.unwrap_err(), ServiceError::Unavailable { .. }));
        }
    }
}

#[tokio::test]
async fn what_is_denied_is_asked_once_more_the_client_s_own_way() {
    let stand_in = StandIn::start(|_, number| match number {
        2 => Reply::error(400, r#"{"__type":"x#ExpiredTokenException","message":"expired"}"#),
        _ => Reply::ok(r#"{"UnprocessedItems":{}}"#),
    });
    let service = service(&stand_in);
    for _ in 0..3 {
        assert_eq!(service.put(&batch(&["a"])).await.unwrap(), [0usize; 0]);
    }
    let own_way: Vec<bool> =
        stand_in.seen().iter().map(|request| request.header("amz-sdk-invocation-id").is_some()).collect();
    assert_eq!(own_way, [true, false, true, false]);
}

#[tokio::test]
async fn a_damaged_or_missing_answer_is_none() {
    let all = r#"{"UnprocessedItems":{}}"#;
    let [_, wrong] = both_ways(move || Reply::ok(all).with("x-amz-crc32", "1")).await;
    assert!(matches!(wrong.unwrap_err(), ServiceError::Unavailable { reason } if reason.contains("CRC-32")));
    for reply in [Reply::Reset, Reply::Cut, Reply::Silent] {
        for result in both_ways(move || reply.clone()).await {
            assert!(matches!(result.unwrap_err(), ServiceError::Unavailable { .. }));
        }
    }
    let right = crc32fast::hash(all.as_bytes()).to_string();
    for result in both_ways(move || Reply::ok(all).with("x-amz-crc32", &right)).await {
        assert_eq!(result.unwrap(), [0usize; 0]);
    }
}

#[tokio::test]
async fn a_request_that_is_given_up_does_not_stand_in_the_way_of_the_next() {
    let stand_in = StandIn::start(|_, number| match number {
        2 => Reply::Silent,
        _ => Reply::ok(r#"{"UnprocessedItems":{}}"#),
    });
    let service = service(&stand_in);
    service.put(&batch(&["a"])).await.unwrap();
    let held = batch(&["b"]);
    tokio::select! {
        biased;
        () = stand_in.has_seen(2) => {}
        result = service.put(&held) => panic!("it is never answered: {result:?}"),
    }
    assert_eq!(service.put(&batch(&["c"])).await.unwrap(), [0usize; 0]);
}

/// Tables in memory, writes over the wire.
#[derive(Debug)]
struct Behind {
    tables: Arc<FakeService>,
    wire: DynamoDb,
}

#[async_trait]
impl TableService for Behind {
    async fn describe(&self, table: &TableName) -> Result<Option<TargetTable>, ServiceError> {
        self.tables.describe(table).await
    }

    async fn create(&self, input: CreateTableInputBuilder) -> Result<TargetTable, ServiceError> {
        self.tables.create(input).await
    }

    async fn put(&self, batch: &PutBatch) -> Result<Vec<usize>, ServiceError> {
        self.wire.put(batch).await
    }

    async fn scan(
        &self,
        table: &TableName,
        segment: i32,
        total: i32,
        start: Option<SdkItem>,
    ) -> Result<ScanPage, ServiceError> {
        self.tables.scan(table, segment, total, start).await
    }

    async fn set_time_to_live(&self, table: &TableName, attribute: &str) -> Result<(), ServiceError> {
        self.tables.set_time_to_live(table, attribute).await
    }

    async fn tag(&self, arn: &str, tags: &[(String, String)]) -> Result<(), ServiceError> {
        self.tables.tag(arn, tags).await
    }

    async fn set_recovery(&self, table: &TableName, recovery: PointInTimeRecovery) -> Result<(), ServiceError> {
        self.tables.set_recovery(table, recovery).await
    }

    async fn protect(&self, table: &TableName) -> Result<(), ServiceError> {
        self.tables.protect(table).await
    }
}

/// The items of a request's body, as they stand there.
fn items_of(body: &[u8]) -> Vec<String> {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    let puts = body["RequestItems"]["notes-restored"].as_array().unwrap();
    puts.iter().map(|put| put["PutRequest"]["Item"].to_string()).collect()
}

fn keep(tables: &FakeService, items: &[String]) {
    let mut state = tables.lock();
    for item in items {
        let item = parse_item(item.as_bytes()).unwrap();
        let AttributeValue::S(id) = &item["noteId"] else { panic!("{item:?}") };
        state.items.insert(id.clone(), item_to_sdk(&item));
    }
}

#[tokio::test]
async fn a_restore_through_every_kind_of_fault_ends_complete_and_counts_what_was_taken() {
    let tables = FakeService::with(FakeState::default());
    let kept = Arc::clone(&tables);
    let stand_in = StandIn::start(move |request, number| {
        let items = items_of(&request.body);
        let throttled = r#"{"__type":"x#ProvisionedThroughputExceededException","message":"slow down"}"#;
        // Spread, so that no batch meets faults alone.
        match number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60 {
            2 => Reply::error(500, "{}"),
            3 => Reply::error(400, throttled),
            4 => Reply::Reset,
            fault => {
                // Half of them in the other order, the answer lost after all was done, or damaged.
                let taken = if fault == 5 { items.len() / 2 } else { items.len() };
                keep(&kept, &items[..taken]);
                let rest: Vec<&str> = items[taken..].iter().rev().map(String::as_str).collect();
                let body = if rest.is_empty() {
                    r#"{"UnprocessedItems":{}}"#.to_owned()
                } else {
                    left("notes-restored", &rest)
                };
                match fault {
                    6 => Reply::Cut,
                    7 => Reply::ok(&body).with("x-amz-crc32", "7"),
                    8 => Reply::error(500, "{}"),
                    _ => Reply::ok(&body),
                }
            }
        }
    });
    let scene = Scene::new(2000).await;
    let (options, mut run) = (options(4), scene.run());
    let behind = Arc::new(Behind { tables: Arc::clone(&tables), wire: service(&stand_in) });
    let restore = Restore { service: behind, ..scene.restoring(&tables, &options) };
    let report = restore.run(&scene.target, &mut run).await.unwrap();
    assert!(report.proven);
    assert_eq!((report.items, report.written, report.write_units), (2000, 2000, 2000));
    assert!(report.refused_units > 0, "what was turned away is counted");
    assert!(stand_in.seen().len() > 110, "faults were met");
}

#[tokio::test]
async fn an_answer_about_items_that_were_not_sent_ends_the_restore_with_what_is_known() {
    let tables = FakeService::with(FakeState::default());
    let body = left("notes-restored", &[r#"{"noteId":{"S":"never sent"}}"#]);
    let stand_in = StandIn::start(move |_, _| Reply::ok(&body));
    let scene = Scene::new(60).await;
    let (options, mut run) = (options(1), scene.run());
    let behind = Arc::new(Behind { tables: Arc::clone(&tables), wire: service(&stand_in) });
    let restore = Restore { service: behind, ..scene.restoring(&tables, &options) };
    let error = restore.run(&scene.target, &mut run).await.unwrap_err();
    let restore: Option<&RestoreError> = error.downcast_ref();
    assert!(matches!(restore, Some(RestoreError::Service { source: ServiceError::Answer { .. }, .. })), "{error}");
    assert_eq!(run.confirmed(), None, "nothing counts as written");
}

#[test]
fn region_and_service_are_those_of_the_signature_s_scope() {
    let authorization = "AWS4-HMAC-SHA256 Credential=AKID/20261122/eu-west-1/dynamodb/aws4_request, SignedHeaders=host";
    assert_eq!(scope(authorization), Some(("eu-west-1", "dynamodb")));
    for other in ["Bearer x", "AWS4-ECDSA-P256-SHA256 Credential=AKID/20261122/dynamodb/aws4_request, x", ""] {
        assert_eq!(scope(other), None, "{other}");
    }
}

#[test]
fn the_clock_is_that_of_the_client_s_request() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let hour = Duration::from_hours(1);
    assert_eq!(clock(now, "19700112T134640Z"), Some(Clock::Ahead(Duration::ZERO)));
    assert_eq!(clock(now, "19700112T134639Z"), Some(Clock::Ahead(Duration::ZERO)));
    assert_eq!(clock(now, "19700112T144640Z"), Some(Clock::Ahead(hour)));
    assert_eq!(clock(now, "19700112T124640Z"), Some(Clock::Behind(hour)));
    assert_eq!(Clock::Behind(hour).at(now), now - hour);
    assert_eq!(clock(now, "yesterday"), None);
}
