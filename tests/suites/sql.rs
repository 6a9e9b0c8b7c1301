//! SQL over a journal: answers of `replay sql` held against `SQLite` on the records themselves, and what was read for them.

#[path = "sql/hostile.rs"]
mod hostile;
#[path = "sql/lookup.rs"]
mod lookup;
#[path = "sql/pages.rs"]
mod pages;
#[path = "sql/queries.rs"]
mod queries;
#[path = "sql/told.rs"]
mod told;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use journal::interrupt::Interrupt;
use journal_tests::processes::{Finished, Program, journal, replay};
use replayer::output::{Destination, OutputError};
use replayer::sql::{SqlFormat, SqlOptions, SqlReport, SqlSession, SqlWriter};
use serde_json::Value;

/// The table of the fixture.
pub(crate) const TABLE: &str = "quarantinenotes";

/// A journal in a folder of its own.
pub(crate) struct Folder {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) url: String,
}

impl Folder {
    /// An empty journal.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = journal::store::file_url(&folder.path().join("journal")).unwrap();
        let _ = journal().args(["init", "--journal", &url]).run().success();
        Self { folder, url }
    }

    /// The fixture in files of 500 records, so in many segments.
    pub(crate) fn filled() -> Self {
        let folder = Self::empty();
        let paths = told::lines().chunks(500).enumerate().map(|(number, lines)| {
            let path = folder.folder.path().join(format!("{number}.jsonl"));
            std::fs::write(&path, lines.join("\n")).unwrap();
            path
        });
        let paths: Vec<PathBuf> = paths.collect();
        let _ = journal().args(["ingest", "--journal", &folder.url]).args(&paths).run().success();
        folder
    }

    pub(crate) fn compact(&self) {
        for _ in 0..2 {
            let arguments = ["compact", "--grace", "0s", "--settle", "0s", "--journal", &self.url];
            let _ = journal().args(arguments).run().success();
        }
    }

    pub(crate) fn replay(&self, arguments: &[&str]) -> Program {
        replay().args(&arguments[..1]).args(["--journal", &self.url]).args(&arguments[1..])
    }

    pub(crate) fn sql(&self, arguments: &[&str]) -> Finished {
        self.replay(&[&["sql"], arguments].concat()).run()
    }

    /// All segments, by path.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let mut segments = Vec::new();
        let mut folders = vec![self.folder.path().join("journal")];
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
        segments
    }
}

/// The fixture as it was ingested, and after compaction: many tests only read them.
pub(crate) fn plain() -> &'static Folder {
    static FOLDER: OnceLock<Folder> = OnceLock::new();
    FOLDER.get_or_init(Folder::filled)
}

pub(crate) fn compacted() -> &'static Folder {
    static FOLDER: OnceLock<Folder> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Folder::filled();
        folder.compact();
        folder
    })
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Each statement's answer and what was read for it, asked in this process.
pub(crate) fn ask(folder: &Folder, sql: &str, actor_attribute: Option<&str>) -> Vec<(Vec<Value>, SqlReport)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = journal::store::open_read(&folder.url).await.unwrap();
        let options = SqlOptions {
            tables: Vec::new(),
            actor_attribute: actor_attribute.map(str::to_owned),
            merge: replayer::merge::MergeOptions::default(),
            query_bytes_max: 256 << 20,
            allow_partial: false,
        };
        let session = SqlSession::open(store, options, &Interrupt::never()).await.unwrap();
        let mut answers = Vec::new();
        let failed = |source| OutputError::Write { name: "memory".to_owned(), source };
        let begin = |schema| {
            let memory = Memory::default();
            let destination = Destination::stream("memory", Box::new(memory.clone()));
            Ok((SqlWriter::begin(SqlFormat::Json, None, schema, destination).map_err(failed)?, memory))
        };
        let take = |(writer, _): &mut (SqlWriter, Memory), batch: &_| Ok(writer.batch(batch).map_err(failed)?);
        let end = |(writer, memory): (SqlWriter, Memory), report| {
            writer.finish().map_err(failed)?.finish()?;
            let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
            answers.push((text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), report));
            Ok(())
        };
        session.run(sql, begin, take, end).await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
        answers
    })
}

