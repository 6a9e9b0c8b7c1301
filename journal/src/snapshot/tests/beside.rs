//! A snapshot beside a compaction: what each may do while the other is under way, or when it was killed.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::*;
use crate::documents::{FoldDocument, GapDocument};
use crate::layout::SegmentName;
use crate::store::{ListPage, ObjectVersion, PutOutcome, StoreError};

/// Hours of history, so that every step can be tried.
const SHORT: u64 = 12;

fn short() -> Records {
    records().into_iter().take(usize::try_from(SHORT * EACH).unwrap()).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    Snapshots,
    /// Twice, so that what the first has merged is deleted by the second.
    Compactions,
}

impl Run {
    async fn on(self, store: Arc<dyn WriteStore>) -> Result<()> {
        if self == Self::Snapshots {
            let sooner = SnapshotOptions { replay_bytes_max: 1 << 10, ..options() };
            return snapshot(store, LATER, &sooner).await.map(drop);
        }
        compact(store.clone(), LATER).await?;
        compact(store, LATER).await
    }
}

/// A store in which a whole other run passes before one operation of those who use it.
#[derive(Debug)]
struct Between {
    inner: Arc<MemoryStore>,
    begun: AtomicU64,
    before: u64,
    other: Run,
}

impl Between {
    async fn step(&self) -> &MemoryStore {
        if self.begun.fetch_add(1, Ordering::SeqCst) + 1 == self.before {
            self.other.on(self.inner.clone()).await.unwrap();
        }
        &self.inner
    }
}

#[async_trait]
impl ReadStore for Between {
    fn location(&self) -> &str {
        self.inner.location()
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.step().await.get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.step().await.get_range(key, range).await
    }

    async fn get_tail(&self, key: &str, length: u64) -> Result<(Bytes, u64), StoreError> {
        self.step().await.get_tail(key, length).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, StoreError> {
        self.step().await.list(prefix, after).await
    }

    async fn list_folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.step().await.list_folders(folder).await
    }

    async fn list_versions(&self, prefix: &str) -> Result<Vec<ObjectVersion>, StoreError> {
        self.step().await.list_versions(prefix).await
    }
}

#[async_trait]
impl WriteStore for Between {
    async fn put_new(&self, key: &str, body: Bytes) -> Result<PutOutcome, StoreError> {
        self.step().await.put_new(key, body).await
    }

    async fn replace(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.step().await.replace(key, body).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.step().await.delete(key).await
    }
}

/// Everything that can make a state makes the true one, and something can.
async fn check_short(store: &Arc<MemoryStore>, records: &[ChangeRecord], what: &str) {
    let covered = covered(store).await;
    for at in [BEGINNING + 1900, BEGINNING + 6 * 3600, BEGINNING + 10 * 3600 + 2100] {
        let found = bases(&covered, interval(&covered), Cut::at(second(at)));
        assert!(!found.candidates.is_empty(), "{what}: nothing makes {at}");
        for candidate in found.candidates {
            let got = state(store, candidate.inputs(&covered), Cut::at(second(at))).await;
            assert_eq!(got, truth(records, at), "{what}: at {at} {:?}", candidate.way);
        }
    }
}

/// How many operations a run has.
async fn steps(run: Run, records: &[ChangeRecord]) -> u64 {
    let counting = Arc::new(FaultyStore::new(history(records).await, FaultPlan::none()));
    run.on(counting.clone()).await.unwrap();
    u64::try_from(counting.operations().len()).unwrap()
}

/// Each of the two is killed, or goes on, after the other has passed wholly between any two of its operations.
async fn every_second_stays(first: Run, second: Run) {
    let records = short();
    let steps = steps(first, &records).await;
    assert!(steps > 40, "{steps}");
    let (mut made, mut gone) = (0, 0);
    for step in 1..=steps {
        for killed in [false, true] {
            let store = history(&records).await;
            let what = format!("{second:?} before step {step} of {first:?}, killed there: {killed}");
            if killed {
                let stopping = FaultyStore::new(store.clone(), FaultPlan::none().stop_after(step - 1));
                first.on(Arc::new(stopping)).await.unwrap_err();
                second.on(store.clone()).await.unwrap();
            } else {
                let (inner, begun) = (store.clone(), AtomicU64::new(0));
                let both = first.on(Arc::new(Between { inner, begun, before: step, other: second })).await;
                // What it was to read may be gone: the next run plans anew.
                assert!(both.as_ref().err().is_none_or(|error| error.kind() == Kind::Unavailable), "{what}: {both:?}");
                gone += u64::from(both.is_err());
            }
            check_short(&store, &records, &what).await;
            for run in [first, second] {
                run.on(store.clone()).await.unwrap();
            }
            check_short(&store, &records, &what).await;
            made += u64::from(!covered(&store).await.objects.snapshots.is_empty());
        }
    }
    // What is compacted first may be too little for a snapshot.
    assert!(made > steps, "snapshots in {made} of {steps} twice");
    // Inputs are deleted at once here, without the grace time that a compaction gives to who reads them.
    assert!((gone > 0) == (first == Run::Snapshots) && gone < steps, "{gone} of {steps}");
}

