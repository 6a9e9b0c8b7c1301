//! The fixture's records, read with nothing of ours.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use crate::TABLE;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/histories/{TABLE}.{name}"))
}

/// The records as they lie in the file, one a line.
pub(crate) fn lines() -> &'static [String] {
    static LINES: OnceLock<Vec<String>> = OnceLock::new();
    LINES.get_or_init(|| {
        let mut text = String::new();
        let file = std::fs::File::open(fixture("records.jsonl.gz")).unwrap();
        flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
        text.lines().map(str::to_owned).collect()
    })
}

/// The seconds of which git itself tells the state.
pub(crate) fn truth_seconds() -> Vec<u64> {
    let truth: Value = serde_json::from_slice(&std::fs::read(fixture("truth.json")).unwrap()).unwrap();
    truth["truth"].as_array().unwrap().iter().map(|one| one["at"].as_u64().unwrap()).collect()
}

/// A value of `DynamoDB` JSON as plain JSON; the fixture has strings, numbers, lists and maps.
fn plain(value: &Value) -> Value {
    let (kind, content) = value.as_object().unwrap().iter().next().unwrap();
    match kind.as_str() {
        "S" => content.clone(),
        "N" => serde_json::from_str(content.as_str().unwrap()).unwrap(),
        "L" => content.as_array().unwrap().iter().map(plain).collect(),
        "M" => Value::Object(item(content)),
        other => panic!("type {other}"),
    }
}

fn item(attributes: &Value) -> Map<String, Value> {
    attributes.as_object().unwrap().iter().map(|(name, value)| (name.clone(), plain(value))).collect()
}

/// The records as a table of a database that knows nothing of journals; seconds are text.
pub(crate) fn database() -> rusqlite::Connection {
    let database = rusqlite::Connection::open_in_memory().unwrap();
    database
        .execute_batch(
            "CREATE TABLE changes (\"table\" TEXT, timeline TEXT, sequence TEXT, second TEXT, epoch INTEGER, kind TEXT, \
             actor TEXT, path TEXT, old TEXT, new TEXT); BEGIN",
        )
        .unwrap();
    let mut insert =
        database.prepare("INSERT INTO changes VALUES (?1,?2,?3,datetime(?4,'unixepoch'),?4,?5,NULL,?6,?7,?8)").unwrap();
    for line in lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let stream = &record["dynamodb"];
        let arn: Vec<&str> = record["eventSourceARN"].as_str().unwrap().split('/').collect();
        let image = |name: &str| stream.get(name).map(|image| Value::Object(item(image)).to_string());
        insert
            .execute(rusqlite::params![
                arn[1],
                arn[3],
                stream["SequenceNumber"].as_str(),
                stream["ApproximateCreationDateTime"].as_i64(),
                record["eventName"].as_str(),
                stream["Keys"]["path"]["S"].as_str(),
                image("OldImage"),
                image("NewImage"),
            ])
            .unwrap();
    }
    drop(insert);
    database.execute_batch("COMMIT").unwrap();
    database
}
