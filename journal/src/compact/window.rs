//! Which segments are compacted together. FORMAT.md, "Compaction".
//!
//! Pure: what enters is a timeline with its coverage and the current second; what leaves are groups of segments.

use std::collections::{BTreeMap, HashSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::CompactOptions;
use crate::coverage::{CoveredTimeline, Ending, Place};
use crate::documents::FoldDocument;
use crate::layout::SegmentName;
use crate::listing::ListedSegment;
use crate::model::{Second, SequenceNumber};

/// What segments have in common that are merged: their window's name, their sides of gaps, their sides of folds.
type Together = (String, Vec<Side>, (usize, usize));

/// Levels that compaction makes: an hour, a day, a month.
const LEVELS: [u8; 3] = [1, 2, 3];

/// Segments to merge.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// The level of what is made.
    pub(super) level: u8,
    /// What it is, for people: `hour 2026-11-22T09`.
    pub(super) name: String,
    /// The segments.
    pub(super) inputs: Vec<ListedSegment>,
    /// Lowest second of the inputs.
    pub(super) first_second: Second,
    /// Lowest sequence number of the inputs.
    pub(super) first_sequence: SequenceNumber,
}

/// What is to be done with a timeline.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) windows: Vec<Window>,
    /// Segments that no window may take.
    pub(super) left_alone: u64,
}

/// Chooses the windows of a timeline, highest level first. `folds` are the snapshots that were folded, those under way too.
pub(super) fn choose(
    covered: &CoveredTimeline,
    folds: &[FoldDocument],
    now: Second,
    options: &CompactOptions,
) -> Chosen {
    let superseded = covered.objects.superseded();
    let mut taken: HashSet<&str> = HashSet::new();
    let mut chosen = Chosen { windows: Vec::new(), left_alone: 0 };
    let limit = limit(covered, now, options);
    for level in LEVELS.into_iter().rev() {
        let mut groups: BTreeMap<Together, Vec<&ListedSegment>> = BTreeMap::new();
        for segment in &covered.objects.segments {
            if segment.name.level >= level || superseded.contains(&segment.key) || taken.contains(segment.key.as_str())
            {
                continue;
            }
            let (Some(first), Some(sides)) = (first_second(segment), sides(covered, &segment.name)) else {
                // Counted once, at the level that takes everything below it.
                chosen.left_alone += u64::from(level == 1);
                continue;
            };
            let Some((name, end)) = window_of(level, first) else { continue };
            if end <= limit {
                groups.entry((name, sides, fold_side(folds, segment))).or_default().push(segment);
            }
        }
        for ((name, sides, _), segments) in groups {
            if segments.len() < options.inputs_min.max(2) {
                continue;
            }
            let Some(window) = window(level, name, &segments) else { continue };
            // What is made of them must lie on the same side of every gap as each of them.
            if self::sides(covered, &span(&window, &segments)) != Some(sides) {
                chosen.left_alone += window.inputs.len().try_into().unwrap_or(u64::MAX);
                continue;
            }
            taken.extend(segments.iter().map(|segment| segment.key.as_str()));
            chosen.windows.push(window);
        }
    }
    chosen
}

/// The second before which windows must have ended.
fn limit(covered: &CoveredTimeline, now: Second, options: &CompactOptions) -> u64 {
    let settled = now.get().saturating_sub(options.settle.as_secs());
    let last = covered.intervals.last();
    // While a stream is followed, a gap may still be stated from the second on that every shard has been read to.
    match last.filter(|interval| interval.ending == Ending::Read) {
        Some(interval) => interval.through.map_or(0, |through| settled.min(through.get())),
        None => settled,
    }
}

/// Segments of which this is the same are folded in the same snapshots: how many cuts lie before its end, and in how many of
/// the other snapshots it is not, for it was appended later. What is made of segments of different sides would be in no
/// snapshot for sure, and be read beside all of them.
fn fold_side(folds: &[FoldDocument], segment: &ListedSegment) -> (usize, usize) {
    let ends_after = |fold: &&FoldDocument| segment.name.seconds.is_none_or(|(_, last)| last > fold.cut);
    let before = folds.iter().filter(ends_after).count();
    let not_in = folds.iter().filter(|fold| !ends_after(fold) && fold.appended_through < segment.appended).count();
    (before, not_in)
}

fn first_second(segment: &ListedSegment) -> Option<Second> {
    segment.name.seconds.map(|(first, _)| first)
}

/// Inside or outside of an interval; see [`Place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Outside,
    Inside,
}

/// On which side of every gap a segment lies; none when it lies on both sides of one.
fn sides(covered: &CoveredTimeline, name: &SegmentName) -> Option<Vec<Side>> {
    let segment = ListedSegment { key: String::new(), size: 0, name: name.clone(), appended: 0 };
    covered
        .intervals
        .iter()
        .map(|interval| match interval.place(&segment) {
            Place::Outside => Some(Side::Outside),
            Place::Inside => Some(Side::Inside),
            Place::Straddling => None,
        })
        .collect()
}

fn window(level: u8, name: String, segments: &[&ListedSegment]) -> Option<Window> {
    let mut inputs: Vec<ListedSegment> = segments.iter().map(|segment| (*segment).clone()).collect();
    inputs.sort_by(|a, b| a.key.cmp(&b.key));
    let first_second = segments.iter().filter_map(|segment| first_second(segment)).min()?;
    let first_sequence = segments.iter().map(|segment| segment.name.sequences.0).min()?;
    Some(Window { level, name, inputs, first_second, first_sequence })
}

/// The name that an output with all records would have.
fn span(window: &Window, segments: &[&ListedSegment]) -> SegmentName {
    let last = segments.iter().filter_map(|segment| segment.name.seconds).map(|(_, last)| last).max();
    let last_sequence = segments.iter().map(|segment| segment.name.sequences.1).max();
    SegmentName {
        level: window.level,
        seconds: Some((window.first_second, last.unwrap_or(window.first_second))),
        sequences: (window.first_sequence, last_sequence.unwrap_or(window.first_sequence)),
        crc32: 0,
        appended: Some(0),
    }
}

/// The window of a level that a second lies in: its name, and the second after its last.
fn window_of(level: u8, second: Second) -> Option<(String, u64)> {
    let time = Timestamp::from_second(i64::try_from(second.get()).ok()?).ok()?.to_zoned(TimeZone::UTC);
    let date = time.date();
    let (name, end) = match level {
        1 => {
            let end = (second.get() / 3600 + 1) * 3600;
            return Some((format!("hour {date}T{:02}", time.hour()), end));
        }
        2 => (format!("day {date}"), date.checked_add(1.day()).ok()?),
        _ => (
            format!("month {:04}-{:02}", date.year(), date.month()),
            date.first_of_month().checked_add(1.month()).ok()?,
        ),
    };
    Some((name, beginning_of(end)?))
}

fn beginning_of(date: Date) -> Option<u64> {
    u64::try_from(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_hours_days_and_months_of_utc() {
        let second = Second::new(1_582_977_599).unwrap(); // 2020-02-29T11:59:59Z
        assert_eq!(window_of(1, second), Some(("hour 2020-02-29T11".to_owned(), 1_582_977_600)));
        assert_eq!(window_of(2, second), Some(("day 2020-02-29".to_owned(), 1_583_020_800)));
        assert_eq!(window_of(3, second), Some(("month 2020-02".to_owned(), 1_583_020_800)));
        assert_eq!(window_of(1, Second::new(1_582_977_600).unwrap()).unwrap().0, "hour 2020-02-29T12");
    }
}
