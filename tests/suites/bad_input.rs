//! Bad input through the real programs: each is refused with an error that names the thing and the way out, an exit code
//! that tells what to do, and nothing lost.

#[path = "bad_input/disks.rs"]
mod disks;
#[path = "bad_input/kills.rs"]
mod kills;
#[path = "bad_input/locations.rs"]
mod locations;
#[path = "bad_input/replays.rs"]
mod replays;
#[path = "sinks/service.rs"]
mod service;
#[path = "bad_input/sources.rs"]
mod sources;
#[path = "bad_input/stops.rs"]
mod stops;
#[path = "bad_input/tables.rs"]
mod tables;

use std::path::{Path, PathBuf};

use journal::Kind;
use journal_tests::processes::{Finished, Program, journal};

/// The table of the history that journals are filled with here.
const TABLE: &str = "ripgrep";

/// One of the histories among the fixtures.
fn history() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/histories/ripgrep.records.jsonl.gz")
}

fn url(path: &Path) -> String {
    journal::store::file_url(path).unwrap()
}

/// A journal in a new folder.
fn new_journal() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let url = url(&folder.path().join("journal"));
    let _ = journal().args(["init", "--journal", &url]).run().success();
    (folder, url)
}

/// A journal with a history.
fn filled_journal() -> (tempfile::TempDir, String) {
    let (folder, url) = new_journal();
    let _ = journal().args(["ingest", "--journal", &url]).arg(history()).run().success();
    (folder, url)
}

/// Every file below a folder with its bytes.
fn content(folder: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut content = std::collections::BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                content.insert(path, bytes);
            }
        }
    }
    content
}

/// A program with settings for a DynamoDB where nothing listens: whoever gets that far has looked at the table too early.
fn without_service(program: Program) -> Program {
    program.envs([
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ])
}

/// The program failed as it should: by its kind's exit code, with an error and a way out, in which all of `says` is said.
#[track_caller]
fn assert_refused(finished: Finished, kind: Kind, says: &[&str]) {
    let finished = finished.failure(i32::from(kind.exit_code()));
    let stderr = finished.stderr;
    assert!(!stderr.contains("panicked"), "{stderr}");
    let title = if kind == Kind::Interrupted { "stopped " } else { "error: " };
    let lines = |title: &str| stderr.lines().filter(|line| line.starts_with(title)).count();
    assert_eq!(lines(title), 1, "one error is told: {stderr}");
    assert_eq!(lines("hint: ") + lines("to continue: "), 1, "one way out is told: {stderr}");
    for text in says {
        assert!(stderr.contains(text), "{text:?} is not said: {stderr}");
    }
}
