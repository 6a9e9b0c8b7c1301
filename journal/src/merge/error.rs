//! What can go wrong in a merge beside the store and the format.

use std::path::PathBuf;

use crate::error::{Classify, Kind};
use thiserror::Error;

/// What can go wrong in a merge beside the store and the format.
#[derive(Debug, Error)]
pub enum MergeError {
    /// A temporary file failed.
    #[error("{action} a temporary run in {}", .folder.display())]
    Spill {
        /// What was tried.
        action: &'static str,
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Runs of one timeline with different keys.
    #[error("{object} has the key {found}, other runs of the timeline have {expected}")]
    KeyAttributes {
        /// The object.
        object: String,
        /// Its key attributes.
        found: String,
        /// Those of the first run.
        expected: String,
    },
    /// A snapshot among segments or the other way round.
    #[error("{object} is not the kind of run that its name says")]
    WrongKind {
        /// The object.
        object: String,
    },
    /// A run that must have seconds has records without one.
    #[error("{count} records of {object} have no second")]
    Undated {
        /// The object.
        object: String,
        /// How many.
        count: u64,
    },
    /// The caller gave up.
    #[error("the merge was stopped")]
    Stopped,
    /// Records that were packed in memory are not there: a defect.
    #[error("a record that was read is not found in memory again")]
    Packed,
    /// The thread ended without an answer.
    #[error("the merge ended without an answer: {reason}")]
    Thread {
        /// What is known.
        reason: String,
    },
}

impl Classify for MergeError {
    fn kind(&self) -> Kind {
        match self {
            Self::Spill { .. } => Kind::Unavailable,
            Self::KeyAttributes { .. } | Self::WrongKind { .. } => Kind::Corrupt,
            Self::Undated { .. } => Kind::Unsupported,
            Self::Stopped => Kind::Interrupted,
            Self::Packed | Self::Thread { .. } => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Spill { .. } => Some(
                "free space there, or set TMPDIR to a folder with room, then run the same command again".to_owned(),
            ),
            Self::KeyAttributes { object, .. } | Self::WrongKind { object } => {
                Some(format!("look at {object}: it may have been copied here from another place; run `replay verify`"))
            }
            Self::Stopped | Self::Undated { .. } => None,
            Self::Packed | Self::Thread { .. } => Some("please report this with the text above".to_owned()),
        }
    }
}
