//! A quick check that bounded memory and grouping do not change the outcome; the model test lies with the cross-crate
//! tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::format::{RunWriter, WriterOptions};
use crate::model::{
    ChangeKind, ChangeRecord, Image, ItemKey, KeyAttribute, KeyAttributes, KeyType, Second, SequenceNumber, StreamArn,
};
use crate::store::memory::MemoryStore;
use crate::store::{ReadStore, WriteStore};
use bytes::Bytes;

use super::*;
use crate::cut::Position;

fn names() -> KeyAttributes {
    KeyAttributes::new(vec![KeyAttribute { name: "id".to_owned(), key_type: KeyType::S }]).unwrap()
}

/// 40 segments over 300 keys: every key changes in many of them.
async fn segments(store: &Arc<MemoryStore>) -> (Vec<RunInput>, Vec<ChangeRecord>) {
    let stream = StreamArn::parse("arn:aws:dynamodb:x:0:table/notes/stream/1").unwrap();
    let mut live: BTreeMap<u64, Image> = BTreeMap::new();
    let mut all = Vec::new();
    let mut inputs = Vec::new();
    for segment in 0..40u64 {
        let mut records = Vec::new();
        for n in 0..400u64 {
            let sequence = segment * 400 + n;
            let id = (sequence * 7919) % 300;
            // Nothing that an image has in common with the one before it makes the history shorter.
            let letter = ["a", "b", "c", "d", "e"][usize::try_from(sequence / 300 % 5).unwrap()];
            let image = Image::from_bytes(Bytes::from(format!("{id}-{sequence}-{}", letter.repeat(200))));
            let old = live.get(&id).cloned();
            let remove = old.is_some() && sequence % 5 == 0;
            let new = (!remove).then_some(image);
            match &new {
                Some(new) => live.insert(id, new.clone()),
                None => live.remove(&id),
            };
            records.push(ChangeRecord {
                key: ItemKey::from_bytes(Bytes::from(format!("{id:05}"))),
                sequence: SequenceNumber::parse(&(sequence + 1).to_string()).unwrap(),
                second: Some(Second::new(1_000_000 + sequence / 10).unwrap()),
                kind: if remove {
                    ChangeKind::Remove
                } else if old.is_some() {
                    ChangeKind::Modify
                } else {
                    ChangeKind::Insert
                },
                old,
                new,
                user: None,
            });
        }
        all.extend(records.iter().cloned());
        records.sort_by(|a, b| (&a.key, a.sequence).cmp(&(&b.key, b.sequence)));
        let run = RunWriter::encode(WriterOptions::rows(), stream.clone(), names(), &records).unwrap();
        let key = format!("s{segment:03}");
        store.put_new(&key, Bytes::from(run.bytes)).await.unwrap();
        inputs.push(RunInput { key, size: run.size, kind: RunKind::Segment, from: None, until: None });
    }
    (inputs, all)
}

async fn state(
    store: &Arc<MemoryStore>,
    inputs: &[RunInput],
    cut: Cut,
    memory: usize,
) -> (BTreeMap<Vec<u8>, Vec<u8>>, MergeReport) {
    let items = Arc::new(Mutex::new(BTreeMap::new()));
    let into = items.clone();
    let read: Arc<dyn ReadStore> = store.clone();
    let options = MergeOptions { memory_bytes_max: memory, ..MergeOptions::default() };
    let report = for_each_item(read, inputs.to_vec(), cut, None, options, move |item| {
        into.lock().unwrap().insert(item.key.to_vec(), item.image.to_vec());
        Ok(())
    })
    .await
    .unwrap();
    let items = items.lock().unwrap().clone();
    (items, report)
}

