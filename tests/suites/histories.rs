//! Real histories: every file change of public git repositories, replayed at seconds of which git itself says the state.
//!
//! Each claim is one test for each history in `fixtures/histories`; one more test makes every claim of every history in
//! the folder that `JOURNAL_HISTORIES` names.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::append::{Batch, append};
use journal::model::{
    AttributeValue, Attributes, ChangeKind, ItemKey, KeyAttributes, Second, SequenceNumber, StreamRecord, Timeline,
};
use journal::source::event::decode_record;
use journal::store::memory::MemoryStore;
use journal::store::{ReadStore, WriteStore};
use journal_tests::processes::{journal, replay};
use journal_tests::reference::{Reference, State};
use journal_tests::{merged, seed};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use replayer::cut::{Cut, Position};
use replayer::merge::MergeOptions;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Names a folder with more histories.
const HISTORIES_VARIABLE: &str = "JOURNAL_HISTORIES";
const RECORDS_SUFFIX: &str = ".records.jsonl.gz";
/// Seconds at which replays of one history in one sort of store are compared with the plain reference.
const RANDOM_SECONDS: usize = 200;

/// What git says of some seconds.
#[derive(Debug, Deserialize)]
struct Truths {
    table: String,
    stream_arn: String,
    records: usize,
    truth: Vec<Truth>,
}

#[derive(Debug, Deserialize)]
struct Truth {
    at: u64,
    items: usize,
    sha256: String,
}

/// One history: its file, what git says of it, its records in sequence order.
struct History {
    file: PathBuf,
    truths: Truths,
    lines: Vec<String>,
    records: Vec<StreamRecord>,
}

impl History {
    fn read(file: &Path) -> Self {
        let name = file.to_str().unwrap().strip_suffix(RECORDS_SUFFIX).unwrap();
        let truths = std::fs::read(format!("{name}.truth.json")).unwrap();
        let truths: Truths = serde_json::from_slice(&truths).unwrap();
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(std::fs::File::open(file).unwrap()).read_to_string(&mut text).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut records: Vec<StreamRecord> = lines.iter().map(|line| decode_record(line.as_bytes()).unwrap()).collect();
        records.sort_by_key(|record| record.record.sequence);
        assert_eq!(records.len(), truths.records, "{name}");
        assert!(!truths.truth.is_empty(), "{name} has no truths");
        assert!(records.iter().all(|record| record.stream.as_str() == truths.stream_arn));
        Self { file: file.to_owned(), truths, lines, records }
    }

    fn fixture(name: &str) -> Self {
        Self::read(&fixtures().join(format!("{name}{RECORDS_SUFFIX}")))
    }

    fn timeline(&self) -> Timeline {
        self.records[0].stream.timeline().clone()
    }

    fn key_attributes(&self) -> &KeyAttributes {
        &self.records[0].key_attributes
    }

    /// Seconds from just before the first record to just after the last, those of records among them.
    fn random_seconds(&self, random: &mut StdRng, count: usize) -> BTreeSet<Second> {
        let seconds: Vec<u64> = self.records.iter().map(|record| record.record.second.unwrap().get()).collect();
        let (first, last) = (*seconds.iter().min().unwrap(), *seconds.iter().max().unwrap());
        let mut chosen = BTreeSet::from([first - 1, last + 1]);
        while chosen.len() < count {
            let second = match random.random_range(0..4) {
                0 => random.random_range(first..=last),
                1 => seconds.choose(random).unwrap() - 1,
                _ => *seconds.choose(random).unwrap(),
            };
            // A short history may not have as many seconds of its own; any second between is as good.
            let second = if chosen.contains(&second) { random.random_range(first - 1..=last + 1) } else { second };
            chosen.insert(second);
        }
        chosen.into_iter().map(|second| Second::new(second).unwrap()).collect()
    }

