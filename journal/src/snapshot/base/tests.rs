//! Where each way to make a state begins and ends, to the second.

use super::*;
use crate::documents::{CheckpointDocument, GapDocument, SnapshotDocument, StartDocument};
use crate::layout::SegmentName;
use crate::listing::TimelineObjects;
use crate::model::{SequenceNumber, TableName, Timeline, TimelineLabel};

/// A segment as its name tells of it: its seconds, and when it was appended.
pub(in crate::snapshot) type Listed = (Option<(u64, u64)>, u64);

pub(in crate::snapshot) const CUT: u64 = 1000;
const APPENDED_THROUGH: u64 = 50;

pub(in crate::snapshot) fn second(at: u64) -> Second {
    Second::new(at).unwrap()
}

fn sequence(number: usize) -> SequenceNumber {
    SequenceNumber::parse(&number.to_string()).unwrap()
}

pub(in crate::snapshot) fn snapshot(name: &str, at: (u64, u64), fold: Option<FoldDocument>) -> ListedSnapshot {
    let document = SnapshotDocument {
        kind: if fold.is_some() { "fold" } else { "baseline" }.to_owned(),
        started: second(at.0),
        finished: second(at.1),
        key_attributes: None,
        items: 0,
        parts: Vec::new(),
        fold,
    };
    ListedSnapshot { name: name.to_owned(), document }
}

pub(in crate::snapshot) fn fold() -> FoldDocument {
    FoldDocument {
        cut: second(CUT),
        covered_from: Some(second(1)),
        whole: true,
        baseline: None,
        base: None,
        appended_through: APPENDED_THROUGH,
        horizon: second(900),
        last_sequence: None,
        first: None,
        tombstones: 0,
    }
}

/// A timeline that was followed from second 1 to second 5000.
pub(in crate::snapshot) fn objects(whole: bool, segments: &[Listed]) -> TimelineObjects {
    let timeline = Timeline { table: TableName::parse("notes").unwrap(), label: TimelineLabel::parse("1").unwrap() };
    let mut objects = TimelineObjects::empty(timeline);
    objects.start = Some(StartDocument { covered_from: second(1), whole, reason: "a test".to_owned() });
    objects.checkpoints.push(CheckpointDocument {
        shard: "shard".to_owned(),
        parent: None,
        last_sequence: None,
        last_second: None,
        read_through: Some(second(5000)),
        finished: false,
    });
    for (number, (seconds, appended)) in segments.iter().enumerate() {
        let name = SegmentName {
            level: 0,
            seconds: seconds.map(|(first, last)| (second(first), second(last))),
            sequences: (sequence(10 * number + 1), sequence(10 * number + 9)),
            crc32: 0,
            appended: None,
        };
        let key = name.key(&objects.timeline);
        objects.segments.push(ListedSegment { key, size: 100, name, appended: *appended });
    }
    objects
}

fn found(objects: TimelineObjects, cut: u64) -> Bases {
    let covered = CoveredTimeline::new(objects);
    let interval = covered.intervals.last().unwrap();
    bases(&covered, interval, Cut::at(second(cut)))
}

/// What a fold wants with each segment of its own journal: the second from which its records count, 0 for all; none where it is left
/// out. Or why it cannot serve.
fn wants(fold: FoldDocument, cut: u64, segments: &[Listed]) -> Result<Vec<Option<u64>>, String> {
    let mut objects = objects(true, segments);
    objects.snapshots.push(snapshot("fold", (CUT, CUT), Some(fold)));
    let bases = found(objects, cut);
    if let Some(rejected) = bases.rejected.first() {
        return Err(rejected.reason.clone());
    }
    let candidate = bases.candidates.iter().find(|candidate| candidate.snapshot.is_some()).unwrap();
    let mut wants = vec![None; segments.len()];
    for (at, from) in &candidate.segments {
        wants[*at] = Some(from.map_or(0, Second::get));
    }
    Ok(wants)
}

#[test]
fn a_fold_from_before_the_cut_passes_over_what_it_holds_and_reads_the_rest() {
    let listed = [
        (Some((500, CUT)), APPENDED_THROUGH),
        (Some((500, CUT + 1)), APPENDED_THROUGH),
        (None, APPENDED_THROUGH),
        // Appended later: the fold has none of it.
        (Some((900, 950)), APPENDED_THROUGH + 1),
        (Some((1500, 2000)), APPENDED_THROUGH + 1),
        (Some((2001, 2500)), APPENDED_THROUGH + 1),
    ];
    let from = Some(CUT + 1);
    assert_eq!(wants(fold(), 2000, &listed), Ok(vec![None, from, from, Some(0), Some(0), None]));
    // At its own cut it needs nothing of what it holds, but for what has no second.
    assert_eq!(wants(fold(), CUT, &listed[..4]), Ok(vec![None, None, from, Some(0)]));
}

