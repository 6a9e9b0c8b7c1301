//! What a state can be made from: the records alone, or one snapshot and the records that it does not hold.
//!
//! Defined in the replayer's SEMANTICS.md, "The cheapest base". What enters are a timeline with its coverage, an interval and a
//! cut; what leaves are [`Candidate`]s with what each would read, cheapest first. Pure: no store, no clock.

#[cfg(test)]
pub(super) mod tests;

use crate::coverage::{Beginning, CoveredTimeline, Interval, Place};
use crate::cut::{Cut, Position};
use crate::documents::FoldDocument;
use crate::layout;
use crate::listing::{ListedSegment, ListedSnapshot};
use crate::merge::{RunInput, RunKind};
use crate::model::Second;

/// How far two machines' clocks, or the seconds of one item's records and their order, may differ, in seconds.
pub const SKEW_SECONDS: u64 = 300;
/// What a request costs beside its bytes, in bytes: so much could be read while it waits.
pub const REQUEST_BYTES: u64 = 64 << 10;

/// How a candidate makes the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The records alone.
    Records,
    /// A snapshot from before the cut, and the records since.
    Forward,
    /// A snapshot from after the cut, and the old images of the records between.
    Backward,
    /// A baseline that was read while the cut passed, and the records around it.
    Around,
}

/// One way to make the state at a cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The snapshot, as an index into the timeline's; none for the records alone.
    pub snapshot: Option<usize>,
    /// How it makes the state.
    pub way: Way,
    /// Segments to read, as indexes into the timeline's, each with the second before which its records are passed over.
    pub segments: Vec<(usize, Option<Second>)>,
    /// Segments that need not be read.
    pub left_out: usize,
    /// Those among the segments to read that hold records from both sides of a gap.
    pub straddling: Vec<usize>,
    /// Objects to read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the segments among them.
    pub segment_bytes: u64,
    /// Whether it makes the whole table, as far as the journal can say.
    pub whole: bool,
    /// Records of earlier seconds are not looked at.
    pub floor: Option<Second>,
    /// Records that have not happened at this cut are not looked at: not all that follow it are read, so that the first one that is
    /// may not be the first one of its key.
    pub until: Option<Cut>,
}

impl Candidate {
    /// What reading it costs, in bytes: a request costs as much as [`REQUEST_BYTES`].
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.bytes.saturating_add(self.objects.saturating_mul(REQUEST_BYTES))
    }

    /// The objects to merge.
    #[must_use]
    pub fn inputs(&self, covered: &CoveredTimeline) -> Vec<RunInput> {
        let objects = &covered.objects;
        let segments = self.segments.iter().filter_map(|(at, from)| Some((objects.segments.get(*at)?, from)));
        let mut inputs: Vec<RunInput> = segments
            .map(|(segment, from)| RunInput {
                key: segment.key.clone(),
                size: segment.size,
                kind: RunKind::Segment,
                from: *from,
                until: self.until,
            })
            .collect();
        if let Some(snapshot) = self.snapshot.and_then(|at| objects.snapshots.get(at)) {
            inputs.extend(part_inputs(covered, snapshot));
        }
        inputs
    }
}

/// The parts of a snapshot as inputs of a merge.
#[must_use]
pub fn part_inputs(covered: &CoveredTimeline, snapshot: &ListedSnapshot) -> Vec<RunInput> {
    let folder = layout::snapshot_folder(&covered.objects.timeline, &snapshot.name);
    let part = |part: &crate::documents::SnapshotPart| RunInput {
        key: format!("{folder}{}", part.name),
        size: part.size,
        kind: RunKind::Snapshot,
        from: None,
        until: None,
    };
    snapshot.document.parts.iter().map(part).collect()
}

/// A snapshot that cannot serve a cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The snapshot, as an index into the timeline's.
    pub snapshot: usize,
    /// Why.
    pub reason: String,
}

/// All that can be said of the ways to make a state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bases {
    /// Cheapest first.
    pub candidates: Vec<Candidate>,
    /// Snapshots of the interval that cannot serve.
    pub rejected: Vec<Rejected>,
}

