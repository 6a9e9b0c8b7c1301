//! What can go wrong in a restore.

use std::path::PathBuf;

use journal::error::{Classify, Kind};
use journal::model::TableName;
use thiserror::Error;

use super::read_back::Differences;
use super::service::ServiceError;

/// What can go wrong in a restore.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The target's name is taken.
    #[error("table {table} exists")]
    Exists {
        /// The table.
        table: TableName,
    },
    /// A run cannot tell whether it made the table.
    #[error("table {table} exists, and run {run} cannot tell that it made it: it was stopped while making it")]
    Unsure {
        /// The table.
        table: TableName,
        /// The run.
        run: String,
    },
    /// The table is another one than the run made.
    #[error("table {table} is not the one that run {run} made: {reason}")]
    Another {
        /// The table.
        table: TableName,
        /// The run.
        run: String,
        /// How that is known.
        reason: String,
    },
    /// The table that a run made is gone.
    #[error("table {table}, which run {run} made, is gone")]
    Gone {
        /// The table.
        table: TableName,
        /// The run.
        run: String,
    },
    /// The table does not become usable.
    #[error("table {table} is not active after {seconds} seconds: it is {status}")]
    NotActive {
        /// The table.
        table: TableName,
        /// Its status.
        status: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Nothing says which of two attributes is the partition key.
    #[error("the journal has no description of table {table}, so which of {key} is the partition key is not known")]
    Partition {
        /// The table.
        table: TableName,
        /// The key's attributes.
        key: String,
    },
    /// `--partition-key` names none.
    #[error("{name:?} is not an attribute of the key ({key})")]
    NoSuchKey {
        /// The name given.
        name: String,
        /// The key's attributes.
        key: String,
    },
    /// A table cannot be made from what is known.
    #[error("table {table} cannot be made: {reason}")]
    Input {
        /// The table.
        table: TableName,
        /// Why.
        reason: String,
    },
    /// The service failed.
    #[error("{action} table {table}: {source}")]
    Service {
        /// What was tried.
        action: &'static str,
        /// The table.
        table: TableName,
        /// What the service said.
        source: ServiceError,
    },
    /// Items stay unwritten.
    #[error("writing to table {table}: {items} items stay unprocessed after {attempts} attempts: {reason}")]
    Unprocessed {
        /// The table.
        table: TableName,
        /// Items of the batch that are left.
        items: usize,
        /// Attempts without progress.
        attempts: u32,
        /// What the service said last.
        reason: String,
    },
    /// The table is not what the journal says.
    #[error("table {table} differs from the journal: {differences}")]
    Differs {
        /// The table.
        table: TableName,
        /// How.
        differences: Box<Differences>,
    },
    /// The run file failed.
    #[error("{action} run file {}: {reason}", .path.display())]
    RunFile {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// There is no such run.
    #[error("there is no run file {}", .path.display())]
    NoRun {
        /// The file.
        path: PathBuf,
    },
    /// The user stopped it.
    #[error("stopped while {doing} table {table}")]
    Interrupted {
        /// What was being done.
        doing: &'static str,
        /// The table.
        table: TableName,
    },
    /// A task ended without an answer.
    #[error("{doing} table {table} ended without an answer")]
    Lost {
        /// What was being done.
        doing: &'static str,
        /// The table.
        table: TableName,
    },
}

impl Classify for RestoreError {
    fn kind(&self) -> Kind {
        match self {
            Self::Exists { .. }
            | Self::Unsure { .. }
            | Self::Another { .. }
            | Self::Gone { .. }
            | Self::Differs { .. } => Kind::Conflict,
            Self::NotActive { .. } | Self::Unprocessed { .. } => Kind::Unavailable,
            Self::Partition { .. }
            | Self::NoSuchKey { .. }
            | Self::Input { .. }
            | Self::NoRun { .. }
            | Self::RunFile { .. } => Kind::Invalid,
            Self::Service { source, .. } => source.kind(),
            Self::Interrupted { .. } => Kind::Interrupted,
            Self::Lost { .. } => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => Some(
                "choose another name with --as, or delete the table first; a restore that was stopped is continued with \
                 --resume RUN"
                    .to_owned(),
            ),
            Self::Unsure { table, run } => Some(format!(
                "if {table} is empty and yours, delete it and run `replay restore --resume {run}` again; else choose another name"
            )),
            Self::Another { .. } | Self::Gone { .. } => {
                Some("begin a new restore with another name: --as NAME".to_owned())
            }
            Self::Partition { .. } => Some("say it with --partition-key NAME".to_owned()),
            Self::Differs { .. } => Some(
                "somebody may have written to the table meanwhile; keep others away from it until the restore is proven, \
                 delete it and restore again"
                    .to_owned(),
            ),
            Self::RunFile { .. } => Some("choose another place with --run-file FILE".to_owned()),
            Self::NoRun { .. } => Some("the run was proven, or it was kept elsewhere: --run-file FILE".to_owned()),
            Self::Service { source, .. } => source.hint(),
            Self::NotActive { .. }
            | Self::Unprocessed { .. }
            | Self::Interrupted { .. }
            | Self::NoSuchKey { .. }
            | Self::Input { .. }
            | Self::Lost { .. } => None,
        }
    }
}
