//! Two states of a table, told apart by the changes between them.
//!
//! Only changes around the two cuts and between them are read. What changed and changed back is no difference.

use std::sync::{Arc, Mutex, PoisonError};

use journal::error::{Classify, Kind, Result};
use journal::model::{Attributes, Image, SequenceNumber, TableName, TimelineLabel};
use journal::store::ReadStore;
use thiserror::Error;

use super::between::{ChangedKey, Span, changed_keys};
use crate::cut::{Cut, CutRequest, Position};
use crate::key_schema::{KeySchema, KeySchemaError, KeySelection};
use crate::merge::MergeOptions;
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
                Some(
                    "`--to live --whole` compares with the table as it is; two states of the journal can be exported with `replay export \
                     --format json` and their files compared"
                        .to_owned(),
                )
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
    let selection = keys(&schema)?;
    let span = Span { from: from.cut, to: Some(to.cut) };
    let shared = Arc::new(Mutex::new((CompareReport::default(), visit)));
    let (inner, chosen) = (Arc::clone(&shared), selection.clone());
    let merged = changed_keys(store, objects, span, &selection, options, move |changed| {
        let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (report, visit) = &mut *inner;
        match report.take(&schema, &chosen, &changed)? {
            Some(difference) => visit(difference),
            None => Ok(()),
        }
    })
    .await?;
    let report = shared.lock().unwrap_or_else(PoisonError::into_inner).0;
    Ok(CompareReport {
        segments: u64::try_from(objects.segments.len()).unwrap_or(u64::MAX),
        opened: merged.objects,
        bytes_read: merged.bytes_read,
        ..report
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

impl CompareReport {
    /// Counts a key with a change; gives what differs.
    fn take(
        &mut self,
        schema: &KeySchema,
        selection: &KeySelection,
        changed: &ChangedKey<'_>,
    ) -> Result<Option<ItemDifference>> {
        let wrong = |reason: String| CompareError::Item { sequence: changed.sequence, reason };
        let key = schema.decode(changed.key).map_err(|error| wrong(error.to_string()))?;
        if !selection.contains(&key) {
            return Ok(None);
        }
        // Equal items are equal bytes.
        self.count(changed.before, changed.after);
        if changed.before == changed.after {
            return Ok(None);
        }
        let image = |bytes: Option<&[u8]>| {
            let image = bytes.map(Image::decode_slice).transpose();
            image.map_err(|error| wrong(error.to_string()))
        };
        Ok(Some(ItemDifference { key, before: image(changed.before)?, after: image(changed.after)? }))
    }

    /// Counts an item by what it was and is.
    pub(crate) fn count<T: PartialEq>(&mut self, before: Option<T>, after: Option<T>) {
        match (before, after) {
            (before, after) if before == after => self.changed_back += 1,
            (None, _) => self.added += 1,
            (_, None) => self.removed += 1,
            _ => self.changed += 1,
        }
    }
}
