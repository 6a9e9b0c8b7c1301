//! What a follower did, and why a table cannot be followed.

use thiserror::Error;

use crate::append::AppendReport;
use crate::error::{Classify, Error, Kind};
use crate::model::TableName;
use crate::source::VIEW_NEEDED;

/// What was done for one table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct TableReport {
    /// What was made durable.
    pub appended: AppendReport,
    /// Batches made durable.
    pub batches: u64,
    /// Records that are older than their stream: shown by a service that mixes up tables of one name, and left out.
    pub older_than_stream: u64,
    /// Gaps stated.
    pub gaps: u64,
    /// Timelines that were begun or taken up.
    pub timelines: u64,
    /// Timelines that have ended.
    pub timelines_ended: u64,
}

/// What a follower did.
#[derive(Debug, Default)]
pub struct FollowReport {
    /// Each table with what was done for it, and the error that ended its task, if one did.
    pub tables: Vec<(TableName, TableReport, Option<Error>)>,
}

/// Why a table cannot be followed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum FollowError {
    /// There is no such table.
    #[error("table {table} does not exist")]
    NoTable {
        /// The table.
        table: TableName,
    },
    /// It has no stream, or its stream is switched off.
    #[error("table {table} has no stream")]
    NoStream {
        /// The table.
        table: TableName,
    },
    /// Its stream does not carry both images.
    #[error("the stream of table {table} has view type {found}, {VIEW_NEEDED} is needed")]
    ViewType {
        /// The table.
        table: TableName,
        /// The view type found.
        found: String,
    },
    /// A part of the follower ended without an answer.
    #[error("following {what} ended unexpectedly: {reason}")]
    Ended {
        /// Which part.
        what: String,
        /// What is known.
        reason: String,
    },
    /// Some of several tables failed; each one's error was reported when it happened.
    #[error("{failed} of {of} tables could not be followed: {names}")]
    Tables {
        /// Tables that failed.
        failed: usize,
        /// Tables in all.
        of: usize,
        /// Their names.
        names: String,
        /// The kind of the first error.
        kind: Kind,
    },
}

impl Classify for FollowError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoTable { .. } | Self::NoStream { .. } | Self::ViewType { .. } => Kind::Invalid,
            Self::Ended { .. } => Kind::Internal,
            Self::Tables { kind, .. } => *kind,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoTable { .. } => Some(
                "check the name, the region, the account and AWS_ENDPOINT_URL; with --wait it is followed as soon as it \
                 exists"
                    .to_owned(),
            ),
            Self::NoStream { table } => Some(format!(
                "switch it on: aws dynamodb update-table --table-name {table} --stream-specification \
                 StreamEnabled=true,StreamViewType={VIEW_NEEDED}; with --wait it is followed as soon as it is on"
            )),
            Self::ViewType { table, .. } => Some(format!(
                "the view type of a stream cannot be changed: switch it off (aws dynamodb update-table --table-name {table} \
                 --stream-specification StreamEnabled=false), then on again with StreamEnabled=true,StreamViewType=\
                 {VIEW_NEEDED}; the new stream has another ARN, so whatever reads the old one must be pointed to it"
            )),
            Self::Ended { .. } | Self::Tables { .. } => None,
        }
    }
}
