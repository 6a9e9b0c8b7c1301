//! Who changed what: answers of `replay log` and `replay blame`, held against a plain scan of the records.

#[path = "audit/first.rs"]
mod first;
#[path = "audit/live.rs"]
mod live;

use std::io::Read as _;
use std::path::PathBuf;

use journal_tests::processes::{journal, replay};
use serde_json::Value;

pub(crate) const TABLE: &str = "quarantinenotes";

/// One record of the fixture, read with nothing of ours.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    second: u64,
    pub(crate) sequence: String,
    kind: String,
    path: String,
    record: Value,
}

fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/histories/{TABLE}.records.jsonl.gz"))
}

/// All records, newest first.
pub(crate) fn scan() -> Vec<Told> {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(fixture()).unwrap()).read_to_string(&mut text).unwrap();
    let mut told: Vec<Told> = text
        .lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            let stream = &record["dynamodb"];
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            Told {
                second: stream["ApproximateCreationDateTime"].as_u64().unwrap(),
                sequence: text(&stream["SequenceNumber"]),
                kind: text(&record["eventName"]),
                path: text(&stream["Keys"]["path"]["S"]),
                record,
            }
        })
        .collect();
    // All sequence numbers of the fixture have the same length.
    told.sort_by(|a, b| (b.second, &b.sequence).cmp(&(a.second, &a.sequence)));
    told
}

pub(crate) struct Folder {
    folder: tempfile::TempDir,
    pub(crate) url: String,
}

impl Folder {
    /// The fixture in files of 40 records, so in many segments.
    pub(crate) fn filled() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = journal::store::file_url(&folder.path().join("journal")).unwrap();
        let _ = journal().args(["init", "--journal", &url]).run().success();
        let files = scan();
        let paths = files.chunks(40).enumerate().map(|(number, told)| {
            let path = folder.path().join(format!("{number}.jsonl"));
            let lines: Vec<String> = told.iter().map(|told| told.record.to_string()).collect();
            std::fs::write(&path, lines.join("\n")).unwrap();
            path
        });
        let paths: Vec<PathBuf> = paths.collect();
        let _ = journal().args(["ingest", "--journal", &url]).args(&paths).run().success();
        Self { folder, url }
    }

    fn compact(&self) {
        for _ in 0..2 {
            let arguments = ["compact", "--grace", "0s", "--settle", "0s", "--journal", &self.url];
            let _ = journal().args(arguments).run().success();
        }
    }

    fn replay(&self, arguments: &[&str]) -> journal_tests::processes::Program {
        replay().args(&arguments[..1]).args(["--journal", &self.url, "--table", TABLE]).args(&arguments[1..])
    }

    fn log(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.replay(&[&["log", "--json"], arguments].concat()).run().success().stdout;
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn sequences(log: &[Value]) -> Vec<String> {
    log.iter().map(|change| change["sequence"].as_str().unwrap().to_owned()).collect()
}

fn expected<'a>(told: impl IntoIterator<Item = &'a Told>) -> Vec<String> {
    told.into_iter().map(|told| told.sequence.clone()).collect()
}

#[test]
fn the_log_is_what_a_plain_scan_finds_before_and_after_compaction() {
    let folder = Folder::filled();
    let told = scan();
    let of = |keep: &dyn Fn(&Told) -> bool| expected(told.iter().filter(|told| keep(told)));
    let middle = told[told.len() / 2].second;
    let (since, until) = (middle.to_string(), told[told.len() / 4].second);
    let until_text = until.to_string();
    for compacted in [false, true] {
        if compacted {
            folder.compact();
        }
        let all = ["--limit", "100000"];
        assert_eq!(sequences(&folder.log(&all)), expected(&told));
        assert_eq!(sequences(&folder.log(&["--limit", "7"])), expected(&told[..7]));
        assert_eq!(
            sequences(&folder.log(&["--limit", "7", "--reverse"])),
            expected(told.iter().rev().take(7)),
            "oldest first"
        );
        let window = folder.log(&[&all[..], &["--since", &since, "--until", &until_text]].concat());
        assert_eq!(sequences(&window), of(&|told| told.second >= middle && told.second <= until));
        let removes = folder.log(&[&all[..], &["--kind", "remove"]].concat());
        assert_eq!(sequences(&removes), of(&|told| told.kind == "REMOVE"));
        let start: String = told[0].path.chars().take(3).collect();
        let prefix = folder.log(&[&all[..], &["--prefix", &start]].concat());
        assert_eq!(sequences(&prefix), of(&|told| told.path.starts_with(&start)));
        let key = folder.log(&[&all[..], &["--key", "README.md"]].concat());
        assert_eq!(sequences(&key), of(&|told| told.path == "README.md"));
        assert!(!key.is_empty() && !prefix.is_empty() && !removes.is_empty() && !window.is_empty());
    }
}

