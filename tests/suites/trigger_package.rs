//! The trigger's zip as `infra/package` builds it: what it is linked against, how large it is, that it starts, and that it
//! journals every change of a table when MiniStack's own event source mappings feed it, whatever S3 does meanwhile.
//!
//! The test command builds the zip and names it in `JOURNAL_TEST_STREAM_TRIGGER_ZIP`.

#[path = "trigger/events.rs"]
#[expect(dead_code, reason = "the builders are shared with another suite, and few are needed here")]
mod events;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType,
};
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{Environment, EventSourcePosition, FunctionCode, Runtime};
use journal::cut::Cut;
use journal::model::{Attributes, ChangeRecord, Image, ItemKey, StreamArn};
use journal::source::sdk::item_from_sdk;
use journal::store::{ReadStore, S3Store};
use journal_tests::faulty_proxy::{Fault, FaultyProxy, Seen};
use journal_tests::ministack::{self, MiniStack};
use journal_tests::processes::program;
use journal_tests::reference::State;
use journal_tests::runtime_api::RuntimeApi;
use journal_tests::{merged, recorded, seed, skip};
use rand::RngExt as _;
use replayer::merge::MergeOptions;

/// Names the zip.
const VARIABLE: &str = "JOURNAL_TEST_STREAM_TRIGGER_ZIP";
/// Changes that are journalled, where another number than the usual one is wished.
const CHANGES_VARIABLE: &str = "JOURNAL_TEST_TRIGGER_CHANGES";
const ZIP_BYTES_MAX: u64 = 12_000_000;
/// glibc of Amazon Linux 2023.
const GLIBC_MAX: (u32, u32) = (2, 34);
const BUCKET: &str = "journal";
const TABLE: &str = "notes";
const FUNCTION: &str = "stream-trigger";

fn zip_or_skip(test: &str) -> Option<PathBuf> {
    let path = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    if path.is_none() {
        skip(test, &format!("{VARIABLE} does not name a zip; infra/package builds one"));
    }
    path
}

fn unpacked(zip: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new("python3").args(["-m", "zipfile", "-e"]).arg(zip).arg(folder.path()).status().unwrap();
    assert!(status.success(), "{} cannot be unpacked", zip.display());
    let bootstrap = folder.path().join("bootstrap");
    assert!(bootstrap.is_file(), "the zip has no bootstrap");
    // The module of Python leaves permissions out.
    let mut permissions = std::fs::metadata(&bootstrap).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(&bootstrap, permissions).unwrap();
    folder
}

/// Versions of glibc's symbols that a binary names.
fn glibc_versions(binary: &[u8]) -> BTreeSet<(u32, u32)> {
    let mark = b"GLIBC_";
    let mut versions = BTreeSet::new();
    for at in 0..binary.len().saturating_sub(mark.len()) {
        if !binary[at..].starts_with(mark) {
            continue;
        }
        let rest = &binary[at + mark.len()..];
        let end = rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.').unwrap_or(rest.len());
        let text = std::str::from_utf8(&rest[..end]).unwrap();
        let mut parts = text.split('.').map_while(|part| part.parse().ok());
        if let (Some(major), Some(minor)) = (parts.next(), parts.next()) {
            versions.insert((major, minor));
        }
    }
    versions
}

