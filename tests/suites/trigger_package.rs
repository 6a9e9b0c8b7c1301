//! The functions' zips as `infra/package` builds them: what they are linked against, how large they are, that each starts and does its
//! work, and that the trigger journals every change of a table when MiniStack's own event source mappings feed it, whatever S3
//! does meanwhile.
//!
//! The test command builds the zips and names their folder in `JOURNAL_TEST_FUNCTION_ZIPS`.

#[path = "trigger/events.rs"]
#[expect(dead_code, reason = "the builders are shared with another suite, and few are needed here")]
mod events;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, DeleteRequest, KeySchemaElement, KeyType, PutRequest,
    ScalarAttributeType, StreamSpecification, StreamViewType, WriteRequest,
};
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{Environment, EventSourcePosition, FunctionCode, Runtime};
use journal::cut::Cut;
use journal::model::{Attributes, Image, ItemKey, StreamArn};
use journal::source::sdk::item_from_sdk;
use journal::store::{ReadStore, S3Store};
use journal_tests::faulty_proxy::{Fault, FaultyProxy, Seen};
use journal_tests::ministack::{self, MiniStack};
use journal_tests::processes::program;
use journal_tests::reference::State;
use journal_tests::runtime_api::{Answer, RuntimeApi};
use journal_tests::{merged, recorded, seed, skip};
use rand::RngExt as _;
use replayer::merge::MergeOptions;

/// Names the folder with the zips.
const VARIABLE: &str = "JOURNAL_TEST_FUNCTION_ZIPS";
const FUNCTIONS: [&str; 3] = ["stream-trigger", "scheduled-maintenance", "scheduled-verification"];
/// Changes that are journalled, where another number than the usual one is wished.
const CHANGES_VARIABLE: &str = "JOURNAL_TEST_TRIGGER_CHANGES";
const ZIP_BYTES_MAX: u64 = 12_000_000;
/// glibc of Amazon Linux 2023.
const GLIBC_MAX: (u32, u32) = (2, 34);
const BUCKET: &str = "journal";
const TABLE: &str = "notes";
const FUNCTION: &str = "stream-trigger";

fn zips_or_skip(test: &str) -> Option<PathBuf> {
    let path = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    if path.is_none() {
        skip(test, &format!("{VARIABLE} does not name a folder of zips; infra/package builds them"));
    }
    path
}

