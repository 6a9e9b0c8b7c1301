use journal::documents::{CheckpointDocument, EndDocument, GapDocument, SnapshotDocument, StartDocument};
use journal::error::Classify as _;
use journal::layout::SegmentName;
use journal::model::{Second, SequenceNumber, TableName, Timeline, TimelineLabel};

use super::*;
use crate::cut::{Cut, CutRequest, Position};
use journal::listing::{ListedSegment, ListedSnapshot, TimelineObjects};

pub(crate) fn second(second: u64) -> Second {
    Second::new(second).unwrap()
}

pub(crate) fn sequence(number: u64) -> SequenceNumber {
    SequenceNumber::parse(&number.to_string()).unwrap()
}

pub(crate) fn table() -> TableName {
    TableName::parse("notes-table-dev").unwrap()
}

/// A timeline that is put together piece by piece.
pub(crate) struct Pieces(pub(crate) TimelineObjects);

impl Pieces {
    pub(crate) fn new(label: &str) -> Self {
        Self(TimelineObjects::empty(Timeline { table: table(), label: TimelineLabel::parse(label).unwrap() }))
    }

    pub(crate) fn start(mut self, from: u64, whole: bool) -> Self {
        self.0.start =
            Some(StartDocument { covered_from: second(from), whole, reason: "the stream is younger".to_owned() });
        self
    }

    pub(crate) fn end(mut self, at: u64, reason: &str) -> Self {
        self.0.end = Some(EndDocument { at: second(at), reason: reason.to_owned(), last_sequence: None });
        self
    }

    pub(crate) fn segment(mut self, seconds: Option<(u64, u64)>, sequences: (u64, u64)) -> Self {
        let name = SegmentName {
            level: 0,
            seconds: seconds.map(|(a, b)| (second(a), second(b))),
            sequences: (sequence(sequences.0), sequence(sequences.1)),
            crc32: 0,
            appended: None,
        };
        self.0.segments.push(ListedSegment { key: name.key(&self.0.timeline), size: 100, name, appended: 0 });
        self
    }

    pub(crate) fn gap(mut self, from: u64, to: u64, sequences: Option<(u64, u64)>) -> Self {
        self.0.gaps.push(GapDocument {
            shard: None,
            after_sequence: sequences.map(|(after, _)| sequence(after)),
            before_sequence: sequences.map(|(_, before)| sequence(before)),
            from: second(from),
            to: second(to),
            reason: "records were trimmed".to_owned(),
        });
        self
    }

    pub(crate) fn shard(mut self, name: &str, parent: Option<&str>, last: Option<u64>, read: Option<u64>) -> Self {
        self.0.checkpoints.push(CheckpointDocument {
            shard: name.to_owned(),
            parent: parent.map(str::to_owned),
            last_sequence: None,
            last_second: last.map(second),
            read_through: read.map(second),
            finished: false,
        });
        self
    }

    pub(crate) fn finished(mut self) -> Self {
        self.0.checkpoints.last_mut().unwrap().finished = true;
        self
    }

    pub(crate) fn baseline(mut self, started: u64, finished: u64) -> Self {
        self.0.snapshots.push(ListedSnapshot {
            name: format!("{started}-baseline"),
            document: SnapshotDocument {
                kind: "baseline".to_owned(),
                started: second(started),
                finished: second(finished),
                key_attributes: None,
                items: 0,
                parts: Vec::new(),
                fold: None,
            },
        });
        self
    }

    pub(crate) fn covered(self) -> CoveredTimeline {
        CoveredTimeline::new(self.0)
    }

    fn spans(self) -> Vec<(u64, u64)> {
        let spans = self.covered().intervals;
        spans.iter().map(|i| (i.from.unwrap().get(), i.through.unwrap().get())).collect()
    }
}

fn at(second_at: u64) -> CutRequest {
    CutRequest::Cut(Cut::at(second(second_at)))
}

fn outside(timelines: &[CoveredTimeline], request: CutRequest) -> String {
    let error = choose(&table(), timelines, request, None, false).unwrap_err();
    assert_eq!(error.kind(), journal::Kind::Gap);
    error.to_string()
}

