//! Snapshots at a cut, folded from the journal's own records, and the choice of what a replay starts from.
//!
//! Specified in FORMAT.md, "Snapshots". What enter are a store and a cut, or a bound on what a replay may cost; what leave are
//! folds in the timeline's `snapshots/` folder and a report. Streaming: one part is held in memory. Create-only: nothing that
//! was written is changed, and what is not complete does not count. Safe to stop anywhere, to run twice at once, and beside
//! readers and writers. Knows nothing of tables or sinks.

mod base;
mod error;
mod plan;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tracing::info;

pub use base::{Bases, Candidate, REQUEST_BYTES, Rejected, SKEW_SECONDS, Way, bases, part_inputs};
pub use error::SnapshotError;
pub(crate) use plan::plans;

use crate::coverage::CoveredTimeline;
use crate::documents::SnapshotPlanDocument;
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::listing;
use crate::merge::MergeOptions;
use crate::model::{Second, TableName, Timeline};
use crate::store::{ReadStore, WriteStore};

/// Bounds of snapshots.
#[derive(Debug, Clone)]
pub struct SnapshotOptions {
    /// A snapshot is written when a replay from the last would read more bytes of segments than this, and more than that
    /// snapshot has itself.
    pub replay_bytes_max: u64,
    /// How long after a second a snapshot may be cut there, for records that come late.
    pub settle: Duration,
    /// How much later than its time of storing says an object may become visible.
    pub margin: Duration,
    /// For how long before the cut tombstones are kept: records that are appended later may be so much older than the cut.
    pub tombstones: Duration,
    /// A part ends with the key that brings it to this size. One part is held in memory.
    pub part_bytes_max: u64,
    /// How long what a dead snapshot left stays.
    pub grace: Duration,
    /// Bounds of the merge.
    pub merge: MergeOptions,
    /// Only say what would be done.
    pub dry_run: bool,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self {
            replay_bytes_max: 256 << 20,
            settle: Duration::from_mins(15),
            margin: Duration::from_secs(SKEW_SECONDS),
            tombstones: Duration::from_hours(72),
            part_bytes_max: 32 << 20,
            grace: Duration::from_hours(24),
            merge: MergeOptions::default(),
            dry_run: false,
        }
    }
}

/// What was done, or in a dry run would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SnapshotReport {
    /// Snapshots completed, by their folders' names.
    pub snapshots: Vec<String>,
    /// Whether what was asked for was there already.
    pub already_there: bool,
    /// Snapshots of which some parts were there, left by a run that was stopped.
    pub resumed: u64,
    /// Segments with records that have no second, so that a snapshot that is due cannot be made: each once.
    pub undated: Vec<UndatedSegment>,
    /// Items in them.
    pub items: u64,
    /// Tombstones in them.
    pub tombstones: u64,
    /// Parts written.
    pub parts: u64,
    /// Bytes of the parts written.
    pub bytes_out: u64,
    /// Objects read whole or in part.
    pub objects_read: u64,
    /// Bytes read; in a dry run the bytes of the objects that would be.
    pub bytes_in: u64,
    /// Objects put.
    pub puts: u64,
    /// Objects deleted that a dead snapshot had left.
    pub deleted: u64,
}

/// A segment of which no snapshot can be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UndatedSegment {
    /// The timeline.
    #[serde(serialize_with = "as_text")]
    pub timeline: Timeline,
    /// The segment's key.
    pub object: String,
    /// How many of its records have no second.
    pub count: u64,
}

fn as_text<S: serde::Serializer>(timeline: &Timeline, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(timeline)
}

impl std::ops::AddAssign for SnapshotReport {
    fn add_assign(&mut self, other: Self) {
        self.snapshots.extend(other.snapshots);
        self.already_there |= other.already_there;
        self.resumed += other.resumed;
        for segment in other.undated {
            self.add_undated(segment);
        }
        self.items += other.items;
        self.tombstones += other.tombstones;
        self.parts += other.parts;
        self.bytes_out += other.bytes_out;
        self.objects_read += other.objects_read;
        self.bytes_in += other.bytes_in;
        self.puts += other.puts;
        self.deleted += other.deleted;
    }
}

impl SnapshotReport {
    fn add_undated(&mut self, segment: UndatedSegment) {
        if !self.undated.contains(&segment) {
            self.undated.push(segment);
        }
    }
}

/// Makes the snapshot of a table at the end of `cut`.
///
/// # Errors
/// When the journal has no such table, the cut is not covered or not yet settled at `now`, the records do not make the whole
/// table, the store fails, an object is not what was written, or `interrupt` asks to stop: the same call goes on then.
pub async fn snapshot_at(
    store: Arc<dyn WriteStore>,
    table: &TableName,
    cut: Second,
    now: Second,
    options: &SnapshotOptions,
    interrupt: &Interrupt,
) -> Result<SnapshotReport> {
    let mut timelines: Vec<CoveredTimeline> =
        listing::timelines(store.as_ref(), table).await?.into_iter().map(CoveredTimeline::new).collect();
    timelines.sort_by_key(CoveredTimeline::beginning);
    let (covered, interval) = plan::place(table, &timelines, cut, now, options)?;
    let unfinished = plan::unfinished(store.as_ref(), covered).await?;
    if let Some((name, plan)) = unfinished.into_iter().find(|(_, plan)| plan.fold.cut == cut) {
        return write(&store, covered, &name, &plan, options, interrupt).await;
    }
    let candidate = plan::candidate(covered, interval, cut)?;
    if plan::is_there(covered, &candidate, cut, options) {
        return Ok(SnapshotReport { already_there: true, ..SnapshotReport::default() });
    }
    make(&store, covered, interval, cut, &candidate, options, interrupt).await
}