#[tokio::test(flavor = "multi_thread")]
async fn little_memory_gives_the_same_state_through_temporary_runs() {
    let store = Arc::new(MemoryStore::default());
    let (inputs, records) = segments(&store).await;
    for at in [1_000_000, 1_000_400, 1_000_801, 1_001_599] {
        let mut expected: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for record in records.iter().filter(|record| record.second.unwrap().get() <= at) {
            match &record.new {
                Some(new) => expected.insert(record.key.as_bytes().to_vec(), new.as_bytes().to_vec()),
                None => expected.remove(record.key.as_bytes()),
            };
        }
        let cut = Cut { position: Position::Second(Second::new(at).unwrap()), inclusive: true };
        for memory in [64 << 20, 1 << 20, 100 << 10, 1] {
            let (items, report) = state(&store, &inputs, cut, memory).await;
            assert_eq!(items, expected, "second {at}, {memory} bytes");
            assert_eq!(report.bytes_spilled > 0, memory < 32 << 20, "{report:?}");
            assert_eq!((report.objects, report.records), (40, 16_000));
        }
    }
}

/// Sequence number, second (none for a record without one), and the images before and after.
type Change = (u64, Option<u64>, Option<&'static str>, Option<&'static str>);

/// A run of few records of one key.
async fn run_of(store: &Arc<MemoryStore>, key: &str, changes: &[Change]) -> RunInput {
    let image = |text: &&str| Image::from_bytes(Bytes::from((*text).to_owned()));
    let records: Vec<ChangeRecord> = changes
        .iter()
        .map(|(sequence, second, old, new)| ChangeRecord {
            key: ItemKey::from_bytes(Bytes::from_static(b"k")),
            sequence: SequenceNumber::parse(&sequence.to_string()).unwrap(),
            second: second.map(|second| Second::new(second).unwrap()),
            kind: match (old, new) {
                (None, _) => ChangeKind::Insert,
                (_, None) => ChangeKind::Remove,
                _ => ChangeKind::Modify,
            },
            old: old.as_ref().map(image),
            new: new.as_ref().map(image),
            user: None,
        })
        .collect();
    let stream = StreamArn::parse("arn:aws:dynamodb:x:0:table/notes/stream/1").unwrap();
    let run = RunWriter::encode(WriterOptions::rows(), stream, names(), &records).unwrap();
    store.put_new(key, Bytes::from(run.bytes)).await.unwrap();
    RunInput { key: key.to_owned(), size: run.size, kind: RunKind::Segment, from: None, until: None }
}

/// A run reaches beyond what is read with it: a record between, in a run that is not read, is missing. Its old image would be taken
/// for what was at the cut.
#[tokio::test(flavor = "multi_thread")]
async fn records_beyond_the_bound_of_a_run_are_passed_over() {
    let at = |second| Cut::at(Second::new(second).unwrap());
    let store = Arc::new(MemoryStore::default());
    let long = run_of(&store, "long", &[(3, Some(30), Some("b"), Some("c"))]).await;
    let other = run_of(&store, "other", &[(9, Some(90), Some("x"), None)]).await;
    let undated =
        run_of(&store, "undated", &[(3, Some(30), Some("b"), Some("c")), (4, None, Some("c"), Some("d"))]).await;
    let beyond = Some(at(29));
    for (run, until, cut, expected) in [
        (&long, None, 10, Some("b")),
        (&long, Some(at(30)), 10, Some("b")),
        (&long, beyond, 10, None),
        // All of it has happened: nothing is beyond.
        (&long, beyond, 30, Some("c")),
        (&undated, beyond, 10, Some("b")),
    ] {
        for memory in [64 << 20, 1] {
            let mut inputs = vec![RunInput { until, ..run.clone() }];
            // Beside a run that is passed over too, so that little memory makes temporary runs.
            inputs.push(RunInput { until: beyond, ..other.clone() });
            let (found, _) = state(&store, &inputs, at(cut), memory).await;
            let found = found.values().next().map(|image| String::from_utf8(image.clone()).unwrap());
            assert_eq!(found.as_deref(), expected, "{} until {until:?}, at {cut}, {memory} bytes", run.key);
        }
    }
}

