//! Folds against the plain state: at every cut, from every base, after late records, kills and repetitions.

mod beside;

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;

use super::*;
use crate::append::{Batch, SnapshotWriter, append};
use crate::compact::{CompactOptions, compact_table};
use crate::coverage::Interval;
use crate::cut::Cut;
use crate::documents::{self, StartDocument};
use crate::error::Kind;
use crate::layout;
use crate::merge::{self, RunInput};
use crate::model::{
    ChangeKind, ChangeRecord, Image, ItemKey, KeyAttribute, KeyAttributes, KeyType, SequenceNumber, StreamArn,
    StreamRecord, Timeline,
};
use crate::store::memory::{FaultPlan, FaultyStore, MemoryStore, OperationName};

/// 2020-02-28T22:00:00Z: the history goes on over two days' ends and a month's.
const BEGINNING: u64 = 1_582_927_200;
/// 2020-05-01T00:00:00Z: every window is over.
const LATER: u64 = 1_588_291_200;
const HOURS: u64 = 50;
const EACH: u64 = 6;

fn stream() -> StreamArn {
    StreamArn::parse("arn:aws:dynamodb:x:0:table/notes/stream/1").unwrap()
}

fn timeline() -> Timeline {
    stream().timeline().clone()
}

fn second(at: u64) -> Second {
    Second::new(at).unwrap()
}

fn names() -> KeyAttributes {
    KeyAttributes::new(vec![KeyAttribute { name: "id".to_owned(), key_type: KeyType::S }]).unwrap()
}

type Records = Vec<ChangeRecord>;
type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// Items that change, vanish and come back; some vanish for good, so that a fold has nothing of them.
fn records() -> Records {
    let mut live: BTreeMap<u64, Image> = BTreeMap::new();
    (0..HOURS * EACH)
        .map(|number| {
            let id = if number % 11 == 0 { 100 + number / 22 } else { (number * 7919) % 17 };
            let old = live.remove(&id);
            let new = (number % 5 != 3 || old.is_none())
                .then(|| Image::from_bytes(Bytes::from(format!("{id}-{number}-{}", "x".repeat(40)))));
            live.extend(new.clone().map(|new| (id, new)));
            let kind = match (&old, &new) {
                (None, _) => ChangeKind::Insert,
                (_, None) => ChangeKind::Remove,
                _ => ChangeKind::Modify,
            };
            ChangeRecord {
                key: ItemKey::from_bytes(Bytes::from(format!("{id:05}"))),
                sequence: SequenceNumber::parse(&(number + 100).to_string()).unwrap(),
                second: Some(second(BEGINNING + number / EACH * 3600 + (number % EACH) * 400)),
                kind,
                old,
                new,
                user: None,
            }
        })
        .collect()
}

async fn put(store: &dyn WriteStore, records: &[ChangeRecord]) {
    let records = records
        .iter()
        .map(|record| StreamRecord { stream: stream(), key_attributes: names(), record: record.clone() })
        .collect();
    append(store, Batch { records, quarantined: Vec::new() }).await.unwrap();
}

async fn start(store: &MemoryStore, whole: bool) {
    let document = StartDocument { covered_from: second(BEGINNING), whole, reason: "made with the table".to_owned() };
    let bytes = documents::to_bytes(&document).unwrap();
    store.replace(&layout::start_document(&timeline()), bytes).await.unwrap();
}

async fn history(records: &[ChangeRecord]) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    start(&store, true).await;
    for batch in records.chunks(4) {
        put(store.as_ref(), batch).await;
    }
    store
}

/// The state after all records of a second: known without any rule, for the history is a stream's.
fn truth(records: &[ChangeRecord], at: u64) -> State {
    let mut state = State::new();
    for record in records.iter().filter(|record| record.second.unwrap().get() <= at) {
        match &record.new {
            Some(new) => state.insert(record.key.as_bytes().to_vec(), new.as_bytes().to_vec()),
            None => state.remove(record.key.as_bytes()),
        };
    }
    state
}

async fn covered(store: &MemoryStore) -> CoveredTimeline {
    CoveredTimeline::new(listing::timeline(store, timeline()).await.unwrap())
}