#[test]
fn a_followed_stream_is_covered_as_far_as_its_slowest_open_shard_was_read() {
    let pieces =
        || Pieces::new("1").start(100, true).shard("a", None, Some(150), Some(300)).segment(Some((100, 150)), (1, 9));
    assert_eq!(pieces().spans(), [(100, 300)]);
    assert_eq!(pieces().shard("b", None, Some(250), None).spans(), [(100, 250)]);
    assert!(pieces().shard("b", None, None, None).covered().intervals.is_empty(), "an unread shard covers nothing");
}

#[test]
fn a_child_that_was_not_read_yet_bounds_coverage_by_its_parent() {
    let parent = || {
        Pieces::new("1").start(100, true).shard("a", None, Some(150), None).finished().shard("z", None, None, Some(400))
    };
    assert_eq!(parent().spans(), [(100, 150)], "no child is known yet");
    assert_eq!(parent().shard("b", Some("a"), None, None).spans(), [(100, 150)]);
    assert_eq!(parent().shard("b", Some("a"), None, Some(390)).spans(), [(100, 390)]);
    assert_eq!(parent().gap(150, 200, None).spans(), [(100, 150), (200, 400)], "the stated gap speaks of the child");
}

#[test]
fn a_circle_of_parents_ends() {
    assert!(
        Pieces::new("1")
            .start(1, true)
            .shard("a", Some("b"), None, None)
            .shard("b", Some("a"), None, None)
            .covered()
            .intervals
            .is_empty()
    );
}

#[test]
fn an_ended_timeline_is_covered_to_its_end() {
    assert_eq!(
        Pieces::new("1").start(100, true).shard("a", None, None, Some(120)).end(200, "table deleted").spans(),
        [(100, 200)]
    );
}

#[test]
fn ingested_records_cover_from_the_first_to_the_last_of_them() {
    let pieces = Pieces::new("1").segment(Some((50, 60)), (1, 2)).segment(Some((10, 20)), (3, 4)).covered();
    assert_eq!(pieces.intervals.len(), 1);
    assert_eq!((pieces.intervals[0].from, pieces.intervals[0].through), (Some(second(10)), Some(second(60))));
    assert_eq!(pieces.intervals[0].beginning, Beginning::Unknown);
    assert_eq!(pieces.intervals[0].ending, Ending::LastRecord);
}

#[test]
fn gaps_cut_coverage_and_overlapping_ones_are_one() {
    let pieces = || Pieces::new("1").start(100, true).shard("a", None, None, Some(500));
    assert_eq!(pieces().gap(200, 210, None).spans(), [(100, 200), (210, 500)]);
    assert_eq!(
        pieces().gap(200, 210, None).gap(205, 300, None).gap(400, 500, None).spans(),
        [(100, 200), (300, 400), (500, 500)]
    );
    assert_eq!(pieces().gap(20, 90, None).spans(), [(100, 500)], "a gap before coverage is no matter");
    assert_eq!(pieces().gap(90, 120, None).spans(), [(120, 500)]);
    assert_eq!(pieces().gap(200, 200, None).spans(), [(100, 199), (201, 500)], "the second of the gap is not whole");
    assert_eq!(pieces().gap(480, 600, None).spans(), [(100, 480)]);
    let after = &pieces().gap(200, 210, None).covered().intervals[1];
    assert!(matches!(after.beginning, Beginning::NotWhole { .. }), "the stream's whole beginning ends with the gap");
    // Two shards lost records: only the seconds speak for both.
    let joined = pieces().gap(200, 210, Some((20, 30))).gap(205, 300, Some((40, 50))).covered();
    let gap = joined.intervals[1].gap_before.as_ref().unwrap();
    assert_eq!((gap.from, gap.to, gap.after_sequence, gap.before_sequence), (second(200), second(300), None, None));
}