#[test]
fn the_state_at_a_cut_is_what_an_export_has() {
    let seconds = told::truth_seconds();
    for folder in [plain(), compacted()] {
        for at in [seconds[1], seconds[seconds.len() / 2], *seconds.last().unwrap()] {
            let at = at.to_string();
            let export = folder.replay(&["export", "--table", TABLE, "--at", &at, "--format", "json"]).run().success();
            let mut expected: Vec<Value> =
                export.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let answers = ask(folder, &format!("SELECT item FROM state_at('{TABLE}', '{at}') ORDER BY path"), None);
            let found: Vec<Value> = answers[0].0.iter().map(|row| row["item"].clone()).collect();
            expected.sort_by_key(|item| item["path"].as_str().unwrap().to_owned());
            assert!(!found.is_empty() && found == expected, "{at}: {} and {}", found.len(), expected.len());
        }
    }
}

#[test]
fn explain_shows_what_is_pushed_down() {
    let folder = compacted();
    let explain = |sql: &str| folder.sql(&[&format!("EXPLAIN {sql}")]).success().stdout;
    let counted = explain("SELECT date_trunc('hour', second), count(*) FROM changes GROUP BY 1");
    assert!(counted.contains("columns=keys and metadata (no images)"), "{counted}");
    let all = explain("SELECT old FROM changes");
    assert!(all.contains("columns=all"), "{all}");
    let one =
        explain("SELECT new FROM changes WHERE table = 'quarantinenotes' AND path = 'README.md' AND kind = 'MODIFY'");
    for told in ["key ranges=1", "keys, metadata and new images", "kind in", "path in", "table in"] {
        assert!(one.contains(told), "{told}: {one}");
    }
    assert!(!one.contains("FilterExec"), "the journal answers it all: {one}");
    let timed =
        explain("SELECT kind FROM changes WHERE second >= '2020-04-01T00:00:00Z' AND second < '2020-04-02T00:00:00Z'");
    assert!(timed.contains("second >= 2020-04-01T00:00:00Z and second <= 2020-04-01T23:59:59Z"), "{timed}");
    assert!(timed.lines().any(|line| line.trim_start().starts_with("JournalExec: changes")), "{timed}");
    let analyzed = explain("ANALYZE SELECT count(*) FROM changes WHERE path = 'README.md'");
    assert!(analyzed.contains("bytes_read=") && analyzed.contains("segments_opened="), "{analyzed}");
}

#[test]
fn an_attribute_of_the_app_names_the_actor() {
    let folder = plain();
    let sql = "SELECT actor, json_get(new, 'author') AS author, kind FROM changes WHERE path = 'README.md'";
    let (rows, _) = &ask(folder, sql, Some("author"))[0];
    assert!(rows.len() > 3);
    for row in rows {
        assert_eq!(row["actor"], row["author"]);
    }
    let (rows, _) = &ask(folder, sql, None)[0];
    assert!(rows.iter().all(|row| row["actor"].is_null()));
}

