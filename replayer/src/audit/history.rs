//! Changes in the order of time, read from the segments that can hold them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use journal::error::{Kind, Result};
use journal::listing::{ListedSegment, TimelineObjects};
use journal::model::{
    Attributes, ChangeKind, Image, Second, SequenceNumber, TableName, Timeline, TimelineLabel, UserIdentity,
};
use journal::store::ReadStore;
use thiserror::Error;

use crate::coverage::CoveredTimeline;
use crate::key_schema::{KeySchema, KeySelection};
use crate::merge::{self, MergeOptions, RecordRef, RecordScan, RunInput, RunKind, Unreadable, UnreadableList};
use crate::plan::{covered, footer_of};

/// Segments of the first step of a search that may end early; each further step takes twice as many.
const STEP: usize = 8;

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
    /// So many changes at most; they are held in memory.
    pub limit: usize,
    /// Which changes come first, and so which are left out by the limit.
    pub direction: Direction,
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
    /// The changes, in the order asked for.
    pub changes: Vec<Change>,
    /// Whether the limit left changes out.
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

/// Reads the changes that were asked for. `keys` reads the wanted items by the table's key.
///
/// # Errors
/// When the journal has no such table or timeline, the store cannot be read, or `keys` refuses. Corrupt segments are no error
/// but are named in the answer.
pub async fn history(
    store: Arc<dyn ReadStore>,
    request: HistoryRequest,
    keys: impl Fn(&KeySchema) -> Result<KeySelection>,
    options: &MergeOptions,
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
        let left = request.limit.saturating_sub(found.changes.len());
        found.segments += objects.segments.len();
        found.segment_bytes += objects.segments.iter().map(|segment| segment.size).sum::<u64>();
        let Some(schema) = key_schema_of(&*store, &objects, Some(&unreadable)).await? else { continue };
        let request = HistoryRequest { keys: keys(&schema)?, ..request.clone() };
        Search { store: &store, objects: &objects, schema, request: &request, options, unreadable: &unreadable, left }
            .run(&mut found)
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

/// Changes by time; those of one second by sequence number. What is in two segments is in it once.
type Kept = BTreeMap<(Option<Second>, SequenceNumber, Vec<u8>), Found>;

struct Found {
    kind: ChangeKind,
    old: Option<Vec<u8>>,
    new: Option<Vec<u8>>,
    user: Option<UserIdentity>,
}

/// The best changes so far, never more than `limit`.
struct Best {
    kept: Kept,
    limit: usize,
    more: bool,
    request: HistoryRequest,
    schema: KeySchema,
}

impl Best {
    fn visit(&mut self, record: &RecordRef<'_>) -> Result<()> {
        let request = &self.request;
        let outside = record.second.is_some_and(|second| {
            request.since.is_some_and(|since| second < since) || request.until.is_some_and(|until| second > until)
        });
        let by_ttl = record.user.is_some_and(UserIdentity::is_ttl);
        let other = request.by.is_some_and(|by| (by == Actor::Ttl) != by_ttl);
        if outside || other || !(request.kinds.is_empty() || request.kinds.contains(&record.kind)) {
            return Ok(());
        }
        if request.keys.begins_with.is_some() {
            let key = self.schema.decode(record.key).map_err(|error| unreadable(record.sequence, &error))?;
            if !request.keys.contains(&key) {
                return Ok(());
            }
        }
        let at = (record.second, record.sequence, record.key.to_vec());
        if self.kept.len() >= self.limit && !self.kept.contains_key(&at) {
            let last = match request.direction {
                Direction::NewestFirst => self.kept.first_key_value(),
                Direction::OldestFirst => self.kept.last_key_value(),
            };
            let worse = last.is_none_or(|(last, _)| match request.direction {
                Direction::NewestFirst => at < *last,
                Direction::OldestFirst => at > *last,
            });
            self.more = true;
            if worse {
                return Ok(());
            }
            match request.direction {
                Direction::NewestFirst => self.kept.pop_first(),
                Direction::OldestFirst => self.kept.pop_last(),
            };
        }
        self.kept.insert(
            at,
            Found {
                kind: record.kind,
                old: record.old.map(<[u8]>::to_vec),
                new: record.new.map(<[u8]>::to_vec),
                user: record.user.cloned(),
            },
        );
        Ok(())
    }
}

fn unreadable(sequence: SequenceNumber, error: &dyn std::fmt::Display) -> journal::Error {
    AuditError::Image { sequence, reason: error.to_string() }.into()
}

/// One timeline.
struct Search<'a> {
    store: &'a Arc<dyn ReadStore>,
    objects: &'a TimelineObjects,
    schema: KeySchema,
    request: &'a HistoryRequest,
    options: &'a MergeOptions,
    unreadable: &'a UnreadableList,
    left: usize,
}