#[test]
fn a_segment_with_records_from_both_sides_of_a_gap_straddles_it() {
    let pieces = Pieces::new("1")
        .start(100, true)
        .shard("a", None, None, Some(500))
        .gap(200, 300, Some((20, 30)))
        .segment(Some((100, 200)), (1, 20))
        .segment(Some((300, 400)), (30, 40))
        .segment(Some((190, 310)), (19, 31))
        .segment(Some((190, 310)), (21, 31))
        .segment(None, (35, 36))
        .covered();
    let place = |interval: usize| -> Vec<Place> {
        pieces.objects.segments.iter().map(|segment| pieces.intervals[interval].place(segment)).collect()
    };
    assert_eq!(place(0), [Place::Inside, Place::Outside, Place::Straddling, Place::Straddling, Place::Straddling]);
    assert_eq!(place(1), [Place::Outside, Place::Inside, Place::Straddling, Place::Inside, Place::Inside]);
}

#[test]
fn a_baseline_counts_only_inside_one_interval_and_once_the_records_reach_its_end() {
    let pieces = || Pieces::new("1").start(100, false).shard("a", None, None, Some(500)).gap(200, 300, None);
    let covered = pieces()
        .baseline(90, 110)
        .baseline(150, 250)
        .baseline(250, 320)
        .baseline(310, 330)
        .baseline(490, 510)
        .covered();
    assert_eq!(covered.intervals[0].baselines, [0usize; 0]);
    assert_eq!(covered.intervals[1].baselines, [3]);
    assert_eq!(covered.intervals[1].awaited_baseline, Some(second(510)));
    assert_eq!(pieces().baseline(100, 110).covered().intervals[0].baselines, [0]);
    assert_eq!(pieces().baseline(490, 500).covered().intervals[1].baselines, [0]);
}

#[test]
fn a_cut_outside_coverage_is_refused_with_the_intervals_and_the_reason() {
    let old = || Pieces::new("2020-03-29T00:00:00.000").start(1000, true).end(2000, "table deleted").covered();
    let new = || Pieces::new("2020-03-30T00:00:00.000").start(3000, true).shard("a", None, None, Some(3500)).covered();
    let both = [old(), new()];
    let message = outside(&both, at(2500));
    assert!(message.contains("the table did not exist: its deletion was seen at 1970-01-01T00:33:20Z"), "{message}");
    assert!(
        message.contains("covered: 1970-01-01T00:16:40Z to 1970-01-01T00:33:20Z (timeline 2020-03-29"),
        "{message}"
    );
    assert!(message.contains("covered: 1970-01-01T00:50:00Z to 1970-01-01T00:58:20Z"), "{message}");
    assert!(outside(&both, at(999)).contains("the table did not exist yet"));
    assert!(outside(&both, at(3501)).contains("read through 1970-01-01T00:58:20Z"));
    let disabled = [Pieces::new("1").start(1000, true).end(2000, "stream disabled").covered(), new()];
    assert!(outside(&disabled, at(2500)).contains("it was not covered: the stream ended at"));
    let gap = [Pieces::new("1").start(100, true).shard("a", None, None, Some(500)).gap(200, 300, None).covered()];
    assert!(outside(&gap, at(250)).contains("it lies in a gap: records were trimmed"));
    let partial = choose(&table(), &both, at(2500), None, true).unwrap();
    assert_eq!((partial.timeline, partial.interval), (0, None));
    assert!(partial.notes[0].contains("may be wrong"));
}

#[test]
fn a_second_in_two_timelines_means_the_younger_table() {
    let timelines = [
        Pieces::new("1").start(1000, true).end(2000, "table deleted").covered(),
        Pieces::new("2").start(1990, true).shard("a", None, None, Some(2500)).covered(),
    ];
    assert_eq!(choose(&table(), &timelines, at(1995), None, false).unwrap().timeline, 1);
    assert_eq!(choose(&table(), &timelines, at(1989), None, false).unwrap().timeline, 0);
    let label = TimelineLabel::parse("1").unwrap();
    assert_eq!(choose(&table(), &timelines, at(1995), Some(&label), false).unwrap().timeline, 0);
    let absent = TimelineLabel::parse("3").unwrap();
    assert!(
        choose(&table(), &timelines, at(1995), Some(&absent), false).unwrap_err().to_string().contains("it has 1, 2")
    );
}