    /// The states at `seconds`: the records applied one after the other, as git made them.
    fn states(&self, seconds: &BTreeSet<Second>) -> BTreeMap<Second, State> {
        let mut states = BTreeMap::new();
        let mut state = State::new();
        let mut records = self.records.iter().map(|record| &record.record).peekable();
        for second in seconds {
            while let Some(record) = records.next_if(|record| record.second.unwrap() <= *second) {
                match (&record.new, record.kind) {
                    (Some(image), ChangeKind::Insert | ChangeKind::Modify) => {
                        state.insert(record.key.clone(), image.clone());
                    }
                    (None, ChangeKind::Remove) => {
                        state.remove(&record.key);
                    }
                    other => panic!("record {} is strange: {other:?}", record.sequence),
                }
            }
            states.insert(*second, state.clone());
        }
        states
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/histories")
}

fn histories_in(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.to_str().unwrap().ends_with(RECORDS_SUFFIX)).collect()
}

/// Item count and digest of a state, by the rule of the fixtures' README.
fn digest(mut lines: Vec<String>) -> (usize, String) {
    use std::fmt::Write as _;
    lines.sort();
    let hash = Sha256::digest(lines.concat());
    let hash = hash.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    });
    (lines.len(), hash)
}

fn digest_of_state(state: &State, names: &KeyAttributes) -> (usize, String) {
    fn text<'a>(attributes: &'a Attributes, name: &str) -> &'a str {
        match &attributes[name] {
            AttributeValue::S(text) => text,
            AttributeValue::N(number) => number.as_str(),
            other => panic!("{name} is {other:?}"),
        }
    }
    let lines = state.iter().map(|(key, image)| {
        let (key, image) = (key.decode(names).unwrap(), image.decode().unwrap());
        let path = text(&key, "path");
        format!("{path}\t{}\t{}\t{}\n", text(&image, "blob"), text(&image, "mode"), text(&image, "size"))
    });
    digest(lines.collect())
}

fn items_of_export(export: &str) -> Vec<serde_json::Value> {
    assert!(export.is_empty() || export.ends_with('\n'));
    export.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["Item"].take()).collect()
}

fn digest_of_export(export: &str) -> (usize, String) {
    let lines = items_of_export(export).into_iter().map(|item| {
        let text = |name: &str, letter: &str| item[name][letter].as_str().unwrap().to_owned();
        format!("{}\t{}\t{}\t{}\n", text("path", "S"), text("blob", "S"), text("mode", "S"), text("size", "N"))
    });
    digest(lines.collect())
}

/// A folder with a journal made by `journal init`.
struct Folder {
    _folder: tempfile::TempDir,
    url: String,
}

impl Folder {
    fn init() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = journal::store::file_url(&folder.path().join("journal")).unwrap();
        let _ = journal().args(["init", "--journal", &url]).run().success();
        Self { _folder: folder, url }
    }

    fn ingest<S: AsRef<OsStr>>(&self, files: impl IntoIterator<Item = S>) {
        let _ = journal().args(["ingest", "--journal", &self.url]).args(files).run().success();
    }

    fn export(&self, history: &History, arguments: &[&str]) -> String {
        let program = replay().args(["export", "--journal", &self.url, "--table", &history.truths.table]);
        program.args(["--format", "dynamodb-json"]).args(arguments).run().success().stdout
    }

    fn assert_truths(&self, history: &History) {
        for truth in &history.truths.truth {
            let export = self.export(history, &["--at", &truth.at.to_string()]);
            assert_eq!(digest_of_export(&export), (truth.items, truth.sha256.clone()), "at {}", truth.at);
        }
    }
}

// Claims. Each takes one history.

fn the_commands_give_every_truth(history: &History) {
    let folder = Folder::init();
    folder.ingest([&history.file]);
    folder.assert_truths(history);
    // The same file once more changes nothing.
    folder.ingest([&history.file]);
    folder.assert_truths(history);
}

fn records_in_reverse_give_every_truth(history: &History) {
    let folder = Folder::init();
    let reversed: Vec<&str> = history.lines.iter().rev().map(String::as_str).collect();
    let mut input = tempfile::tempfile().unwrap();
    input.write_all(reversed.join("\n").as_bytes()).unwrap();
    input.seek(SeekFrom::Start(0)).unwrap();
    let _ = journal().args(["ingest", "--journal", &folder.url, "-"]).stdin(input).run().success();
    folder.assert_truths(history);
}

