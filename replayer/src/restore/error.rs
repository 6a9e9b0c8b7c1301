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
    /// The names of some targets are taken.
    #[error("tables exist: {tables}")]
    SomeExist {
        /// The tables.
        tables: String,
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
    /// A table that no import can make.
    #[error("table {table} cannot be imported: ImportTable cannot make its local secondary indexes {indexes}")]
    ImportLocalIndexes {
        /// The table.
        table: TableName,
        /// The indexes' names.
        indexes: String,
    },
    /// Objects for an import can only lie in S3.
    #[error("objects for an import cannot lie in {place}: ImportTable reads from S3 alone")]
    ImportPlace {
        /// The place given.
        place: String,
    },
    /// The service's import failed.
    #[error("importing table {table} failed: {code}: {reason}")]
    ImportFailed {
        /// The table.
        table: TableName,
        /// The service's word for it.
        code: String,
        /// What it says.
        reason: String,
    },
    /// A run is continued by another way than it was begun.
    #[error("run {run} of table {table} was begun by another way of restoring")]
    OtherSink {
        /// The run.
        run: String,
        /// The table.
        table: TableName,
    },
    /// An item could not be encoded.
    #[error("encoding items: {reason}")]
    Encoding {
        /// What went wrong.
        reason: String,
    },
    /// There is no such table to restore into.
    #[error("there is no table {table}")]
    NoTable {
        /// The table.
        table: TableName,
    },
    /// The table has another key.
    #[error("table {table} has the key {found}, the journal's has {expected}")]
    OtherKey {
        /// The table.
        table: TableName,
        /// Its key.
        found: String,
        /// The journal's.
        expected: String,
    },
    /// The table was written to and is not what the journal says.
    #[error("table {table} still differs from the journal in {left} items: {}", .samples.iter().map(|sample| sample.key.as_str()).collect::<Vec<_>>().join(", "))]
    StillDiffers {
        /// The table.
        table: TableName,
        /// How many items differ.
        left: u64,
        /// The first of them.
        samples: Vec<super::existing::Sample>,
    },
    /// A temporary file failed.
    #[error("keeping keys in a temporary file: {reason}")]
    Spill {
        /// What the system said.
        reason: String,
    },
    /// Keys that come out of order.
    #[error("the journal spells the number in key {key} in a way that its order is not that of the table")]
    KeyOrder {
        /// The key.
        key: String,
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
            | Self::SomeExist { .. }
            | Self::Unsure { .. }
            | Self::Another { .. }
            | Self::Gone { .. }
            | Self::StillDiffers { .. }
            | Self::ImportFailed { .. }
            | Self::Differs { .. } => Kind::Conflict,
            Self::KeyOrder { .. } => Kind::Unsupported,
            Self::NotActive { .. } | Self::Unprocessed { .. } | Self::Spill { .. } => Kind::Unavailable,
            Self::Partition { .. }
            | Self::ImportLocalIndexes { .. }
            | Self::ImportPlace { .. }
            | Self::OtherSink { .. }
            | Self::NoTable { .. }
            | Self::OtherKey { .. }
            | Self::NoSuchKey { .. }
            | Self::Input { .. }
            | Self::NoRun { .. }
            | Self::RunFile { .. } => Kind::Invalid,
            Self::Service { source, .. } => source.kind(),
            Self::Interrupted { .. } => Kind::Interrupted,
            Self::Lost { .. } | Self::Encoding { .. } => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => Some(
                "choose another name with --as, or delete the table first; a restore that was stopped is continued with \
                 --resume RUN"
                    .to_owned(),
            ),
            Self::SomeExist { .. } => Some(
                "nothing was made; choose other names with --as TABLE=NAME, --as-prefix or --as-suffix, or delete them first"
                    .to_owned(),
            ),
            Self::Unsure { table, run } => Some(format!(
                "if {table} is empty and yours, delete it and run `replay restore --resume {run}` again; else choose another name"
            )),
            Self::ImportLocalIndexes { .. } => {
                Some("restore it without --import: then CreateTable makes the indexes and the items are written".to_owned())
            }
            Self::ImportPlace { .. } => Some("give a versioned bucket: --import s3://BUCKET/PREFIX".to_owned()),
            Self::ImportFailed { table, .. } => Some(format!(
                "the service keeps what it has imported in table {table}, and the reasons in CloudWatch Logs (/aws-dynamodb/imports); \
                 delete the table and restore again"
            )),
            Self::OtherSink { .. } => Some("continue it with --resume RUN alone".to_owned()),
            Self::NoTable { table } => Some(format!("make a new table instead: --as {table}")),
            Self::OtherKey { .. } | Self::KeyOrder { .. } => Some("restore into a new table instead: --as NAME".to_owned()),
            Self::StillDiffers { .. } => {
                Some("somebody writes to it; run the same command again: it writes only what still differs".to_owned())
            }
            Self::Spill { .. } => Some("check free space where temporary files go (TMPDIR)".to_owned()),
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
            | Self::Encoding { .. }
            | Self::Lost { .. } => None,
        }
    }
}