/// A record without a second is as old as the one before it of its key. A segment that is open while snapshots are opened must not lose
/// that one when little memory makes them a temporary file.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_without_a_second_keeps_its_neighbour_beside_snapshots_and_in_little_memory() {
    let store = Arc::new(MemoryStore::default());
    let changes = [(3, Some(30), Some("b"), Some("b")), (4, None, None, Some("c"))];
    let mut inputs = vec![run_of(&store, "segment", &changes).await];
    let stream = StreamArn::parse("arn:aws:dynamodb:x:0:table/notes/stream/1").unwrap();
    for key in ["a", "z"] {
        let mut writer =
            RunWriter::new(WriterOptions::snapshot(), stream.clone(), names(), SequenceNumber::MIN, None).unwrap();
        let item = crate::format::Record {
            key: key.as_bytes(),
            sequence: SequenceNumber::MIN,
            second: None,
            kind: crate::format::RecordKind::Item,
            new: Some(b"item"),
            old: crate::format::OldImage::None,
            user: None,
        };
        writer.push(&item).unwrap();
        let run = writer.finish().unwrap();
        store.put_new(key, Bytes::from(run.bytes)).await.unwrap();
        inputs.push(RunInput { key: key.to_owned(), size: run.size, kind: RunKind::Snapshot, from: None, until: None });
    }
    for memory in [64 << 20, 1] {
        let (found, _) = state(&store, &inputs, Cut::at(Second::new(10).unwrap()), memory).await;
        assert_eq!(found.get(&b"k"[..]).map(Vec::as_slice), Some(&b"b"[..]), "{memory} bytes");
        assert_eq!(found.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_is_visited_once_in_order_though_it_lies_in_two_runs() {
    let store = Arc::new(MemoryStore::default());
    let (mut inputs, records) = segments(&store).await;
    inputs.extend(inputs.clone());
    for memory in [64 << 20, 200 << 10] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = seen.clone();
        let read: Arc<dyn ReadStore> = store.clone();
        let options = MergeOptions { memory_bytes_max: memory, ..MergeOptions::default() };
        let report = for_each_record(read, inputs.clone(), None, options, move |record| {
            into.lock().unwrap().push((record.key.to_vec(), record.sequence, record.old.map(<[u8]>::to_vec)));
            Ok(())
        })
        .await
        .unwrap();
        let mut expected: Vec<_> = records
            .iter()
            .map(|r| (r.key.as_bytes().to_vec(), r.sequence, r.old.as_ref().map(|old| old.as_bytes().to_vec())))
            .collect();
        expected.sort();
        assert!(*seen.lock().unwrap() == expected);
        assert_eq!((report.duplicates, report.contradictions), (16_000, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_read_without_the_runs_that_do_not_have_it() {
    let store = Arc::new(MemoryStore::default());
    let (inputs, _) = segments(&store).await;
    let cut = Cut { position: Position::Second(Second::MAX), inclusive: true };
    for (key, items, records) in [("00017", 1, true), ("nobody", 0, false)] {
        let read: Arc<dyn ReadStore> = store.clone();
        let range = Bytes::from(key)..Bytes::from(format!("{key}\0"));
        let report =
            for_each_item(read, inputs.clone(), cut, Some(range), MergeOptions::default(), |_| Ok(())).await.unwrap();
        assert_eq!((report.items, report.records > 0), (items, records), "{key}");
    }
}

/// The short way, in which the records of a key that are superseded are passed over, must give what the long way gives: a run whose
/// records have all happened, beside runs that share keys with it or do not, over many blocks.
#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_run_gives_the_state_that_its_segments_give() {
    let store = Arc::new(MemoryStore::default());
    let (inputs, mut records) = segments(&store).await;
    records.sort_by(|a, b| (&a.key, a.sequence).cmp(&(&b.key, b.sequence)));
    let stream = StreamArn::parse("arn:aws:dynamodb:x:0:table/notes/stream/1").unwrap();
    let cuts = [u64::from(u32::MAX), 1_001_599, 1_000_801];
    for parts in [1, 3] {
        let mut compacted = Vec::new();
        for (number, part) in
            records.chunk_by(|a, b| a.key == b.key).collect::<Vec<_>>().chunks(300 / parts).enumerate()
        {
            let part: Vec<ChangeRecord> = part.iter().flat_map(|key| key.iter().cloned()).collect();
            let options = WriterOptions { block_bytes: 4 << 10, ..WriterOptions::columns() };
            let run = RunWriter::encode(options, stream.clone(), names(), &part).unwrap();
            let key = format!("c{parts}-{number}");
            store.put_new(&key, Bytes::from(run.bytes)).await.unwrap();
            compacted.push(RunInput { key, size: run.size, kind: RunKind::Segment, from: None, until: None });
        }
        for at in cuts {
            let cut = Cut { position: Position::Second(Second::new(at).unwrap()), inclusive: true };
            let (expected, _) = state(&store, &inputs, cut, 64 << 20).await;
            let (found, report) = state(&store, &compacted, cut, 64 << 20).await;
            assert!(found == expected, "{parts} runs at {at}");
            assert_eq!((report.keys, report.items), (300, u64::try_from(expected.len()).unwrap()));
            // A young segment on top of them: some keys are in both, each record in one or in two.
            let both: Vec<RunInput> = compacted.iter().chain(&inputs[39..]).cloned().collect();
            assert!(state(&store, &both, cut, 64 << 20).await.0 == expected, "{parts} runs and a segment at {at}");
        }
    }
}

/// Of a run all of whose records have happened, a replay reads nothing of the second area, where history lies: neither its bytes nor
/// what is wrong with them. A cut inside the run needs them, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_to_the_end_of_a_run_reads_nothing_of_its_history() {
    let store = Arc::new(MemoryStore::default());
    let mut random = 0x5EED_u64;
    let mut text = || {
        let mut letters = String::new();
        for _ in 0..300 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            letters.push(char::from(b'0' + u8::try_from(random >> 58).unwrap()));
        }
        Image::from_bytes(Bytes::from(letters))
    };
    let mut records: Vec<ChangeRecord> = Vec::new();
    for number in 0..9_000u64 {
        let same_key = number % 3 > 0;
        let old = records.last().filter(|_| same_key).and_then(|record| record.new.clone());
        let new = (number % 30 != 29).then(&mut text);
        records.push(ChangeRecord {
            key: ItemKey::from_bytes(Bytes::from(format!("{:05}", number / 3))),
            sequence: SequenceNumber::parse(&(number + 1).to_string()).unwrap(),
            second: Some(Second::new(1_000_000 + number).unwrap()),
            kind: match (&old, &new) {
                (_, None) => ChangeKind::Remove,
                (None, _) => ChangeKind::Insert,
                _ => ChangeKind::Modify,
            },
            old,
            new,
            user: None,
        });
    }
    let stream = StreamArn::parse("arn:aws:dynamodb:x:0:table/notes/stream/1").unwrap();
    let run = RunWriter::encode(WriterOptions::columns(), stream, names(), &records).unwrap();
    let crate::format::Layout::Complete(tail) = crate::format::read_tail("run", &run.bytes, run.size).unwrap() else {
        panic!("a whole object has its tail")
    };
    let place = |columns| tail.blocks.iter().flat_map(move |block| block.places(columns)).map(|place| place.end).max();
    let history = place(Columns::Latest).unwrap()..tail.blocks_end();
    assert!(history.end - history.start > 1 << 20);
    let mut bytes = run.bytes.clone();
    for at in history.clone() {
        bytes[usize::try_from(at).unwrap()] ^= 0x55;
    }
    store.put_new("run", Bytes::from(bytes)).await.unwrap();
    let input = RunInput { key: "run".to_owned(), size: run.size, kind: RunKind::Segment, from: None, until: None };
    let expected: BTreeMap<_, _> = records
        .chunk_by(|a, b| a.key == b.key)
        .filter_map(|key| key.last())
        .filter_map(|last| Some((last.key.as_bytes().to_vec(), last.new.as_ref()?.as_bytes().to_vec())))
        .collect();
    let (found, report) = state(&store, std::slice::from_ref(&input), Cut::at(Second::MAX), 48 << 20).await;
    assert!(found == expected);
    assert_eq!((report.keys, report.records), (3_000, 9_000));
    // The end of the object may be read twice, the index being longer than the first read of it.
    let most = history.start + 2 * (run.size - history.end) + crate::format::TAIL_BYTES;
    assert!(report.bytes_read <= most, "{} of {} bytes read, at most {most}", report.bytes_read, run.size);
    for threads in [1, 3] {
        let of = items_by_parts(&store, std::slice::from_ref(&input), Cut::at(Second::MAX), None, (1 << 20, threads));
        let (items, parts, report) = of.await.unwrap();
        assert!(parts > 1 && items.into_iter().collect::<BTreeMap<_, _>>() == expected, "{threads} threads");
        assert!(report.bytes_read <= most, "{} bytes read on {threads} threads, at most {most}", report.bytes_read);
    }
    let inside = Cut::at(Second::new(1_004_000).unwrap());
    let read: Arc<dyn ReadStore> = store.clone();
    let merged = for_each_item(read, vec![input], inside, None, MergeOptions::default(), |_| Ok(())).await;
    assert_eq!(merged.unwrap_err().kind(), crate::error::Kind::Corrupt);
}

/// Items, as parts gave them.
type Items = Vec<(Vec<u8>, Vec<u8>)>;

/// The items of a cut by parts, and how many parts there were.
async fn items_by_parts(
    store: &Arc<MemoryStore>,
    inputs: &[RunInput],
    cut: Cut,
    keys: Option<Range<Bytes>>,
    (memory, threads): (usize, usize),
) -> Result<(Items, usize, MergeReport)> {
    let taken = Arc::new(Mutex::new((Items::new(), 0)));
    let into = taken.clone();
    let visit = |part: &mut Items, item: ItemRef<'_>| {
        part.push((item.key.to_vec(), item.image.to_vec()));
        Ok(())
    };
    let take = move |part: Items| {
        let mut taken = into.lock().unwrap();
        taken.0.extend(part);
        taken.1 += 1;
        Ok(())
    };
    let threads = NonZeroUsize::new(threads).unwrap();
    let options = MergeOptions { memory_bytes_max: memory, threads, ..MergeOptions::default() };
    let read: Arc<dyn ReadStore> = store.clone();
    let report = for_each_part(read, inputs.to_vec(), cut, keys, options, (Items::new, visit, take)).await?;
    let taken = std::mem::take(&mut *taken.lock().unwrap());
    Ok((taken.0, taken.1, report))
}

/// Segments, and a long run of their records in small blocks.
async fn segments_and_a_long_run(store: &Arc<MemoryStore>) -> (Vec<RunInput>, RunInput, Vec<u8>) {
    let (inputs, mut records) = segments(store).await;
    records.sort_by(|a, b| (&a.key, a.sequence).cmp(&(&b.key, b.sequence)));
    let stream = StreamArn::parse("arn:aws:dynamodb:x:0:table/notes/stream/1").unwrap();
    let options = WriterOptions { block_bytes: 4 << 10, ..WriterOptions::columns() };
    let run = RunWriter::encode(options, stream, names(), &records).unwrap();
    store.put_new("compacted", Bytes::from(run.bytes.clone())).await.unwrap();
    let input =
        RunInput { key: "compacted".to_owned(), size: run.size, kind: RunKind::Segment, from: None, until: None };
    (inputs, input, run.bytes)
}

/// The number of threads changes neither what is given nor its order nor what is counted, whatever the memory, the runs, the cut and the
/// keys.
#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_threads_gives_the_same_items() {
    let store = Arc::new(MemoryStore::default());
    let (inputs, long, _) = segments_and_a_long_run(&store).await;
    let both: Vec<RunInput> = inputs.iter().skip(35).cloned().chain([long.clone()]).collect();
    let mut most_parts = 0;
    let mut states: BTreeMap<u64, Items> = BTreeMap::new();
    for (what, inputs) in [("segments", inputs), ("a long run", vec![long]), ("both", both)] {
        for (at, keys) in [(1_000_801, None), (1_001_599, Some("00100".."00200"))] {
            let cut = Cut { position: Position::Second(Second::new(at).unwrap()), inclusive: true };
            let keys = keys.map(|keys| Bytes::from(keys.start)..Bytes::from(keys.end));
            for memory in [48 << 20, 1 << 20] {
                let mut expected = None;
                for threads in [1, 2, 3] {
                    let of = items_by_parts(&store, &inputs, cut, keys.clone(), (memory, threads)).await;
                    let (items, parts, report) = of.unwrap();
                    most_parts = most_parts.max(parts);
                    let found = (items, (report.records, report.keys, report.items));
                    assert!(
                        *expected.get_or_insert_with(|| found.clone()) == found,
                        "{what} at {at}, {memory} bytes, {threads} threads"
                    );
                }
                let read: Arc<dyn ReadStore> = store.clone();
                let one_by_one = Arc::new(Mutex::new(Items::new()));
                let into = one_by_one.clone();
                let options = MergeOptions { memory_bytes_max: memory, ..MergeOptions::default() };
                let visit = move |item: ItemRef<'_>| {
                    into.lock().unwrap().push((item.key.to_vec(), item.image.to_vec()));
                    Ok(())
                };
                for_each_item(read, inputs.clone(), cut, keys.clone(), options, visit).await.unwrap();
                let items = expected.unwrap().0;
                assert!(*one_by_one.lock().unwrap() == items, "{what} at {at}, {memory} bytes");
                assert!(*states.entry(at).or_insert_with(|| items.clone()) == items, "{what} at {at}, {memory} bytes");
            }
        }
    }
    assert!(most_parts > 8, "{most_parts} parts");
}

