//! A scan of an interval by a run's time index: all its records, and little else read.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::*;
use crate::format::{RunWriter, TopLayout, WriterOptions, read_top};
use crate::model::{
    ChangeKind, ChangeRecord, Image, ItemKey, KeyAttribute, KeyAttributes, KeyType, SequenceNumber, StreamArn,
};
use crate::store::WriteStore as _;
use crate::store::memory::MemoryStore;

const RECORDS: u64 = 6000;
const FIRST: u64 = 1_585_440_000;
/// Seconds of a month.
const MONTH: u64 = 30 * 86_400;

fn second_of(number: u64) -> u64 {
    FIRST + number * 7_919_333 % MONTH
}

/// A run above the bound to which objects are fetched whole, of records all over a month in the order of their keys.
fn a_month() -> Vec<u8> {
    let mut random = 1u64;
    let records: Vec<ChangeRecord> = (0..RECORDS)
        .map(|number| {
            let noise = (0..300).map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                random.to_be_bytes()[0]
            });
            ChangeRecord {
                key: ItemKey::from_bytes(Bytes::from(format!("{number:06}"))),
                sequence: SequenceNumber::parse(&(number + 1).to_string()).unwrap(),
                second: Second::new(second_of(number)).ok(),
                kind: ChangeKind::Insert,
                old: None,
                new: Some(Image::from_bytes(noise.collect())),
                user: None,
            }
        })
        .collect();
    let names = KeyAttributes::new(vec![KeyAttribute { name: "id".to_owned(), key_type: KeyType::S }]).unwrap();
    let stream = StreamArn::parse("arn:aws:dynamodb:x:0:table/notes/stream/1").unwrap();
    let options = WriterOptions { block_bytes: 8 << 10, ..WriterOptions::columns() };
    RunWriter::encode(options, stream, names, &records).unwrap().bytes
}

/// The numbers of the records of an interval that a scan finds, and what it did.
async fn scan(bytes: &[u8], scan: RecordScan) -> (Vec<u64>, Result<MergeReport>) {
    let store = Arc::new(MemoryStore::default());
    store.put_new("run", Bytes::from(bytes.to_vec())).await.unwrap();
    let size = u64::try_from(bytes.len()).unwrap();
    let input = RunInput { key: "run".to_owned(), size, kind: RunKind::Segment, from: None, until: None };
    let seconds = scan.seconds;
    let found = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&found);
    let merged = scan_records(store, vec![input], scan, MergeOptions::default(), move |record| {
        let number: u64 = std::str::from_utf8(record.key).unwrap().parse().unwrap();
        if seconds.is_none_or(|(from, through)| record.second.is_some_and(|at| at >= from && at <= through)) {
            into.lock().unwrap().push(number);
        }
        Ok(true)
    })
    .await;
    let found = std::mem::take(&mut *found.lock().unwrap());
    (found, merged)
}

fn hour(number: u64) -> (Second, Second) {
    let from = FIRST + number * 3600;
    (Second::new(from).unwrap(), Second::new(from + 3599).unwrap())
}

fn records_of((from, through): (Second, Second)) -> Vec<u64> {
    (0..RECORDS).filter(|number| (from.get()..=through.get()).contains(&second_of(*number))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_of_a_month_is_found_whole_by_reading_a_small_part() {
    let bytes = a_month();
    let size = u64::try_from(bytes.len()).unwrap();
    assert!(size > super::open::WHOLE_BYTES_MAX);
    for number in [0, 5, 400, 719] {
        let seconds = hour(number);
        for columns in [Columns::All, Columns::New, Columns::Keys] {
            let wanted = RecordScan { seconds: Some(seconds), columns, ..RecordScan::default() };
            let (found, merged) = scan(&bytes, wanted).await;
            assert_eq!(found, records_of(seconds), "hour {number}");
            let read = merged.unwrap().bytes_read;
            assert!(read < size / 10, "hour {number}: {read} of {size} bytes");
        }
    }
    // A range of keys beside the interval: blocks of both.
    let keys = Bytes::from("001000")..Bytes::from("004500");
    let wanted = RecordScan { seconds: Some(hour(400)), keys: Some(keys), ..RecordScan::default() };
    let (found, _) = scan(&bytes, wanted).await;
    let expected: Vec<u64> = records_of(hour(400)).into_iter().filter(|number| (1000..4500).contains(number)).collect();
    assert!(!expected.is_empty() && found == expected, "{found:?}, {expected:?}");
}

/// A scan that names what it cannot read misses nothing because the time index is damaged; another one ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_time_index_hides_no_record() {
    let mut bytes = a_month();
    let size = u64::try_from(bytes.len()).unwrap();
    let TopLayout::Complete(top) = read_top("run", &bytes, size).unwrap() else { panic!("all of it is there") };
    let directory = usize::try_from(top.time_directory().unwrap().start).unwrap();
    for at in [directory, directory - 1] {
        bytes[at] ^= 1;
        let unreadable = UnreadableList::default();
        let seconds = Some((Second::MIN, Second::MAX));
        let wanted = RecordScan { seconds, unreadable: Some(unreadable.clone()), ..RecordScan::default() };
        let (found, merged) = scan(&bytes, wanted).await;
        merged.unwrap();
        assert_eq!(found, (0..RECORDS).collect::<Vec<_>>());
        assert_eq!(unreadable.to_vec().iter().map(|one| one.object.as_str()).collect::<Vec<_>>(), ["run"]);
        let (_, merged) = scan(&bytes, RecordScan { seconds, ..RecordScan::default() }).await;
        assert_eq!(merged.unwrap_err().kind(), crate::error::Kind::Corrupt);
        bytes[at] ^= 1;
    }
}
