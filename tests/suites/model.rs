//! The merge against plain references: random histories of few keys, cut at every second and every sequence number.
//!
//! Two references: the three rules of "State at a cut" word by word, for histories of any kind; and a simulated table whose
//! states are known without any rule, for histories as a stream gives them.

#[path = "model/threads.rs"]
mod threads;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use journal::append::{Batch, SnapshotWriter, append};
use journal::format::{RunWriter, WriterOptions};
use journal::layout::SegmentName;
use journal::model::{
    AttributeValue, Attributes, ChangeKind, ChangeRecord, Image, ItemKey, KeyAttribute, KeyAttributes, KeyType, Second,
    SequenceNumber, StreamArn, StreamRecord,
};
use journal::store::memory::MemoryStore;
use journal::store::{ReadStore, WriteStore as _};
use journal_tests::merged;
use journal_tests::reference::{Reference, State};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use replayer::cut::{Cut, Position};
use replayer::merge::{MergeOptions, MergeReport, RunInput, RunKind, for_each_record};

const FIRST_SECOND: u64 = 1_585_440_000;

fn stream() -> StreamArn {
    StreamArn::parse("arn:aws:dynamodb:eu-west-1:000000000000:table/notes-table-dev/stream/2020-03-29T00:00:00.000")
        .unwrap()
}

fn names() -> KeyAttributes {
    KeyAttributes::new(vec![KeyAttribute { name: "noteId".to_owned(), key_type: KeyType::S }]).unwrap()
}

fn key(number: u8) -> ItemKey {
    let value = AttributeValue::S(format!("note-{number}"));
    ItemKey::encode(&names(), &Attributes::from([("noteId".to_owned(), value)])).unwrap()
}

fn image(value: u8) -> Image {
    // Some are long, so that blocks end in the middle of a key's records.
    let content = AttributeValue::S(format!("{value}").repeat(1 + usize::from(value) * 40));
    Image::encode(&Attributes::from([("content".to_owned(), content)])).unwrap()
}

/// Positions as a service gives them: 21 digits or more, not dense.
fn sequence(number: u64) -> SequenceNumber {
    SequenceNumber::parse(&format!("10000000000000000{number:07}")).unwrap()
}

fn second(number: u64) -> Second {
    Second::new(FIRST_SECOND + number).unwrap()
}

/// One write of a simulated table.
#[derive(Debug, Clone)]
struct Write {
    key: u8,
    /// None deletes.
    value: Option<u8>,
    /// Seconds that pass before it.
    wait: u64,
    /// Sequence numbers that are passed over before it.
    skip: u64,
}

fn write() -> impl Strategy<Value = Write> {
    let value = prop_oneof![3 => (0u8..5).prop_map(Some), 1 => Just(None)];
    let wait = prop_oneof![3 => Just(0u64), 2 => Just(1), 1 => 2u64..5];
    (0u8..7, value, wait, 1u64..4).prop_map(|(key, value, wait, skip)| Write { key, value, wait, skip })
}

/// A record of a history of any kind, of which only the order of the sequence numbers is sound.
#[derive(Debug, Clone)]
struct Wild {
    key: u8,
    second: Option<u64>,
    old: Option<u8>,
    new: Option<u8>,
    skip: u64,
}

fn wild() -> impl Strategy<Value = Wild> {
    let images = prop_oneof![
        1 => (0u8..5).prop_map(|new| (None, Some(new))),
        3 => (0u8..5, 0u8..5).prop_map(|(old, new)| (Some(old), Some(new))),
        1 => (0u8..5).prop_map(|old| (Some(old), None)),
    ];
    let second = prop_oneof![4 => (0u64..12).prop_map(Some), 1 => Just(None)];
    (0u8..5, second, images, 1u64..4).prop_map(|(key, second, (old, new), skip)| Wild { key, second, old, new, skip })
}

