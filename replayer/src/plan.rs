//! The plan of a replay: which timeline, which objects, what to tell the user. Computed before anything is read.
//!
//! What enters are a table's timelines with their coverage and a cut; what leaves is a [`ReplayPlan`]. Which segments are
//! left out, and why that cannot change the state, stands in SEMANTICS.md, "The cheapest base".

mod explain;

use std::sync::Arc;

use bytes::Bytes;
use journal::documents::TableDocument;
use journal::error::{Classify, Kind, Result};
use journal::format::Footer;
use journal::model::{TableName, Timeline, TimelineLabel};
use journal::snapshot::{Candidate, bases};
use journal::store::ReadStore;
use thiserror::Error;

use crate::coverage::{self, Beginning, CoveredTimeline, Ending, Interval};
use crate::cut::{Cut, CutRequest};
use crate::key_schema::KeySchema;
use crate::listing::{self, ListedSegment};

use crate::merge::{self, RunInput, RunKind};
pub use explain::{Alternative, Explanation};

/// Why a plan cannot be made.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The records alone do not make the whole table.
    #[error(
        "table {table} {cut}: the journal does not hold the whole table: {reason}, and no baseline counts here{awaited}"
    )]
    NotWhole {
        /// The table.
        table: TableName,
        /// The cut.
        cut: Cut,
        /// Why the records are not enough.
        reason: String,
        /// What is known of a baseline that does not count yet, as text.
        awaited: String,
        /// Whether a baseline taken now would help.
        open: bool,
    },
    /// A segment with records from both sides of a gap.
    #[error("table {table} {cut}: segment {key} holds records from both sides of a gap ({gap})")]
    Straddles {
        /// The table.
        table: TableName,
        /// The cut.
        cut: Cut,
        /// The segment.
        key: String,
        /// The gap.
        gap: String,
    },
}

impl Classify for PlanError {
    fn kind(&self) -> Kind {
        Kind::Gap
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotWhole { table, open: true, .. } => Some(format!(
                "take one, it will serve this cut too: journal baseline --table {table}; --allow-partial goes on without \
                 the items that never changed since"
            )),
            Self::NotWhole { .. } | Self::Straddles { .. } => {
                Some("--allow-partial goes on with what the journal has; choose a cut in another interval".to_owned())
            }
        }
    }
}

/// What a user asked for.
#[derive(Debug, Clone)]
pub struct ReplayRequest {
    /// The table.
    pub table: TableName,
    /// The cut.
    pub cut: CutRequest,
    /// The timeline, when it is not to be chosen by the cut.
    pub timeline: Option<TimelineLabel>,
    /// Whether to go on where history is incomplete.
    pub allow_partial: bool,
}

/// All that a replay will do, before it does anything.
#[derive(Debug, Clone)]
pub struct ReplayPlan {
    /// The timeline.
    pub timeline: Timeline,
    /// The cut, no longer relative.
    pub cut: Cut,
    /// The objects to merge.
    pub inputs: Vec<RunInput>,
    /// The key's attributes; none when the journal has no record and no description of the table.
    pub key: Option<KeySchema>,
    /// The table's description, where the journal has one.
    pub table: Option<TableDocument>,
    /// The interval the cut lies in; none for a partial answer outside coverage.
    pub interval: Option<Interval>,
    /// The baseline or snapshot that is used.
    pub base: Option<String>,
    /// Segments that cannot change the state and are not read.
    pub left_out: usize,
    /// The choice of what is read, and the alternatives.
    pub explanation: Explanation,
    /// Whether history is known to be incomplete at the cut, and the result may be wrong.
    pub partial: bool,
    /// What the user should know, for standard error.
    pub notes: Vec<String>,
}

impl ReplayPlan {
    /// Bytes of the objects to merge.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.inputs.iter().map(|input| input.size).sum()
    }
}

