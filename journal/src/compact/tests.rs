//! What compaction promises: nothing is lost, nothing is doubled, whatever is stopped wherever.

mod edges;
mod keys;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::append::{Batch, append};
use crate::coverage::Ending;
use crate::cut::Cut;
use crate::documents::{self, GapDocument};
use crate::error::Kind;
use crate::layout;
use crate::merge::{self, RunInput, RunKind};
use crate::model::{
    ChangeKind, ChangeRecord, Image, ItemKey, KeyAttribute, KeyAttributes, KeyType, SequenceNumber, StreamArn,
    StreamRecord, Timeline,
};
use crate::store::memory::{FaultPlan, FaultyStore, MemoryStore};
use crate::store::{ReadStore, StoreError};

/// 2020-02-28T22:00:00Z: the history goes on over two days' ends and a month's.
const BEGINNING: u64 = 1_582_927_200;
/// 2020-05-01T00:00:00Z: every window is over.
const LATER: u64 = 1_588_291_200;
const BATCHES: u64 = 60;
const EACH: u64 = 12;

type Told = (Vec<u8>, SequenceNumber, Option<Second>, ChangeKind, Option<Vec<u8>>, Option<Vec<u8>>);

fn stream() -> StreamArn {
    StreamArn::parse("arn:aws:dynamodb:x:0:table/notes/stream/1").unwrap()
}

fn timeline() -> Timeline {
    stream().timeline().clone()
}

fn second(at: u64) -> Second {
    Second::new(at).unwrap()
}

fn records() -> Vec<ChangeRecord> {
    records_of(BATCHES, EACH)
}

/// The records of a table whose items change, vanish and come back, in the order of their sequence numbers: so many batches, one an
/// hour.
fn records_of(batches: u64, each: u64) -> Vec<ChangeRecord> {
    let mut live: BTreeMap<u64, Image> = BTreeMap::new();
    (0..batches * each)
        .map(|number| {
            let id = (number * 7919) % 17;
            let old = live.remove(&id);
            let new = (number % 5 != 3 || old.is_none())
                .then(|| Image::from_bytes(Bytes::from(format!("{id}-{number}-{}", noise(number)))));
            if let Some(new) = &new {
                live.insert(id, new.clone());
            }
            let kind = match (&old, &new) {
                (None, _) => ChangeKind::Insert,
                (_, None) => ChangeKind::Remove,
                _ => ChangeKind::Modify,
            };
            ChangeRecord {
                key: ItemKey::from_bytes(Bytes::from(format!("{id:05}"))),
                sequence: SequenceNumber::parse(&(number + 100).to_string()).unwrap(),
                second: Some(second(BEGINNING + number / each * 3600 + number % each)),
                kind,
                old,
                new,
                user: None,
            }
        })
        .collect()
}

/// Text that does not compress, so that few records make many blocks.
fn noise(seed: u64) -> String {
    format!("{:x?}", Sha256::digest(seed.to_le_bytes())).repeat(8)
}

async fn put(store: &dyn WriteStore, records: &[ChangeRecord]) {
    let key_attributes =
        KeyAttributes::new(vec![KeyAttribute { name: "id".to_owned(), key_type: KeyType::S }]).unwrap();
    let records = records
        .iter()
        .map(|record| StreamRecord { stream: stream(), key_attributes: key_attributes.clone(), record: record.clone() })
        .collect();
    append(store, Batch { records, quarantined: Vec::new() }).await.unwrap();
}

async fn history() -> Arc<MemoryStore> {
    history_of(&records(), EACH / 3).await
}

/// The records in segments of so many: three an hour.
async fn history_of(records: &[ChangeRecord], each: u64) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    for batch in records.chunks(usize::try_from(each).unwrap()) {
        put(store.as_ref(), batch).await;
    }
    store
}

fn told(records: &[ChangeRecord]) -> Vec<Told> {
    let bytes = |image: &Option<Image>| image.as_ref().map(|image| image.as_bytes().to_vec());
    let mut told: Vec<Told> = records
        .iter()
        .map(|r| (r.key.as_bytes().to_vec(), r.sequence, r.second, r.kind, bytes(&r.old), bytes(&r.new)))
        .collect();
    told.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    told
}

async fn objects(store: &Arc<MemoryStore>) -> TimelineObjects {
    listing::timeline(store.as_ref(), timeline()).await.unwrap()
}