fn record(key_number: u8, number: u64, at: Option<u64>, old: Option<u8>, new: Option<u8>) -> ChangeRecord {
    let kind = match (old, new) {
        (None, _) => ChangeKind::Insert,
        (_, None) => ChangeKind::Remove,
        _ => ChangeKind::Modify,
    };
    ChangeRecord {
        key: key(key_number),
        sequence: sequence(number),
        second: at.map(second),
        kind,
        old: old.map(image),
        new: new.map(image),
        user: None,
    }
}

/// How records become objects.
#[derive(Debug, Clone)]
struct Packing {
    seed: u64,
    batch_records_max: usize,
    shuffle_all: bool,
    /// Percent of the batches that are given twice, and of those that are also regrouped.
    twice: u32,
    /// Compacted runs of random records beside the batches.
    runs: usize,
    block_bytes: usize,
}

fn packing() -> impl Strategy<Value = Packing> {
    (any::<u64>(), 1usize..12, any::<bool>(), 0u32..80, 0usize..3, prop_oneof![Just(1usize), Just(200), Just(64 << 10)])
        .prop_map(|(seed, batch_records_max, shuffle_all, twice, runs, block_bytes)| Packing {
            seed,
            batch_records_max,
            shuffle_all,
            twice,
            runs,
            block_bytes,
        })
}

impl Packing {
    /// Stores the records: as batches, duplicates and regroupings among them, and as compacted runs.
    async fn store(&self, store: &MemoryStore, records: &[ChangeRecord]) {
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut order: Vec<ChangeRecord> = records.to_vec();
        if self.shuffle_all {
            order.shuffle(&mut random);
        }
        let mut batches: Vec<Vec<ChangeRecord>> = Vec::new();
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(random.random_range(1..=self.batch_records_max).min(rest.len()));
            batches.push(batch.to_vec());
            rest = after;
        }
        let mut more: Vec<Vec<ChangeRecord>> = Vec::new();
        for pair in batches.windows(2) {
            if random.random_ratio(self.twice, 100) {
                // The same batch again, or grouped in another way, as a retry does.
                let mut again = pair[0].clone();
                if random.random() {
                    again.truncate(again.len().div_ceil(2));
                    again.extend(pair[1].clone());
                }
                more.push(again);
            }
        }
        batches.extend(more);
        batches.shuffle(&mut random);
        for batch in batches {
            let records = batch
                .into_iter()
                .map(|record| StreamRecord { stream: stream(), key_attributes: names(), record })
                .collect();
            append(store, Batch { records, quarantined: Vec::new() }).await.unwrap();
        }
        for _ in 0..self.runs {
            let count = random.random_range(0..=records.len());
            let mut chosen: Vec<ChangeRecord> = records.sample(&mut random, count).cloned().collect();
            chosen.sort_by(|a, b| (&a.key, a.sequence).cmp(&(&b.key, b.sequence)));
            if !chosen.is_empty() {
                let options = WriterOptions { block_bytes: self.block_bytes, ..WriterOptions::columns() };
                put_run(store, options, &chosen).await;
            }
        }
    }
}

/// Stores sorted records as one run of level 1.
async fn put_run(store: &MemoryStore, options: WriterOptions, records: &[ChangeRecord]) -> u64 {
    let run = RunWriter::encode(options, stream(), names(), records).unwrap();
    let name = SegmentName {
        level: 1,
        seconds: run.footer.statistics.seconds,
        sequences: run.footer.sequences,
        crc32: run.crc32,
        appended: Some(0),
    };
    store.put_new(&name.key(stream().timeline()), Bytes::from(run.bytes)).await.unwrap();
    run.size
}

/// Memory for everything, for almost nothing, and for nothing.
const MEMORIES: [usize; 3] = [48 << 20, 4 << 10, 1];

fn options(memory_bytes_max: usize) -> MergeOptions {
    MergeOptions { memory_bytes_max, ..MergeOptions::default() }
}