async fn state(store: &Arc<MemoryStore>, inputs: Vec<RunInput>, cut: Cut) -> State {
    let items = Arc::new(Mutex::new(State::new()));
    let into = Arc::clone(&items);
    let from: Arc<dyn ReadStore> = store.clone();
    merge::for_each_item(from, inputs, cut, None, MergeOptions::default(), move |item| {
        into.lock().unwrap().insert(item.key.to_vec(), item.image.to_vec());
        Ok(())
    })
    .await
    .unwrap();
    std::mem::take(&mut *items.lock().unwrap())
}

fn interval(covered: &CoveredTimeline) -> &Interval {
    covered.intervals.last().unwrap()
}

/// Every candidate makes the true state at every third half hour; gives how often each way was taken.
async fn check(store: &Arc<MemoryStore>, records: &[ChangeRecord], what: &str) -> BTreeMap<String, usize> {
    let covered = covered(store).await;
    let mut ways = BTreeMap::new();
    for at in (BEGINNING..BEGINNING + (HOURS - 1) * 3600).step_by(5333) {
        let found = bases(&covered, interval(&covered), Cut::at(second(at)));
        let expected = truth(records, at);
        assert!(!found.candidates.is_empty(), "{what}: nothing makes {at}");
        for candidate in found.candidates {
            let got = state(store, candidate.inputs(&covered), Cut::at(second(at))).await;
            assert_eq!(got, expected, "{what}: at {at} {:?}", candidate.way);
            *ways.entry(format!("{:?}", candidate.way)).or_default() += 1;
        }
    }
    ways
}

fn options() -> SnapshotOptions {
    SnapshotOptions {
        replay_bytes_max: 3 << 10,
        margin: Duration::ZERO,
        tombstones: Duration::from_hours(2),
        part_bytes_max: 300,
        grace: Duration::from_secs(LATER),
        ..SnapshotOptions::default()
    }
}

fn compaction() -> CompactOptions {
    CompactOptions { grace: Duration::ZERO, run_bytes_max: 2 << 10, ..CompactOptions::default() }
}

async fn snapshot(store: Arc<dyn WriteStore>, now: u64, options: &SnapshotOptions) -> Result<SnapshotReport> {
    snapshot_table(store, &timeline().table, second(now), options, &Interrupt::never(), |_| {}).await
}

async fn at(store: Arc<dyn WriteStore>, cut: u64) -> Result<SnapshotReport> {
    snapshot_at(store, &timeline().table, second(cut), second(LATER), &options(), &Interrupt::never()).await
}

async fn compact(store: Arc<dyn WriteStore>, now: u64) -> Result<()> {
    compact_table(store, &timeline().table, second(now), &compaction(), &Interrupt::never(), |_| {}).await.map(drop)
}

#[tokio::test]
async fn snapshots_are_made_wherever_a_replay_would_cost_more_and_every_cut_stays_true_from_each() {
    let records = records();
    let store = history(&records).await;
    let report = snapshot(store.clone(), LATER, &options()).await.unwrap();
    assert!(report.snapshots.len() > 2, "{report:?}");
    assert!(report.tombstones > 0 && usize::try_from(report.parts).unwrap() > report.snapshots.len(), "{report:?}");
    let ways = check(&store, &records, "snapshots").await;
    assert!(ways["Forward"] > 50 && ways["Backward"] > 50 && ways["Records"] > 30, "{ways:?}");
    let again = snapshot(store.clone(), LATER, &options()).await.unwrap();
    assert_eq!(again, SnapshotReport::default(), "nothing is due any more");
    let covered = covered(&store).await;
    let cheapest = |at: u64| bases(&covered, interval(&covered), Cut::at(second(at))).candidates.remove(0);
    for hour in 1..HOURS - 1 {
        let candidate = cheapest(BEGINNING + hour * 3600);
        assert!(candidate.segment_bytes < 3 * options().replay_bytes_max, "hour {hour}: {candidate:?}");
    }
}