#[test]
fn a_parquet_file_is_written_whole_under_its_name_and_not_over_another() {
    let folder = plain();
    let file = folder.folder.path().join("changes.parquet");
    let name = file.to_str().unwrap();
    let write = ["--format", "parquet", "--output", name, "SELECT * FROM changes"];
    let _ = folder.sql(&write).success();
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    let _ = folder.sql(&write).failure(6);
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn what_can_be_read_of_a_damaged_journal_is_answered_and_the_rest_is_named() {
    let folder = Folder::filled();
    let segments = folder.segments();
    let victim = &segments[segments.len() / 2];
    let mut bytes = std::fs::read(victim).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::remove_file(victim).unwrap();
    std::fs::write(victim, bytes).unwrap();
    let name = victim.file_name().unwrap().to_str().unwrap();
    for format in ["table", "csv", "json"] {
        let run = folder.sql(&["--format", format, "SELECT count(*) AS n FROM changes"]).failure(4);
        assert!(run.stderr.contains(name), "{}", run.stderr);
        let count: usize = run
            .stdout
            .split(|character: char| !character.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .max()
            .unwrap();
        let all = told::lines().len();
        assert!(count < all && count >= all - 500, "{count} of {all}");
    }
    // A state with a hole would be wrong, not short: it is refused.
    let state = folder.sql(&[&format!("SELECT count(*) FROM state_at('{TABLE}', 'latest')")]).failure(4);
    assert!(state.stderr.contains(name), "{}", state.stderr);
}

#[test]
fn what_is_wrong_with_a_statement_is_said_with_a_caret_under_the_place() {
    let folder = plain();
    let caret = |sql: &str, under: &str| {
        let run = folder.sql(&[sql]).failure(2);
        let lines: Vec<&str> = run.stderr.lines().collect();
        let at = lines.iter().position(|line| line.trim() == "^").unwrap_or_else(|| panic!("{sql}: {}", run.stderr));
        let column = lines[at].find('^').unwrap();
        assert!(lines[at - 1][column..].starts_with(under), "{sql}: {}", run.stderr);
        run.stderr
    };
    caret("SELECT kind FROM changes ORDER kind", "ORDER");
    caret("SELECT kind FRM changes", "changes");
    let said = caret("SELECT kind, nonsense FROM changes", "nonsense");
    assert!(said.contains("quarantinenotes has path (S)"), "the keys are told: {said}");
    let said = caret("SELECT kind FROM changes WHERE pth = 'README.md'", "pth");
    assert!(said.contains("quarantinenotes has path (S)"), "{said}");
    caret("SELECT kind\nFROM nowhere", "nowhere");
    caret("SELECT json_get(new, 'replies[x]') FROM changes", "replies[x]");
    let said = folder.sql(&["SELECT * FROM state_at('nobody', 'latest')"]).failure(2).stderr;
    assert!(said.contains("has no table nobody") && said.contains(TABLE), "{said}");
    let said = folder.sql(&[&format!("SELECT * FROM state_at('{TABLE}', 'soon')")]).failure(2).stderr;
    assert!(said.contains("cannot read \"soon\" as a time"), "{said}");
    let said = folder.sql(&[&format!("SELECT * FROM state_at('{TABLE}', '2001-01-01T00:00:00Z')")]).failure(5).stderr;
    assert!(said.contains("not covered"), "{said}");
    let said = folder.sql(&["--table", "nobody", "SELECT 1"]).failure(2).stderr;
    assert!(said.contains("has no table nobody"), "{said}");
    for writing in
        ["CREATE TABLE x AS SELECT 1", "INSERT INTO changes SELECT * FROM changes", "COPY changes TO 'x.csv'"]
    {
        let said = folder.sql(&[writing]).failure(2).stderr;
        assert!(said.contains("only read") || said.contains("cannot be answered"), "{writing}: {said}");
    }
}

#[test]
fn an_empty_answer_says_why() {
    let folder = plain();
    let said = |sql: &str| {
        let run = folder.sql(&["--format", "csv", sql]).success();
        assert_eq!(run.stdout.lines().count(), 1, "{}", run.stdout);
        run.stderr
    };
    let unknown = said("SELECT kind FROM changes WHERE table = 'nobody'");
    assert!(unknown.contains("no table \"nobody\"") && unknown.contains(TABLE), "{unknown}");
    let nearly = said("SELECT kind FROM changes WHERE table = 'quarantinenote'");
    assert!(nearly.contains("did you mean quarantinenotes?"), "{nearly}");
    let early = said("SELECT kind FROM changes WHERE second < '2001-01-01T00:00:00Z'");
    assert!(early.contains("outside what the journal covers"), "{early}");
    let absent = said("SELECT kind FROM changes WHERE path = 'no such file'");
    assert!(absent.contains("has nothing of changes with path in (\"no such file\")"), "{absent}");
}

#[test]
fn statements_come_from_standard_input_and_go_on_over_lines() {
    let folder = plain();
    let file = folder.folder.path().join("statements.sql");
    std::fs::write(&file, "SELECT count(*) AS n\nFROM changes;\n-- another\nSELECT 1 AS one;").unwrap();
    let run = folder.replay(&["sql", "--format", "csv"]).stdin(std::fs::File::open(&file).unwrap()).run().success();
    assert_eq!(run.stdout, format!("n\n{}\none\n1\n", told::lines().len()));
}
