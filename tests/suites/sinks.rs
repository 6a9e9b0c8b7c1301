//! Every sink of `replay restore`: what it wrote is read by readers that are not ours, and compared with a plain reference.
//!
//! Files are read by Python's own modules and `DuckDB`, tables over plain HTTP. `JOURNAL_SINKS_FULL=yes tests/run sinks` restores
//! 200,000 items of 1,000,000 changes at ten random seconds through each sink, which takes an hour and three quarters, most of it the emulator's;
//! `JOURNAL_SINKS_SECONDS` is another number of seconds. The default is a hundredth of the items, at two or three seconds.

#[path = "sinks/service.rs"]
mod service;
#[path = "sinks/settings.rs"]
mod settings;
#[path = "sinks/settings_stops.rs"]
mod settings_stops;
#[path = "sinks/several.rs"]
mod several;
#[path = "sinks/table.rs"]
mod table;
#[path = "sinks/throttle.rs"]
mod throttle;

use std::path::{Path, PathBuf};
use std::process::Command;

use journal::Kind;
use journal_tests::ministack::{MiniStack, environment};
use journal_tests::processes::{Program, replay};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use table::{History, TABLE};

/// The variable that names a Python with the readers.
const READERS: &str = "JOURNAL_TEST_READERS";

fn readers(test: &str) -> Option<PathBuf> {
    let python = std::env::var_os(READERS).filter(|python| !python.is_empty()).map(PathBuf::from);
    if python.is_none() {
        journal_tests::skip(test, &format!("{READERS} names no Python with DuckDB; tests/run installs one"));
    }
    python
}

/// The history of most tests here: a hundredth of the full scale.
async fn history() -> History {
    History::new(journal_tests::seed::seeds([20])[0], 2_000, 10_000).await
}

#[track_caller]
fn check(python: &Path, arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/sinks/check.py");
    let output = Command::new(python).arg(script).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.starts_with("equal"),
        "{arguments:?}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn cuts(history: &History, count: u64) -> Vec<u64> {
    let mut random = StdRng::seed_from_u64(history.seed);
    (0..count).map(|_| random.random_range(history.seconds.clone())).collect()
}

fn restore(history: &History, second: u64) -> Program {
    let restore = replay().args(["restore", "--journal", &history.url, "--table", TABLE, "--json"]);
    restore.args(["--at", &second.to_string()])
}

fn report(program: Program) -> Value {
    let finished = program.run().success();
    serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", finished.stdout, finished.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_random_seconds_are_what_other_readers_find() {
    let Some(python) = readers("files_of_random_seconds_are_what_other_readers_find") else { return };
    let history = history().await;
    files(&python, &history, &cuts(&history, 2));
}