#[tokio::test]
async fn compaction_between_snapshots_keeps_every_cut_and_every_snapshot_usable() {
    let records = records();
    let store = Arc::new(MemoryStore::new());
    start(&store, true).await;
    let mut given = 0;
    let batches: Vec<&[ChangeRecord]> = records.chunks(4).collect();
    for now in (BEGINNING..BEGINNING + HOURS * 3600).step_by(4 * 3600).chain([LATER, LATER, LATER]) {
        while given < batches.len() && batches[given].last().unwrap().second.unwrap().get() < now {
            put(store.as_ref(), batches[given]).await;
            given += 1;
        }
        compact(store.clone(), now).await.unwrap();
        snapshot(store.clone(), now, &options()).await.unwrap();
    }
    compact(store.clone(), LATER).await.unwrap();
    let covered = covered(&store).await;
    assert!(covered.objects.snapshots.len() > 2);
    assert!(covered.objects.segments.iter().all(|segment| segment.name.level == 3), "all is compacted");
    let found = bases(&covered, interval(&covered), Cut::at(second(BEGINNING + HOURS * 3000)));
    assert_eq!(found.rejected, [], "compaction made no snapshot useless");
    check(&store, &records, "compacted").await;
}

#[tokio::test]
async fn a_record_that_comes_late_is_in_every_state_and_an_older_one_than_the_tombstones_needs_an_earlier_base() {
    let all = records();
    // A batch that comes an hour late, and one that comes a day late.
    for (late, usable) in [(200..203, true), (40..43, false)] {
        let mut timely = all.clone();
        let late: Vec<ChangeRecord> = timely.drain(late).collect();
        let store = history(&timely).await;
        let cut = BEGINNING + 34 * 3600 + 1700;
        at(store.clone(), cut).await.unwrap();
        put(store.as_ref(), &late).await;
        let covered = covered(&store).await;
        let found = bases(&covered, interval(&covered), Cut::at(second(cut + 7200)));
        assert_eq!(found.rejected.is_empty(), usable, "{found:?}");
        assert_eq!(found.candidates.iter().any(|candidate| candidate.way == Way::Forward), usable);
        check(&store, &all, "late").await;
        compact(store.clone(), LATER).await.unwrap();
        compact(store.clone(), LATER).await.unwrap();
        check(&store, &all, "late and compacted").await;
        // The next snapshot has it.
        at(store.clone(), cut + 3600).await.unwrap();
        check(&store, &all, "folded again").await;
    }
}

#[tokio::test]
async fn a_snapshot_of_a_baseline_has_its_items_and_one_without_it_does_not_count_beside_it() {
    let all = records();
    // The stream was switched on when a part of the history had passed.
    let (before, seen) = all.split_at(60);
    let store = Arc::new(MemoryStore::new());
    start(&store, false).await;
    for batch in seen.chunks(4) {
        put(store.as_ref(), batch).await;
    }
    let cut = BEGINNING + 30 * 3600;
    let refused = at(store.clone(), cut).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Gap);
    assert!(refused.hint().unwrap().contains("journal baseline"), "{refused}");
    let scanned = BEGINNING + 20 * 3600 + 500;
    let mut writer = SnapshotWriter::new(store.clone(), stream(), names(), format!("{scanned}-baseline-1"));
    for (key, image) in truth(&all, scanned) {
        let key = ItemKey::from_bytes(Bytes::from(key));
        writer.push(key, Image::from_bytes(Bytes::from(image))).await.unwrap();
    }
    writer.finish(second(scanned), second(scanned)).await.unwrap();
    for hours in [12, 30, 45] {
        let report = at(store.clone(), BEGINNING + hours * 3600).await.unwrap();
        assert_eq!(report.snapshots.len(), 1);
    }
    let covered = covered(&store).await;
    let folds = covered.objects.snapshots.iter().filter_map(|snapshot| snapshot.document.fold.as_ref());
    assert!(folds.clone().count() == 3 && folds.clone().all(|fold| fold.whole && fold.baseline.is_some()));
    let from = before.last().unwrap().second.unwrap().get() + 1;
    for at in (from..BEGINNING + 48 * 3600).step_by(4111) {
        let found = bases(&covered, interval(&covered), Cut::at(second(at)));
        assert!(found.candidates.len() >= 4 && found.rejected.is_empty(), "{found:?}");
        for candidate in found.candidates {
            let got = state(&store, candidate.inputs(&covered), Cut::at(second(at))).await;
            assert_eq!(got, truth(&all, at), "at {at} {candidate:?}");
        }
    }
}