fn files_in_any_order_with_a_third_given_twice_give_every_truth(history: &History) {
    for seed in seed::seeds([1]) {
        let mut random = seed::generator("files in any order", seed);
        let folder = Folder::init();
        let files = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for (number, lines) in history.lines.chunks(history.lines.len().div_ceil(9)).enumerate() {
            let path = files.path().join(format!("{number}.jsonl"));
            std::fs::write(&path, lines.join("\n")).unwrap();
            if number % 3 == 0 {
                paths.push(path.clone());
            }
            paths.push(path);
        }
        paths.shuffle(&mut random);
        folder.ingest(&paths);
        folder.assert_truths(history);
    }
}

/// In files of 50 records, compacted twice, so that what was merged is deleted.
fn a_compacted_history_gives_every_truth(history: &History) {
    let folder = Folder::init();
    let files = tempfile::tempdir().unwrap();
    let paths = history.lines.chunks(50).enumerate().map(|(number, lines)| {
        let path = files.path().join(format!("{number:05}.jsonl"));
        std::fs::write(&path, lines.join("\n")).unwrap();
        path
    });
    folder.ingest(paths.collect::<Vec<_>>());
    let compact = || {
        let compact = ["compact", "--grace", "0s", "--settle", "0s", "--json", "--journal", &folder.url];
        let report: serde_json::Value = serde_json::from_str(&journal().args(compact).run().success().stdout).unwrap();
        report
    };
    let merged = compact();
    assert!(merged["inputs"].as_u64().unwrap() > merged["outputs"].as_u64().unwrap(), "{merged}");
    assert_eq!((&merged["breaks"], &merged["left_alone"]), (&serde_json::json!(0), &serde_json::json!(0)), "{merged}");
    folder.assert_truths(history);
    let deleted = compact();
    assert_eq!(deleted["deleted"], merged["inputs"]);
    folder.assert_truths(history);
    let _ = replay().args(["verify", "--journal", &folder.url]).run().success();
}

fn cuts_of_every_kind_are_exact_through_the_command(history: &History) {
    let folder = Folder::init();
    folder.ingest([&history.file]);
    let reference = Reference::of(history.records.iter().map(|record| &record.record));
    let names = history.key_attributes();
    for seed in seed::seeds([2]) {
        let mut random = seed::generator("cuts of every kind", seed);
        for _ in 0..6 {
            let record = &history.records.choose(&mut random).unwrap().record;
            let (second, sequence) = (record.second.unwrap(), record.sequence);
            let first = history.records[0].record.second.unwrap();
            for (flag, value, cut) in [
                ("--at", second.get().to_string(), Cut::at(second)),
                ("--before", second.get().to_string(), before(Position::Second(second))),
                ("--at-sequence", sequence.to_string(), Cut::at_sequence(sequence)),
                ("--before-sequence", sequence.to_string(), before(Position::Sequence(sequence))),
            ] {
                if flag == "--before" && second == first {
                    // Just before all that is covered.
                    continue;
                }
                let export = folder.export(history, &[flag, &value]);
                let expected = digest_of_state(&reference.at(cut), names);
                assert_eq!(digest_of_export(&export), expected, "{flag} {value}");
            }
        }
    }
}

fn before(position: Position) -> Cut {
    Cut { position, inclusive: false }
}

/// The history's records in batches: of random sizes, shuffled between batches, a third of the batches given twice.
fn batches(history: &History, random: &mut StdRng, mixed: bool) -> Vec<Vec<StreamRecord>> {
    let mut records = history.records.clone();
    if mixed {
        records.shuffle(random);
    }
    let mut batches = Vec::new();
    let mut rest = records.as_slice();
    let largest = (records.len() / 20).max(2);
    while !rest.is_empty() {
        let size = random.random_range(1..=largest).min(rest.len());
        let (batch, after) = rest.split_at(size);
        batches.push(batch.to_vec());
        rest = after;
    }
    let twice: Vec<Vec<StreamRecord>> = batches.sample(random, batches.len().div_ceil(3)).cloned().collect();
    batches.extend(twice);
    batches.shuffle(random);
    for batch in &mut batches {
        batch.shuffle(random);
    }
    batches
}

