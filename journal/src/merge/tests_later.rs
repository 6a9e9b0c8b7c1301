//! Runs of a merge that lie one behind the other: each is opened when the merge gets to its first key, and nothing is lost at the border.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::*;
use crate::cut::Position;
use crate::format::{Columns, RunWriter, WriterOptions};
use crate::model::{
    ChangeKind, ChangeRecord, Image, ItemKey, KeyAttribute, KeyAttributes, KeyType, SequenceNumber, StreamArn,
};
use crate::store::memory::{FaultPlan, FaultyStore, MemoryStore, OperationName};
use crate::store::{ListPage, ObjectVersion, StoreError, WriteStore as _};

const RUNS: u64 = 5;
/// Keys from the first of a run to the first of the next one.
const KEYS: u64 = 100;

/// An image that takes some kilobytes, compressed or not.
fn image(seed: u64) -> Image {
    let mut random = seed;
    let noise = (0..16 << 10).map(|_| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random.to_be_bytes()[0]
    });
    Image::from_bytes(noise.collect())
}

fn insert(key: u64, sequence: u64) -> ChangeRecord {
    ChangeRecord {
        key: ItemKey::from_bytes(Bytes::from(format!("{key:06}"))),
        sequence: SequenceNumber::parse(&sequence.to_string()).unwrap(),
        second: Second::new(1_000_000 + sequence).ok(),
        kind: ChangeKind::Insert,
        old: None,
        new: Some(image(sequence)),
        user: None,
    }
}

/// Runs above the bound to which objects are fetched whole. The last key of each is the first of the next one: a record of each has the
/// key, and another is in both.
async fn runs() -> (Arc<FaultyStore>, Vec<RunInput>, Vec<u64>) {
    runs_of(WriterOptions::columns()).await
}

async fn runs_of(options: WriterOptions) -> (Arc<FaultyStore>, Vec<RunInput>, Vec<u64>) {
    let names = KeyAttributes::new(vec![KeyAttribute { name: "id".to_owned(), key_type: KeyType::S }]).unwrap();
    let stream = StreamArn::parse("arn:aws:dynamodb:x:0:table/notes/stream/1").unwrap();
    let (store, mut inputs, mut sequences) = (MemoryStore::default(), Vec::new(), Vec::new());
    for run in 0..RUNS {
        let first = run * KEYS;
        let mut records: Vec<ChangeRecord> =
            (first..=first + KEYS).map(|key| insert(key, 10 * key + run + 1)).collect();
        records.push(insert(first + KEYS, 10 * (first + KEYS) + 9));
        if run > 0 {
            records.insert(1, insert(first, 10 * first + 9));
        }
        sequences.extend(records.iter().map(|record| record.sequence.to_string().parse::<u64>().unwrap()));
        let options = WriterOptions { block_bytes: 32 << 10, ..options };
        let run = RunWriter::encode(options, stream.clone(), names.clone(), &records).unwrap();
        let key = format!("run-{}", inputs.len());
        assert!(run.size > super::open::WHOLE_BYTES_MAX);
        store.put_new(&key, Bytes::from(run.bytes)).await.unwrap();
        inputs.push(RunInput { key, size: run.size, kind: RunKind::Segment, from: None, until: None });
    }
    sequences.sort_unstable();
    (Arc::new(FaultyStore::new(Arc::new(store), FaultPlan::none())), inputs, sequences)
}