/// A replay from a baseline took up again what had been removed before it: a long run that began before the baseline had the
/// item's insertion, and the short one with its removal ended before the baseline and was left out.
#[tokio::test]
async fn what_was_removed_before_a_baseline_does_not_come_back_with_a_long_run() {
    let all = records();
    let store = Arc::new(MemoryStore::new());
    start(&store, false).await;
    let removal = all.iter().position(|record| record.kind == ChangeKind::Remove).unwrap();
    let mut long = all.clone();
    let short = long.remove(removal);
    put(store.as_ref(), &long).await;
    put(store.as_ref(), &[short]).await;
    let scanned = BEGINNING + 40 * 3600;
    let mut writer = SnapshotWriter::new(store.clone(), stream(), names(), format!("{scanned}-baseline-1"));
    for (key, image) in truth(&all, scanned) {
        let key = ItemKey::from_bytes(Bytes::from(key));
        writer.push(key, Image::from_bytes(Bytes::from(image))).await.unwrap();
    }
    writer.finish(second(scanned), second(scanned)).await.unwrap();
    check(&store, &all, "a long run").await;
}

/// Two changes of an item, the clock of the later one behind by less than the allowance: which of them has happened at a cut says
/// their second, which comes first their sequence number. Each lies in a segment of its own, and bases lie between them and after.
#[tokio::test]
async fn seconds_that_disagree_with_the_order_of_changes_are_allowed_for_around_every_base() {
    const BETWEEN: u64 = BEGINNING + 20 * 3600;
    const AFTER: u64 = BETWEEN + 3 * 3600;
    let record = |number: u64, id: &str, at: u64, old: Option<&str>, new: &str| {
        let image = |text: &str| Image::from_bytes(Bytes::from(text.to_owned()));
        let kind = if old.is_none() { ChangeKind::Insert } else { ChangeKind::Modify };
        let (key, sequence) = (ItemKey::from_bytes(Bytes::from(id.to_owned())), number.to_string());
        let sequence = SequenceNumber::parse(&sequence).unwrap();
        ChangeRecord {
            key,
            sequence,
            second: Some(second(at)),
            kind,
            old: old.map(image),
            new: Some(image(new)),
            user: None,
        }
    };
    let records = [
        record(100, "item", BEGINNING + 600, None, "one"),
        record(101, "item", BETWEEN + 100, Some("one"), "two"),
        record(102, "item", BETWEEN - 50, Some("two"), "three"),
        record(103, "other", AFTER + 7 * 3600, None, "other"),
    ];
    let expected = |cut: u64| match cut {
        cut if cut < BETWEEN - 50 => "one",
        _ => "three",
    };
    for baselines in [false, true] {
        let store = Arc::new(MemoryStore::new());
        start(&store, !baselines).await;
        for record in &records {
            put(store.as_ref(), std::slice::from_ref(record)).await;
        }
        for base in [BETWEEN, AFTER] {
            if baselines {
                let mut writer = SnapshotWriter::new(store.clone(), stream(), names(), format!("{base}-baseline-1"));
                writer.push(records[2].key.clone(), records[2].new.clone().unwrap()).await.unwrap();
                writer.finish(second(base), second(base)).await.unwrap();
            } else {
                at(store.clone(), base).await.unwrap();
            }
        }
        let covered = covered(&store).await;
        let mut backward = 0;
        for cut in [BETWEEN - 100, BETWEEN - 50, BETWEEN, BETWEEN + 99, BETWEEN + 100, AFTER - 1, AFTER, AFTER + 1] {
            let candidates = bases(&covered, interval(&covered), Cut::at(second(cut))).candidates;
            assert!(candidates.len() >= 2, "{candidates:?}");
            for candidate in candidates {
                backward += usize::from(candidate.way == Way::Backward);
                let got = state(&store, candidate.inputs(&covered), Cut::at(second(cut))).await;
                let expected = State::from([(b"item".to_vec(), expected(cut).as_bytes().to_vec())]);
                assert_eq!(got, expected, "{} seconds around, {candidate:?}", cut.abs_diff(BETWEEN));
            }
        }
        assert!(backward >= 5, "{backward}");
    }
}