/// A cut before the last changes, so that the history of a long run is read too.
fn inside() -> Cut {
    Cut::at(Second::new(1_001_500).unwrap())
}

/// A corrupt block in the middle is the same error with any number of threads, and they end with it.
#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_threads_gives_the_same_error() {
    let store = Arc::new(MemoryStore::default());
    let (_, long, mut bytes) = segments_and_a_long_run(&store).await;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    store.put_new("broken", Bytes::from(bytes)).await.unwrap();
    let inputs = [RunInput { key: "broken".to_owned(), ..long }];
    let cut = inside();
    let mut expected = None;
    for threads in [1, 2, 3, 8] {
        let error = items_by_parts(&store, &inputs, cut, None, (1 << 20, threads)).await.unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Corrupt);
        let found = error.to_string();
        assert!(*expected.get_or_insert_with(|| found.clone()) == found, "{found}, {threads} threads");
    }
}

/// A part that cannot be taken ends the merge on all threads; what was taken before it lies in order.
#[tokio::test(flavor = "multi_thread")]
async fn what_takes_the_parts_may_end_the_merge() {
    let store = Arc::new(MemoryStore::default());
    let (_, long, _) = segments_and_a_long_run(&store).await;
    let cut = inside();
    for threads in [1, 2, 4] {
        let threads = NonZeroUsize::new(threads).unwrap();
        let options = MergeOptions { memory_bytes_max: 1 << 20, threads, ..MergeOptions::default() };
        let read: Arc<dyn ReadStore> = store.clone();
        let mut parts = 0;
        let take = move |(): ()| {
            parts += 1;
            if parts == 3 { Err(MergeError::Stopped.into()) } else { Ok(()) }
        };
        let visit = |(): &mut (), _: ItemRef<'_>| Ok(());
        let merged = for_each_part(read, vec![long.clone()], cut, None, options, (|| (), visit, take)).await;
        assert_eq!(merged.unwrap_err().kind(), crate::error::Kind::Interrupted);
    }
}

/// A visit that fails ends the merge.
#[tokio::test(flavor = "multi_thread")]
async fn a_visit_that_fails_ends_the_merge_on_all_threads() {
    let store = Arc::new(MemoryStore::default());
    let (_, long, _) = segments_and_a_long_run(&store).await;
    let cut = inside();
    for threads in [1, 4] {
        let threads = NonZeroUsize::new(threads).unwrap();
        let options = MergeOptions { memory_bytes_max: 1 << 20, threads, ..MergeOptions::default() };
        let read: Arc<dyn ReadStore> = store.clone();
        let visit = |(): &mut (), item: ItemRef<'_>| {
            if item.key > &b"00150"[..] { Err(MergeError::Stopped.into()) } else { Ok(()) }
        };
        let parts = (|| (), visit, |(): ()| Ok(()));
        let merged = for_each_part(read, vec![long.clone()], cut, None, options, parts).await;
        assert_eq!(merged.unwrap_err().kind(), crate::error::Kind::Interrupted);
    }
}