#[test]
fn each_difference_is_one_that_the_records_have() {
    let folder = Folder::filled();
    let told = scan();
    for (change, told) in folder.log(&["--limit", "100000"]).iter().zip(&told) {
        let stream = &told.record["dynamodb"];
        let names = ["blob", "mode", "size", "commit", "author", "at"];
        for name in names {
            let (old, new) = (stream["OldImage"].get(name), stream["NewImage"].get(name));
            let found = change["differences"].as_array().unwrap().iter().find(|found| found["path"] == name);
            assert_eq!(found.is_some(), old != new, "{name} of {change}");
            if let Some(found) = found {
                assert_eq!(
                    (&found["before"], &found["after"]),
                    (old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null))
                );
            }
        }
    }
}

#[test]
fn blame_names_the_record_that_last_set_the_blob() {
    let folder = Folder::filled();
    folder.compact();
    let told = scan();
    let live: Vec<&Told> = {
        let mut seen = std::collections::BTreeSet::new();
        told.iter().filter(|told| seen.insert(&told.path) && told.kind != "REMOVE").take(12).collect()
    };
    for newest in live {
        let set = told.iter().find(|told| {
            let stream = &told.record["dynamodb"];
            told.path == newest.path && stream["OldImage"].get("blob") != stream["NewImage"].get("blob")
        });
        let output =
            folder.replay(&["blame", "--key", &format!("path={}", newest.path), "--json"]).run().success().stdout;
        let blamed: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let blob = blamed.iter().find(|found| found["path"] == "blob").unwrap();
        assert_eq!(blob["change"]["sequence"], set.unwrap().sequence.as_str(), "{}", newest.path);
        assert_eq!(blob["value"], newest.record["dynamodb"]["NewImage"]["blob"]);
    }
}

#[test]
fn the_difference_of_two_states_is_that_of_their_exports() {
    let folder = Folder::filled();
    let truth = std::fs::read(fixture().with_file_name(format!("{TABLE}.truth.json"))).unwrap();
    let truth: Value = serde_json::from_slice(&truth).unwrap();
    let seconds: Vec<String> = truth["truth"].as_array().unwrap().iter().map(|one| one["at"].to_string()).collect();
    let export = |at: &str| -> std::collections::BTreeMap<String, Value> {
        let output = folder.replay(&["export", "--at", at, "--format", "dynamodb-json"]).run().success().stdout;
        let items = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["Item"].clone());
        items.map(|item| (item["path"]["S"].as_str().unwrap().to_owned(), item)).collect()
    };
    let mut seen = 0;
    for compacted in [false, true] {
        if compacted {
            folder.compact();
        }
        for pair in [(0, seconds.len() - 1), (seconds.len() / 3, seconds.len() / 2), (1, 2)] {
            let (from, to) = (&seconds[pair.0], &seconds[pair.1]);
            let (before, after) = (export(from), export(to));
            let mut expected: Vec<String> =
                before.keys().chain(after.keys()).filter(|key| before.get(*key) != after.get(*key)).cloned().collect();
            expected.sort();
            expected.dedup();
            let run = folder.replay(&["diff", "--from", from, "--to", to, "--json"]).run();
            assert_eq!(run.code(), Some(i32::from(!expected.is_empty())), "{}", run.stderr);
            let found: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let paths: Vec<&str> = found.iter().map(|found| found["key"]["path"]["S"].as_str().unwrap()).collect();
            assert_eq!(paths, expected, "{from} to {to}");
            for (found, path) in found.iter().zip(&expected) {
                let whole = |side: &Value| {
                    let mut item = side.clone();
                    item.as_object_mut().map(|item| item.insert("path".to_owned(), found["key"]["path"].clone()));
                    item
                };
                assert_eq!(whole(&found["before"]), before.get(path).cloned().unwrap_or(Value::Null));
                assert_eq!(whole(&found["after"]), after.get(path).cloned().unwrap_or(Value::Null));
            }
            seen += found.len();
        }
    }
    assert!(seen > 20, "{seen}");
    let same = folder.replay(&["diff", "--from", &seconds[1], "--to", &seconds[1]]).run().success();
    assert_eq!(same.stdout, "");
    let turned = folder.replay(&["diff", "--from", seconds.last().unwrap(), "--to", &seconds[0]]).run().failure(2);
    assert!(turned.stderr.contains("after the second"), "{}", turned.stderr);
}

