//! Carrying a run out: step by step, each item by a conditional write, what became of it stored before the next step.
//!
//! What enters are a run's documents and the table; what leaves is a report. A step that is done again after a stop finds its
//! own writes done, so nothing is lost and nothing doubled wherever a run is stopped.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{StreamExt as _, TryStreamExt as _};
use journal::error::{Error, Result};
use journal::interrupt::Interrupt;

use super::error::RewindError;
use super::item::{Effect, PlanItem, key_text};
use super::plan::{Asked, Plan};
use super::rebase::OnClash;
use super::report::RewindReport;
use super::runs::{Outcome, RunDocument, Runs, StepDocument};
use super::table::DescribedTable;
use super::undo::check_table;
use crate::table_write::{Became, Failed, ItemWriter, SharedPace, Wanted};

/// How a run goes.
#[derive(Debug, Clone)]
pub struct ApplyOptions {
    /// Requests at once.
    pub concurrency: usize,
    /// Write units a second at most; none for no bound.
    pub write_rate: Option<u32>,
    /// Whether items that are not what the plan says are written all the same.
    pub overwrite: bool,
    /// The wait before a first retry; later ones wait longer.
    pub pause: Duration,
    /// Items in a step at most: so many are in doubt after a stop.
    pub step_items: usize,
    /// Bytes of a step's lines at most, unless one item has more.
    pub step_bytes: usize,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self {
            concurrency: 16,
            write_rate: None,
            overwrite: false,
            pause: Duration::from_millis(50),
            step_items: 500,
            step_bytes: 4 << 20,
        }
    }
}

/// Hears how many of how many items are done.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// Who carries out runs.
#[derive(Clone)]
pub struct Rewind<'a> {
    /// Where runs are kept.
    pub runs: &'a Runs,
    /// The table.
    pub table: Arc<dyn DescribedTable>,
    /// How.
    pub options: &'a ApplyOptions,
    /// When to stop.
    pub interrupt: &'a Interrupt,
    /// Who hears of it.
    pub progress: Progress<'a>,
}

impl std::fmt::Debug for Rewind<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rewind").field("runs", &self.runs).field("options", &self.options).finish_non_exhaustive()
    }
}

impl Rewind<'_> {
    /// Stores a plan as the run of this name. Nothing is written to the table.
    ///
    /// # Errors
    /// When the run's documents cannot be stored.
    pub async fn begin(&self, run: &str, plan: &mut Plan) -> Result<RunDocument> {
        let bounds = (self.options.step_items.max(1), self.options.step_bytes);
        self.runs.begin(run, plan, self.options.overwrite, bounds).await
    }

    /// Carries out a run from where it is. `again` says that it may have been stopped before.
    ///
    /// # Errors
    /// When the table is not the run's, the service refuses, a document cannot be read or stored, or the user stops it. All
    /// but the first leave a run that can be continued.
    pub async fn carry_out(&self, document: &RunDocument, again: bool) -> Result<RewindReport> {
        check_table(&*self.table, document).await?;
        let total = document.plan.items;
        let mut report = RewindReport::new(document);
        (self.progress)(0, total);
        let mut again = again;
        // One for all steps: what the table takes is found once.
        let pace = SharedPace::new(self.options.write_rate);
        for step in 0..document.steps.len() {
            let items = self.runs.items(document, step).await?;
            let done = if let Some(done) = self.runs.outcome(document, step).await? {
                done
            } else {
                let done = self.step(document, &items, again, (report.done(), &pace)).await?;
                self.runs.done(document, step, &done).await?;
                // What comes after was never begun.
                again = false;
                done
            };
            report.add(&items, &done);
            (self.progress)(report.done(), total);
        }
        Ok(report)
    }

    async fn step(
        &self,
        document: &RunDocument,
        items: &[PlanItem],
        again: bool,
        (before, pace): (u64, &SharedPace),
    ) -> Result<StepDocument> {
        let writer = ItemWriter {
            table: &*self.table,
            key_name: document.plan.key_attributes.as_slice().first().map_or("", |first| first.name.as_str()),
            pace,
            pause: self.options.pause,
            overwrite: document.overwrite,
        };
        let failed = |Failed { action, source }| {
            let table = document.plan.table.clone();
            Error::from(RewindError::Service { action, table, source })
        };
        let leaves = matches!(document.plan.asked, Asked::Rewind { on_clash: OnClash::Leave, .. });
        let total = document.plan.items;
        let mut count = before;
        let sent = futures::stream::iter(items.iter().enumerate()).map(|(at, item)| {
            let writer = &writer;
            async move {
                if self.interrupt.requested() {
                    let table = document.plan.table.clone();
                    return Err(Error::from(RewindError::Interrupted { doing: "rewinding", table }));
                }
                if leaves && item.clashes() {
                    return Ok((at, None));
                }
                let wanted = Wanted { key: &item.key, now: item.now.as_ref(), then: item.wanted.as_ref() };
                let units = u32::try_from(item.write_units()).unwrap_or(u32::MAX);
                Ok((at, Some(writer.write(wanted, units).await.map_err(failed)?)))
            }
        });
        let mut results: Vec<_> = sent
            .buffer_unordered(self.options.concurrency.max(1))
            .inspect_ok(|_| {
                count += 1;
                (self.progress)(count, total);
            })
            .try_collect()
            .await?;
        results.sort_by_key(|(at, _)| *at);
        let mut done = StepDocument::default();
        for (at, result) in results {
            let Some(written) = result else {
                done.outcomes.push(Outcome::Clash);
                continue;
            };
            done.outcomes.push(match written.became {
                Became::Written => Outcome::Written,
                Became::Already if again => Outcome::Again,
                Became::Already => Outcome::Already,
                Became::Conflict => Outcome::Conflict,
                Became::Overwritten => Outcome::Overwritten,
            });
            if written.whole {
                done.by_expression += 1;
            } else {
                done.by_read += 1;
            }
            if matches!(written.became, Became::Conflict | Became::Overwritten) {
                done.put_found(at, written.found.as_ref());
            }
        }
        Ok(done)
    }
}

/// Whether a run can be continued as it is after an error, once what stopped it is mended.
#[must_use]
pub fn can_continue(error: &Error) -> bool {
    let rewind: Option<&RewindError> = error.downcast_ref();
    !rewind.is_some_and(|error| {
        matches!(error, RewindError::OtherTable { .. } | RewindError::Missing { .. } | RewindError::Line { .. })
    })
}

pub(super) fn what_was_found(item: &PlanItem, found: Option<&journal::model::Attributes>) -> String {
    let Some(found) = found else {
        return match item.effect() {
            Effect::PutBack => "it is not what the plan says".to_owned(),
            _ => "it is gone".to_owned(),
        };
    };
    let Some(now) = &item.now else { return "it is there".to_owned() };
    let differences = crate::audit::differences(now, found);
    let mut names: Vec<&str> = differences.iter().map(|difference| difference.path.as_str()).collect();
    names.dedup();
    names.truncate(5);
    let names: Vec<String> = names.into_iter().map(crate::audit::inert).collect();
    if names.is_empty() { "the condition did not hold".to_owned() } else { format!("it changed: {}", names.join(", ")) }
}

pub(super) fn shown_key(item: &PlanItem) -> String {
    key_text(&item.key)
}
