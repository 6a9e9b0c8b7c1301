//! What can go wrong with a snapshot beside the store, the format and the merge.

use thiserror::Error;

use crate::error::{Classify, Kind};
use crate::model::{Second, TableName, Timeline};

/// What can go wrong with a snapshot beside the store, the format and the merge.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The cut lies where nothing is covered, or not yet for sure.
    #[error("{table}: no snapshot can be made at {cut}: {reason}")]
    NotCovered {
        /// The table.
        table: TableName,
        /// The cut.
        cut: Second,
        /// Why.
        reason: String,
    },
    /// The records do not make the whole table.
    #[error("{timeline}: no snapshot can be made at {cut}: the journal does not hold the whole table ({reason})")]
    NotWhole {
        /// The timeline.
        timeline: Timeline,
        /// The cut.
        cut: Second,
        /// Why.
        reason: String,
    },
    /// Records without a second.
    #[error("{timeline}: {count} records of {object} have no second, so no snapshot can be cut by second")]
    Undated {
        /// The timeline.
        timeline: Timeline,
        /// The first object that has any.
        object: String,
        /// How many.
        count: u64,
    },
    /// A segment that holds records from both sides of a gap.
    #[error("{timeline}: no snapshot can be made at {cut}: segment {key} holds records from both sides of a gap")]
    Straddles {
        /// The timeline.
        timeline: Timeline,
        /// The cut.
        cut: Second,
        /// The segment.
        key: String,
    },
    /// Something that the plan needs is gone.
    #[error("{timeline}: snapshot {name} cannot go on: {missing} is gone")]
    Gone {
        /// The timeline.
        timeline: Timeline,
        /// The snapshot.
        name: String,
        /// What is missing.
        missing: String,
    },
    /// The user or a time budget asked to stop.
    #[error("the snapshot {name} of {timeline} was stopped")]
    Interrupted {
        /// The timeline.
        timeline: Timeline,
        /// The snapshot.
        name: String,
    },
}

impl Classify for SnapshotError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotCovered { .. } | Self::NotWhole { .. } | Self::Straddles { .. } => Kind::Gap,
            Self::Undated { .. } => Kind::Unsupported,
            Self::Gone { .. } => Kind::Unavailable,
            Self::Interrupted { .. } => Kind::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotCovered { table, .. } => {
                Some(format!("`journal status --table {table}` shows what is covered; choose an earlier moment"))
            }
            Self::NotWhole { timeline, .. } => {
                Some(format!("take a baseline first: journal baseline --table {}", timeline.table))
            }
            Self::Undated { timeline, .. } => Some(format!(
                "nothing is lost: replays of this timeline read its records, --at-sequence cuts exactly, and segments are compacted all                  the same; a baseline (journal baseline --table {}) makes later replays shorter",
                timeline.table
            )),
            Self::Straddles { .. } => Some("choose a moment in another interval".to_owned()),
            Self::Gone { .. } => Some("run the same command again: it plans anew".to_owned()),
            Self::Interrupted { .. } => {
                Some("run the same command again; what is written is not written twice".to_owned())
            }
        }
    }
}