/// The runs of which blocks were asked for.
fn read_of(store: &FaultyStore) -> Vec<String> {
    let operations = store.operations();
    let ranges = operations.iter().filter(|operation| operation.name == OperationName::GetRange);
    let mut keys: Vec<String> = ranges.map(|operation| operation.key.clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_read_when_the_merge_gets_to_its_first_key() {
    let (store, inputs, mut expected) = runs().await;
    let copies = u64::try_from(expected.len()).unwrap();
    expected.dedup();
    let copies = copies - u64::try_from(expected.len()).unwrap();
    assert_eq!(copies, RUNS - 1);
    let (seen, into) = (Arc::new(Mutex::new(Vec::new())), store.clone());
    let found = seen.clone();
    let visit = move |record: RecordRef<'_>| {
        let sequence: u64 = record.sequence.to_string().parse().unwrap();
        found.lock().unwrap().push(sequence);
        // The run at hand, and the next one, which is asked for ahead; at a border the one before is still there.
        let at = sequence / 10 / KEYS;
        let beyond = format!("run-{}", at + 2);
        assert!(read_of(&into).iter().all(|run| *run < beyond), "{:?} at {sequence}", read_of(&into));
        Ok(())
    };
    let mut shuffled = inputs.clone();
    shuffled.rotate_left(2);
    let report = for_each_record(store.clone(), shuffled, None, MergeOptions::default(), visit).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!((report.duplicates, report.contradictions), (copies, 0));
    assert_eq!(read_of(&store).len(), inputs.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_lost_where_runs_meet_whatever_range_is_read() {
    let (store, inputs, mut sequences) = runs().await;
    sequences.dedup();
    let mut last = BTreeMap::new();
    for sequence in sequences {
        last.insert(sequence / 10, sequence);
    }
    let cut = Cut { position: Position::Second(Second::MAX), inclusive: true };
    for range in [0..u64::MAX, 99..101, 100..101, 101..200, 100..200, 101..201, 99..401, 400..401, 500..501, 501..600] {
        let key = |number: u64| Bytes::from(format!("{:06}", number.min(999_999)));
        let keys = (range.start > 0).then(|| key(range.start)..key(range.end));
        let found = Arc::new(Mutex::new(Vec::new()));
        let into = found.clone();
        for_each_item(store.clone(), inputs.clone(), cut, keys, MergeOptions::default(), move |item| {
            into.lock().unwrap().push(item.sequence.unwrap().to_string().parse::<u64>().unwrap());
            Ok(())
        })
        .await
        .unwrap();
        let expected: Vec<u64> = last.range(range.clone()).map(|(_, sequence)| *sequence).collect();
        assert_eq!(*found.lock().unwrap(), expected, "{range:?}");
    }
}

/// A store that reads one object at a time, and is asked in order.
#[derive(Debug)]
struct OneByOne {
    inner: Arc<FaultyStore>,
    place: tokio::sync::Semaphore,
}

impl OneByOne {
    async fn wait(&self) -> tokio::sync::SemaphorePermit<'_> {
        let place = self.place.acquire().await.unwrap();
        tokio::task::yield_now().await;
        place
    }
}

#[async_trait::async_trait]
impl ReadStore for OneByOne {
    fn location(&self) -> &str {
        self.inner.location()
    }

    async fn get(&self, key: &str) -> std::result::Result<Bytes, StoreError> {
        let _place = self.wait().await;
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> std::result::Result<Bytes, StoreError> {
        let _place = self.wait().await;
        self.inner.get_range(key, range).await
    }

    async fn get_tail(&self, key: &str, length: u64) -> std::result::Result<(Bytes, u64), StoreError> {
        let _place = self.wait().await;
        self.inner.get_tail(key, length).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> std::result::Result<ListPage, StoreError> {
        self.inner.list(prefix, after).await
    }

    async fn list_folders(&self, folder: &str) -> std::result::Result<Vec<String>, StoreError> {
        self.inner.list_folders(folder).await
    }

    async fn list_versions(&self, prefix: &str) -> std::result::Result<Vec<ObjectVersion>, StoreError> {
        self.inner.list_versions(prefix).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_are_opened_ahead_do_not_keep_the_one_at_hand_from_being_read() {
    for options in [WriterOptions::rows(), WriterOptions::columns()] {
        let (store, inputs, mut expected) = runs_of(options).await;
        expected.dedup();
        let store = Arc::new(OneByOne { inner: store, place: tokio::sync::Semaphore::new(1) });
        for columns in [Columns::Keys, Columns::All] {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let found = seen.clone();
            let visit = move |record: RecordRef<'_>| {
                found.lock().unwrap().push(record.sequence.to_string().parse::<u64>().unwrap());
                Ok(true)
            };
            let scan = RecordScan { columns, ..RecordScan::default() };
            let scanning = scan_records(store.clone(), inputs.clone(), scan, MergeOptions::default(), visit);
            let ended = tokio::time::timeout(std::time::Duration::from_mins(1), scanning).await;
            let _ = ended.expect("nobody waits for ever").unwrap();
            assert_eq!(*seen.lock().unwrap(), expected);
        }
    }
}