#[test]
fn a_cut_within_a_second_of_a_table_s_making_says_which_table_it_means() {
    let timelines = [
        Pieces::new("1").start(1000, true).end(2000, "table deleted").covered(),
        Pieces::new("2").start(2001, true).shard("a", None, None, Some(2500)).covered(),
    ];
    let notes = |cut| choose(&table(), &timelines, cut, None, false).unwrap().notes.join("; ");
    assert_eq!([1999, 2003].map(|s| notes(at(s))), ["", ""]);
    let old = notes(at(2000));
    assert!(old.contains("this is the one before; --timeline 2 takes the new one"), "{old}");
    for second in [2001, 2002] {
        let new = notes(at(second));
        assert!(new.contains("this is the new one; --timeline 1 takes the one before"), "{new}");
    }
    let label = TimelineLabel::parse("1").unwrap();
    assert_eq!(
        choose(&table(), &timelines, at(2000), Some(&label), false).unwrap().notes,
        [""; 0],
        "who says which knows"
    );
}

#[test]
fn a_cut_before_a_second_needs_only_the_second_before_it() {
    let timelines = [Pieces::new("1").start(1000, true).end(2000, "table deleted").covered()];
    let before = |s| CutRequest::Cut(Cut { position: Position::Second(second(s)), inclusive: false });
    assert!(choose(&table(), &timelines, before(2001), None, false).is_ok());
    assert!(choose(&table(), &timelines, before(1000), None, false).is_err());
}

#[test]
fn latest_is_the_end_of_coverage_of_the_newest_timeline() {
    let timelines = [
        Pieces::new("1").start(1000, true).end(2000, "table deleted").covered(),
        Pieces::new("2").start(3000, true).shard("a", None, None, Some(3500)).covered(),
    ];
    assert_eq!(choose(&table(), &timelines, CutRequest::Latest, None, false).unwrap().cut, Cut::at(second(3500)));
    let undated = [Pieces::new("1").segment(None, (5, 9)).covered()];
    assert_eq!(choose(&table(), &undated, CutRequest::Latest, None, false).unwrap().cut, Cut::at_sequence(sequence(9)));
    let unread = [Pieces::new("1").start(5, true).shard("a", None, None, None).covered()];
    assert_eq!(choose(&table(), &unread, CutRequest::Latest, None, false).unwrap_err().kind(), journal::Kind::Gap);
}

#[test]
fn a_sequence_number_finds_its_timeline_or_asks_for_it() {
    let cut = |n| CutRequest::Cut(Cut::at_sequence(sequence(n)));
    let timelines = [
        Pieces::new("1").start(1000, true).segment(Some((1000, 1010)), (10, 20)).end(2000, "table deleted").covered(),
        Pieces::new("2")
            .start(3000, true)
            .segment(Some((3000, 3010)), (30, 40))
            .segment(Some((3100, 3110)), (50, 60))
            .gap(3050, 3060, Some((40, 50)))
            .shard("a", None, None, Some(3500))
            .covered(),
        Pieces::new("3")
            .start(4000, true)
            .segment(Some((4000, 4010)), (35, 36))
            .shard("a", None, None, Some(4500))
            .covered(),
    ];
    assert_eq!(choose(&table(), &timelines, cut(15), None, false).unwrap().timeline, 0);
    assert_eq!(choose(&table(), &timelines, cut(50), None, false).unwrap().interval, Some(1));
    assert!(outside(&timelines, cut(45)).contains("it lies in a gap: records were trimmed"));
    assert!(outside(&timelines, cut(61)).contains("sequence numbers 10 to 20"));
    let error = choose(&table(), &timelines, cut(35), None, false).unwrap_err();
    assert!(matches!(&error, CoverageError::Ambiguous { labels, .. } if labels == "2, 3"), "{error}");
}
