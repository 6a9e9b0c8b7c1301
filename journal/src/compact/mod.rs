//! Compaction: many short segments become few long ones.
//!
//! Specified in FORMAT.md, "Compaction". What enters are a store and the current second; what leaves are segments of higher
//! levels, documents that say what they replace, and a report. Nothing that a reader may still need is deleted: an input
//! goes only when its records were read back from an output and a grace time has passed. Safe to stop anywhere, to run
//! twice at once, and beside readers and writers. Knows nothing of tables or sinks.

mod error;
mod group;
mod progress;
mod remove;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tracing::info;

pub use error::CompactError;

use crate::coverage::CoveredTimeline;
use crate::documents::FoldDocument;
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::listing::{self, TimelineObjects};
use crate::merge::MergeOptions;
use crate::model::{Second, TableName};
use crate::snapshot;
use crate::store::WriteStore;

/// Bounds of a compaction.
#[derive(Debug, Clone)]
pub struct CompactOptions {
    /// How long after its end a window is left alone, for records that come late.
    pub settle: Duration,
    /// How long inputs stay after what replaces them was stored: longer than any replay that began before it.
    pub grace: Duration,
    /// An output ends with the key that brings it to this size. One output is held in memory.
    pub run_bytes_max: u64,
    /// Segments of a window that are worth compacting.
    pub inputs_min: usize,
    /// Bounds of the merge.
    pub merge: MergeOptions,
    /// Only say what would be done.
    pub dry_run: bool,
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self {
            settle: Duration::from_mins(10),
            grace: Duration::from_hours(24),
            run_bytes_max: 32 << 20,
            inputs_min: 2,
            merge: MergeOptions::default(),
            dry_run: false,
        }
    }
}

/// What a compaction did, or in a dry run would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CompactReport {
    /// Windows compacted.
    pub windows: u64,
    /// Windows among them of which a run that was stopped had left outputs.
    pub resumed: u64,
    /// Segments read.
    pub inputs: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Segments that hold what they held, those that were there already included. Not known in a dry run.
    pub outputs: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Records in them.
    pub records: u64,
    /// Records that more than one input had.
    pub duplicates: u64,
    /// Places where a record's old image is not the new image of the record before it: `replay verify` names them.
    pub breaks: u64,
    /// Segments left alone because they hold records from both sides of a gap, or have no second.
    pub left_alone: u64,
    /// Segments deleted whose records are in outputs.
    pub deleted: u64,
    /// Bytes of the segments deleted.
    pub bytes_deleted: u64,
    /// Segments that wait for the grace time.
    pub waiting: u64,
    /// Objects put: outputs, and the documents that say what they hold.
    pub puts: u64,
    /// Requests to delete objects.
    pub deletes: u64,
    /// Objects read whole or in part.
    pub objects_read: u64,
}

impl CompactReport {
    /// Bytes written for each byte read; none when nothing was read.
    #[must_use]
    #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "a ratio to show")]
    pub fn write_amplification(&self) -> Option<f64> {
        (self.bytes_in > 0).then(|| self.bytes_out as f64 / self.bytes_in as f64)
    }
}

impl std::ops::AddAssign for CompactReport {
    fn add_assign(&mut self, other: Self) {
        self.windows += other.windows;
        self.resumed += other.resumed;
        self.inputs += other.inputs;
        self.bytes_in += other.bytes_in;
        self.outputs += other.outputs;
        self.bytes_out += other.bytes_out;
        self.records += other.records;
        self.duplicates += other.duplicates;
        self.breaks += other.breaks;
        self.left_alone += other.left_alone;
        self.deleted += other.deleted;
        self.bytes_deleted += other.bytes_deleted;
        self.waiting += other.waiting;
        self.puts += other.puts;
        self.deletes += other.deletes;
        self.objects_read += other.objects_read;
    }
}

/// Compacts every timeline of a table at `now`. `progress` hears of the report after each window.
///
/// # Errors
/// When the journal has no such table, the store fails, an object is not what was written, two segments contradict each
/// other, or `interrupt` asks to stop: the same call goes on then.
pub async fn compact_table(
    store: Arc<dyn WriteStore>,
    table: &TableName,
    now: Second,
    options: &CompactOptions,
    interrupt: &Interrupt,
    mut progress: impl FnMut(&CompactReport),
) -> Result<CompactReport> {
    let mut report = CompactReport::default();
    for objects in listing::timelines(store.as_ref(), table).await? {
        report += remove::remove(store.as_ref(), &objects, now, options).await?;
        progress(&report);
        compact_timeline(&store, objects, now, options, interrupt, &mut |done| {
            report += done;
            progress(&report);
        })
        .await?;
    }
    Ok(report)
}

async fn compact_timeline(
    store: &Arc<dyn WriteStore>,
    objects: TimelineObjects,
    now: Second,
    options: &CompactOptions,
    interrupt: &Interrupt,
    done: &mut impl FnMut(CompactReport),
) -> Result<()> {
    let covered = CoveredTimeline::new(objects);
    let mut folds: Vec<FoldDocument> =
        covered.objects.snapshots.iter().filter_map(|snapshot| snapshot.document.fold.clone()).collect();
    folds.extend(snapshot::plans(store.as_ref(), &covered).await?.into_iter().map(|(_, plan)| plan.fold));
    let chosen = window::choose(&covered, &folds, now, options);
    done(CompactReport { left_alone: chosen.left_alone, ..CompactReport::default() });
    for window in chosen.windows {
        if interrupt.requested() {
            return Err(CompactError::Interrupted { timeline: covered.objects.timeline.clone() }.into());
        }
        if options.dry_run {
            done(CompactReport {
                windows: 1,
                inputs: u64::try_from(window.inputs.len()).unwrap_or(u64::MAX),
                bytes_in: window.inputs.iter().map(|input| input.size).sum(),
                ..CompactReport::default()
            });
            continue;
        }
        let compacted = tokio::select! {
            compacted = group::compact(store, &covered.objects, &window, options) => compacted?,
            () = interrupt.wait() => {
                return Err(CompactError::Interrupted { timeline: covered.objects.timeline.clone() }.into());
            }
        };
        info!(timeline = %covered.objects.timeline, level = window.level, window = window.name, inputs = compacted.inputs,
            outputs = compacted.outputs, records = compacted.records, "compacted");
        done(compacted);
    }
    Ok(())
}
