//! What can go wrong with one object or message of a destination.

use thiserror::Error;

use crate::error::{Classify, Kind};
use crate::model::StreamArn;

/// Why an object or message was not redriven.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum RedriveError {
    /// It is not what a mapping leaves.
    #[error("it is not what an event source mapping leaves: {reason}")]
    Foreign {
        /// What is wrong.
        reason: String,
    },
    /// It names records that the stream no longer has.
    #[error("records {first} to {last} of {shard} of {stream} are no longer in the stream")]
    Trimmed {
        /// The stream.
        stream: StreamArn,
        /// The shard.
        shard: String,
        /// The first of the records.
        first: String,
        /// The last of them.
        last: String,
    },
    /// Some of it could not be redriven; told at the end.
    #[error("{left} of {of} batches could not be redriven")]
    Left {
        /// How many.
        left: usize,
        /// Of how many.
        of: u64,
        /// What the first of them failed with.
        kind: Kind,
    },
}

impl Classify for RedriveError {
    fn kind(&self) -> Kind {
        match self {
            Self::Foreign { .. } => Kind::Invalid,
            Self::Trimmed { .. } => Kind::Gap,
            Self::Left { kind, .. } => *kind,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Foreign { .. } => {
                "name the folder below which the mapping writes, such as s3://bucket/aws/lambda/; files of plain records \
                 are for journal ingest"
                    .to_owned()
            }
            Self::Trimmed { stream, .. } => format!(
                "a stream keeps records for 24 hours; take a baseline, so that later cuts are whole: journal baseline \
                 --table {}; use an S3 destination, which keeps the records themselves",
                stream.timeline().table
            ),
            Self::Left { .. } => {
                "the reasons are above; what worked is in the journal and marked: mend the rest and run the same command \
                 again"
                    .to_owned()
            }
        })
    }
}