/// Every second and every sequence number of a history, those around them too, with and without the position itself.
fn cuts(seconds: impl IntoIterator<Item = u64>, numbers: impl IntoIterator<Item = u64>) -> Vec<Cut> {
    let seconds: BTreeSet<u64> = seconds.into_iter().flat_map(|at| [at, at + 1]).collect();
    let numbers: BTreeSet<u64> = numbers.into_iter().flat_map(|at| [at, at + 1]).collect();
    let positions = seconds.into_iter().map(|at| Position::Second(second(at)));
    let positions = positions.chain(numbers.into_iter().map(|at| Position::Sequence(sequence(at))));
    positions.flat_map(|position| [true, false].map(|inclusive| Cut { position, inclusive })).collect()
}

async fn merge(store: &Arc<MemoryStore>, inputs: &[RunInput], cut: Cut, memory: usize) -> (State, MergeReport) {
    let reading: Arc<dyn ReadStore> = store.clone();
    merged::state_at(reading, inputs.to_vec(), cut, None, options(memory)).await.unwrap()
}

fn show(state: &State) -> BTreeMap<String, String> {
    state
        .iter()
        .map(|(key, image)| {
            let text = format!("{:?}", image.decode().unwrap());
            (format!("{:?}", key.decode(&names()).unwrap()), text.chars().take(60).collect())
        })
        .collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        max_shrink_time: 60_000,
        ..ProptestConfig::default()
    }
}

/// A table with items, and what a scan has read of it.
#[derive(Debug, Default)]
struct Table {
    items: BTreeMap<u8, u8>,
}

impl Table {
    fn state(&self) -> State {
        self.items.iter().map(|(number, value)| (key(*number), image(*value))).collect()
    }
}

/// What really was: states of a simulated table, and what a journal got to see of it.
#[derive(Debug)]
struct Simulation {
    records: Vec<ChangeRecord>,
    /// Items as scans read them, one after the other, while writes went on.
    scans: Vec<Vec<(u8, u8)>>,
    /// The state after all writes up to a second, for every covered second.
    by_second: BTreeMap<u64, State>,
    /// The state after the write of this sequence number.
    by_sequence: BTreeMap<u64, State>,
    /// The last second, and the last number.
    last: (u64, u64),
}

/// A scan under way: when it begins, the keys it has still to read, and what it has read.
type RunningScan = (usize, Vec<u8>, Vec<(u8, u8)>);

/// Runs writes on a table that has `initial` items when the stream begins; scans begin at random moments and read an item
/// between any two writes.
fn simulate(initial: &BTreeMap<u8, u8>, writes: &[Write], scans: usize, seed: u64) -> Simulation {
    let mut random = StdRng::seed_from_u64(seed);
    let mut table = Table { items: initial.clone() };
    let mut now = 1;
    let mut number = 1;
    let mut simulation = Simulation {
        records: Vec::new(),
        scans: Vec::new(),
        by_second: BTreeMap::from([(now, table.state())]),
        by_sequence: BTreeMap::from([(number, table.state())]),
        last: (0, 0),
    };
    // Each scan: the keys still to be read, in its own order, as a parallel scan has none.
    let mut running: Vec<RunningScan> = (0..scans)
        .map(|_| {
            let mut keys: Vec<u8> = (0..7).collect();
            keys.shuffle(&mut random);
            (random.random_range(0..=writes.len()), keys, Vec::new())
        })
        .collect();
    for (at, write) in writes.iter().enumerate() {
        for (begin, keys, read) in &mut running {
            while *begin <= at && random.random() {
                let Some(next) = keys.pop() else { break };
                read.extend(table.items.get(&next).map(|value| (next, *value)));
            }
        }
        for passed in 1..=write.wait {
            simulation.by_second.insert(now + passed, table.state());
        }
        now += write.wait;
        let old = match write.value {
            Some(value) => table.items.insert(write.key, value),
            None => table.items.remove(&write.key),
        };
        // A write that changes nothing emits nothing.
        if old != write.value {
            number += write.skip;
            simulation.records.push(record(write.key, number, Some(now), old, write.value));
            simulation.by_sequence.insert(number, table.state());
        }
        simulation.by_second.insert(now, table.state());
    }
    for (_, keys, mut read) in running {
        read.extend(keys.iter().rev().filter_map(|next| Some((*next, *table.items.get(next)?))));
        simulation.scans.push(read);
    }
    simulation.last = (now, number);
    simulation
}