/// Reads what the journal has of a table and plans a replay.
///
/// # Errors
/// When the journal has no such table, the cut is not covered, the records do not make the whole table and nothing says to
/// go on, or the store or a document cannot be read.
pub async fn plan(store: &dyn ReadStore, request: &ReplayRequest) -> Result<ReplayPlan> {
    let timelines = covered(store, &request.table).await?;
    let mut plan = decide(&timelines, request)?;
    plan.key = key_attributes_of(store, &plan, &timelines).await?;
    Ok(plan)
}

/// A table's timelines with their coverage, in order of their beginnings.
///
/// # Errors
/// As [`listing::timelines`].
pub async fn covered(store: &dyn ReadStore, table: &TableName) -> Result<Vec<CoveredTimeline>> {
    let mut timelines: Vec<CoveredTimeline> =
        listing::timelines(store, table).await?.into_iter().map(CoveredTimeline::new).collect();
    timelines.sort_by(|a, b| {
        let of = |t: &CoveredTimeline| (t.beginning(), t.objects.timeline.label.clone());
        of(a).cmp(&of(b))
    });
    Ok(timelines)
}

/// Names and types of the key's attributes: from the table's description, a baseline, or a segment.
async fn key_attributes_of(
    store: &dyn ReadStore,
    plan: &ReplayPlan,
    timelines: &[CoveredTimeline],
) -> Result<Option<KeySchema>> {
    if let Some(table) = &plan.table {
        return Ok(Some(KeySchema::of_table(table)?));
    }
    let Some(objects) = timelines.iter().map(|t| &t.objects).find(|objects| objects.timeline == plan.timeline) else {
        return Ok(None);
    };
    if let Some(found) = objects.snapshots.iter().find_map(|snapshot| snapshot.document.key_attributes.clone()) {
        return Ok(Some(KeySchema::unordered(found)));
    }
    let planned = plan.inputs.iter().find(|input| input.kind == RunKind::Segment).map(|input| input.key.as_str());
    match planned.or(objects.segments.first().map(|segment| segment.key.as_str())) {
        Some(key) => Ok(Some(KeySchema::unordered(footer_of(store, key).await?.key_attributes.clone()))),
        None => Ok(None),
    }
}

/// A run's footer, by one or two reads of its end.
pub(crate) async fn footer_of(store: &dyn ReadStore, key: &str) -> Result<Arc<Footer>> {
    Ok(merge::tail_of(store, key).await?.footer)
}

/// Chooses timeline, interval and objects. Pure.
///
/// # Errors
/// As [`plan`], but for reading.
pub fn decide(timelines: &[CoveredTimeline], request: &ReplayRequest) -> Result<ReplayPlan> {
    let choice =
        coverage::choose(&request.table, timelines, request.cut, request.timeline.as_ref(), request.allow_partial)?;
    let Some(covered) = timelines.get(choice.timeline) else {
        return Err(NoSuchTimeline { index: choice.timeline }.into());
    };
    let cut = choice.cut;
    let mut plan = ReplayPlan {
        timeline: covered.objects.timeline.clone(),
        cut,
        inputs: Vec::new(),
        key: None,
        table: covered.objects.table.clone(),
        interval: None,
        base: None,
        left_out: 0,
        explanation: Explanation::default(),
        partial: choice.interval.is_none(),
        notes: choice.notes,
    };
    let Some(interval) = choice.interval.and_then(|at| covered.intervals.get(at)) else {
        everything(&mut plan, covered);
        return Ok(plan);
    };
    plan.interval = Some(interval.clone());
    let bases = bases(covered, interval, cut);
    let usable = |candidate: &&Candidate| request.allow_partial || candidate.straddling.is_empty();
    let Some(chosen) = bases.candidates.iter().find(usable) else {
        if let Some(candidate) = bases.candidates.first() {
            return Err(straddles(request, cut, covered, interval, candidate).into());
        }
        // No snapshot counts, and the records are known not to be enough.
        if !records_suffice(&mut plan, request, interval)? {
            everything(&mut plan, covered);
        }
        return Ok(plan);
    };
    if !chosen.whole {
        records_suffice(&mut plan, request, interval)?;
    }
    for segment in chosen.straddling.iter().filter_map(|at| covered.objects.segments.get(*at)) {
        plan.partial = true;
        let key = &segment.key;
        plan.notes.push(format!("segment {key} holds records from both sides of a gap: the result may be wrong"));
    }
    plan.inputs = chosen.inputs(covered);
    plan.left_out = chosen.left_out;
    plan.base = chosen.snapshot.and_then(|at| covered.objects.snapshots.get(at)).map(|snapshot| snapshot.name.clone());
    plan.explanation = Explanation::new(covered, &bases, chosen);
    Ok(plan)
}

