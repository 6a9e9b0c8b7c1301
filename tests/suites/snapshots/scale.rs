//! A hundred thousand tiny segments before and after compaction, and what a year of a segment a second ends as.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::compact::{CompactOptions, CompactReport, compact_table};
use journal::interrupt::Interrupt;
use journal::model::Image;
use journal::snapshot::{SnapshotOptions, SnapshotReport, bases, snapshot_table};
use journal::store::memory::{FaultPlan, FaultyStore, MemoryStore, OperationName};
use journal::store::{ReadStore as _, WriteStore};
use replayer::cut::Cut;

use super::table::{BEGINNING, LATER, change, image, interval, key, put, second, start, state, timeline};
use super::{full, table};

/// Items of the tables here.
const ITEMS: u64 = 500;

/// A table whose items change one after the other, a record at a time.
#[derive(Default)]
struct Source {
    live: BTreeMap<u64, Image>,
    number: u64,
}

impl Source {
    async fn append(&mut self, store: &dyn WriteStore, at: u64) {
        let id = self.number * 7919 % ITEMS;
        self.number += 1;
        let old = self.live.remove(&id);
        let new =
            (!self.number.is_multiple_of(9)).then(|| image(format!("{id} at {}: stay at home, friends", self.number)));
        if old.is_none() && new.is_none() {
            return Box::pin(self.append(store, at)).await;
        }
        self.live.extend(new.clone().map(|new| (id, new)));
        put(store, vec![change(id, self.number, at, old, new)]).await;
    }

    fn state(&self) -> journal_tests::reference::State {
        self.live.iter().map(|(id, image)| (key(*id), image.clone())).collect()
    }
}

struct Measured {
    objects: usize,
    bytes: u64,
    list_requests: usize,
    other_requests: usize,
    listing: Duration,
    planning: Duration,
    reading: Duration,
    read_objects: u64,
    read_bytes: u64,
}

async fn measure(memory: &Arc<MemoryStore>, expected: &journal_tests::reference::State, last: u64) -> Measured {
    let store = Arc::new(FaultyStore::new(memory.clone(), FaultPlan::none()));
    let begun = Instant::now();
    let covered = table::covered(store.as_ref()).await;
    let listing = begun.elapsed();
    let list_requests = store.count(OperationName::List) + store.count(OperationName::ListFolders);
    let other_requests = store.operations().len() - list_requests;
    let begun = Instant::now();
    let cut = Cut::at(second(last));
    let chosen = bases(&covered, interval(&covered), cut).candidates.remove(0);
    let planning = begun.elapsed();
    let begun = Instant::now();
    let (got, report) = state(memory, chosen.inputs(&covered), cut, 48 << 20).await;
    assert!(got == *expected, "the state is not what the table was");
    Measured {
        objects: covered.objects.segments.len(),
        bytes: covered.objects.segments.iter().map(|segment| segment.size).sum(),
        list_requests,
        other_requests,
        listing,
        planning,
        reading: begun.elapsed(),
        read_objects: report.objects,
        read_bytes: report.bytes_read,
    }
}

fn print(what: &str, measured: &Measured) {
    println!(
        "{what:>10} {:>9} {:>11} {:>6} {:>6} {:>9.0} {:>9.0} {:>9.0} {:>8} {:>11}",
        measured.objects,
        measured.bytes,
        measured.list_requests,
        measured.other_requests,
        measured.listing.as_secs_f64() * 1000.0,
        measured.planning.as_secs_f64() * 1000.0,
        measured.reading.as_secs_f64() * 1000.0,
        measured.read_objects,
        measured.read_bytes,
    );
}