impl Search<'_> {
    async fn run(self, found: &mut History) -> Result<()> {
        let mut segments = self.candidates();
        if self.left == 0 {
            found.more |= !segments.is_empty();
            return Ok(());
        }
        let best = Arc::new(Mutex::new(Best {
            kept: Kept::new(),
            limit: self.left,
            more: false,
            request: self.request.clone(),
            schema: self.schema.clone(),
        }));
        let mut step = STEP;
        while !segments.is_empty() {
            let rest = segments.split_off(step.min(segments.len()));
            self.read(&segments, &best, found).await?;
            segments = rest;
            step = step.saturating_mul(2);
            if self.is_done(&best, &segments) {
                best.lock().unwrap_or_else(PoisonError::into_inner).more |= !segments.is_empty();
                break;
            }
        }
        let (kept, more) = {
            let mut best = best.lock().unwrap_or_else(PoisonError::into_inner);
            (std::mem::take(&mut best.kept), best.more)
        };
        found.more |= more;
        let mut changes = Vec::with_capacity(kept.len());
        for ((second, sequence, key), change) in kept {
            let image = |bytes: Option<Vec<u8>>| {
                let image = bytes.map(|bytes| Image::decode_slice(&bytes)).transpose();
                image.map_err(|error| unreadable(sequence, &error))
            };
            changes.push(Change {
                timeline: self.objects.timeline.clone(),
                key: self.schema.decode(&key).map_err(|error| unreadable(sequence, &error))?,
                sequence,
                second,
                kind: change.kind,
                old: image(change.old)?,
                new: image(change.new)?,
                user: change.user,
            });
        }
        if self.request.direction == Direction::NewestFirst {
            changes.reverse();
        }
        found.changes.extend(changes);
        Ok(())
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
        match request.direction {
            Direction::NewestFirst => segments.sort_by_key(|s| std::cmp::Reverse(s.name.seconds.map(|(_, last)| last))),
            Direction::OldestFirst => segments.sort_by_key(|s| s.name.seconds.map(|(first, _)| first)),
        }
        segments
    }

    /// Whether no segment that is left can hold a change that belongs before the last one kept.
    fn is_done(&self, best: &Mutex<Best>, left: &[&ListedSegment]) -> bool {
        let best = best.lock().unwrap_or_else(PoisonError::into_inner);
        if best.kept.len() < best.limit || left.iter().any(|segment| segment.name.seconds.is_none()) {
            return false;
        }
        let seconds = left.iter().filter_map(|segment| segment.name.seconds);
        match self.request.direction {
            Direction::NewestFirst => {
                let worst = best.kept.first_key_value().and_then(|((second, ..), _)| *second);
                worst.is_some_and(|worst| seconds.map(|(_, last)| last).max().is_none_or(|last| last < worst))
            }
            Direction::OldestFirst => {
                let worst = best.kept.last_key_value().and_then(|((second, ..), _)| *second);
                worst.is_some_and(|worst| seconds.map(|(first, _)| first).min().is_none_or(|first| first > worst))
            }
        }
    }

    /// Reads segments together. What is corrupt is named, and the rest is read.
    async fn read(&self, segments: &[&ListedSegment], best: &Arc<Mutex<Best>>, found: &mut History) -> Result<()> {
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
        let request = self.request;
        let bounded = request.since.is_some() || request.until.is_some();
        let scan = RecordScan {
            keys: request.keys.range.clone(),
            seconds: bounded.then(|| (request.since.unwrap_or(Second::MIN), request.until.unwrap_or(Second::MAX))),
            unreadable: Some(self.unreadable.clone()),
            ..RecordScan::default()
        };
        let merged = merge::scan_records(Arc::clone(self.store), inputs, scan, self.options.clone(), move |record| {
            into.lock().unwrap_or_else(PoisonError::into_inner).visit(&record).map(|()| true)
        })
        .await?;
        found.opened += merged.objects;
        found.bytes_read += merged.bytes_read;
        Ok(())
    }
}