fn straddles(
    request: &ReplayRequest,
    cut: Cut,
    covered: &CoveredTimeline,
    interval: &Interval,
    candidate: &Candidate,
) -> PlanError {
    let segment = candidate.straddling.first().and_then(|at| covered.objects.segments.get(*at));
    let gap = interval.gap_before.as_ref().or(interval.gap_after.as_ref());
    PlanError::Straddles {
        table: request.table.clone(),
        cut,
        key: segment.map_or_else(String::new, |segment| segment.key.clone()),
        gap: gap.map_or_else(String::new, |gap| gap.reason.clone()),
    }
}

/// Whether the records alone make the whole table, as far as anyone can say. False when they do not and a partial answer
/// was asked for.
fn records_suffice(plan: &mut ReplayPlan, request: &ReplayRequest, interval: &Interval) -> Result<bool, PlanError> {
    match &interval.beginning {
        Beginning::Whole => Ok(true),
        Beginning::Unknown => {
            plan.notes.push(
                "nobody can say whether the table had items before the first record: an item that never changed since is \
                 not in the journal"
                    .to_owned(),
            );
            Ok(true)
        }
        Beginning::NotWhole { reason } if request.allow_partial => {
            plan.partial = true;
            plan.notes.push(format!(
                "the journal does not hold the whole table ({reason}): an item that never changed since is missing"
            ));
            Ok(false)
        }
        Beginning::NotWhole { reason } => {
            let awaited = interval.awaited_baseline.map_or_else(String::new, |finished| {
                format!(" (one that finished at {finished} will, once the stream has been read that far)")
            });
            Err(PlanError::NotWhole {
                table: request.table.clone(),
                cut: plan.cut,
                reason: reason.clone(),
                awaited,
                open: matches!(interval.ending, Ending::Read | Ending::LastRecord),
            })
        }
    }
}

/// Every run of the timeline: the best that can be done where history is incomplete.
fn everything(plan: &mut ReplayPlan, covered: &CoveredTimeline) {
    plan.inputs.extend(covered.objects.segments.iter().map(segment_input));
    let baselines = covered.objects.snapshots.iter().enumerate().filter(|(_, s)| s.document.kind == "baseline");
    if let Some((latest, _)) = baselines.max_by_key(|(_, snapshot)| snapshot.document.finished) {
        add_snapshot(plan, covered, latest);
    }
}

fn segment_input(segment: &ListedSegment) -> RunInput {
    RunInput { key: segment.key.clone(), size: segment.size, kind: RunKind::Segment, from: None, until: None }
}

fn add_snapshot(plan: &mut ReplayPlan, covered: &CoveredTimeline, at: usize) {
    let Some(snapshot) = covered.objects.snapshots.get(at) else { return };
    plan.inputs.extend(journal::snapshot::part_inputs(covered, snapshot));
    plan.base = Some(snapshot.name.clone());
}

/// An index that the choice gave and the list does not have.
#[derive(Debug, Error)]
#[error("timeline number {index} was chosen, but there is none")]
struct NoSuchTimeline {
    index: usize,
}

impl Classify for NoSuchTimeline {
    fn kind(&self) -> Kind {
        Kind::Internal
    }
}

/// The smallest byte string above all that begin with `prefix`; none when there is no such one.
#[must_use]
pub fn successor(prefix: &[u8]) -> Option<Bytes> {
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut bytes = prefix.get(..=kept)?.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last += 1;
    }
    Some(Bytes::from(bytes))
}

#[cfg(test)]
mod tests;
