//! Which seconds are settled, and what a fold says of itself.

use std::time::Duration;

use super::super::base::tests::{CUT, fold, objects, second, snapshot};
use super::*;

#[test]
fn a_second_is_settled_when_no_record_and_no_gap_can_be_told_of_it_any_more() {
    let covered = CoveredTimeline::new(objects(true, &[]));
    let mut interval = covered.intervals.last().unwrap().clone();
    assert_eq!((&interval.ending, interval.through), (&Ending::Read, Some(second(5000))));
    let settle = Duration::from_mins(15);
    let at = |interval: &Interval, now: u64| settled(interval, second(now), settle);
    assert_eq!(at(&interval, 1901), Some(second(1000)));
    assert_eq!(at(&interval, 9000), Some(second(4999)), "a gap may still begin where every shard was read to");
    assert_eq!(at(&interval, 901), None, "before the first second");
    interval.ending = Ending::LastRecord;
    assert_eq!(at(&interval, 9000), Some(second(5000)));
}

/// What a fold at second 1000 of these segments says, made from `base`.
fn described(base: Option<FoldDocument>, way: Way, floor: Option<u64>) -> FoldDocument {
    let mut objects = objects(true, &[(Some((100, 500)), 600), (Some((950, 980)), 800)]);
    objects.newest = 1000;
    let snapshots = usize::from(base.is_some());
    objects.snapshots.extend(base.map(|base| snapshot("base", (CUT + 500, CUT + 500), Some(base))));
    let covered = CoveredTimeline::new(objects);
    let candidate = Candidate {
        snapshot: snapshots.checked_sub(1),
        way,
        segments: vec![(0, None), (1, None)],
        left_out: 0,
        straddling: Vec::new(),
        objects: 2,
        bytes: 200,
        segment_bytes: 200,
        whole: true,
        floor: floor.map(second),
        until: None,
    };
    let options = SnapshotOptions {
        margin: Duration::from_mins(5),
        tombstones: Duration::from_secs(10),
        ..SnapshotOptions::default()
    };
    describe(&covered, covered.intervals.last().unwrap(), second(CUT), &candidate, &options)
}

#[test]
fn a_fold_says_no_more_of_late_records_than_it_knows() {
    let plain = described(None, Way::Records, None);
    // What the store may show late is not said to be in it; and what is read beside it must not be older than its tombstones.
    assert_eq!((plain.appended_through, plain.horizon), (700, second(950)));
    assert_eq!(described(None, Way::Records, Some(960)).horizon, second(960));
    let base = |horizon: u64| Some(FoldDocument { horizon: second(horizon), ..fold() });
    assert_eq!(described(base(970), Way::Forward, None).horizon, second(970));
    assert_eq!(described(base(900), Way::Forward, None).horizon, second(950));
    // One that is walked back to rests on the records up to its base, and well after it.
    assert_eq!(described(base(900), Way::Backward, None).horizon, second(CUT + 500 + SKEW_SECONDS));
}
