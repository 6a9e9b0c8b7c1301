//! Two states of a table, told apart by the changes between them.
//!
//! Only keys that changed between the two cuts are read: the state at the first is the old image of the first change after
//! it, the state at the second the new image of the last change up to it. What changed and changed back is no difference.

use std::sync::{Arc, Mutex, PoisonError};

use journal::error::{Classify, Kind, Result};
use journal::listing::ListedSegment;
use journal::model::{Attributes, Image, Second, SequenceNumber, TableName, TimelineLabel};
use journal::store::ReadStore;
use thiserror::Error;

use crate::cut::{Cut, CutRequest, Position};
use crate::key_schema::{KeySchema, KeySchemaError, KeySelection};
use crate::merge::{self, MergeOptions, RecordRef, RunInput, RunKind};
use crate::plan::{ReplayRequest, covered, plan};

/// Why two states cannot be told apart.
#[derive(Debug, Error)]
pub enum CompareError {
    /// The cuts lie in different tables of the same name, or on different sides of a gap.
    #[error("table {table} {from} and {to} are not in one stretch of its history: {reason}")]
    Apart {
        /// The table.
        table: TableName,
        /// The first cut.
        from: Cut,
        /// The second cut.
        to: Cut,
        /// What lies between.
        reason: String,
    },
    /// An image or key that is not what was written.
    #[error("the item of record {sequence} cannot be read: {reason}")]
    Item {
        /// The record.
        sequence: SequenceNumber,
        /// Why.
        reason: String,
    },
}

impl Classify for CompareError {
    fn kind(&self) -> Kind {
        match self {
            Self::Apart { .. } => Kind::Invalid,
            Self::Item { .. } => Kind::Corrupt,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Apart { .. } => {
                Some("export both states with `replay export --format json` and compare the files".to_owned())
            }
            Self::Item { .. } => None,
        }
    }
}

/// Which states.
#[derive(Debug, Clone)]
pub struct CompareRequest {
    /// The table.
    pub table: TableName,
    /// The first state.
    pub from: CutRequest,
    /// The second state.
    pub to: CutRequest,
    /// The timeline, when it is not to be chosen by the cuts.
    pub timeline: Option<TimelineLabel>,
}

/// An item that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemDifference {
    /// Its key.
    pub key: Attributes,
    /// The item at the first cut, without the key.
    pub before: Option<Attributes>,
    /// The item at the second cut, without the key.
    pub after: Option<Attributes>,
}

/// What a comparison did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct CompareReport {
    /// Items that are only in the second state.
    pub added: u64,
    /// Items that are only in the first state.
    pub removed: u64,
    /// Items that differ.
    pub changed: u64,
    /// Items that changed in between and are the same in both.
    pub changed_back: u64,
    /// Segments of the timeline.
    pub segments: u64,
    /// Segments that were opened.
    pub opened: u64,
    /// Bytes read.
    pub bytes_read: u64,
}

impl CompareReport {
    /// Whether the states differ.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.added + self.removed + self.changed > 0
    }
}

/// Gives every item that differs between two states to `visit`, in key order. `visit` runs on a blocking thread.
///
/// # Errors
/// When a cut is not covered, the two do not lie in one stretch of history, an object cannot be read, or `keys` or `visit`
/// fails.
pub async fn compare<F>(
    store: Arc<dyn ReadStore>,
    request: &CompareRequest,
    keys: impl Fn(&KeySchema) -> Result<KeySelection>,
    options: &MergeOptions,
    visit: F,
) -> Result<CompareReport>
where
    F: FnMut(ItemDifference) -> Result<()> + Send + 'static,
{
    let side = |cut| ReplayRequest {
        table: request.table.clone(),
        cut,
        timeline: request.timeline.clone(),
        // Old images tell the state before, so nothing but the changes in between is needed.
        allow_partial: false,
    };
    let (from, to) = (plan(&*store, &side(request.from)).await?, plan(&*store, &side(request.to)).await?);
    let apart =
        |reason: String| CompareError::Apart { table: request.table.clone(), from: from.cut, to: to.cut, reason };
    if from.timeline != to.timeline {
        let (a, b) = (&from.timeline.label, &to.timeline.label);
        return Err(apart(format!(
            "they are of the streams {a} and {b}; the table was made again, or its stream switched"
        ))
        .into());
    }
    let start =
        |plan: &crate::plan::ReplayPlan| plan.interval.as_ref().map(|interval| (interval.from, interval.through));
    if start(&from) != start(&to) {
        return Err(apart("a gap lies between them".to_owned()).into());
    }
    if is_after(&from.cut, &to.cut) {
        return Err(apart("the first is after the second".to_owned()).into());
    }
    let timelines = covered(&*store, &request.table).await?;
    let objects = timelines.iter().map(|covered| &covered.objects).find(|objects| objects.timeline == to.timeline);
    let (Some(objects), Some(schema)) = (objects, to.key.clone()) else {
        return Err(KeySchemaError::Unknown { table: request.table.to_string() }.into());
    };
    let superseded = objects.superseded();
    let inputs = objects
        .segments
        .iter()
        .filter(|segment| !superseded.contains(&segment.key) && may_lie_between(segment, &from.cut, &to.cut))
        .map(|segment| RunInput {
            key: segment.key.clone(),
            size: segment.size,
            kind: RunKind::Segment,
            from: None,
            until: None,
        })
        .collect();
    let selection = keys(&schema)?;
    let range = selection.range.clone();
    let fold = Fold {
        from: from.cut,
        to: to.cut,
        schema,
        selection,
        key: Vec::new(),
        started: false,
        last_second: None,
        found: None,
        report: CompareReport::default(),
        visit,
    };
    let shared = Arc::new(Mutex::new(fold));
    let inner = Arc::clone(&shared);
    let merged = merge::for_each_record(store, inputs, range, options.clone(), move |record| {
        inner.lock().unwrap_or_else(PoisonError::into_inner).add(&record)
    })
    .await?;
    let mut fold = shared.lock().unwrap_or_else(PoisonError::into_inner);
    fold.end_key()?;
    Ok(CompareReport {
        segments: u64::try_from(objects.segments.len()).unwrap_or(u64::MAX),
        opened: merged.objects,
        bytes_read: merged.bytes_read,
        ..fold.report
    })
}