/// Finds the ways to make the state at `cut`, which lies in `interval`.
///
/// The records alone are among them unless a baseline counts: that a stream began with its table is judged by two births
/// that are told to the second at worst, so a baseline that somebody took is read even where it should add nothing.
#[must_use]
pub fn bases(covered: &CoveredTimeline, interval: &Interval, cut: Cut) -> Bases {
    let chooser = Chooser::new(covered, interval, cut);
    let mut bases = Bases::default();
    for (at, snapshot) in covered.objects.snapshots.iter().enumerate() {
        let found = match &snapshot.document.fold {
            Some(fold) => match why_not(interval, fold) {
                Some(reason) => Err(reason),
                None => chooser.fold(at, fold),
            },
            None if interval.baselines.contains(&at) => Ok(chooser.baseline(at, snapshot)),
            None => continue,
        };
        match found {
            Ok(candidate) => bases.candidates.push(candidate),
            Err(reason) => bases.rejected.push(Rejected { snapshot: at, reason }),
        }
    }
    if interval.baselines.is_empty() && !matches!(interval.beginning, Beginning::NotWhole { .. }) {
        bases.candidates.push(chooser.records());
    }
    // Among equals what lies before the cut, so that `show` can name the record.
    bases.candidates.sort_by_key(|candidate| (candidate.cost(), candidate.way != Way::Forward));
    bases
}

struct Chooser<'a> {
    covered: &'a CoveredTimeline,
    interval: &'a Interval,
    cut: Cut,
    /// Segments of the interval that compaction has not replaced, and where they lie.
    segments: Vec<(usize, &'a ListedSegment, Place)>,
}

/// What a candidate wants with a segment.
enum Want {
    LeaveOut,
    Read(Option<Second>),
}

impl<'a> Chooser<'a> {
    fn new(covered: &'a CoveredTimeline, interval: &'a Interval, cut: Cut) -> Self {
        let superseded = covered.objects.superseded();
        let segments = covered.objects.segments.iter().enumerate();
        let segments =
            segments.filter(|(_, segment)| !superseded.contains(&segment.key)).filter_map(|(at, segment)| {
                let place = interval.place(segment);
                (place != Place::Outside).then_some((at, segment, place))
            });
        Self { covered, interval, cut, segments: segments.collect() }
    }

    fn gather(
        &self,
        (snapshot, way, whole, floor, until): (Option<usize>, Way, bool, Option<Second>, Option<Cut>),
        mut want: impl FnMut(&ListedSegment) -> Result<Want, String>,
    ) -> Result<Candidate, String> {
        let parts = snapshot.and_then(|at| self.covered.objects.snapshots.get(at));
        let parts = parts.map(|snapshot| snapshot.document.parts.as_slice()).unwrap_or_default();
        let part_bytes: u64 = parts.iter().map(|part| part.size).sum();
        let mut candidate = Candidate {
            snapshot,
            way,
            segments: Vec::new(),
            left_out: 0,
            straddling: Vec::new(),
            objects: u64::try_from(parts.len()).unwrap_or(u64::MAX),
            bytes: part_bytes,
            segment_bytes: 0,
            whole,
            floor,
            until,
        };
        for (at, segment, place) in &self.segments {
            let Want::Read(from) = want(segment)? else { continue };
            candidate.segments.push((*at, from));
            candidate.objects += 1;
            candidate.segment_bytes = candidate.segment_bytes.saturating_add(segment.size);
            if *place == Place::Straddling {
                candidate.straddling.push(*at);
            }
        }
        candidate.bytes = candidate.bytes.saturating_add(candidate.segment_bytes);
        candidate.left_out = self.covered.objects.segments.len().saturating_sub(candidate.segments.len());
        Ok(candidate)
    }

    /// Whether nothing in the segment has happened at the cut.
    fn is_after(&self, segment: &ListedSegment) -> bool {
        match self.cut.position {
            Position::Second(_) => {
                let last = self.cut.last_second();
                segment.name.seconds.zip(last).is_some_and(|((first, _), last)| first > last)
            }
            Position::Sequence(sequence) => segment.name.sequences.0.cmp_value(&sequence).is_gt(),
        }
    }

    fn records(&self) -> Candidate {
        let whole = self.interval.beginning == Beginning::Whole;
        let found = self.gather((None, Way::Records, whole, None, whole.then_some(self.cut)), |segment| {
            // In a whole stream a key without a record at or before the cut did not exist.
            Ok(if whole && self.is_after(segment) { Want::LeaveOut } else { Want::Read(None) })
        });
        found.unwrap_or_else(|_| self.nothing())
    }

    fn nothing(&self) -> Candidate {
        Candidate {
            snapshot: None,
            way: Way::Records,
            segments: Vec::new(),
            left_out: self.covered.objects.segments.len(),
            straddling: Vec::new(),
            objects: 0,
            bytes: 0,
            segment_bytes: 0,
            whole: false,
            floor: None,
            until: None,
        }
    }