#[test]
fn a_short_log_and_one_item_read_less_than_everything() {
    let folder = Folder::filled();
    let read = |arguments: &[&str]| -> (u64, u64) {
        let said = folder.replay(&[&["log", "--explain"], arguments].concat()).run().success().stderr;
        let line = said.lines().find(|line| line.starts_with("read ")).unwrap();
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        (numbers[0], numbers[1])
    };
    let (all, segments) = read(&["--limit", "100000"]);
    assert_eq!(all, segments);
    assert!(read(&["--limit", "5"]).0 < segments);
    let second = scan()[3].second.to_string();
    assert!(read(&["--since", &second]).0 < segments / 2);
}

#[test]
fn what_can_be_read_of_a_damaged_journal_is_shown_and_the_rest_is_named() {
    let folder = Folder::filled();
    let whole = folder.log(&["--limit", "100000"]);
    let mut segments = Vec::new();
    let mut folders = vec![folder.folder.path().join("journal")];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "seg") {
                segments.push(path);
            }
        }
    }
    segments.sort();
    let victim = &segments[segments.len() / 2];
    let mut bytes = std::fs::read(victim).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::remove_file(victim).unwrap();
    std::fs::write(victim, bytes).unwrap();
    let damaged = folder.replay(&["log", "--json", "--limit", "100000"]).run().failure(4);
    let shown = damaged.stdout.lines().count();
    assert!(shown < whole.len() && shown >= whole.len() - 40, "{shown} of {}", whole.len());
    assert!(damaged.stderr.contains(victim.file_name().unwrap().to_str().unwrap()), "{}", damaged.stderr);
}

#[test]
fn questions_without_an_answer_say_why() {
    let folder = Folder::filled();
    let absent = folder.replay(&["log", "--key", "no such file"]).run().failure(10);
    assert!(
        absent.stderr.contains("journal status") && absent.stderr.contains("no change of such items"),
        "{}",
        absent.stderr
    );
    let early = folder.replay(&["log", "--until", "2001-01-01T00:00:00Z"]).run().success();
    assert!(early.stderr.contains("outside what the journal covers"), "{}", early.stderr);
    let by = folder.replay(&["log", "--key", "README.md", "--by", "ttl"]).run().failure(10);
    assert!(by.stderr.contains("the last at 20") && by.stderr.contains("none that fits"), "{}", by.stderr);
    let _ = folder.replay(&["blame", "--key", "no such file"]).run().failure(10);
    let removed = scan().into_iter().find(|told| told.kind == "REMOVE").unwrap();
    let gone = folder.replay(&["blame", "--key", &format!("path={}", removed.path)]).run();
    assert!(gone.code() == Some(10) || gone.code() == Some(0));
    let wrong = folder.replay(&["log", "--key", "noteId=5"]).run().failure(2);
    assert!(wrong.stderr.contains("path"), "{}", wrong.stderr);
    let future = folder.replay(&["log", "--since", "2999-01-01T00:00:00Z"]).run().failure(2);
    assert!(future.stderr.contains("future"), "{}", future.stderr);
    let nobody = replay().args(["log", "--journal", &folder.url, "--table", "nobody"]).run().failure(2);
    assert!(nobody.stderr.contains(TABLE), "{}", nobody.stderr);
    let nearly = replay().args(["log", "--journal", &folder.url, "--table", "quarantine-notes"]).run().failure(2);
    assert!(nearly.stderr.contains("did you mean quarantinenotes?"), "{}", nearly.stderr);
}