/// Figures are printed; what is claimed is that a replay of the same state reads a hundredth of the objects.
#[tokio::test(flavor = "multi_thread")]
async fn tiny_segments_before_and_after_compaction_side_by_side() {
    let segments: u64 = if full() { 100_000 } else { 4_000 };
    let memory = Arc::new(MemoryStore::new());
    start(memory.as_ref(), true).await;
    let mut source = Source::default();
    // Over two days and a month's end, whatever the scale.
    let step = 40 * 3600 / segments.max(1);
    for number in 0..segments {
        source.append(memory.as_ref(), BEGINNING + number * step.max(1)).await;
    }
    let last = BEGINNING + segments * step.max(1);
    let expected = source.state();
    println!(
        "{segments} segments of one record (the claim is about 100000; JOURNAL_TEST_FULL=1 runs it), in memory, dev profile"
    );
    println!(
        "{:>10} {:>9} {:>11} {:>6} {:>6} {:>9} {:>9} {:>9} {:>8} {:>11}",
        "", "segments", "bytes", "lists", "gets", "list ms", "plan ms", "replay ms", "read", "bytes read"
    );
    let at = last - step.max(1);
    let before = measure(&memory, &expected, at).await;
    print("before", &before);
    let store: Arc<dyn WriteStore> = memory.clone();
    let options = CompactOptions { grace: Duration::ZERO, ..CompactOptions::default() };
    let mut report = CompactReport::default();
    let never = Interrupt::never();
    // The first run merges, the second deletes what was merged.
    for _ in 0..2 {
        report +=
            compact_table(store.clone(), &timeline().table, second(LATER), &options, &never, |_| {}).await.unwrap();
    }
    let after = measure(&memory, &expected, at).await;
    print("compacted", &after);
    let options = SnapshotOptions { replay_bytes_max: 1 << 10, margin: Duration::ZERO, ..SnapshotOptions::default() };
    let made: SnapshotReport =
        snapshot_table(store, &timeline().table, second(LATER), &options, &never, |_| {}).await.unwrap();
    let folded = measure(&memory, &expected, at).await;
    print("snapshot", &folded);
    println!(
        "compaction: {} bytes read, {} written ({:.2} for one), {} puts, {} objects read, {} deletes; snapshots: {} with {} bytes",
        report.bytes_in,
        report.bytes_out,
        report.write_amplification().unwrap_or_default(),
        report.puts,
        report.objects_read,
        report.deletes,
        made.snapshots.len(),
        made.bytes_out
    );
    assert_eq!(u64::try_from(before.objects).unwrap(), segments);
    assert!(before.read_objects > 100 * after.read_objects, "{} and {}", before.read_objects, after.read_objects);
    assert!(after.list_requests <= 2, "a compacted journal is listed in {} requests", after.list_requests);
    assert!(folded.read_bytes <= after.read_bytes, "a snapshot makes nothing dearer");
}

/// The number of windows does not depend on how many segments each had. A year of one segment a second ends as what this year
/// ends as, but that its outputs are cut at 32 MiB: one object more for each 32 MiB.
#[tokio::test(flavor = "multi_thread")]
async fn a_year_ends_as_one_object_a_month_a_day_an_hour() {
    let (days, each_hour) = if full() { (366u64, 12u64) } else { (100, 1) };
    let memory = Arc::new(MemoryStore::new());
    start(memory.as_ref(), true).await;
    let store: Arc<dyn WriteStore> = memory.clone();
    let options = CompactOptions { grace: Duration::ZERO, inputs_min: 2, ..CompactOptions::default() };
    let mut source = Source::default();
    let mut report = CompactReport::default();
    let mut most = 0;
    let never = Interrupt::never();
    let mut given = 0u64;
    for day in 0..days {
        for hour in 0..24 {
            for part in 0..each_hour {
                source.append(memory.as_ref(), BEGINNING + (day * 24 + hour) * 3600 + part * 3600 / each_hour).await;
                given += 1;
            }
            // Every hour at the end, each half day before: what comes out does not depend on it.
            if hour % 12 == 11 || day + 2 > days {
                let now = second(BEGINNING + (day * 24 + hour + 1) * 3600 + 900);
                report += compact_table(store.clone(), &timeline().table, now, &options, &never, |_| {}).await.unwrap();
                most = most.max(memory.list_all("").await.unwrap().len());
            }
        }
    }
    let now = second(BEGINNING + days * 86_400 + 900);
    for _ in 0..2 {
        report += compact_table(store.clone(), &timeline().table, now, &options, &never, |_| {}).await.unwrap();
    }
    let covered = table::covered(memory.as_ref()).await;
    let mut levels: BTreeMap<u8, u64> = BTreeMap::new();
    for segment in &covered.objects.segments {
        *levels.entry(segment.name.level).or_default() += 1;
    }
    let count = covered.objects.segments.len();
    let amplification = report.write_amplification().unwrap_or_default();
    println!(
        "{days} days of {each_hour} segments an hour ({given}): {count} segments at the end by level {levels:?}, {most} objects at most"
    );
    println!(
        "each byte read was written {amplification:.2} times; {} records written, {} appended",
        report.records, given
    );
    let months = days / 28 + 2;
    assert!(levels.get(&3).copied().unwrap_or(0) <= months, "{levels:?}");
    assert!(levels.get(&2).copied().unwrap_or(0) <= 31, "{levels:?}");
    assert!(levels.get(&1).copied().unwrap_or(0) <= 24, "{levels:?}");
    assert!(report.records <= 3 * given, "a record is written once a level at most");
    let cut = Cut::at(second(BEGINNING + days * 86_400));
    let chosen = bases(&covered, interval(&covered), Cut::at(interval(&covered).through.unwrap())).candidates.remove(0);
    let (got, _) = state(&memory, chosen.inputs(&covered), cut, 48 << 20).await;
    assert!(got == source.state(), "the state at the end is not what the table was");
}