async fn every_second_is_exact_in(
    history: &History,
    store: Arc<dyn WriteStore>,
    random: &mut StdRng,
    mixed: bool,
    seconds: usize,
) {
    let mut given = 0;
    for records in batches(history, random, mixed) {
        given += records.len();
        let report = append(&*store, Batch { records, quarantined: Vec::new() }).await.unwrap();
        assert_eq!(report.quarantined, 0);
    }
    assert!(given > history.records.len(), "nothing was given twice");
    let reading: Arc<dyn ReadStore> = store;
    let mut inputs = merged::inputs(&*reading, &history.timeline()).await.unwrap();
    assert!(inputs.len() > 10, "{} segments show nothing", inputs.len());
    inputs.reverse();
    for truth in &history.truths.truth {
        let cut = Cut::at(Second::new(truth.at).unwrap());
        let (state, _) =
            merged::state_at(reading.clone(), inputs.clone(), cut, None, MergeOptions::default()).await.unwrap();
        let found = digest_of_state(&state, history.key_attributes());
        assert_eq!(found, (truth.items, truth.sha256.clone()), "{cut}");
    }
    for (second, expected) in history.states(&history.random_seconds(random, seconds)) {
        inputs.shuffle(random);
        let (at, before) = (Cut::at(second), before(Position::Second(Second::new(second.get() + 1).unwrap())));
        let cut = if random.random() { at } else { before };
        let options = MergeOptions::default();
        let (state, report) = merged::state_at(reading.clone(), inputs.clone(), cut, None, options).await.unwrap();
        assert_same(&state, &expected, &format!("{cut}"));
        assert_eq!(report.items, u64::try_from(expected.len()).unwrap());
    }
}

/// Compares without printing thousands of items.
fn assert_same(found: &State, expected: &State, what: &str) {
    if found == expected {
        return;
    }
    let missing = expected.keys().filter(|key| !found.contains_key(*key)).count();
    let more = found.keys().filter(|key| !expected.contains_key(*key)).count();
    let other = expected.iter().find(|(key, image)| found.get(*key) != Some(image));
    panic!("{what}: {missing} items missing, {more} too many; the first difference is {other:?}");
}

fn batches_in_any_order_give_every_second_in_memory(history: &History) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for seed in seed::seeds([11]) {
        for mixed in [false, true] {
            let mut random = seed::generator("batches in memory", seed);
            let store = Arc::new(MemoryStore::new());
            runtime.block_on(every_second_is_exact_in(history, store, &mut random, mixed, RANDOM_SECONDS / 2));
        }
    }
}

fn batches_in_any_order_give_every_second_in_a_folder(history: &History) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for seed in seed::seeds([21]) {
        let mut random = seed::generator("batches in a folder", seed);
        let folder = Folder::init();
        let mixed = random.random();
        runtime.block_on(async {
            let store = journal::store::open_write(&folder.url).await.unwrap();
            every_second_is_exact_in(history, store, &mut random, mixed, RANDOM_SECONDS).await;
        });
    }
}

fn sequence_numbers_keys_and_prefixes_cut_exactly(history: &History) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for seed in seed::seeds([31]) {
        let mut random = seed::generator("sequence numbers, keys and prefixes", seed);
        runtime.block_on(cuts_are_exact(history, &mut random));
    }
}

