//! Changes in the order of time, read from the segments that can hold them, and given out as soon as nothing that is not read yet can
//! come before them.

use std::sync::{Arc, Mutex, PoisonError};

use journal::error::{Kind, Result};
use journal::listing::{ListedSegment, TimelineObjects};
use journal::model::{
    Attributes, ChangeKind, Image, Second, SequenceNumber, TableName, Timeline, TimelineLabel, UserIdentity,
};
use journal::store::ReadStore;
use thiserror::Error;

use super::order::{Best, Found, Place, Reach, damaged};
use crate::coverage::CoveredTimeline;
use crate::key_schema::{KeySchema, KeySelection};
use crate::merge::{self, Columns, MergeOptions, RecordScan, RunInput, RunKind, Unreadable, UnreadableList};
use crate::plan::{covered, footer_of};

/// Segments of the first step of a search; each further step takes twice as many.
const STEP: usize = 8;
/// The same where one item's changes are searched: most segments have none of them, and what all answer at once is waited for once.
const LOOKUP_STEP: usize = 32;
/// Bytes that are read in the first step, beyond which it takes no more segments; each further step takes twice as many.
const STEP_BYTES: u64 = 1 << 20;

/// What is wrong with what was asked, or read.
#[derive(Debug, Error)]
pub enum AuditError {
    /// No such timeline.
    #[error("table {table} has no timeline {label}; it has {known}")]
    NoTimeline {
        /// The table.
        table: TableName,
        /// The label asked for.
        label: TimelineLabel,
        /// The labels there are.
        known: String,
    },
    /// An image that is not what was written.
    #[error("record {sequence}: an image cannot be read: {reason}")]
    Image {
        /// The record.
        sequence: SequenceNumber,
        /// Why.
        reason: String,
    },
}

impl journal::Classify for AuditError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoTimeline { .. } => Kind::Invalid,
            Self::Image { .. } => Kind::Corrupt,
        }
    }
}

/// Who made a change, as far as a stream tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// `DynamoDB`'s time to live.
    Ttl,
    /// Anybody else.
    User,
}

/// Which end of history comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The last change first.
    NewestFirst,
    /// The first change first.
    OldestFirst,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct HistoryRequest {
    /// The table.
    pub table: TableName,
    /// Only this timeline.
    pub timeline: Option<TimelineLabel>,
    /// Only changes of these items.
    pub keys: KeySelection,
    /// Only changes at or after this second.
    pub since: Option<Second>,
    /// Only changes at or before this second.
    pub until: Option<Second>,
    /// Only changes of these kinds; all when empty.
    pub kinds: Vec<ChangeKind>,
    /// Only changes by this actor.
    pub by: Option<Actor>,
    /// So many changes at most; those that others may still come before are held in memory.
    pub limit: usize,
    /// Which changes come first, and so which are left out by the limit. Changes without a second come last either way.
    pub direction: Direction,
    /// Which images are read, of runs that keep them apart; the others may be none.
    pub columns: Columns,
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its timeline.
    pub timeline: Timeline,
    /// The item's key, decoded.
    pub key: Attributes,
    /// The change's sequence number.
    pub sequence: SequenceNumber,
    /// Its second, where it has one.
    pub second: Option<Second>,
    /// What it did.
    pub kind: ChangeKind,
    /// The item before it, without the key; none when there was none.
    pub old: Option<Attributes>,
    /// The item after it, without the key; none when there is none.
    pub new: Option<Attributes>,
    /// Who the stream says it was.
    pub user: Option<UserIdentity>,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Changes given out.
    pub changes: usize,
    /// Whether the limit may have left changes out.
    pub more: bool,
    /// Segments of the table.
    pub segments: usize,
    /// Bytes of the segments of the table.
    pub segment_bytes: u64,
    /// Segments that were opened.
    pub opened: u64,
    /// Bytes that were read of them.
    pub bytes_read: u64,
    /// Segments that could not be read: what they hold is not among the changes.
    pub unreadable: Vec<Unreadable>,
}

