//! Thirty questions, each asked of the journal and of `SQLite` on the same records.

use rusqlite::types::ValueRef;
use serde_json::{Map, Value};

use crate::{Folder, ask, compacted, plain, told};

/// What is asked here, and the same in `SQLite`'s words; the latter is empty where both understand the first.
const QUERIES: [(&str, &str); 30] = [
    ("SELECT count(*) AS n FROM changes", ""),
    ("SELECT kind, count(*) AS n FROM changes GROUP BY kind", ""),
    ("SELECT count(DISTINCT path) AS n FROM changes", ""),
    ("SELECT \"table\", timeline, count(*) AS n FROM changes GROUP BY \"table\", timeline", ""),
    (
        "SELECT CAST(date_trunc('hour', second) AS BIGINT) AS hour, count(*) AS n FROM changes GROUP BY 1",
        "SELECT epoch / 3600 * 3600 AS hour, count(*) AS n FROM changes GROUP BY 1",
    ),
    (
        "SELECT CAST(date_trunc('day', second) AS BIGINT) AS day, kind, count(*) AS n FROM changes GROUP BY 1, 2",
        "SELECT epoch / 86400 * 86400 AS day, kind, count(*) AS n FROM changes GROUP BY 1, 2",
    ),
    ("SELECT sequence, kind, new FROM changes WHERE path = 'README.md'", ""),
    ("SELECT sequence, old FROM changes WHERE path = 'README.md' AND kind = 'MODIFY'", ""),
    ("SELECT sequence FROM changes WHERE path IN ('README.md', 'package.json', 'nobody')", ""),
    (
        "SELECT sequence, path FROM changes WHERE path LIKE 'frontend/%'",
        "SELECT sequence, path FROM changes WHERE path GLOB 'frontend/*'",
    ),
    ("SELECT sequence FROM changes WHERE path >= 'a' AND path < 'c'", ""),
    ("SELECT sequence FROM changes WHERE path > 'p' AND path <= 'package.json'", ""),
    ("SELECT kind, count(*) AS n FROM changes WHERE kind <> 'MODIFY' GROUP BY kind", ""),
    ("SELECT sequence FROM changes WHERE kind = 'REMOVE' OR kind = 'INSERT'", ""),
    (
        "SELECT sequence FROM changes WHERE second >= '2020-04-01T00:00:00Z' AND second < '2020-05-01T00:00:00Z'",
        "SELECT sequence FROM changes WHERE second >= '2020-04-01 00:00:00' AND second < '2020-05-01 00:00:00'",
    ),
    (
        "SELECT sequence FROM changes WHERE second BETWEEN '2020-03-22T00:00:00Z' AND '2020-06-01T12:30:00Z' AND kind = 'INSERT'",
        "SELECT sequence FROM changes WHERE second BETWEEN '2020-03-22 00:00:00' AND '2020-06-01 12:30:00' AND kind = 'INSERT'",
    ),
    (
        "SELECT CAST(min(second) AS BIGINT) AS first, CAST(max(second) AS BIGINT) AS last FROM changes WHERE path LIKE '%.js'",
        "SELECT min(epoch) AS first, max(epoch) AS last FROM changes WHERE path LIKE '%.js'",
    ),
    (
        "SELECT json_get(new, 'author') AS author, count(*) AS n FROM changes GROUP BY 1",
        "SELECT json_extract(new, '$.author') AS author, count(*) AS n FROM changes GROUP BY 1",
    ),
    (
        "SELECT path, json_number(new, 'size') AS size FROM changes WHERE json_number(new, 'size') > 100000",
        "SELECT path, CAST(json_extract(new, '$.size') AS REAL) AS size FROM changes WHERE json_extract(new, '$.size') > 100000",
    ),
    (
        "SELECT json_get(new, 'where.ext') AS ext, sum(json_number(new, 'size')) AS bytes FROM changes WHERE kind = 'INSERT' GROUP BY 1",
        "SELECT json_extract(new, '$.where.ext') AS ext, sum(CAST(json_extract(new, '$.size') AS REAL)) AS bytes FROM changes \
         WHERE kind = 'INSERT' GROUP BY 1",
    ),
    (
        "SELECT json_get(new, 'parents[0]') AS parent, count(*) AS n FROM changes WHERE new IS NOT NULL GROUP BY 1 HAVING count(*) > 20",
        "SELECT json_extract(new, '$.parents[0]') AS parent, count(*) AS n FROM changes WHERE new IS NOT NULL GROUP BY 1 \
         HAVING count(*) > 20",
    ),
    (
        "SELECT json_length(new, 'parents') AS parents, count(*) AS n FROM changes WHERE new IS NOT NULL GROUP BY 1",
        "SELECT json_array_length(new, '$.parents') AS parents, count(*) AS n FROM changes WHERE new IS NOT NULL GROUP BY 1",
    ),
    (
        "SELECT json_type(new, 'size') AS kind_of, json_type(new, 'where') AS another, count(*) AS n FROM changes \
         WHERE new IS NOT NULL GROUP BY 1, 2",
        "SELECT replace(json_type(new, '$.size'), 'integer', 'number') AS kind_of, json_type(new, '$.where') AS another, \
         count(*) AS n FROM changes WHERE new IS NOT NULL GROUP BY 1, 2",
    ),
    (
        "SELECT count(*) AS n FROM changes WHERE json_get(old, 'blob') IS DISTINCT FROM json_get(new, 'blob')",
        "SELECT count(*) AS n FROM changes WHERE json_extract(old, '$.blob') IS NOT json_extract(new, '$.blob')",
    ),
    ("SELECT path, count(*) AS n FROM changes GROUP BY path ORDER BY n DESC, path LIMIT 10", ""),
    (
        "SELECT path, n FROM (SELECT path, count(*) AS n, rank() OVER (ORDER BY count(*) DESC) AS place FROM changes GROUP BY path) \
         WHERE place <= 5",
        "",
    ),
    (
        "SELECT a.path FROM changes a JOIN changes b ON a.path = b.path WHERE a.kind = 'REMOVE' AND b.kind = 'INSERT' \
         AND sequence_order(a.sequence) < sequence_order(b.sequence) GROUP BY a.path",
        "SELECT a.path FROM changes a JOIN changes b ON a.path = b.path WHERE a.kind = 'REMOVE' AND b.kind = 'INSERT' \
         AND a.sequence < b.sequence GROUP BY a.path",
    ),
    ("SELECT path FROM changes WHERE kind = 'INSERT' EXCEPT SELECT path FROM changes WHERE kind = 'REMOVE'", ""),
    (
        "WITH last AS (SELECT path, max(sequence) AS sequence FROM changes GROUP BY path) SELECT c.path, c.kind FROM changes c \
         JOIN last ON c.path = last.path AND c.sequence = last.sequence WHERE c.kind <> 'REMOVE'",
        "",
    ),
    (
        "SELECT path, max(sequence) AS sequence FROM changes WHERE (json_get(old, 'blob') IS DISTINCT FROM json_get(new, 'blob')) \
         AND new IS NOT NULL GROUP BY path",
        "SELECT path, max(sequence) AS sequence FROM changes WHERE json_extract(old, '$.blob') IS NOT json_extract(new, '$.blob') \
         AND new IS NOT NULL GROUP BY path",
    ),
];