fn files(python: &Path, history: &History, seconds: &[u64]) {
    let seed = history.seed;
    for second in seconds.iter().copied() {
        let reference = history.reference(second);
        let reference = reference.to_str().unwrap();
        let (expected, digest) = history.at(second);
        for (name, format) in [
            ("notes.jsonl", "dynamodb-json"),
            ("notes.jsonl.gz", "dynamodb-json"),
            ("plain.json", "json"),
            ("notes.csv", "csv"),
            ("notes.sqlite", "sqlite"),
            ("notes.parquet", "parquet"),
        ] {
            let file = history.folder.path().join(format!("{second}-{name}"));
            let file = file.to_str().unwrap();
            let report = report(restore(history, second).args(["--output", file, "--format", format]));
            assert_eq!(report["digest"], digest.to_string(), "seed {seed}, second {second}, {name}");
            assert_eq!(report["items"], expected.len(), "seed {seed}, second {second}, {name}");
            assert_eq!(report["proven"], !matches!(format, "json" | "csv"));
            check(python, &[format, file, reference]);
            std::fs::remove_file(file).unwrap();
            println!("second {second}: {} items in {name}", expected.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_tables_of_random_seconds_are_what_others_scan() {
    let test = "new_tables_of_random_seconds_are_what_others_scan";
    let (Some(python), Some(service)) = (readers(test), MiniStack::start_or_skip(test)) else { return };
    let history = history().await;
    new_tables(&python, &service, &history, &cuts(&history, 2)).await;
}

async fn new_tables(python: &Path, service: &MiniStack, history: &History, seconds: &[u64]) {
    let seed = history.seed;
    service.make_bucket("imports", true).await;
    for second in seconds.iter().copied() {
        let reference = history.reference(second);
        let reference = reference.to_str().unwrap();
        let (_, digest) = history.at(second);
        for sink in ["written", "imported"] {
            let target = format!("{sink}-{second}");
            let mut program = restore(history, second).args(["--as", &target, "--partition-key", "noteId"]);
            if sink == "imported" {
                program = program.args(["--import", "s3://imports/staging", "--import-compression", "gzip"]);
            }
            let report = report(program.envs(service.environment()));
            assert_eq!(report["digest"], digest.to_string(), "seed {seed}, second {second}, {sink}");
            assert_eq!(report["proven"], true);
            check(python, &["table", &service.endpoint(), reference, &target]);
            println!("second {second}: {} items {sink}", report["items"]);
            // The emulator has all of its tables in memory.
            service.dynamodb().await.delete_table().table_name(&target).send().await.unwrap();
        }
        let left = service.s3().await.list_objects_v2().bucket("imports").send().await.unwrap();
        assert!(left.contents().is_empty(), "the objects of an import are deleted");
    }
}

/// A table that is there goes from second to second; others write to it in between, and only what differs is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_there_becomes_what_it_was_at_random_seconds() {
    let test = "a_table_that_is_there_becomes_what_it_was_at_random_seconds";
    let (Some(python), Some(service)) = (readers(test), MiniStack::start_or_skip(test)) else { return };
    let history = history().await;
    in_place(&python, &service, &history, 3).await;
}

async fn in_place(python: &Path, service: &MiniStack, history: &History, seconds: u64) {
    let seed = history.seed;
    let client = service.dynamodb().await;
    let mut random = StdRng::seed_from_u64(seed);
    let first = random.random_range(history.seconds.clone());
    let begin = restore(history, first).args(["--as", "live", "--partition-key", "noteId"]);
    assert_eq!(report(begin.envs(service.environment()))["proven"], true);
    // As far as half an hour away: what differs is what somebody would take back.
    let near = first.saturating_sub(1800).max(*history.seconds.start())..=(first + 1800).min(*history.seconds.end());
    let mut before = history.at(first).0.len();
    for _ in 0..seconds {
        let second = random.random_range(near.clone());
        meddle(&client, &mut random, history.items).await;
        let into = |more: &[&str]| {
            let into = restore(history, second).args(["--into", "live"]).args(more).envs(service.environment());
            report(into)
        };
        let (expected, digest) = history.at(second);
        let planned = into(&[]);
        assert_eq!((&planned["applied"], &planned["digest"]), (&Value::from(false), &Value::from(digest.to_string())));
        let still = client.scan().table_name("live").select(aws_sdk_dynamodb::types::Select::Count);
        let still: i32 = still
            .into_paginator()
            .send()
            .try_collect()
            .await
            .unwrap()
            .iter()
            .map(aws_sdk_dynamodb::operation::scan::ScanOutput::count)
            .sum();
        let counted = |report: &Value, name: &str| report[name].as_u64().unwrap();
        let unwritten = u64::try_from(still).unwrap();
        let differing: u64 = ["missing", "different", "unexpected"].iter().map(|name| counted(&planned, name)).sum();
        let wanted = u64::try_from(expected.len()).unwrap();
        assert_eq!(
            unwritten,
            wanted + counted(&planned, "unexpected") - counted(&planned, "missing"),
            "nothing was written"
        );
        let done = into(&["--apply"]);
        assert_eq!((&done["proven"], &done["digest"]), (&Value::from(true), &Value::from(digest.to_string())));
        assert_eq!(counted(&done, "written"), differing, "seed {seed}, second {second}: only what differs is written");
        let reference = history.reference(second);
        check(python, &["table", &service.endpoint(), reference.to_str().unwrap(), "live"]);
        println!("second {second}: {differing} of {before} items were written or deleted");
        before = expected.len();
    }
}

/// All sinks, with one history, for it takes minutes to make.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes more than an hour: JOURNAL_SINKS_FULL=yes tests/run sinks"]
async fn every_sink_gives_what_others_read_at_the_full_scale() {
    let test = "every_sink_gives_what_others_read_at_the_full_scale";
    let (Some(python), Some(service)) = (readers(test), MiniStack::start_or_skip(test)) else { return };
    let seconds = std::env::var("JOURNAL_SINKS_SECONDS").map_or(10, |count| count.parse().unwrap());
    let begun = std::time::Instant::now();
    let done = |what: &str| println!("{what} after {} s", begun.elapsed().as_secs());
    let history = History::new(journal_tests::seed::seeds([20])[0], 200_000, 1_000_000).await;
    done("200,000 items and 1,000,000 changes were made up");
    let cuts = cuts(&history, seconds);
    files(&python, &history, &cuts);
    done("files");
    in_place(&python, &service, &history, seconds).await;
    done("an existing table");
    new_tables(&python, &service, &history, &cuts).await;
    done("new tables");
}

/// Somebody else's writes: an item overwritten, one more, one deleted.
async fn meddle(client: &aws_sdk_dynamodb::Client, random: &mut StdRng, items: u64) {
    use aws_sdk_dynamodb::types::AttributeValue;
    let mut key = || {
        let number = random.random_range(0..items);
        (AttributeValue::S(format!("note-{}", number / 3)), AttributeValue::N((number % 3).to_string()))
    };
    let put = |(note, at)| client.put_item().table_name("live").item("noteId", note).item("at", at);
    put(key()).item("content", AttributeValue::S("overwritten".to_owned())).send().await.unwrap();
    put((AttributeValue::S("nobody's".to_owned()), AttributeValue::N("1".to_owned()))).send().await.unwrap();
    let (note, at) = key();
    client.delete_item().table_name("live").key("noteId", note).key("at", at).send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_throttles_and_resets_is_filled_whole() {
    let test = "a_table_that_throttles_and_resets_is_filled_whole";
    let (Some(python), Some(service)) = (readers(test), MiniStack::start_or_skip(test)) else { return };
    let history = History::new(7, 3_000, 12_000).await;
    let last = *history.seconds.end();
    let proxy = throttle::Throttle::start(service.port(), 150.0);
    let program = restore(&history, last).args(["--as", "slow", "--partition-key", "noteId"]);
    let report = report(program.envs(environment(&proxy.endpoint())));
    assert_eq!(report["proven"], true);
    let reference = history.reference(last);
    check(&python, &["table", &service.endpoint(), reference.to_str().unwrap(), "slow"]);
    // How near the rate comes to what a table takes, and how little is turned away, is shown in virtual time, in `table_write/pace.rs`.
    let counts = proxy.counts();
    assert!(counts.unprocessed > 0 && counts.failed > 0 && counts.reset > 0 && counts.lost > 0, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_killed_goes_on_with_the_command_it_printed() {
    let test = "a_restore_that_is_killed_goes_on_with_the_command_it_printed";
    let (Some(python), Some(service)) = (readers(test), MiniStack::start_or_skip(test)) else { return };
    let history = History::new(8, 1_500, 6_000).await;
    let last = *history.seconds.end();
    let state = history.folder.path().join("state");
    let proxy = throttle::Throttle::start(service.port(), 200.0);
    let begin = |target: &str| {
        let restore = restore(&history, last).args(["--as", target, "--partition-key", "noteId"]);
        restore.envs(environment(&proxy.endpoint())).env("XDG_STATE_HOME", &state)
    };
    for (target, kill) in [("stopped", false), ("killed", true)] {
        let running = begin(target).start();
        let before = proxy.counts().taken;
        while proxy.counts().taken < before + 300 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let name = if kill {
            let _ = running.kill();
            // Nobody could print it: the runs are kept by name.
            let file =
                std::fs::read_dir(state.join("dynamodb-event-journal/restores")).unwrap().next().unwrap().unwrap();
            file.path().file_stem().unwrap().to_str().unwrap().to_owned()
        } else {
            let finished = running.interrupt().failure(i32::from(Kind::Interrupted.exit_code()));
            let line =
                finished.stderr.lines().find_map(|line| line.strip_prefix("to continue: replay restore --resume "));
            line.unwrap_or_else(|| panic!("{}", finished.stderr)).to_owned()
        };
        let resume = replay().args(["restore", "--journal", &history.url, "--json", "--resume", &name]);
        let report = report(resume.envs(service.environment()).env("XDG_STATE_HOME", &state));
        assert_eq!(report["proven"], true);
        // A kill may come before the first second is over, after which it is first noted how far all items are in.
        let again = report["written"].as_u64() == report["items"].as_u64();
        assert!(kill || !again, "what was confirmed is not written again: {report}");
        check(&python, &["table", &service.endpoint(), history.reference(last).to_str().unwrap(), target]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_is_none_shows_the_place() {
    let history = History::new(9, 10, 20).await;
    let file = history.folder.path().join("x.sqlite");
    let finished = restore(&history, *history.seconds.end())
        .args(["--output", file.to_str().unwrap(), "--only", "content == 'note 1'"])
        .run()
        .failure(i32::from(Kind::Invalid.exit_code()));
    let caret = finished.stderr.lines().position(|line| line.trim() == "^");
    assert!(caret.is_some() && finished.stderr.contains("content == 'note 1'"), "{}", finished.stderr);
    assert!(!file.exists());
}