/// The process dies after each of its operations in turn; the answer to the last one is lost every other time.
#[tokio::test]
async fn a_snapshot_killed_at_any_step_loses_and_doubles_nothing_and_the_next_run_goes_on() {
    let records = records();
    let memory = history(&records).await;
    let counting = Arc::new(FaultyStore::new(memory.clone(), FaultPlan::none()));
    let done = snapshot(counting.clone(), LATER, &options()).await.unwrap();
    let steps = u64::try_from(counting.operations().len()).unwrap();
    assert!(steps > 100, "{steps}");
    let mut resumed = 0;
    for step in 1..=steps {
        for lost in [false, true] {
            let memory = history(&records).await;
            let plan = FaultPlan::none().stop_after(step);
            let plan = if lost { plan.fail_after(step) } else { plan };
            let _ = snapshot(Arc::new(FaultyStore::new(memory.clone(), plan)), LATER, &options()).await;
            let quick = covered(&memory).await;
            for at in [BEGINNING + 20 * 3600, BEGINNING + 41 * 3600] {
                for candidate in bases(&quick, interval(&quick), Cut::at(second(at))).candidates {
                    let got = state(&memory, candidate.inputs(&quick), Cut::at(second(at))).await;
                    assert_eq!(got, truth(&records, at), "killed after step {step}: {candidate:?}");
                }
            }
            let rest = snapshot(memory.clone(), LATER, &options()).await.unwrap();
            resumed += rest.resumed;
            let whole = covered(&memory).await;
            let cuts = |covered: &CoveredTimeline| -> Vec<Second> {
                covered.objects.snapshots.iter().map(|snapshot| snapshot.document.started).collect()
            };
            assert_eq!(cuts(&whole).len(), done.snapshots.len(), "resumed after step {step}");
            assert_eq!(whole.objects.unfinished, [], "resumed after step {step}");
            for snapshot in &whole.objects.snapshots {
                let mut keys = Vec::new();
                for part in &snapshot.document.parts {
                    let key = format!("{}{}", layout::snapshot_folder(&timeline(), &snapshot.name), part.name);
                    let tail = merge::tail_of(memory.as_ref(), &key).await.unwrap();
                    keys.push((tail.blocks[0].first_key.clone(), tail.footer.last_key.clone()));
                }
                assert!(keys.windows(2).all(|pair| pair[0].1 < pair[1].0), "no key is in two parts");
            }
        }
    }
    assert!(resumed > 10, "some runs went on with parts that were there: {resumed}");
}

#[tokio::test]
async fn two_snapshot_runs_at_once_make_the_same_snapshots() {
    let records = records();
    let store = history(&records).await;
    let (one, two) = (options(), options());
    let (first, second) = tokio::join!(snapshot(store.clone(), LATER, &one), snapshot(store.clone(), LATER, &two));
    let made: HashSet<String> = first.unwrap().snapshots.into_iter().chain(second.unwrap().snapshots).collect();
    let there = covered(&store).await.objects.snapshots;
    assert_eq!(there.len(), made.len(), "one folder for each, whoever wrote it");
    assert!(covered(&store).await.objects.unfinished.is_empty());
    check(&store, &records, "two at once").await;
}

