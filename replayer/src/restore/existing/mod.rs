//! Restores into a table that is there: only what differs is written or deleted.
//!
//! What enters are a plan and a table; what leaves is first a list of differences, and when it is carried out a table that
//! equals the journal in the chosen items, compared once more at the end. Each write is conditional on the item still being
//! what was compared. Memory is bounded: keys and hashes of the table are sorted on disk. Nothing is kept to go on from: the
//! same command compares again, and writes what still differs. Promises stand in SEMANTICS.md, "Restores into a table".

mod apply;
mod compare;
mod service;
mod sorted;
#[cfg(test)]
mod tests;

use journal::error::Result;
use serde::Serialize;

use super::error::RestoreError;
use super::service::TargetTable;
use super::target::describe;
use super::{Restore, Step};
use crate::digest::StateDigest;
use crate::key_schema::KeySchemaError;
use crate::table_write::SharedPace;
use journal::model::TableName;

pub use compare::Differing;
pub(crate) use compare::{Change as ListedChange, list_differences};
pub use service::{ItemService, KeyElement};

/// Differences that a report shows.
const SAMPLES_MAX: usize = 20;

/// What a restore into a table does, or has done.
#[derive(Debug, Clone, Serialize)]
pub struct IntoReport {
    /// The table.
    pub table: TableName,
    /// Items of the chosen state in the journal.
    pub items: u64,
    /// Its state digest.
    pub digest: StateDigest,
    /// Items that are the same already.
    pub same: u64,
    /// Items to put back, or that were.
    pub missing: u64,
    /// Items to change back, or that were.
    pub different: u64,
    /// Items to delete, or that were.
    pub unexpected: u64,
    /// Write units of that, those of indexes left out.
    pub write_units: u64,
    /// The first of them, by key.
    pub samples: Vec<Sample>,
    /// Whether it was carried out.
    pub applied: bool,
    /// Items that were written or deleted.
    pub written: u64,
    /// Items whose condition could not cover all of them, for it has 4 KB: they were read right before.
    pub partly_conditional: u64,
    /// Items that somebody else had changed since they were compared: they were left alone.
    pub conflicts: Vec<String>,
    /// How many conflicts there were.
    pub conflict_count: u64,
    /// Whether the table was compared again and is what the journal says.
    pub proven: bool,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// The key, in DynamoDB JSON.
    pub key: String,
    /// How it differs.
    pub difference: Differing,
}

impl Restore<'_> {
    /// Compares the chosen items of `table` with the state, and with `apply` makes them the same.
    ///
    /// # Errors
    /// When the table is not there or has another key, an object of the journal cannot be read, the service refuses, or the
    /// table is not what the journal says after all.
    pub async fn into_table(&self, service: &dyn ItemService, table: &TableName, apply: bool) -> Result<IntoReport> {
        self.check_table(service, table).await?;
        let planned = compare::compare(self, table).await?;
        let mut report = planned.report(table);
        if !apply {
            return Ok(report);
        }
        let pace = SharedPace::new(self.options.write_rate);
        let applied = apply::apply(self, service, table, &pace, planned).await?;
        report.applied = true;
        report.written = applied.written;
        report.partly_conditional = applied.partly;
        report.conflict_count = applied.conflict_count;
        report.conflicts = applied.conflicts;
        // Only a table that is compared again is proven.
        let again = compare::compare(self, table).await?.report(table);
        let left = again.missing + again.different + again.unexpected;
        report.proven = left == 0;
        if left > report.conflict_count {
            return Err(RestoreError::StillDiffers { table: table.clone(), left, samples: again.samples }.into());
        }
        Ok(report)
    }

    /// Refuses a table that is not there or has another key than the journal's.
    pub(crate) async fn check_table(&self, service: &dyn ItemService, table: &TableName) -> Result<TargetTable> {
        (self.progress)(Step::Creating, 0, None);
        let schema = self.plan.key.as_ref().ok_or_else(|| KeySchemaError::Unknown { table: table.to_string() })?;
        let failed = |source| RestoreError::Service { action: "looking at", table: table.clone(), source };
        let Some(described) = describe(service, table, self.options.pause).await.map_err(failed)? else {
            return Err(RestoreError::NoTable { table: table.clone() }.into());
        };
        let found = service.key(table).await.map_err(failed)?;
        let roles_known = self.plan.table.is_some() || schema.attributes().as_slice().len() == 1;
        let wanted: Vec<KeyElement> = schema
            .in_order()
            .into_iter()
            .map(|attribute| KeyElement {
                name: attribute.name.clone(),
                key_type: attribute.key_type.as_str().to_owned(),
            })
            .collect();
        let sorted = |key: &[KeyElement]| {
            let mut key = key.to_vec();
            if !roles_known {
                key.sort();
            }
            key
        };
        if sorted(&found) == sorted(&wanted) {
            return Ok(described);
        }
        let show = |key: &[KeyElement]| {
            let parts: Vec<String> = key.iter().map(|one| format!("{} ({})", one.name, one.key_type)).collect();
            parts.join(", ")
        };
        Err(RestoreError::OtherKey { table: table.clone(), found: show(&found), expected: show(&wanted) }.into())
    }
}