/// Every record, read as a replay reads: without the segments that need not be read, or as `everything` says with them.
async fn read(store: &Arc<MemoryStore>, everything: bool) -> Vec<Told> {
    let objects = objects(store).await;
    let superseded = objects.superseded();
    let inputs = objects
        .segments
        .iter()
        .filter(|segment| everything || !superseded.contains(&segment.key))
        .map(|segment| RunInput {
            key: segment.key.clone(),
            size: segment.size,
            kind: RunKind::Segment,
            from: None,
            until: None,
        })
        .collect();
    let all = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&all);
    let from: Arc<dyn ReadStore> = store.clone();
    let report = merge::for_each_record(from, inputs, None, MergeOptions::default(), move |r| {
        let bytes = |image: Option<&[u8]>| image.map(<[u8]>::to_vec);
        into.lock().unwrap().push((r.key.to_vec(), r.sequence, r.second, r.kind, bytes(r.old), bytes(r.new)));
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(report.contradictions, 0);
    std::mem::take(&mut *all.lock().unwrap())
}

fn options() -> CompactOptions {
    CompactOptions { grace: Duration::ZERO, run_bytes_max: 2 << 10, ..CompactOptions::default() }
}

/// Deletes nothing: what a run that was stopped had said of how far it was is younger than the grace.
fn keeping() -> CompactOptions {
    CompactOptions { grace: Duration::MAX, ..options() }
}

async fn compact(store: Arc<dyn WriteStore>, now: u64, options: &CompactOptions) -> Result<CompactReport> {
    compact_table(store, &timeline().table, second(now), options, &Interrupt::never(), |_| {}).await
}

async fn levels(store: &Arc<MemoryStore>) -> BTreeMap<u8, usize> {
    let mut levels = BTreeMap::new();
    for segment in objects(store).await.segments {
        *levels.entry(segment.name.level).or_default() += 1;
    }
    levels
}

#[tokio::test]
async fn a_history_compacted_is_the_same_history() {
    let store = history().await;
    let expected = told(&records());
    let first = compact(store.clone(), LATER, &options()).await.unwrap();
    assert_eq!((first.windows, first.inputs, first.records), (2, 180, BATCHES * EACH));
    assert!(first.outputs > 2, "outputs are cut at a bounded size: {first:?}");
    assert_eq!((first.breaks, first.duplicates, first.deleted, first.left_alone), (0, 0, 0, 0));
    assert!(first.bytes_out < first.bytes_in);
    assert_eq!(read(&store, false).await, expected);
    assert_eq!(read(&store, true).await, expected);
    let second = compact(store.clone(), LATER, &options()).await.unwrap();
    assert_eq!((second.deleted, second.windows), (180, 0));
    assert_eq!(read(&store, true).await, expected);
    assert!(levels(&store).await.keys().all(|level| *level == 3));
    assert_eq!(compact(store.clone(), LATER, &options()).await.unwrap(), CompactReport::default());
    assert!(objects(&store).await.compactions.is_empty(), "documents that are done with are deleted");
    assert!(objects(&store).await.foreign.is_empty());
}

#[tokio::test]
async fn history_is_compacted_hour_by_hour_as_it_goes_and_every_cut_stays_the_same() {
    let store = history().await;
    let expected = told(&records());
    let mut written = 0;
    for now in (BEGINNING..BEGINNING + 64 * 3600).step_by(3600 * 5).chain([LATER, LATER, LATER]) {
        written += compact(store.clone(), now, &options()).await.unwrap().records;
        assert_eq!(read(&store, false).await, expected, "at {now}");
        assert_eq!(read(&store, true).await, expected, "at {now}");
    }
    assert!(levels(&store).await.keys().all(|level| *level == 3));
    assert!(written <= 3 * BATCHES * EACH, "each record is written once a level at most: {written}");
    let cut = Cut::at(second(BEGINNING + 30 * 3600 + 5));
    assert_eq!(state(&store, cut).await, state(&history().await, cut).await);
}

async fn state(store: &Arc<MemoryStore>, cut: Cut) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let inputs = objects(store).await.segments.into_iter();
    let inputs = inputs
        .map(|s| RunInput { key: s.key, size: s.size, kind: RunKind::Segment, from: None, until: None })
        .collect();
    let items = Arc::new(Mutex::new(BTreeMap::new()));
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

/// The process dies after each of its operations in turn; the answer to the last one is lost every other time.
#[tokio::test]
async fn a_compaction_killed_at_any_step_loses_and_doubles_nothing_and_the_next_one_finishes() {
    // A day and a half, and every level: every step of it is tried.
    let records = records_of(36, 6);
    let expected = told(&records);
    let memory = history_of(&records, 2).await;
    let counting = Arc::new(FaultyStore::new(memory.clone(), FaultPlan::none()));
    // Small steps: three levels' worth, with deletions.
    let moments = [BEGINNING + 5 * 3600, BEGINNING + 5 * 3600, BEGINNING + 30 * 3600, LATER, LATER];
    let run = async |store: Arc<FaultyStore>| {
        for now in moments {
            compact(store.clone(), now, &options()).await?;
        }
        Ok::<_, crate::Error>(())
    };
    run(counting.clone()).await.unwrap();
    let steps = u64::try_from(counting.operations().len()).unwrap();
    assert!(steps > 200, "{steps}");
    let (mut resumed, mut with_progress) = (0, 0);
    for step in 1..=steps {
        let lost = step.is_multiple_of(2);
        let memory = history_of(&records, 2).await;
        let plan = FaultPlan::none().stop_after(step);
        let plan = if lost { plan.fail_after(step) } else { plan };
        let store = Arc::new(FaultyStore::new(memory.clone(), plan));
        let _ = run(store).await;
        assert_eq!(read(&memory, false).await, expected, "killed after step {step}");
        assert_eq!(read(&memory, true).await, expected, "killed after step {step}");
        with_progress += usize::from(!objects(&memory).await.progress.is_empty());
        resumed += compact(memory.clone(), LATER, &keeping()).await.unwrap().resumed;
        for _ in 0..2 {
            compact(memory.clone(), LATER, &options()).await.unwrap();
        }
        assert_eq!(read(&memory, true).await, expected, "resumed after step {step}");
        assert!(!levels(&memory).await.contains_key(&0), "resumed after step {step}");
        assert!(objects(&memory).await.progress.is_empty(), "what said how far it was is deleted: step {step}");
    }
    assert!(
        with_progress > 10 && resumed > 2,
        "{with_progress} had said how far they were, {resumed} went on from there"
    );
}

/// What an output's progress says is not merged again: the next run reads on behind its last key, and writes the rest alone.
#[tokio::test]
async fn a_compaction_goes_on_behind_the_last_key_that_its_progress_names() {
    let all = compact(history().await, LATER, &options()).await.unwrap();
    let (mut found, mut resumed) = (0, 0);
    for step in 180.. {
        let memory = history().await;
        let stopping = Arc::new(FaultyStore::new(memory.clone(), FaultPlan::none().stop_after(step)));
        if compact(stopping, LATER, &options()).await.is_ok() {
            break;
        }
        let progress = objects(&memory).await.progress.len();
        if progress == 0 {
            continue;
        }
        found += 1;
        let report = compact(memory.clone(), LATER, &keeping()).await.unwrap();
        resumed += report.resumed;
        if report.resumed == 1 {
            let stored = 2 * u64::try_from(progress).unwrap();
            assert!(report.puts + stored <= all.puts + 2, "step {step}: {report:?} after {progress} outputs");
        }
        assert_eq!(read(&memory, false).await, told(&records()), "step {step}");
        assert_eq!(report.breaks, 0, "step {step}");
    }
    assert!(found > 3 && resumed > 3, "{found} had said how far they were, {resumed} went on from there");
}

#[tokio::test]
async fn two_compactions_at_once_make_the_same_history() {
    let store = history().await;
    let late = records();
    let (one, two) = (options(), options());
    let (first, second) = tokio::join!(compact(store.clone(), LATER, &one), async {
        // The other one sees a record that came meanwhile.
        put(store.as_ref(), &late[3..5]).await;
        compact(store.clone(), LATER, &two).await
    });
    first.unwrap();
    second.unwrap();
    for _ in 0..2 {
        assert_eq!(read(&store, true).await, told(&records()));
        assert_eq!(read(&store, false).await, told(&records()));
        compact(store.clone(), LATER, &options()).await.unwrap();
    }
    assert!(!levels(&store).await.contains_key(&0));
}

#[tokio::test]
async fn what_was_merged_stays_for_the_grace_time() {
    let store = history().await;
    let patient = CompactOptions { grace: Duration::from_secs(LATER), ..options() };
    compact(store.clone(), LATER, &patient).await.unwrap();
    let again = compact(store.clone(), LATER, &patient).await.unwrap();
    assert_eq!((again.deleted, again.waiting, again.windows), (0, 180, 0), "and is not merged twice");
    assert_eq!(levels(&store).await[&0], 180);
}

#[tokio::test]
async fn inputs_stay_while_an_output_is_missing() {
    let store = history().await;
    compact(store.clone(), LATER, &options()).await.unwrap();
    let segments = objects(&store).await.segments;
    let lost = segments.iter().find(|segment| segment.name.level == 3).unwrap();
    store.delete(&lost.key).await.unwrap();
    assert!(objects(&store).await.superseded().len() < 180, "the inputs of the other month need not be read");
    assert_eq!(read(&store, false).await, told(&records()), "a replay reads the inputs again");
    compact(store.clone(), LATER, &options()).await.unwrap();
    assert_eq!(read(&store, true).await, told(&records()));
}

#[tokio::test]
async fn a_dry_run_does_nothing_and_a_stop_is_heard() {
    let store = history().await;
    let before = store.list_all("").await.unwrap();
    let report = compact(store.clone(), LATER, &CompactOptions { dry_run: true, ..options() }).await.unwrap();
    assert_eq!((report.windows, report.inputs, report.records), (2, 180, 0));
    let interrupt = Interrupt::manual();
    interrupt.trigger();
    let stopped = compact_table(store.clone(), &timeline().table, second(LATER), &options(), &interrupt, |_| {}).await;
    assert_eq!(stopped.unwrap_err().kind(), Kind::Interrupted);
    assert_eq!(store.list_all("").await.unwrap(), before);
}

#[tokio::test]
async fn the_two_sides_of_a_gap_are_never_merged() {
    let store = history().await;
    // Trimmed in the middle of the third hour.
    let gap = GapDocument {
        shard: None,
        after_sequence: None,
        before_sequence: None,
        from: second(BEGINNING + 2 * 3600 + 3),
        to: second(BEGINNING + 2 * 3600 + 4),
        reason: "records were trimmed".to_owned(),
    };
    let key = format!("{}one.json", layout::gaps_folder(&timeline()));
    store.put_new(&key, documents::to_bytes(&gap).unwrap()).await.unwrap();
    for _ in 0..2 {
        compact(store.clone(), LATER, &options()).await.unwrap();
    }
    assert_eq!(read(&store, true).await, told(&records()));
    let covered = CoveredTimeline::new(objects(&store).await);
    for segment in &covered.objects.segments {
        for interval in &covered.intervals {
            let place = interval.place(segment);
            assert!(place != crate::coverage::Place::Straddling || segment.name.level == 0, "{}", segment.key);
        }
    }
}

#[tokio::test]
async fn while_a_stream_is_followed_only_what_every_shard_was_read_past_is_compacted() {
    let store = history().await;
    let mut covered = CoveredTimeline::new(objects(&store).await);
    let last = covered.intervals.last_mut().unwrap();
    last.ending = Ending::Read;
    last.through = Some(second(BEGINNING + 5 * 3600 + 10));
    let chosen = window::choose(&covered, &[], second(LATER), &options());
    assert!(!chosen.windows.is_empty());
    for window in &chosen.windows {
        for input in &window.inputs {
            assert!(input.name.seconds.unwrap().1 < second(BEGINNING + 5 * 3600), "{}", input.key);
        }
    }
}

#[tokio::test]
async fn a_contradiction_is_left_for_a_person_to_see() {
    let store = history().await;
    let mut other = records()[7].clone();
    other.new = Some(Image::from_bytes(Bytes::from_static(b"another story")));
    put(store.as_ref(), &[other]).await;
    let refused = compact(store.clone(), LATER, &options()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Corrupt);
    assert!(refused.hint().unwrap().contains("replay verify"), "{refused}");
    assert!(objects(&store).await.superseded().len() < 180);
}

#[tokio::test]
async fn a_corrupt_input_stops_its_window_and_deletes_nothing() {
    let store = history().await;
    let victim = objects(&store).await.segments[5].key.clone();
    let mut bytes = store.get(&victim).await.unwrap().to_vec();
    bytes[100] ^= 1;
    store.delete(&victim).await.unwrap();
    store.put_new(&victim, Bytes::from(bytes)).await.unwrap();
    let refused = compact(store.clone(), LATER, &options()).await.unwrap_err();
    assert!(refused.downcast_ref::<StoreError>().is_none() && refused.to_string().contains(&victim), "{refused}");
    assert_eq!(refused.kind(), Kind::Corrupt);
    assert_eq!(levels(&store).await[&0], 180);
}