fn is_after(from: &Cut, to: &Cut) -> bool {
    match (from.position, to.position) {
        (Position::Second(_), Position::Second(_)) => from.last_second() > to.last_second(),
        (Position::Sequence(from), Position::Sequence(to)) => from.cmp_value(&to).is_gt(),
        // A second and a sequence number cannot be compared without the records: then nothing lies between them.
        _ => false,
    }
}

/// Whether a segment's name allows it to hold records after the first cut and up to the second.
fn may_lie_between(segment: &ListedSegment, from: &Cut, to: &Cut) -> bool {
    let name = &segment.name;
    let begun = match to.position {
        Position::Second(_) => name.seconds.is_none_or(|(first, _)| to.has(SequenceNumber::MIN, Some(first))),
        Position::Sequence(_) => to.has(name.sequences.0, None),
    };
    let over = match from.position {
        Position::Second(_) => name.seconds.is_some_and(|(_, last)| from.has(SequenceNumber::MIN, Some(last))),
        Position::Sequence(_) => from.has(name.sequences.1, None),
    };
    begun && !over
}

/// The first image and the last one of what lies between the cuts.
struct Between {
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
    sequence: SequenceNumber,
}

/// One key after the other.
struct Fold<F> {
    from: Cut,
    to: Cut,
    schema: KeySchema,
    selection: KeySelection,
    key: Vec<u8>,
    started: bool,
    last_second: Option<Second>,
    found: Option<Between>,
    report: CompareReport,
    visit: F,
}

impl<F: FnMut(ItemDifference) -> Result<()>> Fold<F> {
    fn add(&mut self, record: &RecordRef<'_>) -> Result<()> {
        if !self.started || self.key.as_slice() != record.key {
            self.end_key()?;
            self.started = true;
            self.key.clear();
            self.key.extend_from_slice(record.key);
        }
        let second = record.second.or(self.last_second);
        self.last_second = second;
        if self.from.has(record.sequence, second) || !self.to.has(record.sequence, second) {
            return Ok(());
        }
        let after = record.new.map(<[u8]>::to_vec);
        match &mut self.found {
            Some(found) => found.after = after,
            none => {
                let before = record.old.map(<[u8]>::to_vec);
                *none = Some(Between { before, after, sequence: record.sequence });
            }
        }
        Ok(())
    }

    fn end_key(&mut self) -> Result<()> {
        self.last_second = None;
        let Some(found) = self.found.take() else { return Ok(()) };
        let wrong = |reason: String| CompareError::Item { sequence: found.sequence, reason };
        let key = self.schema.decode(&self.key).map_err(|error| wrong(error.to_string()))?;
        if !self.selection.contains(&key) {
            return Ok(());
        }
        // Equal items are equal bytes.
        match (&found.before, &found.after) {
            (before, after) if before == after => {
                self.report.changed_back += 1;
                return Ok(());
            }
            (None, _) => self.report.added += 1,
            (_, None) => self.report.removed += 1,
            _ => self.report.changed += 1,
        }
        let image = |bytes: &Option<Vec<u8>>| {
            let image = bytes.as_deref().map(Image::decode_slice).transpose();
            image.map_err(|error| wrong(error.to_string()))
        };
        let difference = ItemDifference { key, before: image(&found.before)?, after: image(&found.after)? };
        (self.visit)(difference)
    }
}