/// Writes what scans read, each as a snapshot of small parts.
async fn store_snapshots(store: &Arc<MemoryStore>, scans: &[Vec<(u8, u8)>], part_bytes_max: usize) {
    for (number, items) in scans.iter().enumerate() {
        let name = format!("{FIRST_SECOND}-baseline-{number}");
        let writer = SnapshotWriter::new(store.clone(), stream(), names(), name).with_part_bytes_max(part_bytes_max);
        let mut writer = writer;
        for (number, value) in items {
            writer.push(key(*number), image(*value)).await.unwrap();
        }
        writer.finish(second(0), second(0)).await.unwrap();
    }
}

/// Everything that was given, in order, and what the merge says that it did.
async fn records_on(
    store: &Arc<MemoryStore>,
    inputs: &[RunInput],
    options: MergeOptions,
) -> (Vec<ChangeRecord>, MergeReport) {
    let visited = Arc::new(Mutex::new(Vec::new()));
    let into = visited.clone();
    let image = |bytes: Option<&[u8]>| bytes.map(|bytes| Image::from_bytes(Bytes::copy_from_slice(bytes)));
    let report = for_each_record(store.clone(), inputs.to_vec(), None, options, move |record| {
        into.lock().unwrap().push(ChangeRecord {
            key: ItemKey::from_bytes(Bytes::copy_from_slice(record.key)),
            sequence: record.sequence,
            second: record.second,
            kind: record.kind,
            old: image(record.old),
            new: image(record.new),
            user: record.user.cloned(),
        });
        Ok(())
    })
    .await
    .unwrap();
    let visited = std::mem::take(&mut *visited.lock().unwrap());
    (visited, report)
}