fn zip(folder: &Path, function: &str) -> PathBuf {
    folder.join(format!("{function}.zip"))
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
fn every_zip_is_small_and_its_bootstrap_runs_on_amazon_linux_2023() {
    let Some(zips) = zips_or_skip("every_zip_is_small_and_its_bootstrap_runs_on_amazon_linux_2023") else { return };
    for function in FUNCTIONS {
        let zip = zip(&zips, function);
        let size = std::fs::metadata(&zip).unwrap().len();
        let folder = unpacked(&zip);
        let binary = std::fs::read(folder.path().join("bootstrap")).unwrap();
        let versions = glibc_versions(&binary);
        println!(
            "{function}: zip {size} bytes, bootstrap {} bytes, newest glibc symbol {:?}",
            binary.len(),
            versions.last()
        );
        assert!(size < ZIP_BYTES_MAX, "{function}: {size} bytes");
        assert!(binary.starts_with(b"\x7fELF"), "{function}: bootstrap is no Linux binary");
        assert!(versions.last().is_none_or(|newest| *newest <= GLIBC_MAX), "{function}: {versions:?}");
        let names_libc = binary.windows(9).any(|bytes| bytes == b"libc.so.6");
        assert!(!versions.is_empty() || !names_libc, "{function}: no versions were found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bootstrap_starts_and_does_its_work() {
    let test = "every_bootstrap_starts_and_does_its_work";
    let Some(zips) = zips_or_skip(test) else { return };
    let Some(ministack) = MiniStack::start_or_skip(test) else { return };
    ministack.make_bucket(BUCKET, true).await;
    let proxy = FaultyProxy::start(ministack.port());
    let location = format!("s3://{BUCKET}/prod");
    let start = |api: &mut RuntimeApi, function: &str| {
        let folder = unpacked(&zip(&zips, function));
        let bootstrap = program(&folder.path().join("bootstrap"))
            .envs(ministack::environment(&proxy.endpoint()))
            .env("JOURNAL_FUNCTION", FUNCTION);
        (api.function(bootstrap, &location), folder)
    };

    let mut api = RuntimeApi::default();
    let payload = events::event(&[events::insert("a", "1", events::note("a", "x"))]);
    let begun = Instant::now();
    let trigger = start(&mut api, FUNCTION);
    let pending = api.send(payload, Duration::from_mins(1));
    let put = proxy.wait_for("PUT", |seen| seen.target.contains("/segments/"));
    let answer = api.answer(pending).await;
    println!(
        "cold start: first byte of the segment's PUT {} ms after the process began, answer after {} ms",
        put.duration_since(begun).as_millis(),
        begun.elapsed().as_millis()
    );
    assert!(answer.is_success(), "{answer:?}");
    drop(trigger);

    let work = [
        ("scheduled-maintenance", r#"{"task":"upkeep"}"#),
        ("scheduled-maintenance", r#"{"task":"guard"}"#),
        ("scheduled-verification", r#"{"task":"verify"}"#),
    ];
    let mut said = Vec::new();
    for (function, event) in work {
        let mut api = RuntimeApi::default();
        let running = start(&mut api, function);
        match api.invoke(event).await {
            Answer::Success(answer) => said.push(answer),
            failed @ Answer::Failure { .. } => panic!("{function} {event}: {failed:?}"),
        }
        drop(running);
    }
    assert_eq!((&said[0]["finished"], &said[0]["tables"]), (&true.into(), &1.into()), "{}", said[0]);
    assert_eq!(said[1]["tables"].as_array().map(Vec::len), Some(1), "{}", said[1]);
    assert_eq!(said[2]["reports"][0]["verdict"], "sound", "{}", said[2]);
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
    let Some(zips) = zips_or_skip(test) else { return };
    let Some(ministack) = MiniStack::start_or_skip(test) else { return };
    let count: usize = std::env::var(CHANGES_VARIABLE).map_or(20_000, |text| text.parse().unwrap());
    ministack.make_bucket(BUCKET, true).await;
    let arn = make_table(&ministack).await;
    let proxy = FaultyProxy::start(ministack.port());
    let mut random = seed::generator("S3's faults", 11);
    proxy.decide(move |seen| fault(&mut random, seen));
    bind(&ministack, &proxy, &zip(&zips, FUNCTION), &arn).await;

    let begun = Instant::now();
    write(&ministack, count).await;
    let written = begun.elapsed();
    let timeline = StreamArn::parse(&arn).unwrap().timeline().clone();
    let store = store_of(&ministack).await;
    let mut watch = recorded::Watch::default();
    let found = loop {
        watch.look(&*store, &timeline).await;
        let once: BTreeSet<_> = watch.records.iter().map(|record| record.sequence).collect();
        if once.len() >= count {
            println!(
                "{count} changes written in {} s, all durable after {} s: {} segments, {} copies, {} puts seen",
                written.as_secs(),
                begun.elapsed().as_secs(),
                watch.segments(),
                watch.records.len() - once.len(),
                proxy.take_seen("PUT").len()
            );
            break watch.records;
        }
        let patience = Duration::from_mins(10);
        assert!(begun.elapsed() < patience, "{} of {count} records are durable after ten minutes", once.len());
        tokio::time::sleep(Duration::from_secs(1)).await;
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

/// Items of a block: each round of a block is one request, and DynamoDB takes 25.
const BLOCK: usize = 25;

/// Makes `count` changes: inserts, of every fifth item another version and of every tenth its removal. A request changes each item once, so
/// the rounds of a block are requests of their own.
async fn write(ministack: &MiniStack, count: usize) {
    let tables = ministack.dynamodb().await;
    let mut changes = 0;
    for block in 0.. {
        let numbers = || block * BLOCK..(block + 1) * BLOCK;
        let rounds: [Vec<WriteRequest>; 3] = [
            numbers().map(|number| put(number, 0)).collect(),
            numbers().filter(|number| number % 5 == 0).map(|number| put(number, 1)).collect(),
            numbers().filter(|number| number % 10 == 9).map(remove).collect(),
        ];
        for mut round in rounds {
            round.truncate(count - changes);
            if round.is_empty() {
                return;
            }
            changes += round.len();
            let written = tables.batch_write_item().request_items(TABLE, round).send().await.unwrap();
            assert!(written.unprocessed_items.unwrap_or_default().is_empty());
        }
    }
}

fn id(number: usize) -> AttributeValue {
    AttributeValue::S(format!("note {number}"))
}

fn put(number: usize, version: usize) -> WriteRequest {
    let content = format!("{} of note {number}", "text ".repeat(number % 40 + version));
    let request = PutRequest::builder().item("noteId", id(number)).item("content", AttributeValue::S(content));
    WriteRequest::builder().put_request(request.build().unwrap()).build()
}

fn remove(number: usize) -> WriteRequest {
    WriteRequest::builder().delete_request(DeleteRequest::builder().key("noteId", id(number)).build().unwrap()).build()
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