#[tokio::test]
async fn a_compaction_within_a_snapshot_makes_no_second_unreachable() {
    every_second_stays(Run::Snapshots, Run::Compactions).await;
}

#[tokio::test]
async fn a_snapshot_within_a_compaction_makes_no_second_unreachable() {
    every_second_stays(Run::Compactions, Run::Snapshots).await;
}

/// Whether a compaction has merged what ends before a fold's cut with what does not.
fn merges_across(covered: &CoveredTimeline, fold: &FoldDocument) -> bool {
    let folder = layout::segments_folder(&timeline());
    let ends_after = |name: &String| {
        let (_, last) = SegmentName::parse(&format!("{folder}{name}")).unwrap().seconds.unwrap();
        last > fold.cut
    };
    covered.objects.compactions.iter().any(|compaction| {
        let inputs = &compaction.document.inputs;
        inputs.iter().any(ends_after) && !inputs.iter().all(ends_after)
    })
}

/// A snapshot that was stopped is gone on with: it would be read beside nearly all that it holds.
#[tokio::test]
async fn compaction_heeds_the_cut_of_a_snapshot_that_is_under_way() {
    let records = short();
    let mut under_way = 0;
    for step in 1..=steps(Run::Snapshots, &records).await {
        let store = history(&records).await;
        let stopping = FaultyStore::new(store.clone(), FaultPlan::none().stop_after(step));
        let _ = Run::Snapshots.on(Arc::new(stopping)).await;
        let plans = plans(store.as_ref(), &covered(&store).await).await.unwrap();
        let keeping = CompactOptions { grace: Duration::MAX, ..compaction() };
        compact_table(store.clone(), &timeline().table, second(LATER), &keeping, &Interrupt::never(), |_| {})
            .await
            .unwrap();
        let compacted = covered(&store).await;
        assert!(!compacted.objects.compactions.is_empty());
        for (name, plan) in plans {
            under_way += 1;
            assert!(!merges_across(&compacted, &plan.fold), "{name}, stopped after step {step}");
        }
        Run::Snapshots.on(store.clone()).await.unwrap();
        let covered = covered(&store).await;
        let found = bases(&covered, interval(&covered), Cut::at(second(BEGINNING + SHORT * 3000)));
        assert_eq!((found.rejected, covered.objects.unfinished), (vec![], vec![]), "stopped after step {step}");
    }
    assert!(under_way > 20, "{under_way}");
}

/// A history in which the snapshot of this cut was stopped as soon as it had its plan.
async fn planned(records: &[ChangeRecord], cut: u64) -> Arc<MemoryStore> {
    for step in 1..500 {
        let store = history(records).await;
        let stopping = FaultyStore::new(store.clone(), FaultPlan::none().stop_after(step));
        at(Arc::new(stopping), cut).await.unwrap_err();
        if !plans(store.as_ref(), &covered(&store).await).await.unwrap().is_empty() {
            return store;
        }
    }
    panic!("no plan was made");
}

/// A snapshot was completed, and said to be there, that no replay could start from.
#[tokio::test]
async fn a_snapshot_is_not_gone_on_with_when_a_gap_is_stated_in_what_it_folds() {
    let cut = BEGINNING + 10 * 3600;
    let store = planned(&short(), cut).await;
    let gap = GapDocument {
        shard: None,
        after_sequence: None,
        before_sequence: None,
        from: second(BEGINNING + 4 * 3600 + 2100),
        to: second(BEGINNING + 4 * 3600 + 2101),
        reason: "records were trimmed".to_owned(),
    };
    let key = format!("{}one.json", layout::gaps_folder(&timeline()));
    store.put_new(&key, documents::to_bytes(&gap).unwrap()).await.unwrap();
    assert_eq!(at(store.clone(), cut).await.unwrap_err().kind(), Kind::Gap);
    snapshot(store.clone(), LATER, &options()).await.unwrap();
    let covered = covered(&store).await;
    assert!(covered.objects.snapshots.iter().all(|snapshot| snapshot.document.started < gap.to));
}

/// The same with a baseline that was read meanwhile: what is folded without it does not count.
#[tokio::test]
async fn a_snapshot_is_planned_anew_when_a_baseline_has_come() {
    let records = short();
    let (scanned, cut) = (BEGINNING + 6 * 3600 + 500, BEGINNING + 10 * 3600);
    let store = planned(&records, cut).await;
    let mut writer = SnapshotWriter::new(store.clone(), stream(), names(), format!("{scanned}-baseline-1"));
    for (key, image) in truth(&records, scanned) {
        let key = ItemKey::from_bytes(Bytes::from(key));
        writer.push(key, Image::from_bytes(Bytes::from(image))).await.unwrap();
    }
    writer.finish(second(scanned), second(scanned)).await.unwrap();
    assert_eq!(at(store.clone(), cut).await.unwrap().snapshots.len(), 1);
    let covered = covered(&store).await;
    let found = bases(&covered, interval(&covered), Cut::at(second(cut)));
    assert_eq!(found.rejected, []);
    assert!(found.candidates[0].segments.is_empty(), "it is at its own cut: {:?}", found.candidates[0]);
}
