//! Coverage: the intervals of a timeline in which no change of state is known to be missing.
//!
//! Defined in the replayer's SEMANTICS.md, "Coverage", and tested there. What enters are a timeline's documents and the names of its segments; what
//! leaves are [`Interval`]s, cut by the stated gaps. Pure: no store, no clock.

mod edges;

use crate::documents::GapDocument;
use crate::model::{Second, SequenceNumber};

use crate::listing::{ListedSegment, TimelineObjects};

/// What is known about the table at an interval's beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// The stream began with the table: its records alone make the whole table.
    Whole,
    /// The table was there before the records: a baseline is needed.
    NotWhole {
        /// Why, as the journal says.
        reason: String,
    },
    /// Nobody can say: the records were ingested from files.
    Unknown,
}

/// What ends an interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Every open shard has been read at least so far.
    Read,
    /// The timeline has ended.
    Ended {
        /// `table deleted` or `stream disabled`.
        reason: String,
    },
    /// The last record. Nobody can say what came after it.
    LastRecord,
    /// A stated gap.
    Gap,
}

/// A stated gap, its edges apart: neither `from` nor `to` lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The last complete second before it.
    pub from: Second,
    /// The first complete second after it.
    pub to: Second,
    /// The last record before it, where known.
    pub after_sequence: Option<SequenceNumber>,
    /// The first record after it, where known.
    pub before_sequence: Option<SequenceNumber>,
    /// What happened.
    pub reason: String,
}

/// Where a segment lies as seen from an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// All its records are on the other side of a gap.
    Outside,
    /// It holds records of the interval and none that a gap forbids to use.
    Inside,
    /// It holds records from both sides of a gap.
    Straddling,
}

/// A stretch of a timeline without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// First covered second; none when no record has a second.
    pub from: Option<Second>,
    /// Last covered second; none when no record has a second.
    pub through: Option<Second>,
    /// What is known about the table at `from`.
    pub beginning: Beginning,
    /// What ends it.
    pub ending: Ending,
    /// The gap before it.
    pub gap_before: Option<Gap>,
    /// The gap after it.
    pub gap_after: Option<Gap>,
    /// Lowest and highest sequence number of the segments inside.
    pub sequences: Option<(SequenceNumber, SequenceNumber)>,
    /// Baselines that count in it: indexes into the timeline's snapshots, earliest first.
    pub baselines: Vec<usize>,
    /// When the earliest baseline finished that will count once the records have been read that far.
    pub awaited_baseline: Option<Second>,
}

impl Interval {
    /// Whether `second` is covered.
    #[must_use]
    pub fn contains(&self, second: Second) -> bool {
        self.from.is_some_and(|from| from <= second) && self.through.is_some_and(|through| second <= through)
    }

    /// Whether `sequence` lies between the lowest and the highest sequence number of its segments.
    #[must_use]
    pub fn contains_sequence(&self, sequence: SequenceNumber) -> bool {
        self.sequences
            .is_some_and(|(first, last)| first.cmp_value(&sequence).is_le() && sequence.cmp_value(&last).is_le())
    }

    /// Whether a segment's records belong to this interval.
    ///
    /// A gap lies in one shard, and the other shards' records inside it are sound. What a state after a gap may not use
    /// are records from before it, for their key may have changed unseen; what a state before a gap may not use are old
    /// images from after it.
    #[must_use]
    pub fn place(&self, segment: &ListedSegment) -> Place {
        let name = &segment.name;
        let mut place = Place::Inside;
        if let Some(gap) = &self.gap_before {
            if name.seconds.is_some_and(|(_, last)| last <= gap.from) {
                return Place::Outside;
            }
            let safe = name.seconds.is_some_and(|(first, _)| first > gap.from)
                || gap.after_sequence.is_some_and(|after| name.sequences.0.cmp_value(&after).is_gt());
            if !safe {
                place = Place::Straddling;
            }
        }
        if let Some(gap) = &self.gap_after {
            if name.seconds.is_some_and(|(first, _)| first >= gap.to) {
                return Place::Outside;
            }
            let safe = name.seconds.is_some_and(|(_, last)| last < gap.to)
                || gap.before_sequence.is_some_and(|before| name.sequences.1.cmp_value(&before).is_lt());
            if !safe {
                place = Place::Straddling;
            }
        }
        place
    }
}

/// A timeline with its coverage.
#[derive(Debug, Clone)]
pub struct CoveredTimeline {
    /// What the journal has of it.
    pub objects: TimelineObjects,
    /// Its intervals, in order of time.
    pub intervals: Vec<Interval>,
}

impl CoveredTimeline {
    /// Computes the coverage of a timeline.
    #[must_use]
    pub fn new(objects: TimelineObjects) -> Self {
        let intervals = intervals(&objects);
        Self { objects, intervals }
    }

    /// Where the timeline begins, for the order of a table's timelines.
    #[must_use]
    pub fn beginning(&self) -> Option<Second> {
        let interval = self.intervals.first().and_then(|interval| interval.from);
        let stated = self.objects.start.as_ref().map(|start| start.covered_from);
        interval.or(stated).or_else(|| {
            let birth = self.objects.timeline.label.birth_milliseconds()?;
            Second::new(birth / 1000).ok()
        })
    }