    /// A baseline says what each item was at some moment of its scan; the records from before the earlier of the cut and the
    /// scan to after the later of them say the rest.
    fn baseline(&self, at: usize, snapshot: &ListedSnapshot) -> Candidate {
        let document = &snapshot.document;
        let found = match self.cut.last_second() {
            None => self.gather((Some(at), Way::Around, true, None, None), |_| Ok(Want::Read(None))),
            Some(cut) => {
                let way = if later(document.finished, SKEW_SECONDS) <= cut {
                    Way::Forward
                } else if cut < document.started {
                    Way::Backward
                } else {
                    Way::Around
                };
                let floor = earlier(cut.min(document.started), SKEW_SECONDS);
                let through = cut.max(later(document.finished, SKEW_SECONDS));
                self.gather((Some(at), way, true, Some(floor), Some(Cut::at(through))), |segment| {
                    Ok(match segment.name.seconds {
                        Some((first, last)) if last < floor || first > through => Want::LeaveOut,
                        _ => Want::Read(Some(floor)),
                    })
                })
            }
        };
        found.unwrap_or_else(|_| self.nothing())
    }

    fn fold(&self, at: usize, fold: &FoldDocument) -> Result<Candidate, String> {
        match (self.cut.position, self.cut.last_second()) {
            (Position::Second(_), Some(cut)) if cut < fold.cut => {
                if fold.whole {
                    self.fold_backward(at, fold, cut)
                } else {
                    Err("it lies after the cut and may lack items that were there before their first record".to_owned())
                }
            }
            (Position::Sequence(_), _) if fold.last_sequence.is_some_and(|last| !self.cut.has(last, None)) => {
                Err("it may hold records after the cut's sequence number".to_owned())
            }
            (_, cut) => self.fold_forward(at, fold, cut),
        }
    }

    /// A fold from before the cut: everything it holds is passed over, everything else is read.
    fn fold_forward(&self, at: usize, fold: &FoldDocument, cut: Option<Second>) -> Result<Candidate, String> {
        let from = later(fold.cut, 1);
        self.gather((Some(at), Way::Forward, fold.whole, None, fold.whole.then_some(self.cut)), |segment| {
            let seconds = segment.name.seconds;
            let folded = segment.appended <= fold.appended_through;
            if !folded && seconds.is_none_or(|(first, _)| first < fold.horizon) {
                return Err(too_old(segment));
            }
            if fold.whole && self.is_after(segment) {
                return Ok(Want::LeaveOut);
            }
            if folded {
                let holds = seconds.is_some_and(|(_, last)| last <= fold.cut);
                // At its own cut a whole fold needs nothing of what it holds.
                let at_its_cut = fold.whole && seconds.is_some() && cut == Some(fold.cut);
                return Ok(if holds || at_its_cut { Want::LeaveOut } else { Want::Read(Some(from)) });
            }
            Ok(Want::Read(None))
        })
    }

    /// A fold from after the cut: a key without a record between the two has not changed.
    fn fold_backward(&self, at: usize, fold: &FoldDocument, cut: Second) -> Result<Candidate, String> {
        let floor = earlier(cut, SKEW_SECONDS);
        let through = later(fold.cut, SKEW_SECONDS);
        // A fold that was walked back to rests on records after its cut.
        let oldest = if fold.horizon > fold.cut { fold.horizon } else { floor };
        self.gather((Some(at), Way::Backward, true, Some(floor), Some(Cut::at(through))), |segment| {
            let folded = segment.appended <= fold.appended_through;
            Ok(match segment.name.seconds {
                Some((first, _)) if !folded && first < oldest => return Err(too_old(segment)),
                Some((first, _)) if first > through => Want::LeaveOut,
                None if !folded => return Err(too_old(segment)),
                Some((_, last)) if last < floor => Want::LeaveOut,
                _ => Want::Read(Some(floor)),
            })
        })
    }
}

/// Why a fold can serve no cut of an interval, whatever the segments.
pub(super) fn why_not(interval: &Interval, fold: &FoldDocument) -> Option<String> {
    if !interval.contains(fold.cut) {
        return Some("its cut lies in another interval".to_owned());
    }
    if fold.covered_from.is_none() || fold.covered_from < interval.from {
        return Some("a gap that was stated later lies in what it was folded from".to_owned());
    }
    if fold.baseline.is_none() && !interval.baselines.is_empty() {
        return Some("it was folded without the baseline that counts here".to_owned());
    }
    if !fold.whole && matches!(interval.beginning, Beginning::NotWhole { .. }) {
        return Some("it was folded from records that do not make the whole table".to_owned());
    }
    None
}

fn too_old(segment: &ListedSegment) -> String {
    format!("segment {} was appended after it, with records older than its horizon", segment.key)
}

pub(crate) fn later(second: Second, seconds: u64) -> Second {
    Second::new(second.get().saturating_add(seconds)).unwrap_or(Second::MAX)
}

pub(crate) fn earlier(second: Second, seconds: u64) -> Second {
    Second::new(second.get().saturating_sub(seconds)).unwrap_or(Second::MIN)
}
