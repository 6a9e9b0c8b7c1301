//! What can go wrong in a compaction beside the store, the format and the merge.

use thiserror::Error;

use crate::error::{Classify, Kind};
use crate::model::Timeline;

/// What can go wrong in a compaction beside the store, the format and the merge.
#[derive(Debug, Error)]
pub enum CompactError {
    /// Inputs say different things of the same record.
    #[error("{timeline}: {count} records of the {window} are told in different ways by its segments")]
    Contradiction {
        /// The timeline.
        timeline: Timeline,
        /// The window.
        window: String,
        /// How many.
        count: u64,
    },
    /// An output read back does not hold what was written.
    #[error("{object} was stored with {expected} records and reads back with {found}")]
    ReadBack {
        /// The output.
        object: String,
        /// Records that were written.
        expected: u64,
        /// Records that were read.
        found: u64,
    },
    /// Fewer or more records came out than went in.
    #[error("{timeline}: of the {expected} records of the {window} {found} came out of the merge")]
    Count {
        /// The timeline.
        timeline: Timeline,
        /// The window.
        window: String,
        /// Distinct records that went in.
        expected: u64,
        /// Records in the outputs.
        found: u64,
    },
    /// The user asked to stop.
    #[error("compacting {timeline} was stopped")]
    Interrupted {
        /// The timeline.
        timeline: Timeline,
    },
    /// A segment that the listing had is gone.
    #[error("{timeline}: segments of the {window} changed while it was compacted")]
    Moved {
        /// The timeline.
        timeline: Timeline,
        /// The window.
        window: String,
    },
}

impl Classify for CompactError {
    fn kind(&self) -> Kind {
        match self {
            Self::Contradiction { .. } | Self::ReadBack { .. } => Kind::Corrupt,
            Self::Count { .. } => Kind::Internal,
            Self::Interrupted { .. } => Kind::Interrupted,
            Self::Moved { .. } => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Contradiction { timeline, .. } => format!(
                "nothing was compacted or deleted there; `replay verify --table {}` names the records",
                timeline.table
            ),
            Self::ReadBack { .. } => "nothing was deleted; check the store, then run the same command again".to_owned(),
            Self::Count { .. } => "nothing was deleted; please report this".to_owned(),
            Self::Interrupted { .. } | Self::Moved { .. } => {
                "run the same command again; what is done is not done twice".to_owned()
            }
        })
    }
}