#[test]
fn the_zip_is_small_and_its_bootstrap_runs_on_amazon_linux_2023() {
    let Some(zip) = zip_or_skip("the_zip_is_small_and_its_bootstrap_runs_on_amazon_linux_2023") else { return };
    let size = std::fs::metadata(&zip).unwrap().len();
    let folder = unpacked(&zip);
    let binary = std::fs::read(folder.path().join("bootstrap")).unwrap();
    let versions = glibc_versions(&binary);
    println!("zip {size} bytes, bootstrap {} bytes, newest glibc symbol {:?}", binary.len(), versions.last());
    assert!(size < ZIP_BYTES_MAX, "{size} bytes");
    assert!(binary.starts_with(b"\x7fELF"), "bootstrap is no Linux binary");
    assert!(versions.last().is_none_or(|newest| *newest <= GLIBC_MAX), "{versions:?}");
    assert!(!versions.is_empty() || !binary.windows(9).any(|bytes| bytes == b"libc.so.6"), "no versions were found");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bootstrap_starts_and_puts_its_first_segment() {
    let test = "the_bootstrap_starts_and_puts_its_first_segment";
    let Some(zip) = zip_or_skip(test) else { return };
    let Some(ministack) = MiniStack::start_or_skip(test) else { return };
    ministack.make_bucket(BUCKET, true).await;
    let folder = unpacked(&zip);
    let proxy = FaultyProxy::start(ministack.port());
    let mut api = RuntimeApi::start().await;
    let payload = events::event(&[events::insert("a", "1", events::note("a", "x"))]);
    let begun = Instant::now();
    let pending = api.send(payload, Duration::from_mins(1));
    let bootstrap = program(&folder.path().join("bootstrap")).envs(ministack::environment(&proxy.endpoint()));
    let running = api.function(bootstrap, &format!("s3://{BUCKET}/prod"));
    let put = proxy.wait_for("PUT", |seen| seen.target.contains("/segments/"));
    let answer = api.answer(pending).await;
    println!(
        "cold start: first byte of the segment's PUT {} ms after the process began, answer after {} ms",
        put.duration_since(begun).as_millis(),
        begun.elapsed().as_millis()
    );
    assert!(answer.is_success(), "{answer:?}");
    drop(running);
}

/// What S3 does with one put of the function, decided by a seed: one of a hundred requests in each way, and five ways.
fn fault(random: &mut rand::rngs::StdRng, seen: &Seen) -> Option<Fault> {
    if seen.method != "PUT" {
        return None;
    }
    match random.random_range(0..100) {
        0..8 => Some(Fault::Answer(503, "SlowDown")),
        8..14 => Some(Fault::Answer(500, "InternalError")),
        14..20 => Some(Fault::LoseAnswer),
        20..24 => Some(Fault::Refuse),
        24..28 => Some(Fault::Answer(403, "AccessDenied")),
        28..30 => Some(Fault::Stall { done: true }),
        30..32 => Some(Fault::Stall { done: false }),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_zip_journals_every_change_of_a_table_that_an_event_source_mapping_gives_it() {
    let test = "the_zip_journals_every_change_of_a_table_that_an_event_source_mapping_gives_it";
    let Some(zip) = zip_or_skip(test) else { return };
    let Some(ministack) = MiniStack::start_or_skip(test) else { return };
    let count: usize = std::env::var(CHANGES_VARIABLE).map_or(20_000, |text| text.parse().unwrap());
    ministack.make_bucket(BUCKET, true).await;
    let arn = make_table(&ministack).await;
    let proxy = FaultyProxy::start(ministack.port());
    let mut random = seed::generator("S3's faults", 11);
    proxy.decide(move |seen| fault(&mut random, seen));
    bind(&ministack, &proxy, &zip, &arn).await;

    let begun = Instant::now();
    write(&ministack, count).await;
    let written = begun.elapsed();
    let timeline = StreamArn::parse(&arn).unwrap().timeline().clone();
    let store = store_of(&ministack).await;
    let found = loop {
        let (found, segments) = recorded::records(&*store, &timeline).await;
        let once: BTreeMap<_, &ChangeRecord> = found.iter().map(|record| (record.sequence, record)).collect();
        if once.len() >= count {
            println!(
                "{count} changes written in {} s, all durable after {} s: {segments} segments, {} copies, {} puts seen",
                written.as_secs(),
                begun.elapsed().as_secs(),
                found.len() - once.len(),
                proxy.take_seen("PUT").len()
            );
            break found;
        }
        let patience = Duration::from_mins(10);
        assert!(begun.elapsed() < patience, "{} of {count} records are durable after ten minutes", once.len());
        tokio::time::sleep(Duration::from_secs(2)).await;
    };
    let mut once = found;
    once.sort_by(|a, b| (&a.key, a.sequence).cmp(&(&b.key, b.sequence)));
    once.dedup();
    assert_eq!(once.len(), count, "a record is there that the stream does not have");
    let last = once.iter().map(|record| record.sequence).max().unwrap();
    let inputs = merged::inputs(&*store, &timeline).await.unwrap();
    let options = MergeOptions::default();
    let (state, _) = merged::state_at(store.clone(), inputs, Cut::at_sequence(last), None, options).await.unwrap();
    let table = scan(&ministack).await;
    assert_eq!(state.len(), table.len());
    assert!(state == table, "the journal's state is not the table's");
    let described = store.get(&journal::layout::table_document(&timeline)).await.unwrap();
    let described: serde_json::Value = serde_json::from_slice(&described).unwrap();
    assert_eq!(described["stream_arn"], arn, "table.json was stored at first sight");
}

async fn store_of(ministack: &MiniStack) -> Arc<dyn ReadStore> {
    let settings = ministack.settings().await;
    let location = format!("s3://{BUCKET}/prod");
    Arc::new(S3Store::open_write_with(&settings, &location, BUCKET, "prod").await.unwrap())
}

async fn make_table(ministack: &MiniStack) -> String {
    let definition = AttributeDefinition::builder().attribute_name("noteId").attribute_type(ScalarAttributeType::S);
    let element = KeySchemaElement::builder().attribute_name("noteId").key_type(KeyType::Hash);
    let images = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewAndOldImages);
    let tables = ministack.dynamodb().await;
    let request = tables
        .create_table()
        .table_name(TABLE)
        .attribute_definitions(definition.build().unwrap())
        .key_schema(element.build().unwrap())
        .billing_mode(BillingMode::PayPerRequest)
        .stream_specification(images.build().unwrap());
    request.send().await.unwrap().table_description.unwrap().latest_stream_arn.unwrap()
}

/// The function, and two mappings on the same stream: everything is delivered twice.
async fn bind(ministack: &MiniStack, proxy: &FaultyProxy, zip: &Path, arn: &str) {
    let lambda = aws_sdk_lambda::Client::new(&ministack.settings().await);
    let environment = Environment::builder()
        .variables("JOURNAL_URL", format!("s3://{BUCKET}/prod"))
        .variables("AWS_ENDPOINT_URL", ministack.endpoint())
        .variables("AWS_ENDPOINT_URL_S3", proxy.endpoint())
        .build();
    lambda
        .create_function()
        .function_name(FUNCTION)
        .runtime(Runtime::Providedal2023)
        .role("arn:aws:iam::000000000000:role/stream-trigger")
        .handler("bootstrap")
        .timeout(6)
        .memory_size(256)
        .environment(environment)
        .code(FunctionCode::builder().zip_file(Blob::new(std::fs::read(zip).unwrap())).build())
        .send()
        .await
        .unwrap();
    for size in [400, 650] {
        lambda
            .create_event_source_mapping()
            .function_name(FUNCTION)
            .event_source_arn(arn)
            .starting_position(EventSourcePosition::TrimHorizon)
            .batch_size(size)
            .send()
            .await
            .unwrap();
    }
}

/// Makes `count` changes: inserts, and of every fifth item a change and of every tenth its removal.
async fn write(ministack: &MiniStack, count: usize) {
    let tables = ministack.dynamodb().await;
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let mut changes = 0;
    for number in 0.. {
        let id = format!("note {number}");
        for version in 0..if number % 5 == 0 { 2 } else { 1 } {
            if changes == count {
                return;
            }
            let content = format!("{} of {id}", "text ".repeat(number % 40 + version));
            let request = tables.put_item().table_name(TABLE).item("noteId", text(&id)).item("content", text(&content));
            request.send().await.unwrap();
            changes += 1;
        }
        if number % 10 == 9 && changes < count {
            tables.delete_item().table_name(TABLE).key("noteId", text(&id)).send().await.unwrap();
            changes += 1;
        }
    }
}

/// The table as it is, in the journal's own words.
async fn scan(ministack: &MiniStack) -> State {
    let tables = ministack.dynamodb().await;
    let mut state = State::new();
    let mut after = None;
    loop {
        let page = tables.scan().table_name(TABLE).set_exclusive_start_key(after.take()).send().await.unwrap();
        for item in page.items() {
            let mut attributes = item_from_sdk(item).unwrap();
            let names = journal_tests::workload::key_attributes().unwrap();
            let id = attributes.remove_entry("noteId").unwrap();
            let key = ItemKey::encode(&names, &Attributes::from([id])).unwrap();
            state.insert(key, Image::encode(&attributes).unwrap());
        }
        match page.last_evaluated_key {
            Some(key) if !key.is_empty() => after = Some(key),
            _ => return state,
        }
    }
}