proptest! {
    #![proptest_config(config(48))]

    /// The main promise: with one baseline, read at any moment after the stream began and while writes went on, every
    /// second and every sequence number since is what the table really was.
    #[test]
    fn every_cut_is_what_the_table_was(
        initial in prop::collection::btree_map(0u8..7, 0u8..5, 0..7),
        writes in prop::collection::vec(write(), 1..40),
        scans in 1usize..4,
        part_bytes_max in prop_oneof![Just(1usize), Just(1 << 20)],
        packing in packing(),
    ) {
        let simulation = simulate(&initial, &writes, scans, packing.seed);
        runtime().block_on(async {
            let store = Arc::new(MemoryStore::new());
            packing.store(&store, &simulation.records).await;
            store_snapshots(&store, &simulation.scans, part_bytes_max).await;
            let mut inputs = merged::inputs(&*store, stream().timeline()).await.unwrap();
            let mut random = StdRng::seed_from_u64(packing.seed);
            let seconds = simulation.by_second.iter().map(|(at, state)| (Cut::at(second(*at)), state));
            let numbers = simulation.by_sequence.iter().map(|(at, state)| (Cut::at_sequence(sequence(*at)), state));
            for (cut, expected) in seconds.chain(numbers) {
                inputs.shuffle(&mut random);
                let memory = *MEMORIES.choose(&mut random).unwrap();
                let (found, report) = merge(&store, &inputs, cut, memory).await;
                prop_assert_eq!(show(&found), show(expected), "{}, memory {}", cut, memory);
                prop_assert_eq!(report.contradictions, 0, "nothing here contradicts");
            }
            Ok(())
        })?;
    }

    /// Seconds that are missing, that disagree with the order of the records, images that do not follow one another: the
    /// rules decide, whatever the grouping and however little memory there is.
    #[test]
    fn any_history_follows_the_rules_at_every_cut(
        history in prop::collection::vec(wild(), 1..40),
        snapshot in prop::collection::btree_map(0u8..9, 0u8..5, 0..9),
        packing in packing(),
    ) {
        let mut number = 1;
        let records: Vec<ChangeRecord> = history
            .iter()
            .map(|wild| {
                number += wild.skip;
                record(wild.key, number, wild.second, wild.old, wild.new)
            })
            .collect();
        let mut reference = Reference::of(&records);
        for (number, value) in &snapshot {
            reference.add_snapshot_item(key(*number), image(*value));
        }
        runtime().block_on(async {
            let store = Arc::new(MemoryStore::new());
            packing.store(&store, &records).await;
            store_snapshots(&store, &[snapshot.into_iter().collect()], 1).await;
            let mut inputs = merged::inputs(&*store, stream().timeline()).await.unwrap();
            let mut random = StdRng::seed_from_u64(packing.seed);
            for cut in cuts(0..13, 1..=number) {
                inputs.shuffle(&mut random);
                let memory = *MEMORIES.choose(&mut random).unwrap();
                let (found, report) = merge(&store, &inputs, cut, memory).await;
                let expected = reference.at(cut);
                prop_assert_eq!(show(&found), show(&expected), "{}, memory {}", cut, memory);
                prop_assert_eq!(report.items, u64::try_from(expected.len()).unwrap());
            }
            Ok(())
        })?;
    }

    /// A range of keys gives exactly those of the whole.
    #[test]
    fn a_range_of_keys_is_a_part_of_the_whole(
        history in prop::collection::vec(wild(), 1..40),
        from in 0u8..9,
        to in 0u8..9,
        packing in packing(),
    ) {
        let records: Vec<ChangeRecord> = history
            .iter()
            .enumerate()
            .map(|(at, wild)| record(wild.key, 1 + u64::try_from(at).unwrap(), wild.second, wild.old, wild.new))
            .collect();
        let reference = Reference::of(&records);
        let bytes = |number: u8| Bytes::copy_from_slice(key(number).as_bytes());
        let one = bytes(from)..Bytes::from([key(from).as_bytes(), &[0]].concat());
        runtime().block_on(async {
            let store = Arc::new(MemoryStore::new());
            packing.store(&store, &records).await;
            let inputs = merged::inputs(&*store, stream().timeline()).await.unwrap();
            for cut in cuts([0, 4, 8, 12], [1, 5, 20]) {
                for (keys, memory) in [bytes(from)..bytes(to), one.clone()].into_iter().zip([1, 48 << 20]) {
                    let reading: Arc<dyn ReadStore> = store.clone();
                    let options = options(memory);
                    let (found, _) =
                        merged::state_at(reading, inputs.clone(), cut, Some(keys.clone()), options).await.unwrap();
                    let mut expected = reference.at(cut);
                    expected.retain(|key, _| keys.start <= key.as_bytes() && keys.end > key.as_bytes());
                    prop_assert_eq!(show(&found), show(&expected), "{}, memory {}", cut, memory);
                }
            }
            Ok(())
        })?;
    }

    /// Every record is visited once, in order, whole.
    #[test]
    fn every_record_is_visited_once_in_order(
        history in prop::collection::vec(wild(), 1..60),
        packing in packing(),
    ) {
        let mut records: Vec<ChangeRecord> = history
            .iter()
            .enumerate()
            .map(|(at, wild)| record(wild.key, 1 + u64::try_from(at).unwrap(), wild.second, wild.old, wild.new))
            .collect();
        runtime().block_on(async {
            let store = Arc::new(MemoryStore::new());
            packing.store(&store, &records).await;
            records.sort_by(|a, b| (&a.key, a.sequence).cmp(&(&b.key, b.sequence)));
            let inputs = merged::inputs(&*store, stream().timeline()).await.unwrap();
            for memory in MEMORIES {
                let (visited, report) = records_on(&store, &inputs, options(memory)).await;
                prop_assert_eq!(&visited, &records, "memory {}", memory);
                let distinct = u64::try_from(records.len()).unwrap();
                prop_assert_eq!(report.records - report.duplicates, distinct, "memory {}", memory);
                prop_assert_eq!(report.contradictions, 0);
            }
            Ok(())
        })?;
    }
}

