//! Long runs, whose index is read a stretch at a time: all their records, each byte read once, on any number of threads.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::*;
use crate::cut::Position;
use crate::format::{RunWriter, TAIL_BYTES, TopLayout, WriterOptions, read_top};
use crate::model::{
    ChangeKind, ChangeRecord, Image, ItemKey, KeyAttribute, KeyAttributes, KeyType, SequenceNumber, StreamArn,
};
use crate::store::WriteStore as _;
use crate::store::memory::MemoryStore;

const RECORDS: u64 = 4000;

/// A run of many blocks, above the bound to which objects are fetched whole: each key has two records.
fn long_run() -> Vec<u8> {
    let mut random = 1u64;
    let mut image = || {
        let noise = (0..400).map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            random.to_be_bytes()[0]
        });
        Image::from_bytes(noise.collect())
    };
    let mut records: Vec<ChangeRecord> = Vec::new();
    for number in 0..RECORDS {
        let old = records.last().filter(|_| number % 2 == 1).and_then(|record| record.new.clone());
        records.push(ChangeRecord {
            key: ItemKey::from_bytes(Bytes::from(format!("{:06}", number / 2))),
            sequence: SequenceNumber::parse(&(number + 1).to_string()).unwrap(),
            second: Second::new(1_000_000 + number).ok(),
            kind: if old.is_some() { ChangeKind::Modify } else { ChangeKind::Insert },
            old,
            new: Some(image()),
            user: None,
        });
    }
    let names = KeyAttributes::new(vec![KeyAttribute { name: "id".to_owned(), key_type: KeyType::S }]).unwrap();
    let stream = StreamArn::parse("arn:aws:dynamodb:x:0:table/notes/stream/1").unwrap();
    // Every record is a block, so that the index has more pages than a stretch.
    RunWriter::encode(WriterOptions { block_bytes: 1, ..WriterOptions::columns() }, stream, names, &records)
        .unwrap()
        .bytes
}

async fn stored(bytes: Vec<u8>) -> (Arc<dyn ReadStore>, Vec<RunInput>) {
    let store = Arc::new(MemoryStore::default());
    let size = u64::try_from(bytes.len()).unwrap();
    store.put_new("run", Bytes::from(bytes)).await.unwrap();
    (store, vec![RunInput { key: "run".to_owned(), size, kind: RunKind::Segment, from: None, until: None }])
}

/// The sequence numbers of the records that a scan gives, and what it did.
async fn scan(store: Arc<dyn ReadStore>, inputs: Vec<RunInput>, scan: RecordScan) -> (Vec<u64>, Result<MergeReport>) {
    let found = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&found);
    let merged = scan_records(store, inputs, scan, MergeOptions::default(), move |record| {
        into.lock().unwrap().push(record.sequence.to_string().parse().unwrap());
        Ok(true)
    })
    .await;
    let found = std::mem::take(&mut *found.lock().unwrap());
    (found, merged)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_run_is_given_whole_and_read_once() {
    let bytes = long_run();
    let size = u64::try_from(bytes.len()).unwrap();
    assert!(size > super::open::WHOLE_BYTES_MAX);
    let TopLayout::Complete(top) = read_top("run", &bytes, size).unwrap() else { panic!("all of it is there") };
    assert!(top.pages() > 100, "{} pages", top.pages());
    let (store, inputs) = stored(bytes).await;
    let (found, merged) = scan(store.clone(), inputs.clone(), RecordScan::default()).await;
    assert_eq!(found, (1..=RECORDS).collect::<Vec<_>>());
    let report = merged.unwrap();
    // The key filter is read only where the end of the object reaches into it.
    assert!(report.bytes_read <= size + TAIL_BYTES, "{} of {size} bytes", report.bytes_read);
    assert_eq!(report.records, RECORDS);
    let cuts = [(Second::MAX, RECORDS), (Second::new(1_000_000 + RECORDS / 2).unwrap(), RECORDS / 2 + 1)];
    for (second, happened) in cuts {
        let cut = Cut { position: Position::Second(second), inclusive: true };
        let mut first = None;
        for threads in [1, 2, 3, 8] {
            let taken = Arc::new(Mutex::new((0u64, Vec::new())));
            let into = Arc::clone(&taken);
            let options = MergeOptions {
                memory_bytes_max: 4 << 20,
                threads: NonZeroUsize::new(threads).unwrap(),
                ..MergeOptions::default()
            };
            let visit = |part: &mut Vec<SequenceNumber>, item: ItemRef<'_>| {
                part.extend(item.sequence);
                Ok(())
            };
            let take = move |part: Vec<SequenceNumber>| {
                let mut taken = into.lock().unwrap();
                taken.0 += 1;
                taken.1.extend(part);
                Ok(())
            };
            let parts = (Vec::new, visit, take);
            let report = for_each_part(store.clone(), inputs.clone(), cut, None, options, parts).await.unwrap();
            let (parts, sequences) = std::mem::take(&mut *taken.lock().unwrap());
            let last = |key: u64| (2 * key + 2).min(happened);
            let expected: Vec<_> = (0..happened.div_ceil(2)).map(|key| last(key).to_string()).collect();
            let sequences: Vec<_> = sequences.iter().map(ToString::to_string).collect();
            assert!(sequences == expected, "{threads} threads, at {second:?}");
            assert!(parts > 3 && report.bytes_read <= size + TAIL_BYTES, "{parts} parts, {report:?}, {size} bytes");
            assert_eq!(*first.get_or_insert((parts, report)), (parts, report), "{threads} threads, at {second:?}");
        }
    }
}

/// A page of the index that is damaged, beyond the first stretch: an error, or named with nothing missing but what it describes.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_hides_one_stretch_where_what_is_unreadable_is_named() {
    let mut bytes = long_run();
    let size = u64::try_from(bytes.len()).unwrap();
    let TopLayout::Complete(top) = read_top("run", &bytes, size).unwrap() else { panic!("all of it is there") };
    let place = top.place_of(&(top.pages() - 1..top.pages()));
    bytes[usize::try_from(place.start).unwrap()] ^= 1;
    let (store, inputs) = stored(bytes).await;
    let (_, merged) = scan(store.clone(), inputs.clone(), RecordScan::default()).await;
    assert_eq!(merged.unwrap_err().kind(), crate::error::Kind::Corrupt);
    let unreadable = UnreadableList::default();
    let wanted = RecordScan { unreadable: Some(unreadable.clone()), ..RecordScan::default() };
    let (found, merged) = scan(store, inputs, wanted).await;
    merged.unwrap();
    assert_eq!(unreadable.to_vec().iter().map(|one| one.object.as_str()).collect::<Vec<_>>(), ["run"]);
    // The first stretch has 64 pages of 32 blocks.
    assert_eq!(found, (1..=2048).collect::<Vec<_>>());
}