#[test]
fn what_is_appended_after_a_fold_must_not_be_older_than_its_tombstones() {
    let late = |seconds, appended| wants(fold(), 2000, &[(seconds, appended)]);
    assert_eq!(late(Some((899, 950)), APPENDED_THROUGH), Ok(vec![None]));
    for seconds in [Some((899, 950)), None] {
        let refused = late(seconds, APPENDED_THROUGH + 1);
        assert!(refused.as_ref().is_err_and(|reason| reason.contains("older than its horizon")), "{refused:?}");
    }
    assert_eq!(late(Some((900, 950)), APPENDED_THROUGH + 1), Ok(vec![Some(0)]));
}

#[test]
fn a_fold_from_after_the_cut_reads_from_well_before_the_cut_to_well_after_its_own() {
    let floor = 400 - SKEW_SECONDS;
    let through = CUT + SKEW_SECONDS;
    let listed = [
        (Some((50, floor - 1)), APPENDED_THROUGH),
        (Some((50, floor)), APPENDED_THROUGH),
        (Some((through, 2000)), APPENDED_THROUGH),
        (Some((through + 1, 2000)), APPENDED_THROUGH),
        (None, APPENDED_THROUGH),
        (Some((floor, 500)), APPENDED_THROUGH + 1),
    ];
    let from = Some(floor);
    assert_eq!(wants(fold(), 400, &listed), Ok(vec![None, from, from, None, from, from]));
    let refused = |fold: FoldDocument, seconds| wants(fold, 400, &[(seconds, APPENDED_THROUGH + 1)]).is_err();
    assert!(refused(fold(), Some((floor - 1, 500))) && refused(fold(), None));
    assert!(!refused(fold(), Some((1050, 1100))));
    // One that was walked back to rests on what came after its cut.
    let walked = FoldDocument { horizon: second(1200), ..fold() };
    assert!(refused(walked.clone(), Some((1199, 1250))) && !refused(walked, Some((1200, 1250))));
}

#[test]
fn a_fold_serves_its_own_stretch_of_history_and_what_it_knows_of_it() {
    let gap = |objects: &mut TimelineObjects| {
        let (from, to) = (second(100), second(200));
        let reason = "records were trimmed".to_owned();
        objects.gaps.push(GapDocument { shard: None, after_sequence: None, before_sequence: None, from, to, reason });
    };
    let reason = |prepare: &dyn Fn(&mut TimelineObjects), whole: bool, fold: FoldDocument| {
        let mut objects = objects(whole, &[]);
        prepare(&mut objects);
        objects.snapshots.push(snapshot("fold", (CUT, CUT), Some(fold)));
        found(objects, 2000).rejected.pop().map(|rejected| rejected.reason)
    };
    let baseline = |objects: &mut TimelineObjects| objects.snapshots.push(snapshot("one", (500, 600), None));
    assert_eq!(reason(&|_| {}, true, fold()), None);
    assert!(reason(&gap, true, fold()).is_some_and(|reason| reason.contains("a gap that was stated later")));
    let after = FoldDocument { covered_from: Some(second(200)), ..fold() };
    assert_eq!(reason(&gap, true, after), None);
    assert!(reason(&baseline, true, fold()).is_some_and(|reason| reason.contains("without the baseline")));
    let with = FoldDocument { baseline: Some("one".to_owned()), ..fold() };
    assert_eq!(reason(&baseline, true, with), None);
    let partial = FoldDocument { whole: false, ..fold() };
    assert!(reason(&|_| {}, false, partial).is_some_and(|reason| reason.contains("do not make the whole table")));
}

#[test]
fn records_after_the_cut_matter_unless_the_stream_began_with_its_table() {
    let segments = [(Some((10, 400)), 0), (Some((401, 600)), 0)];
    let read = |start: Option<bool>| {
        let mut objects = objects(start.unwrap_or_default(), &segments);
        if start.is_none() {
            (objects.start, objects.checkpoints) = (None, Vec::new());
        }
        let candidates = found(objects, 400).candidates;
        candidates.first().map(|candidate| candidate.segments.len())
    };
    assert_eq!((read(Some(true)), read(None), read(Some(false))), (Some(1), Some(2), None));
}