/// Rows of `SQLite`, as JSON.
fn rows_of(database: &rusqlite::Connection, sql: &str) -> Vec<Value> {
    let mut statement = database.prepare(sql).unwrap();
    let names: Vec<String> = statement.column_names().iter().map(|name| (*name).to_owned()).collect();
    let rows = statement.query_map([], |row| {
        let mut object = Map::new();
        for (at, name) in names.iter().enumerate() {
            let value = match row.get_ref(at)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(number) => Value::from(number),
                ValueRef::Real(number) => Value::from(number),
                ValueRef::Text(text) if name == "old" || name == "new" => serde_json::from_slice(text).unwrap(),
                ValueRef::Text(text) => Value::from(std::str::from_utf8(text).unwrap()),
                ValueRef::Blob(_) => panic!("a blob"),
            };
            object.insert(name.clone(), value);
        }
        Ok(Value::Object(object))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Rows in one order, numbers in one form: 5 and 5.0 are the same.
fn sorted(rows: &[Value]) -> Vec<String> {
    fn one(value: &Value) -> Value {
        match value {
            Value::Number(number) => Value::from(format!("{:.6}", number.as_f64().unwrap())),
            Value::Array(list) => list.iter().map(one).collect(),
            Value::Object(map) => Value::Object(map.iter().map(|(name, value)| (name.clone(), one(value))).collect()),
            other => other.clone(),
        }
    }
    let mut rows: Vec<String> = rows.iter().map(|row| one(row).to_string()).collect();
    rows.sort();
    rows
}

/// `DuckDB` in a process of its own, by the Python that has it.
fn duckdb(python: &str, queries: &std::path::Path, rows: &std::path::Path) -> Vec<Vec<Value>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/components/ask_duckdb.py");
    let output = std::process::Command::new(python).arg(script).args([queries, rows]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn thirty_answers_are_those_of_duckdb_on_the_records_and_on_our_parquet() {
    let Ok(python) = std::env::var("JOURNAL_TEST_DUCKDB") else {
        return journal_tests::skip(
            "thirty_answers_are_those_of_duckdb_on_the_records_and_on_our_parquet",
            "JOURNAL_TEST_DUCKDB names no Python with DuckDB; `tests/run sql` installs one",
        );
    };
    let folder = compacted();
    let place = folder.folder.path().join("duckdb");
    std::fs::create_dir(&place).unwrap();
    let (queries, rows, parquet) = (place.join("queries"), place.join("rows"), place.join("rows.parquet"));
    let text: Vec<&str> = QUERIES.iter().map(|(ours, _)| *ours).collect();
    std::fs::write(&queries, serde_json::to_string(&text).unwrap()).unwrap();
    let plain = "SELECT \"table\", timeline, sequence, second, kind, path, old, new FROM changes";
    let lines: Vec<String> = rows_of(&told::database(), plain)
        .into_iter()
        .map(|mut row| {
            for image in ["old", "new"] {
                if row[image].is_object() {
                    row[image] = Value::from(row[image].to_string());
                }
            }
            row.to_string()
        })
        .collect();
    std::fs::write(&rows, lines.join("\n")).unwrap();
    let name = parquet.to_str().unwrap();
    let _ = folder.sql(&["--format", "parquet", "--output", name, "SELECT * FROM changes"]).success();
    let ours = ask(folder, &text.join(";\n"), None);
    for source in [&rows, &parquet] {
        let theirs = duckdb(&python, &queries, source);
        for ((query, (found, _)), expected) in text.iter().zip(&ours).zip(&theirs) {
            assert!(sorted(found) == sorted(expected), "{}: {query}", source.display());
        }
    }
}

fn compare(folder: &Folder) {
    let database = told::database();
    let text: Vec<&str> = QUERIES.iter().map(|(ours, _)| *ours).collect();
    let answers = ask(folder, &text.join(";\n"), None);
    assert_eq!(answers.len(), QUERIES.len());
    for ((ours, theirs), (found, _)) in QUERIES.iter().zip(&answers) {
        let expected = rows_of(&database, if theirs.is_empty() { ours } else { theirs });
        let (found, expected) = (sorted(found), sorted(&expected));
        assert!(!expected.is_empty(), "{ours} has an empty answer, which proves nothing");
        let missing = expected.iter().find(|row| !found.contains(row));
        let more = found.iter().find(|row| !expected.contains(row));
        assert!(found == expected, "{ours}\nexpected, not found: {missing:?}\nfound, not expected: {more:?}");
    }
}

#[test]
fn thirty_answers_are_those_of_sqlite_on_the_records() {
    compare(plain());
}

#[test]
fn thirty_answers_are_the_same_after_compaction() {
    compare(compacted());
}