    /// Whether `key` is that of the segment with this index.
    #[must_use]
    pub fn is_segment(&self, at: usize, key: &str) -> bool {
        self.objects.segments.get(at).is_some_and(|segment| segment.key == key)
    }

    /// Lowest and highest sequence number of all its segments.
    #[must_use]
    pub fn sequences(&self) -> Option<(SequenceNumber, SequenceNumber)> {
        sequence_range(self.objects.segments.iter())
    }
}

fn sequence_range<'a>(segments: impl Iterator<Item = &'a ListedSegment>) -> Option<(SequenceNumber, SequenceNumber)> {
    segments.map(|segment| segment.name.sequences).reduce(|(first, last), (a, b)| {
        let first = if a.cmp_value(&first).is_lt() { a } else { first };
        let last = if b.cmp_value(&last).is_gt() { b } else { last };
        (first, last)
    })
}

/// Stated gaps in order of time, overlapping ones joined, edges apart.
fn gaps(documents: &[GapDocument]) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = documents
        .iter()
        .map(|document| {
            // A gap inside one second leaves that second incomplete on both sides.
            let (from, to) = if document.to <= document.from {
                (document.to.before(), Second::new(document.from.get().saturating_add(1)).unwrap_or(Second::MAX))
            } else {
                (document.from, document.to)
            };
            Gap {
                from,
                to,
                after_sequence: document.after_sequence,
                before_sequence: document.before_sequence,
                reason: document.reason.clone(),
            }
        })
        .collect();
    gaps.sort_by_key(|gap| (gap.from, gap.to));
    let mut joined: Vec<Gap> = Vec::with_capacity(gaps.len());
    for gap in gaps {
        match joined.last_mut() {
            // Nothing complete lies between them.
            Some(last) if gap.from < last.to => {
                // Two shards lost records: only the seconds speak for both.
                last.after_sequence = None;
                last.before_sequence = None;
                last.to = last.to.max(gap.to);
                if last.reason != gap.reason {
                    last.reason = format!("{}; {}", last.reason, gap.reason);
                }
            }
            _ => joined.push(gap),
        }
    }
    joined
}

fn intervals(objects: &TimelineObjects) -> Vec<Interval> {
    let edges = edges::edges(objects);
    let first_beginning = match &objects.start {
        Some(start) if start.whole => Beginning::Whole,
        Some(start) => Beginning::NotWhole { reason: start.reason.clone() },
        None => Beginning::Unknown,
    };
    let interval = |from, through, beginning, ending, gap_before| Interval {
        from,
        through,
        beginning,
        ending,
        gap_before,
        gap_after: None,
        sequences: None,
        baselines: Vec::new(),
        awaited_baseline: None,
    };
    let mut intervals = Vec::new();
    let (mut from, mut beginning, mut gap_before) = (edges.from, first_beginning, None);
    for gap in gaps(&objects.gaps) {
        if from.is_some_and(|from| gap.to <= from) {
            continue;
        }
        if from.is_some_and(|from| from <= gap.from) {
            let mut before = interval(from, Some(gap.from), beginning, Ending::Gap, gap_before.take());
            before.gap_after = Some(gap.clone());
            intervals.push(before);
        }
        from = Some(gap.to);
        beginning = Beginning::NotWhole { reason: format!("a gap came before: {}", gap.reason) };
        gap_before = Some(gap);
    }
    let empty = from.is_some_and(|from| edges.through.is_none_or(|through| through < from));
    let nothing = objects.segments.is_empty() && objects.start.is_none() && objects.snapshots.is_empty();
    if !empty && !nothing {
        intervals.push(interval(from, edges.through, beginning, edges.ending, gap_before));
    }
    for interval in &mut intervals {
        let inside = objects.segments.iter().filter(|segment| interval.place(segment) == Place::Inside);
        interval.sequences = sequence_range(inside);
        add_baselines(interval, objects);
    }
    intervals
}

/// A baseline counts in an interval when it was begun and finished in it: a change between its reading of an item and
/// the interval's edge would otherwise be unknown.
fn add_baselines(interval: &mut Interval, objects: &TimelineObjects) {
    let mut found: Vec<(Second, usize)> = Vec::new();
    for (at, snapshot) in objects.snapshots.iter().enumerate() {
        let document = &snapshot.document;
        if document.kind != "baseline" || interval.from.is_some_and(|from| document.started < from) {
            continue;
        }
        let read = match interval.ending {
            Ending::LastRecord => true,
            _ => interval.through.is_some_and(|through| document.finished <= through),
        };
        if read {
            found.push((document.finished, at));
        } else if interval.ending == Ending::Read {
            let earliest = interval.awaited_baseline.map_or(document.finished, |other| other.min(document.finished));
            interval.awaited_baseline = Some(earliest);
        }
    }
    found.sort_unstable();
    interval.baselines = found.into_iter().map(|(_, at)| at).collect();
}
