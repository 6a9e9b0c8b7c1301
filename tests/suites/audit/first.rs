//! The first changes of a log come before the rest is read. What is looked at is the order of reads and of changes, and bytes; no clock.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use journal::model::TableName;
use journal::store::{ListPage, ObjectVersion, ReadStore, StoreError};
use replayer::audit::{Change, Direction, History, HistoryRequest, history};
use replayer::key_schema::KeySelection;
use replayer::merge::{Columns, MergeOptions};

use journal_tests::processes::journal;
use serde_json::json;

const TABLE: &str = "notes-table-dev";
const RECORDS: usize = 2400;
const OF_A_SEGMENT: usize = 40;
const SEGMENTS: usize = RECORDS / OF_A_SEGMENT;

#[derive(Debug, Clone, PartialEq)]
enum Event {
    /// So many bytes of a segment were asked for.
    Read(String, u64),
    /// A change was given out.
    Shown(String),
}

/// A store that notes what is read of segments.
#[derive(Debug)]
struct Recording {
    inner: Arc<dyn ReadStore>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Recording {
    fn note(&self, key: &str, bytes: usize) {
        if Path::new(key).extension().is_some_and(|extension| extension == "seg") {
            self.events.lock().unwrap().push(Event::Read(key.to_owned(), u64::try_from(bytes).unwrap()));
        }
    }
}

#[async_trait]
impl ReadStore for Recording {
    fn location(&self) -> &str {
        self.inner.location()
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        let bytes = self.inner.get(key).await?;
        self.note(key, bytes.len());
        Ok(bytes)
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let bytes = self.inner.get_range(key, range).await?;
        self.note(key, bytes.len());
        Ok(bytes)
    }

    async fn get_tail(&self, key: &str, length: u64) -> Result<(Bytes, u64), StoreError> {
        let (bytes, size) = self.inner.get_tail(key, length).await?;
        self.note(key, bytes.len());
        Ok((bytes, size))
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, StoreError> {
        self.inner.list(prefix, after).await
    }

    async fn list_folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.inner.list_folders(folder).await
    }

    async fn list_versions(&self, prefix: &str) -> Result<Vec<ObjectVersion>, StoreError> {
        self.inner.list_versions(prefix).await
    }
}

fn sequence(number: usize) -> String {
    (100_000_000_000_000_000_000u128 + u128::try_from(number).unwrap()).to_string()
}

/// A journal of many segments, a record every three seconds; every fifth record lies in the segment before, so that neighbours overlap.
fn filled() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let url = journal::store::file_url(&folder.path().join("journal")).unwrap();
    let _ = journal().args(["init", "--journal", &url]).run().success();
    let mut files = vec![Vec::new(); SEGMENTS];
    for number in 0..RECORDS {
        let key = json!({ "noteId": { "S": format!("note-{number:05}") } });
        let content = format!("{number} {}", "words ".repeat(20));
        let record = json!({
            "eventID": number.to_string(), "eventVersion": "1.1", "eventName": "INSERT", "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1",
            "dynamodb": {
                "ApproximateCreationDateTime": 1_700_000_000 + 3 * number,
                "Keys": key,
                "NewImage": { "noteId": key["noteId"], "content": { "S": content } },
                "SequenceNumber": sequence(number),
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
            "eventSourceARN": format!("arn:aws:dynamodb:us-east-1:000000000000:table/{TABLE}/stream/2020-03-29T00:00:00.000"),
        });
        let file = (number / OF_A_SEGMENT).saturating_sub(usize::from(number % 5 == 0));
        files[file].push(record.to_string());
    }
    let paths = files.iter().enumerate().map(|(number, lines)| {
        let path = folder.path().join(format!("{number}.jsonl"));
        std::fs::write(&path, lines.join("\n")).unwrap();
        path
    });
    let paths: Vec<_> = paths.collect();
    let _ = journal().args(["ingest", "--journal", &url]).args(&paths).run().success();
    (folder, url)
}

/// The sequence numbers in the order of a direction.
fn expected(direction: Direction) -> Vec<String> {
    let all = (0..RECORDS).map(sequence);
    if direction == Direction::NewestFirst { all.rev().collect() } else { all.collect() }
}

/// What happened while the changes were asked for, in order.
async fn asked(url: &str, limit: usize, direction: Direction) -> (History, Vec<Event>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let inner = journal::store::open_read(url).await.unwrap();
    let store = Arc::new(Recording { inner, events: Arc::clone(&events) });
    let request = HistoryRequest {
        table: TableName::parse(TABLE).unwrap(),
        timeline: None,
        keys: KeySelection::default(),
        since: None,
        until: None,
        kinds: Vec::new(),
        by: None,
        limit,
        direction,
        columns: Columns::All,
    };
    let shown = Arc::clone(&events);
    let visit = |change: Change| {
        shown.lock().unwrap().push(Event::Shown(change.sequence.to_string()));
        Ok(())
    };
    let found =
        history(store, request, |_| Ok(KeySelection::default()), &MergeOptions::default(), visit).await.unwrap();
    let events = events.lock().unwrap().clone();
    (found, events)
}

fn shown(events: &[Event]) -> Vec<&str> {
    let mut shown = Vec::new();
    for event in events {
        if let Event::Shown(sequence) = event {
            shown.push(sequence.as_str());
        }
    }
    shown
}

fn segments(events: &[Event]) -> BTreeSet<&str> {
    events.iter().filter_map(|event| if let Event::Read(key, _) = event { Some(key.as_str()) } else { None }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_changes_are_given_out_before_the_rest_is_read() {
    let (_folder, url) = filled();
    for direction in [Direction::NewestFirst, Direction::OldestFirst] {
        let (found, events) = asked(&url, 1_000_000, direction).await;
        assert_eq!(shown(&events), expected(direction));
        assert_eq!((found.changes, found.more), (RECORDS, false));
        let first = events.iter().position(|event| matches!(event, Event::Shown(_))).unwrap();
        let (before, all) = (segments(&events[..first]).len(), segments(&events).len());
        assert_eq!(all, found.segments);
        // One more, of which the table's key is known.
        assert!(before <= 9 && all >= SEGMENTS, "the first change came after {before} of {all} segments were read");
        // Reads and changes take turns: what is certain is not held back to the end.
        let last_read = events.iter().rposition(|event| matches!(event, Event::Read(..))).unwrap();
        let held_back = shown(&events[last_read..]).len();
        assert!(held_back * 4 < RECORDS * 3, "{held_back} of {RECORDS} came after the last read");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_ends_the_reading() {
    let (_folder, url) = filled();
    let bytes = |events: &[Event]| -> u64 {
        events.iter().map(|event| if let Event::Read(_, bytes) = event { *bytes } else { 0 }).sum()
    };
    for direction in [Direction::NewestFirst, Direction::OldestFirst] {
        let (found, events) = asked(&url, 20, direction).await;
        assert_eq!((found.changes, found.more), (20, true));
        assert_eq!(shown(&events), expected(direction)[..20]);
        let read = bytes(&events);
        assert!(read * 4 < found.segment_bytes, "{read} of {} bytes were read for 20 changes", found.segment_bytes);
        let (all, _) = asked(&url, RECORDS, direction).await;
        assert_eq!((all.changes, all.more), (RECORDS, false));
    }
}
