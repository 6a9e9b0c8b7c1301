//! Restores of several tables at one cut: one run, one table after the other.
//!
//! What enters are the plans of all tables, each of them sound; what leaves are proven tables and one report for each. A run
//! that was stopped goes on with the table that it stood at. Promises stand in SEMANTICS.md, "Several tables".

use std::sync::Arc;

use journal::error::Result;
use journal::interrupt::Interrupt;
use journal::model::TableName;
use journal::store::ReadStore;

use super::error::RestoreError;
use super::import::{ImportService, Staging};
use super::run_file::RunFile;
use super::service::TableService;
use super::target::{TargetPlan, describe};
use super::{Restore, RestoreOptions, RestoreReport, Step};
use crate::plan::ReplayPlan;
use crate::state::Selection;

/// A table of a run, before anything of it is done.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The state.
    pub plan: ReplayPlan,
    /// The table that gets it.
    pub target: TargetPlan,
    /// Which items of the state.
    pub selection: Selection,
}

/// Hears of each step, as [`super::Progress`], and of the table that is made.
pub type TableProgress<'a> = &'a (dyn Fn(&TableName, Step, u64, Option<u64>) + Send + Sync);

/// What makes the tables of a run.
pub struct Restores<'a> {
    /// The journal.
    pub store: Arc<dyn ReadStore>,
    /// The service that gets the tables.
    pub service: Arc<dyn TableService>,
    /// The service that imports, and where objects for it go; none where items are written.
    pub import: Option<(&'a dyn ImportService, &'a Staging)>,
    /// How fast.
    pub options: &'a RestoreOptions,
    /// When to stop.
    pub interrupt: &'a Interrupt,
    /// Who hears of it.
    pub progress: TableProgress<'a>,
}

impl std::fmt::Debug for Restores<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restores").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Restores<'_> {
    /// Makes the tables of `run` that are not proven yet, of which `tables` are the plans, in its order. Before the first table is
    /// made, none that the run has not begun may be there.
    ///
    /// # Errors
    /// As [`Restore::run`] and [`Restore::import`], and when a target's name is taken. Tables that were proven before stay.
    pub async fn run(&self, tables: &[Prepared], run: &mut RunFile) -> Result<Vec<RestoreReport>> {
        if run.is_of_several() {
            self.check_targets(run).await?;
            run.save()?;
        }
        let mut reports = Vec::with_capacity(tables.len());
        for table in tables {
            reports.push(self.one(table, run).await?);
            run.go_on();
        }
        Ok(reports)
    }

    async fn one(&self, table: &Prepared, run: &mut RunFile) -> Result<RestoreReport> {
        let progress = |step, items, total| (self.progress)(&table.target.name, step, items, total);
        let restore = Restore {
            store: Arc::clone(&self.store),
            plan: &table.plan,
            selection: table.selection.clone(),
            service: Arc::clone(&self.service),
            options: self.options,
            interrupt: self.interrupt,
            progress: &progress,
        };
        match self.import {
            Some((service, staging)) => restore.import(service, staging, &table.target, run).await,
            None => restore.run(&table.target, run).await,
        }
    }

    async fn check_targets(&self, run: &RunFile) -> Result<(), RestoreError> {
        let mut taken = Vec::new();
        for table in run.planned() {
            let found = describe(&*self.service, &table, self.options.pause).await;
            let found =
                found.map_err(|source| RestoreError::Service { action: "looking at", table: table.clone(), source })?;
            if found.is_some() {
                taken.push(table.to_string());
            }
        }
        if taken.is_empty() { Ok(()) } else { Err(RestoreError::SomeExist { tables: taken.join(", ") }) }
    }
}