/// Gives the changes that were asked for to `visit`, in their order, each as soon as it is certain that none comes before it. `keys`
/// reads the wanted items by the table's key.
///
/// # Errors
/// When the journal has no such table or timeline, the store cannot be read, or `keys` or `visit` refuses. Corrupt segments are no
/// error but are named in the answer.
pub async fn history(
    store: Arc<dyn ReadStore>,
    request: HistoryRequest,
    keys: impl Fn(&KeySchema) -> Result<KeySelection>,
    options: &MergeOptions,
    mut visit: impl FnMut(Change) -> Result<()>,
) -> Result<History> {
    let mut timelines = covered(&*store, &request.table).await?;
    if let Some(label) = &request.timeline {
        let labels: Vec<String> = timelines.iter().map(|t| t.objects.timeline.label.to_string()).collect();
        timelines.retain(|covered| covered.objects.timeline.label == *label);
        if timelines.is_empty() {
            let known = labels.join(", ");
            return Err(AuditError::NoTimeline { table: request.table, label: label.clone(), known }.into());
        }
    }
    let mut found = History::default();
    let unreadable = UnreadableList::default();
    if request.direction == Direction::NewestFirst {
        timelines.reverse();
    }
    for CoveredTimeline { objects, .. } in timelines {
        found.segments += objects.segments.len();
        found.segment_bytes += objects.segments.iter().map(|segment| segment.size).sum::<u64>();
        let Some(schema) = key_schema_of(&*store, &objects, Some(&unreadable)).await? else { continue };
        let left = request.limit.saturating_sub(found.changes);
        let request = HistoryRequest { keys: keys(&schema)?, limit: left, ..request.clone() };
        Search { store: &store, objects: &objects, schema, request: &request, options, unreadable: &unreadable }
            .run(&mut found, &mut visit)
            .await?;
    }
    found.unreadable = unreadable.to_vec();
    Ok(found)
}

/// A timeline's key: from its description, or from the first segment that can be read. Segments that are corrupt are named in
/// `unreadable`.
pub(crate) async fn key_schema_of(
    store: &dyn ReadStore,
    objects: &TimelineObjects,
    unreadable: Option<&UnreadableList>,
) -> Result<Option<KeySchema>> {
    if let Some(table) = &objects.table {
        return Ok(Some(KeySchema::of_table(table)?));
    }
    for segment in &objects.segments {
        match (footer_of(store, &segment.key).await, unreadable) {
            (Ok(footer), _) => return Ok(Some(KeySchema::unordered(footer.key_attributes.clone()))),
            // The next one may be whole.
            (Err(error), Some(list)) if error.kind() == Kind::Corrupt => list.add(&segment.key, &error),
            (Err(error), _) => return Err(error),
        }
    }
    Ok(None)
}

/// One timeline.
struct Search<'a> {
    store: &'a Arc<dyn ReadStore>,
    objects: &'a TimelineObjects,
    schema: KeySchema,
    request: &'a HistoryRequest,
    options: &'a MergeOptions,
    unreadable: &'a UnreadableList,
}