#[tokio::test]
async fn a_stop_is_heard_and_a_cut_that_is_not_settled_is_refused() {
    let records = records();
    let store = history(&records).await;
    let interrupt = Interrupt::manual();
    interrupt.trigger();
    let stopped = snapshot_table(store.clone(), &timeline().table, second(LATER), &options(), &interrupt, |_| {}).await;
    assert_eq!(stopped.unwrap_err().kind(), Kind::Interrupted);
    let head = BEGINNING + 40 * 3600;
    let table = timeline().table;
    let soon = second(head + 60);
    let early =
        snapshot_at(store.clone(), &table, second(head), soon, &options(), &Interrupt::never()).await.unwrap_err();
    assert_eq!(early.kind(), Kind::Gap);
    assert!(early.to_string().contains("records may still come"), "{early}");
    let nowhere = at(store.clone(), BEGINNING - 5).await.unwrap_err();
    assert!(nowhere.to_string().contains("does not cover"), "{nowhere}");
    assert!(covered(&store).await.objects.snapshots.is_empty());
    let made = at(store.clone(), head).await.unwrap();
    assert_eq!(made.snapshots.len(), 1);
    assert!(at(store.clone(), head).await.unwrap().already_there);
}

#[tokio::test]
async fn records_without_a_second_make_no_snapshot() {
    let mut all = records();
    all[30].second = None;
    let store = history(&all).await;
    let refused = at(store.clone(), BEGINNING + 30 * 3600).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unsupported);
    assert!(
        refused.to_string().contains("segments/0/") && refused.hint().unwrap().contains("--at-sequence"),
        "{refused}"
    );
    let counting = Arc::new(FaultyStore::new(store.clone(), FaultPlan::none()));
    let segments = covered(&store).await.objects.segments.len();
    at(counting.clone(), BEGINNING + 30 * 3600).await.unwrap_err();
    let read = counting.operations().len();
    assert!(read < segments, "it is refused before all are opened: {read} operations, {segments} segments");
    let report = snapshot(store.clone(), LATER, &options()).await.unwrap();
    assert!(!report.undated.is_empty() && report.snapshots.is_empty(), "{report:?}");
    assert!(covered(&store).await.objects.snapshots.is_empty());
}

/// Each scheduled run tried the same plan again, and made one more when a segment had come.
#[tokio::test]
async fn what_has_no_second_is_found_once_and_told_by_every_run_without_trying_again() {
    let mut all = records();
    all[30].second = None;
    let (before, after) = all.split_at(200);
    // A run that was stopped, or one of a version that tried again, has left its plan.
    let mut left = None;
    for step in 1..50 {
        let store = history(before).await;
        let plan = FaultPlan::none().stop_after(step);
        let _ = snapshot(Arc::new(FaultyStore::new(store.clone(), plan)), LATER, &options()).await;
        if covered(&store).await.objects.unfinished.iter().any(|object| object.key.ends_with("/plan.json")) {
            left = Some(store);
            break;
        }
    }
    let store = left.expect("a plan is left when it is stopped at some step");
    let first = snapshot(store.clone(), LATER, &options()).await.unwrap();
    let [segment] = first.undated.as_slice() else { panic!("{first:?}") };
    assert!(segment.object.starts_with("notes/1/segments/0/") && segment.count == 1, "{segment:?}");
    put(store.as_ref(), after).await;
    let undated = |covered: CoveredTimeline| -> Vec<String> {
        covered.objects.unfinished.into_iter().map(|object| object.key).collect()
    };
    let noted = undated(covered(&store).await);
    assert!(noted.len() == 1 && noted[0].ends_with("/undated.json"), "{noted:?}");
    // Long after, for it is no dead snapshot's.
    for now in [LATER, LATER * 3] {
        let counting = Arc::new(FaultyStore::new(store.clone(), FaultPlan::none()));
        let again = snapshot(counting.clone(), now, &options()).await.unwrap();
        assert_eq!((&again.undated, again.snapshots.len(), again.deleted), (&first.undated, 0, 0));
        let changed = counting.operations().into_iter().filter(|operation| {
            matches!(operation.name, OperationName::PutNew | OperationName::Replace | OperationName::Delete)
        });
        assert_eq!(changed.count(), 0, "nothing is written");
        let opened = counting.operations().into_iter().filter(|operation| {
            matches!(operation.name, OperationName::Get | OperationName::GetTail | OperationName::GetRange)
                && operation.key.contains("/segments/")
        });
        assert_eq!(opened.count(), 0, "no segment is read again");
        assert_eq!(undated(covered(&store).await), noted);
    }
    // Compaction replaces the segment: it is found anew in what it was merged into, and the old finding goes in its time.
    for _ in 0..3 {
        compact(store.clone(), LATER).await.unwrap();
    }
    // A replay reads less of a run than of its segments: a snapshot is due at less.
    let sooner = SnapshotOptions { replay_bytes_max: 1 << 10, ..options() };
    let later = snapshot(store.clone(), LATER * 3, &sooner).await.unwrap();
    assert!(later.undated.len() == 1 && later.undated[0].object != segment.object, "{later:?}");
    assert!(later.deleted == 1 && later.snapshots.is_empty(), "{later:?}");
    check_records(&store, &all).await;
}

