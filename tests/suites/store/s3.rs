//! What only S3 can show: settings from the environment, versioning, and what goes wrong on the way.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_s3::config::RequestChecksumCalculation;
use bytes::Bytes;
use journal::store::{PutOutcome, ReadStore as _, S3Store, StoreError, WriteStore};
use journal::{Classify as _, Kind};
use journal_tests::faulty_proxy::{Fault, FaultyProxy};
use journal_tests::ministack::{self, MiniStack};
use journal_tests::processes::this_test;

const BUCKET: &str = "journal-bucket";

/// One service for all tests of this program, for a start takes seconds. It ends with the program.
static SERVICE: OnceLock<Option<MiniStack>> = OnceLock::new();
/// Made before the first use of the bucket.
static BUCKET_MADE: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();

async fn service(test: &str) -> Option<&'static MiniStack> {
    if MiniStack::installed().is_none() {
        return MiniStack::start_or_skip(test).map(|_| unreachable!("it is not installed"));
    }
    let service = SERVICE.get_or_init(|| MiniStack::start_or_skip(test)).as_ref()?;
    BUCKET_MADE.get_or_init(|| service.make_bucket(BUCKET, true)).await;
    Some(service)
}

/// A prefix that no other test has.
fn prefix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("tests/{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

async fn open_at(settings: &SdkConfig, prefix: &str) -> S3Store {
    S3Store::open_write_with(settings, &format!("s3://{BUCKET}/{prefix}"), BUCKET, prefix).await.unwrap()
}

/// An empty store on MiniStack, or none when the test is skipped.
pub(crate) async fn open(test: &str) -> Option<Arc<dyn WriteStore>> {
    let settings = service(test).await?.settings().await;
    Some(Arc::new(open_at(&settings, &prefix()).await))
}

/// A store behind a proxy that fails as planned, with four attempts.
async fn behind_faults(test: &str) -> Option<(FaultyProxy, S3Store)> {
    let service = service(test).await?;
    let proxy = FaultyProxy::start(service.port());
    let settings = ministack::settings(&proxy.endpoint()).await;
    let settings = settings.into_builder().retry_config(RetryConfig::standard().with_max_attempts(4)).build();
    let store = open_at(&settings, &prefix()).await;
    let _ = proxy.take_seen("GET");
    Some((proxy, store))
}

fn body() -> Bytes {
    Bytes::from(b"body".repeat(5000))
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_done_once_and_is_success() {
    let Some((proxy, store)) = behind_faults("a_put_whose_answer_is_lost_is_done_once_and_is_success").await else {
        return;
    };
    proxy.plan("PUT", [Fault::LoseAnswer]);
    assert_eq!(store.put_new("a", body()).await.unwrap(), PutOutcome::AlreadyThere);
    assert_eq!(proxy.take_seen("PUT").len(), 2);
    assert_eq!(store.list_versions("").await.unwrap().len(), 1);
}

#[tokio::test]
async fn busy_answers_and_conflicts_are_tried_again() {
    let Some((proxy, store)) = behind_faults("busy_answers_and_conflicts_are_tried_again").await else { return };
    proxy
        .plan("PUT", [Fault::Answer(503, "SlowDown"), Fault::Answer(409, "ConditionalRequestConflict"), Fault::Refuse]);
    assert_eq!(store.put_new("a", body()).await.unwrap(), PutOutcome::Created);
    assert!(proxy.is_done());
    proxy.plan("GET", [Fault::Answer(500, "InternalError"), Fault::Refuse]);
    assert_eq!(store.get("a").await.unwrap(), body());
    proxy.plan("GET", [Fault::Answer(503, "SlowDown")]);
    assert_eq!(store.list_all("").await.unwrap().len(), 1);
    proxy.plan("DELETE", [Fault::LoseAnswer]);
    store.delete("a").await.unwrap();
    assert!(proxy.is_done());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_read_again() {
    let Some((proxy, store)) = behind_faults("a_body_that_breaks_off_is_read_again").await else { return };
    store.put_new("a", body()).await.unwrap();
    proxy.plan("GET", [Fault::CutBody(1), Fault::CutBody(10_000)]);
    assert_eq!(store.get("a").await.unwrap(), body());
    proxy.plan("GET", [Fault::CutBody(1)]);
    assert_eq!(store.get_range("a", 1..101).await.unwrap(), body().slice(1..101));
    proxy.plan("GET", [Fault::CutBody(7)]);
    assert_eq!(store.get_tail("a", 100).await.unwrap().0, body().slice(19_900..));
    assert!(proxy.is_done());
}

/// Pages that say that there is more, with and without the way to it.
const MORE: &str = "<ListBucketResult><IsTruncated>true</IsTruncated>\
                    <NextContinuationToken>token</NextContinuationToken></ListBucketResult>";
const NOWHERE: &str = "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>";

#[tokio::test]
async fn a_listing_that_says_there_is_more_goes_on_or_fails() {
    let Some((proxy, store)) = behind_faults("a_listing_that_says_there_is_more_goes_on_or_fails").await else {
        return;
    };
    store.put_new("a", body()).await.unwrap();
    // MiniStack does not know the token of an answer that it did not give, and lists from the start.
    proxy.plan("GET", [Fault::Answer(200, MORE)]);
    let _ = store.list("", None).await;
    let asked = proxy.take_seen("GET");
    assert!(asked.len() == 2 && asked[1].target.contains("continuation-token=token"), "{asked:?}");
    for answers in [vec![Fault::Answer(200, MORE); 2], vec![Fault::Answer(200, NOWHERE)]] {
        for folders in [false, true] {
            proxy.plan("GET", answers.clone());
            let failed = if folders { store.list_folders("").await.err() } else { store.list_all("").await.err() };
            assert!(matches!(&failed, Some(StoreError::Refused { action: "list", .. })), "{failed:?}");
        }
    }
    proxy.plan("GET", [Fault::Answer(200, "<ListVersionsResult><IsTruncated>true</IsTruncated></ListVersionsResult>")]);
    assert!(matches!(store.list_versions("").await, Err(StoreError::Refused { .. })));
    assert!(proxy.is_done());
}

#[tokio::test]
async fn attempts_are_bounded_and_told() {
    let Some((proxy, store)) = behind_faults("attempts_are_bounded_and_told").await else { return };
    proxy.plan("PUT", vec![Fault::Answer(503, "SlowDown"); 4]);
    let error = store.put_new("a", body()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    let StoreError::Unavailable { attempts, reason, .. } = error else { panic!("{error}") };
    assert_eq!((attempts, reason.as_str()), (4, "503 SlowDown: planned"));
    assert_eq!(proxy.take_seen("PUT").len(), 4, "the SDK's own attempts do not multiply ours");
    assert!(store.list_all("").await.unwrap().is_empty());
}

#[tokio::test]
async fn refusals_are_told_at_once() {
    let Some((proxy, store)) = behind_faults("refusals_are_told_at_once").await else { return };
    let mut refused = Vec::new();
    for (status, code) in [(403, "AccessDenied"), (400, "ExpiredToken"), (400, "InvalidRequest"), (507, "")] {
        proxy.plan("PUT", [Fault::Answer(status, code)]);
        refused.push(store.put_new("a", body()).await.unwrap_err());
    }
    assert!(matches!(&refused[0], StoreError::Denied { action: "write", .. }), "{}", refused[0]);
    assert!(matches!(&refused[1], StoreError::Settings { .. }), "{}", refused[1]);
    assert!(matches!(&refused[2], StoreError::Refused { .. }), "{}", refused[2]);
    assert!(matches!(&refused[3], StoreError::Full { .. }), "{}", refused[3]);
    assert_eq!(proxy.take_seen("PUT").len(), 4);
}

#[tokio::test]
async fn a_put_sends_its_checksum_unless_the_store_knows_none() {
    let test = "a_put_sends_its_checksum_unless_the_store_knows_none";
    let Some((proxy, store)) = behind_faults(test).await else { return };
    store.put_new("a", body()).await.unwrap();
    store.replace("b", body()).await.unwrap();
    let seen = proxy.take_seen("PUT");
    let expected = base64(crc32fast::hash(&body()));
    for put in &seen {
        assert_eq!(put.header("x-amz-checksum-crc32"), Some(expected.as_str()));
    }
    assert_eq!(seen[0].header("if-none-match"), Some("*"));
    assert_eq!(seen[1].header("if-none-match"), None);

    let settings = ministack::settings(&proxy.endpoint()).await.into_builder();
    let settings = settings.request_checksum_calculation(RequestChecksumCalculation::WhenRequired).build();
    let store = open_at(&settings, &prefix()).await;
    assert_eq!(store.put_new("a", body()).await.unwrap(), PutOutcome::Created);
    assert_eq!(store.put_new("a", body()).await.unwrap(), PutOutcome::AlreadyThere);
    assert!(matches!(store.put_new("a", Bytes::new()).await, Err(StoreError::Differs { .. })));
    let seen = proxy.take_seen("PUT");
    assert_eq!(seen.len(), 3);
    for put in seen {
        let checksums = put.headers.iter().filter(|(name, _)| name.contains("checksum")).count();
        assert_eq!((checksums, put.header("if-none-match")), (0, Some("*")));
    }
}

fn base64(crc32: u32) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(crc32.to_be_bytes())
}

#[tokio::test]
async fn a_bucket_without_versions_or_none_at_all_is_refused() {
    let Some(service) = service("a_bucket_without_versions_or_none_at_all_is_refused").await else { return };
    service.make_bucket("unversioned", false).await;
    let settings = service.settings().await;
    let error = S3Store::open_write_with(&settings, "s3://unversioned", "unversioned", "").await.unwrap_err();
    assert!(matches!(&error, StoreError::Unversioned { bucket } if bucket == "unversioned"), "{error}");
    assert!(error.hint().unwrap().contains("put-bucket-versioning --bucket unversioned"));
    let error = S3Store::open_write_with(&settings, "s3://nowhere/p", "nowhere", "p").await.unwrap_err();
    assert!(matches!(&error, StoreError::NoLocation { location } if location == "s3://nowhere"), "{error}");
}

#[tokio::test]
async fn a_writer_that_may_not_ask_for_versioning_goes_on() {
    let Some(service) = service("a_writer_that_may_not_ask_for_versioning_goes_on").await else { return };
    let proxy = FaultyProxy::start(service.port());
    let settings = ministack::settings(&proxy.endpoint()).await;
    for fault in [Fault::Answer(403, "AccessDenied"), Fault::Answer(501, "NotImplemented")] {
        proxy.plan("GET", [fault]);
        let store = open_at(&settings, &prefix()).await;
        assert_eq!(store.put_new("a", body()).await.unwrap(), PutOutcome::Created);
    }
    assert!(proxy.is_done());
}

#[tokio::test]
async fn a_deleted_object_leaves_its_versions() {
    let Some(store) = open("a_deleted_object_leaves_its_versions").await else { return };
    store.put_new("a", body()).await.unwrap();
    store.delete("a").await.unwrap();
    let versions = store.list_versions("").await.unwrap();
    let told: Vec<_> = versions.iter().map(|v| (v.size, v.latest, v.delete_marker)).collect();
    assert_eq!(told, [(0, true, true), (20_000, false, false)]);
}

#[tokio::test]
async fn one_journal_does_not_see_the_next_ones_objects() {
    let test = "one_journal_does_not_see_the_next_ones_objects";
    let Some(service) = service(test).await else { return };
    let settings = service.settings().await;
    let (one, two) = (open_at(&settings, "neighbours/j").await, open_at(&settings, "neighbours/j2").await);
    one.put_new("a", body()).await.unwrap();
    two.put_new("b", body()).await.unwrap();
    assert_eq!(one.list_all("").await.unwrap().len(), 1);
    assert_eq!(one.list_versions("").await.unwrap().len(), 1);
    assert_eq!(two.list_all("").await.unwrap()[0].key, "b");
}

#[tokio::test]
#[ignore = "run by the_environment_leads_to_the_journal with an environment of its own"]
async fn works_by_its_environment() {
    let location = std::env::var("STORE_TEST_LOCATION").unwrap();
    journal::store::init(&location).await.unwrap();
    journal::store::init(&location).await.unwrap();
    let store = journal::store::open_write(&location).await.unwrap();
    store.put_new("t/1/a", body()).await.unwrap();
    let store = journal::store::open_read(&location).await.unwrap();
    journal::documents::check_journal(&*store).await.unwrap();
    assert_eq!(store.get("t/1/a").await.unwrap(), body());
    assert_eq!(store.location(), location);
    let missing = journal::store::open_read("s3://nowhere/x").await.unwrap_err();
    assert!(matches!(missing, StoreError::NoLocation { .. }), "{missing}");
}

#[tokio::test]
async fn the_environment_leads_to_the_journal() {
    let Some(service) = service("the_environment_leads_to_the_journal").await else { return };
    let location = format!("s3://{BUCKET}/{}", prefix());
    let program = || this_test("s3::works_by_its_environment").env("STORE_TEST_LOCATION", &location);
    let _ = program().envs(service.environment()).run().success();
    // The setting for S3 alone goes before the one for all services.
    let _ = program()
        .envs(service.environment())
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        .env("AWS_ENDPOINT_URL_S3", service.endpoint())
        .run()
        .success();
}

#[tokio::test]
#[ignore = "run by missing_settings_are_told_with_the_way_to_give_them with an environment of its own"]
async fn meets_missing_settings() {
    let error = journal::store::open_read("s3://bucket/prefix").await.unwrap_err();
    println!("{:?} {error}; {}", error.kind(), error.hint().unwrap());
}

#[test]
fn missing_settings_are_told_with_the_way_to_give_them() {
    let program = || this_test("s3::meets_missing_settings");
    let region = program().run().success().stdout;
    assert!(region.contains("Invalid") && region.contains("no AWS region is set"), "{region}");
    let credentials = program().env("AWS_REGION", "eu-west-1").run().success().stdout;
    assert!(credentials.contains("no AWS credentials were found"), "{credentials}");
    assert!(credentials.contains("AWS_PROFILE") && credentials.contains("AWS_ACCESS_KEY_ID"), "{credentials}");
}