impl Search<'_> {
    async fn run(self, found: &mut History, visit: &mut impl FnMut(Change) -> Result<()>) -> Result<()> {
        let mut segments = self.candidates();
        let best = Arc::new(Mutex::new(Best::new(self.request.clone(), self.schema.clone())));
        let first = if self.scan(&best).is_lookup() { LOOKUP_STEP } else { STEP };
        let (mut count, mut bytes) = (first, STEP_BYTES);
        while !segments.is_empty() {
            if lock(&best).has_all_before(reach(&segments, self.request.direction)) {
                found.more = true;
                break;
            }
            let scan = self.scan(&best);
            let rest = segments.split_off(step(&segments, &scan, count, bytes));
            self.read(&segments, scan, &best, found).await?;
            segments = rest;
            (count, bytes) = (count.saturating_mul(2), bytes.saturating_mul(2));
            let certain = lock(&best).take_before(reach(&segments, self.request.direction));
            for (place, change) in certain {
                visit(self.change(place, change)?)?;
                found.changes += 1;
            }
        }
        found.more |= lock(&best).more;
        Ok(())
    }

    fn change(&self, place: Place, change: Found) -> Result<Change> {
        let Place { second, sequence, key } = place;
        let image = |bytes: Option<Vec<u8>>| {
            let image = bytes.map(|bytes| Image::decode_slice(&bytes)).transpose();
            image.map_err(|error| damaged(sequence, &error))
        };
        Ok(Change {
            timeline: self.objects.timeline.clone(),
            key: self.schema.decode(&key).map_err(|error| damaged(sequence, &error))?,
            sequence,
            second,
            kind: change.kind,
            old: image(change.old)?,
            new: image(change.new)?,
            user: change.user,
        })
    }

    /// Segments whose names allow them to matter, those that hold what is wanted first at the front.
    fn candidates(&self) -> Vec<&ListedSegment> {
        let superseded = self.objects.superseded();
        let request = self.request;
        let mut segments: Vec<&ListedSegment> = self
            .objects
            .segments
            .iter()
            .filter(|segment| !superseded.contains(&segment.key))
            .filter(|segment| {
                segment.name.seconds.is_none_or(|(first, last)| {
                    request.since.is_none_or(|since| last >= since) && request.until.is_none_or(|until| first <= until)
                })
            })
            .collect();
        // What has no second comes last.
        match request.direction {
            Direction::NewestFirst => segments.sort_by_key(|s| std::cmp::Reverse(s.name.seconds.map(|(_, last)| last))),
            Direction::OldestFirst => {
                segments.sort_by_key(|s| (s.name.seconds.is_none(), s.name.seconds.map(|(first, _)| first)));
            }
        }
        segments
    }

    /// What is still wanted of segments.
    fn scan(&self, best: &Mutex<Best>) -> RecordScan {
        RecordScan {
            keys: self.request.keys.range.clone(),
            seconds: lock(best).seconds(),
            columns: self.request.columns,
            unreadable: Some(self.unreadable.clone()),
        }
    }

    /// Reads segments together. What is corrupt is named, and the rest is read.
    async fn read(
        &self,
        segments: &[&ListedSegment],
        scan: RecordScan,
        best: &Arc<Mutex<Best>>,
        found: &mut History,
    ) -> Result<()> {
        let inputs = segments
            .iter()
            .map(|segment| RunInput {
                key: segment.key.clone(),
                size: segment.size,
                kind: RunKind::Segment,
                from: None,
                until: None,
            })
            .collect();
        let into = Arc::clone(best);
        let merged = merge::scan_records(Arc::clone(self.store), inputs, scan, self.options.clone(), move |record| {
            lock(&into).visit(&record).map(|()| true)
        })
        .await?;
        found.opened += merged.objects;
        found.bytes_read += merged.bytes_read;
        Ok(())
    }
}

fn lock(best: &Mutex<Best>) -> std::sync::MutexGuard<'_, Best> {
    best.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many segments the next step takes.
fn step(segments: &[&ListedSegment], scan: &RecordScan, count: usize, bytes: u64) -> usize {
    let mut sum = 0u64;
    let fits = segments.iter().take(count).take_while(|segment| {
        let begins = sum < bytes;
        sum = sum.saturating_add(scan.bytes_of(segment.size));
        begins
    });
    fits.count().max(1)
}

/// The second of the first change, in the order asked for, that these segments may hold; none when none of them has a second.
fn reach(segments: &[&ListedSegment], direction: Direction) -> Reach {
    let seconds = segments.iter().filter_map(|segment| segment.name.seconds);
    let first = match direction {
        Direction::NewestFirst => seconds.map(|(_, last)| last).max(),
        Direction::OldestFirst => seconds.map(|(first, _)| first).min(),
    };
    match first {
        Some(second) => Reach::From(second),
        None if segments.is_empty() => Reach::Nothing,
        None => Reach::Undated,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use journal::layout::SegmentName;

    use super::*;

    fn segments(count: usize, size: u64) -> Vec<ListedSegment> {
        let sequences = (SequenceNumber::MIN, SequenceNumber::MIN);
        let name = SegmentName { level: 1, seconds: None, sequences, crc32: 0, appended: None };
        vec![ListedSegment { key: String::new(), size, name, appended: 0 }; count]
    }

    #[test]
    fn one_item_is_searched_in_many_long_runs_at_once() {
        let everything = RecordScan::default();
        let item =
            RecordScan { keys: Some(Bytes::from_static(b"a")..Bytes::from_static(b"a\0")), ..everything.clone() };
        let taken = |segments: &[ListedSegment], scan: &RecordScan, count: usize| {
            step(&segments.iter().collect::<Vec<_>>(), scan, count, STEP_BYTES)
        };
        let long = segments(18, 30 << 20);
        assert_eq!(taken(&long, &item, LOOKUP_STEP), 18);
        assert_eq!(taken(&long, &everything, STEP), 1);
        // Those that are read whole count as what they are.
        let short = segments(40, 256 << 10);
        assert_eq!(taken(&short, &item, LOOKUP_STEP), 4);
        assert_eq!(taken(&segments(40, 1 << 10), &item, LOOKUP_STEP), LOOKUP_STEP);
        assert_eq!(taken(&segments(40, 1 << 10), &everything, STEP), STEP);
    }
}