/// A cut by sequence number, which needs no times, is true.
async fn check_records(store: &Arc<MemoryStore>, records: &[ChangeRecord]) {
    let covered = covered(store).await;
    let cut = Cut::at_sequence(records[250].sequence);
    let mut expected = State::new();
    for record in &records[..=250] {
        match &record.new {
            Some(new) => expected.insert(record.key.as_bytes().to_vec(), new.as_bytes().to_vec()),
            None => expected.remove(record.key.as_bytes()),
        };
    }
    let candidate = bases(&covered, interval(&covered), cut).candidates.remove(0);
    assert_eq!(state(store, candidate.inputs(&covered), cut).await, expected);
}

#[tokio::test]
async fn what_a_dead_snapshot_left_is_deleted_when_its_grace_is_over() {
    let records = records();
    let mut killed = None;
    for step in (20..200).step_by(5) {
        let store = history(&records).await;
        let _ =
            snapshot(Arc::new(FaultyStore::new(store.clone(), FaultPlan::none().stop_after(step))), LATER, &options())
                .await;
        if covered(&store).await.objects.unfinished.len() > 1 {
            killed = Some(store);
            break;
        }
    }
    let store = killed.expect("some step lies between the first part and the last");
    let left = covered(&store).await.objects.unfinished.len();
    let impatient = SnapshotOptions { grace: Duration::ZERO, replay_bytes_max: u64::MAX, ..options() };
    // Another run may be at it until nobody has added to it for so long.
    let newest = covered(&store).await.objects.unfinished.iter().map(|object| object.modified).max().unwrap();
    for (grace, deleted) in [(LATER - newest + 1, 0), (LATER - newest, left)] {
        let grace = Duration::from_secs(grace);
        let options = SnapshotOptions { grace, dry_run: true, ..impatient.clone() };
        let report = snapshot(store.clone(), LATER, &options).await.unwrap();
        assert_eq!(usize::try_from(report.deleted).unwrap(), deleted, "{grace:?} after the last part");
        assert_eq!(covered(&store).await.objects.unfinished.len(), left);
    }
    snapshot(store.clone(), LATER, &impatient).await.unwrap();
    let report = snapshot(store.clone(), LATER, &impatient).await.unwrap();
    assert_eq!((report.deleted, covered(&store).await.objects.unfinished.len()), (0, 0));
}

/// Cuts by sequence number start from a snapshot whose records have all happened.
#[tokio::test]
async fn cuts_by_sequence_number_are_true_from_every_base_that_may_serve() {
    let records = records();
    let store = history(&records).await;
    snapshot(store.clone(), LATER, &options()).await.unwrap();
    let covered = covered(&store).await;
    let mut forward = 0;
    for number in (100..100 + HOURS * EACH).step_by(13) {
        let cut = Cut::at_sequence(SequenceNumber::parse(&number.to_string()).unwrap());
        let mut expected = State::new();
        for record in records.iter().take(usize::try_from(number - 99).unwrap()) {
            match &record.new {
                Some(new) => expected.insert(record.key.as_bytes().to_vec(), new.as_bytes().to_vec()),
                None => expected.remove(record.key.as_bytes()),
            };
        }
        for candidate in bases(&covered, interval(&covered), cut).candidates {
            forward += usize::from(candidate.way == Way::Forward);
            let got = state(&store, candidate.inputs(&covered), cut).await;
            assert_eq!(got, expected, "at {number} {:?}", candidate.way);
        }
    }
    assert!(forward > 20, "{forward}");
}