/// The last second of a table that no late record can change any more at `now`; none when there is none yet.
///
/// # Errors
/// When the journal has no such table or the store cannot be read.
pub async fn latest_cut(
    store: &dyn ReadStore,
    table: &TableName,
    now: Second,
    options: &SnapshotOptions,
) -> Result<Option<Second>> {
    let timelines = listing::timelines(store, table).await?.into_iter().map(CoveredTimeline::new);
    let mut last = None;
    for covered in timelines {
        let settled = covered.intervals.iter().filter_map(|interval| plan::settled(interval, now, options.settle));
        last = last.max(settled.max());
    }
    Ok(last)
}

/// Makes the snapshots of a table that are due at `now`: one wherever a replay from the last would read more than the stated
/// bound. Goes on with what a run that was stopped has begun, and deletes what dead ones have left.
///
/// # Errors
/// As [`snapshot_at`], but that where no snapshot can be made, none is.
pub async fn snapshot_table(
    store: Arc<dyn WriteStore>,
    table: &TableName,
    now: Second,
    options: &SnapshotOptions,
    interrupt: &Interrupt,
    mut progress: impl FnMut(&SnapshotReport),
) -> Result<SnapshotReport> {
    let mut report = SnapshotReport::default();
    for objects in listing::timelines(store.as_ref(), table).await? {
        let mut covered = CoveredTimeline::new(objects);
        let mut known = plan::undated(store.as_ref(), &covered).await?;
        report.deleted += plan::clean(store.as_ref(), &covered, &known, now, options).await?;
        for (name, plan) in plan::unfinished(store.as_ref(), &covered).await? {
            if options.dry_run {
                continue;
            }
            match write(&store, &covered, &name, &plan, options, interrupt).await {
                Ok(done) => report += done,
                Err(error) => known.push((name, undated_of(error)?)),
            }
            progress(&report);
            covered = again(store.as_ref(), &covered).await?;
        }
        let mut at = 0;
        let mut made = HashSet::new();
        while let Some(interval) = covered.intervals.get(at) {
            // Never two of one cut in one run, whatever the store's times say.
            let due = plan::due(&covered, interval, now, options).filter(|(cut, _)| made.insert(*cut));
            let Some((cut, candidate)) = due else {
                at += 1;
                continue;
            };
            let reads = |object: &str| candidate.segments.iter().any(|(at, _)| covered.is_segment(*at, object));
            let made = match known.iter().find(|(_, segment)| reads(&segment.object)) {
                Some((_, segment)) => Err(segment.clone()),
                None => match make(&store, &covered, interval, cut, &candidate, options, interrupt).await {
                    Ok(done) => Ok(done),
                    Err(error) => Err(undated_of(error)?),
                },
            };
            match made {
                Ok(done) => report += done,
                // Replays of such a timeline read its records.
                Err(segment) => {
                    report.add_undated(segment);
                    at += 1;
                }
            }
            progress(&report);
            if options.dry_run {
                at += 1;
            } else {
                covered = again(store.as_ref(), &covered).await?;
            }
        }
    }
    Ok(report)
}

/// The segment without seconds that an error is about; any other error is passed on.
fn undated_of(error: crate::Error) -> Result<UndatedSegment> {
    match error.downcast_ref() {
        Some(SnapshotError::Undated { timeline, object, count }) => {
            Ok(UndatedSegment { timeline: timeline.clone(), object: object.clone(), count: *count })
        }
        _ => Err(error),
    }
}

async fn again(store: &dyn ReadStore, covered: &CoveredTimeline) -> Result<CoveredTimeline> {
    Ok(CoveredTimeline::new(listing::timeline(store, covered.objects.timeline.clone()).await?))
}

async fn make(
    store: &Arc<dyn WriteStore>,
    covered: &CoveredTimeline,
    interval: &crate::coverage::Interval,
    cut: Second,
    candidate: &Candidate,
    options: &SnapshotOptions,
    interrupt: &Interrupt,
) -> Result<SnapshotReport> {
    if options.dry_run {
        return Ok(SnapshotReport {
            snapshots: vec![format!("{:012}-fold", cut.get())],
            objects_read: candidate.objects,
            bytes_in: candidate.bytes,
            ..SnapshotReport::default()
        });
    }
    let (name, plan) = plan::begin(store.as_ref(), covered, interval, cut, candidate, options).await?;
    let mut report = write(store, covered, &name, &plan, options, interrupt).await?;
    report.puts += 1;
    Ok(report)
}

async fn write(
    store: &Arc<dyn WriteStore>,
    covered: &CoveredTimeline,
    name: &str,
    plan: &SnapshotPlanDocument,
    options: &SnapshotOptions,
    interrupt: &Interrupt,
) -> Result<SnapshotReport> {
    let timeline = covered.objects.timeline.clone();
    let stopped = || SnapshotError::Interrupted { timeline: timeline.clone(), name: name.to_owned() };
    if interrupt.requested() {
        return Err(stopped().into());
    }
    let written = tokio::select! {
        written = write::write(store, covered, name, plan, options) => written,
        () = interrupt.wait() => return Err(stopped().into()),
    };
    let report = match written {
        Ok(report) => report,
        Err(error) => {
            // Nobody goes on with this plan: the next run would find the same.
            let segment = undated_of(error)?;
            plan::give_up(store.as_ref(), name, &segment).await?;
            let UndatedSegment { timeline, object, count } = segment;
            return Err(SnapshotError::Undated { timeline, object, count }.into());
        }
    };
    info!(%timeline, snapshot = name, items = report.items, parts = report.parts, bytes = report.bytes_out, "snapshot");
    Ok(report)
}
