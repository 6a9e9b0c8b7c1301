//! Restores: a table's state at a cut, written to a new table and read back.
//!
//! What enters are a plan and a service that has tables; what leaves is a table whose state digest, read back, is that of
//! the journal. A restore that is stopped or killed is continued from its run file. Promises stand in SEMANTICS.md,
//! "Restores". Knows nothing of command lines.

mod batch;
mod document;
mod error;
mod existing;
#[cfg(test)]
pub(crate) mod fake;
mod files;
mod groups;
mod import;
mod read_back;
mod run_file;
#[cfg(test)]
pub(crate) mod scene;
mod service;
mod settings;
mod several;
#[cfg(test)]
mod stops;
mod survey;
mod target;
#[cfg(test)]
mod tests;
mod wire;
mod write;

use std::sync::Arc;
use std::time::Duration;

use journal::error::Result;
use journal::interrupt::Interrupt;
use journal::model::TableName;
use journal::store::ReadStore;

use crate::digest::StateDigest;
use crate::merge::MergeOptions;
use crate::plan::ReplayPlan;
use crate::state::Selection;

pub use crate::table_write::Pace;
pub use batch::{BATCH_ITEMS_MAX, BatchBuilder, PutBatch};
pub use document::{Source, default_folder, new_run_id};
pub use error::RestoreError;
pub use existing::{Differing, IntoReport, ItemService, KeyElement, Sample};
pub(crate) use existing::{ListedChange, list_differences};
pub use files::{FilesRun, TableFile};
pub use groups::GroupedDigest;
pub use import::{Import, ImportCompression, ImportService, ImportStatus, Staging, check as check_import};
pub use read_back::{Difference, Differences};
pub use run_file::{Objects, RunFile, RunState};
pub(crate) use service::classify;
pub use service::{DynamoDb, ScanPage, SdkItem, ServiceError, TableService, TargetTable};
pub use settings::Unset;
pub use several::{Prepared, Restores, TableProgress};
pub use survey::{Survey, survey};
pub use target::{TargetPlan, plan_target};

/// How fast a restore may go.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Requests at once, for writing and for reading back.
    pub concurrency: usize,
    /// Write capacity units a second at most; none for no bound.
    pub write_rate: Option<u32>,
    /// The wait before a first retry; later ones wait longer. While a table is being made it is looked at after ten such
    /// waits.
    pub pause: Duration,
    /// Bounds of the merge.
    pub merge: MergeOptions,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self { concurrency: 16, write_rate: None, pause: Duration::from_millis(50), merge: MergeOptions::default() }
    }
}

/// Which step a restore is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The items are counted.
    Counting,
    /// The table is being made.
    Creating,
    /// Objects for an import are put.
    Staging,
    /// The service imports them.
    Importing,
    /// The table is compared with the journal.
    Comparing,
    /// Items are written.
    Writing,
    /// The table is read back.
    Reading,
    /// TTL, tags, point-in-time recovery and deletion protection are set.
    Setting,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RestoreReport {
    /// The table that was made.
    pub table: TableName,
    /// Its ARN, where the service gives one.
    pub arn: Option<String>,
    /// Items of the state.
    pub items: u64,
    /// Items that this run wrote: fewer when it was continued.
    pub written: u64,
    /// Write units that this run used.
    pub write_units: u64,
    /// Write units that the table turned away and that were tried again.
    pub refused_units: u64,
    /// The state digest of the journal and, for the restore is proven, of the table, in hexadecimal digits.
    pub digest: String,
    /// Always true: a restore that is not proven ends in an error.
    pub proven: bool,
    /// Settings that could not be set, each with the command that does it.
    pub unset: Vec<Unset>,
    /// What the table does not have, or has otherwise.
    pub notes: Vec<String>,
}

/// Hears of each step, of the items done in it, and of how many there will be where that is known.
pub type Progress<'a> = &'a (dyn Fn(Step, u64, Option<u64>) + Send + Sync);

/// A restore: where from, where to, and how.
#[derive(Clone)]
pub struct Restore<'a> {
    /// The journal.
    pub store: Arc<dyn ReadStore>,
    /// The state.
    pub plan: &'a ReplayPlan,
    /// Which of its items.
    pub selection: Selection,
    /// The service that gets the table.
    pub service: Arc<dyn TableService>,
    /// How fast.
    pub options: &'a RestoreOptions,
    /// When to stop.
    pub interrupt: &'a Interrupt,
    /// Who hears of it.
    pub progress: Progress<'a>,
}

impl std::fmt::Debug for Restore<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restore").field("plan", &self.plan).field("options", &self.options).finish_non_exhaustive()
    }
}

impl Restore<'_> {
    /// Makes the target of `run`, which says how far an earlier attempt came, writes the state into it and proves it.
    ///
    /// # Errors
    /// When the target is there and not of this run, the service refuses, an object of the journal cannot be read, or the
    /// table that was written is not what the journal says.
    pub async fn run(&self, target: &TargetPlan, run: &mut RunFile) -> Result<RestoreReport> {
        (self.progress)(Step::Creating, 0, None);
        let pause = self.options.pause;
        let table = target::prepare(&*self.service, target, run, pause, self.interrupt).await?;
        let mut report = match run.proof() {
            Some(report) => report,
            None => self.fill(target, table, run).await?,
        };
        (self.progress)(Step::Setting, 0, None);
        let name = run.target().clone();
        let mut setter = settings::Setter::new(&name, pause, self.interrupt);
        settings::apply(&*self.service, report.arn.as_deref(), &target.settings, &mut setter).await?;
        report.set(target, setter);
        run.finish(&report)?;
        Ok(report)
    }

    /// Writes the state into the table that was made, and proves it.
    async fn fill(&self, target: &TargetPlan, table: TargetTable, run: &mut RunFile) -> Result<RestoreReport> {
        (self.progress)(Step::Counting, 0, None);
        let (store, selection, merge) = (Arc::clone(&self.store), self.selection.clone(), self.options.merge.clone());
        let survey = survey(store, self.plan, selection, merge, self.interrupt, run.confirmed()).await?;
        let written = write::write(self, run, survey).await?;
        let expected = written.expected;
        (self.progress)(Step::Reading, 0, Some(expected.total().items()));
        let found = read_back::read_back(self, run.target(), Some(expected.total().items())).await?;
        if found.total() != expected.total() {
            let differences = read_back::differences(self, run.target(), &expected, &found).await?;
            return Err(
                RestoreError::Differs { table: run.target().clone(), differences: Box::new(differences) }.into()
            );
        }
        let report = RestoreReport {
            written: written.items,
            write_units: written.units,
            refused_units: written.refused,
            ..RestoreReport::proven(target, &table, expected.total())
        };
        run.proven(table, report.clone(), None)?;
        Ok(report)
    }
}

impl RestoreReport {
    /// Of a table that was read back and has this digest; nothing is said yet of how it was filled.
    fn proven(target: &TargetPlan, table: &TargetTable, digest: StateDigest) -> Self {
        Self {
            table: target.name.clone(),
            arn: table.arn.clone(),
            items: digest.items(),
            written: digest.items(),
            write_units: 0,
            refused_units: 0,
            digest: digest.to_string(),
            proven: true,
            unset: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Says what could not be set, and first what nobody tried to.
    fn set(&mut self, target: &TargetPlan, setter: settings::Setter<'_>) {
        self.unset = target.settings.by_hand.iter().map(Unset::from).chain(setter.unset()).collect();
        self.notes = target.notes.iter().chain(&target.settings.notes).cloned().collect();
    }
}