async fn cuts_are_exact(history: &History, random: &mut StdRng) {
    let store = Arc::new(MemoryStore::new());
    for records in batches(history, random, false) {
        append(&*store, Batch { records, quarantined: Vec::new() }).await.unwrap();
    }
    let inputs = merged::inputs(&*store, &history.timeline()).await.unwrap();
    let reference = Reference::of(history.records.iter().map(|record| &record.record));
    let names = history.key_attributes();
    for _ in 0..40 {
        let record = &history.records.choose(random).unwrap().record;
        let position = match random.random_range(0..3) {
            0 => Position::Second(record.second.unwrap()),
            1 => Position::Sequence(record.sequence),
            // Between two records: numbers are not dense.
            _ => {
                let next = record.sequence.to_string().parse::<u128>().unwrap() + 1;
                Position::Sequence(SequenceNumber::parse(&next.to_string()).unwrap())
            }
        };
        let cut = Cut { position, inclusive: random.random() };
        let state = reference.at(cut);

        let key = history.records.choose(random).unwrap().record.key.clone();
        let AttributeValue::S(path) = &key.decode(names).unwrap()["path"] else { panic!("path is no string") };
        let length = random.random_range(0..=path.chars().count());
        let prefix = AttributeValue::S(path.chars().take(length).collect());
        let prefix = ItemKey::encode_prefix(names, &prefix).unwrap();
        let one = key.as_bytes().to_vec().into()..[key.as_bytes(), &[0]].concat().into();
        for keys in [None, Some(one), Some(merged::keys_with_prefix(&prefix))] {
            let expected: State = state
                .iter()
                .filter(|(key, _)| {
                    keys.as_ref()
                        .is_none_or(|keys| key.as_bytes() >= keys.start.as_ref() && key.as_bytes() < keys.end.as_ref())
                })
                .map(|(key, image)| (key.clone(), image.clone()))
                .collect();
            let options = MergeOptions::default();
            let (found, _) = merged::state_at(store.clone(), inputs.clone(), cut, keys.clone(), options).await.unwrap();
            assert_same(&found, &expected, &format!("{cut}, keys {keys:?}"));
        }
    }
}

type Claim = fn(&History);

/// One test for each claim of each history in the fixtures.
macro_rules! histories {
    ($histories:tt, $claims:tt) => {
        histories!(@all $histories, $claims);
        const CLAIMS: &[(&str, Claim)] = histories!(@claims $claims);
        const FIXTURES: &[&str] = histories!(@names $histories);
    };
    (@all [$($history:ident),+ $(,)?], $claims:tt) => { $( histories!(@one $history, $claims); )+ };
    (@one $history:ident, [$($claim:ident),+ $(,)?]) => {
        mod $history {
            $(
                #[test]
                fn $claim() {
                    super::$claim(&super::History::fixture(stringify!($history)));
                }
            )+
        }
    };
    (@claims [$($claim:ident),+ $(,)?]) => { &[$((stringify!($claim), $claim)),+] };
    (@names [$($history:ident),+ $(,)?]) => { &[$(stringify!($history)),+] };
}

histories!(
    [quarantinenotes, ripgrep],
    [
        the_commands_give_every_truth,
        records_in_reverse_give_every_truth,
        files_in_any_order_with_a_third_given_twice_give_every_truth,
        a_compacted_history_gives_every_truth,
        cuts_of_every_kind_are_exact_through_the_command,
        batches_in_any_order_give_every_second_in_memory,
        batches_in_any_order_give_every_second_in_a_folder,
        sequence_numbers_keys_and_prefixes_cut_exactly,
    ]
);

#[test]
fn no_fixture_is_left_out() {
    let expected: BTreeSet<PathBuf> =
        FIXTURES.iter().map(|name| fixtures().join(format!("{name}{RECORDS_SUFFIX}"))).collect();
    assert_eq!(histories_in(&fixtures()), expected);
}

#[test]
fn histories_named_by_the_environment_hold_every_claim() {
    let Some(folder) = std::env::var_os(HISTORIES_VARIABLE) else {
        eprintln!("skipped: {HISTORIES_VARIABLE} names no folder");
        return;
    };
    let files = histories_in(Path::new(&folder));
    assert!(!files.is_empty(), "{HISTORIES_VARIABLE}: no *{RECORDS_SUFFIX} in {}", Path::new(&folder).display());
    for file in files {
        let history = History::read(&file);
        for (name, claim) in CLAIMS {
            eprintln!("{}: {name}", file.display());
            claim(&history);
        }
    }
}