/// Objects that are too large to be fetched whole: many blocks, read in spans, some of them not at all.
#[tokio::test(flavor = "multi_thread")]
async fn large_objects_are_read_in_spans_to_the_same_state() {
    let mut random = journal_tests::seed::generator("large objects", 7);
    let mut bytes = || {
        let mut content = vec![0u8; 1500];
        random.fill_bytes(&mut content);
        Image::encode(&Attributes::from([("content".to_owned(), AttributeValue::B(content))])).unwrap()
    };
    let mut records: Vec<ChangeRecord> = Vec::new();
    let mut last: BTreeMap<u8, Image> = BTreeMap::new();
    for number in 1..=1500u64 {
        let chosen = u8::try_from(number * 7 % 101).unwrap();
        let new = (number % 13 != 0).then(&mut bytes);
        let old = last.remove(&chosen);
        let kind = match (&old, &new) {
            (None, None) => continue,
            (None, _) => ChangeKind::Insert,
            (_, None) => ChangeKind::Remove,
            _ => ChangeKind::Modify,
        };
        last.extend(new.clone().map(|new| (chosen, new)));
        let (sequence, second) = (sequence(number), Some(second(number / 10)));
        records.push(ChangeRecord { key: key(chosen), sequence, second, kind, old, new, user: None });
    }
    let reference = Reference::of(&records);
    records.sort_by(|a, b| (&a.key, a.sequence).cmp(&(&b.key, b.sequence)));
    let (even, odd): (Vec<_>, Vec<_>) = records.into_iter().partition(|record| record.second.unwrap().get() % 2 == 0);
    let store = Arc::new(MemoryStore::new());
    for (options, records) in
        [(WriterOptions::columns(), &even), (WriterOptions { block_bytes: 64 << 10, ..WriterOptions::rows() }, &odd)]
    {
        let size = put_run(&store, options, records).await;
        assert!(size > 1 << 20, "{size} bytes would be fetched whole");
    }
    let inputs = merged::inputs(&*store, stream().timeline()).await.unwrap();
    assert!(inputs.iter().all(|input| input.kind == RunKind::Segment));
    for cut in cuts([0, 1, 33, 70, 150], [1, 100, 777, 1500]) {
        for memory in MEMORIES {
            let (found, _) = merge(&store, &inputs, cut, memory).await;
            assert!(found == reference.at(cut), "{cut}, memory {memory}");
            let keys = merged::keys_with_prefix(&key(5).as_bytes()[..key(5).as_bytes().len() - 2]);
            let reading: Arc<dyn ReadStore> = store.clone();
            let (found, report) =
                merged::state_at(reading, inputs.clone(), cut, Some(keys.clone()), options(memory)).await.unwrap();
            let mut expected = reference.at(cut);
            expected.retain(|key, _| keys.start <= key.as_bytes() && keys.end > key.as_bytes());
            assert!(found == expected, "{cut}, memory {memory}, one prefix");
            let all: u64 = inputs.iter().map(|input| input.size).sum();
            assert!(report.bytes_read < all, "{cut}: a prefix read everything");
        }
    }
}

#[test]
fn little_memory_makes_the_merge_spill() {
    // Without this the small memories of the tests above might prove nothing.
    let records: Vec<ChangeRecord> = (1..200)
        .map(|number| record(u8::try_from(number % 5).unwrap(), number, Some(number), Some(1), Some(2)))
        .collect();
    let packing = Packing { seed: 1, batch_records_max: 4, shuffle_all: true, twice: 30, runs: 1, block_bytes: 200 };
    runtime().block_on(async {
        let store = Arc::new(MemoryStore::new());
        packing.store(&store, &records).await;
        let inputs = merged::inputs(&*store, stream().timeline()).await.unwrap();
        for (memory, spills) in [(48 << 20, false), (4 << 10, true), (1, true)] {
            let (_, report) = merge(&store, &inputs, Cut::at(second(100)), memory).await;
            assert_eq!(report.bytes_spilled > 0, spills, "memory {memory}");
        }
    });
}
