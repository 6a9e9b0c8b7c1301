//! What can be wrong with the bytes of a run.

use thiserror::Error;

use crate::error::{Classify, Kind};

/// Bytes that are not the run that was written: where, and what is wrong.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{object}: {} at offset {offset}: {problem}", .block.map_or_else(|| "container".to_owned(), |b| format!("block {b}")))]
pub struct FormatError {
    /// The object.
    pub object: String,
    /// The block, where it is in one.
    pub block: Option<usize>,
    /// Offset in the object of the part that is wrong.
    pub offset: u64,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a part of a run.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The object does not begin or end as a run does.
    #[error("{part} is not that of a journal segment")]
    Magic {
        /// `header` or `trailer`.
        part: &'static str,
    },
    /// Another major version.
    #[error("format version {found}, this software reads version {expected}")]
    Version {
        /// Version found.
        found: u16,
        /// Version this software reads.
        expected: u16,
    },
    /// The stored bytes are not those that were written.
    #[error("checksum of {part} is {found:08x}, expected {expected:08x}")]
    Checksum {
        /// Which part.
        part: &'static str,
        /// Checksum of the bytes found.
        found: u32,
        /// Checksum that was written.
        expected: u32,
    },
    /// Shorter or longer than it says.
    #[error("{part} has {found} bytes, expected {expected}")]
    Length {
        /// Which part.
        part: &'static str,
        /// Bytes found.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// The checksum holds, but the content breaks a rule of the format.
    #[error("{part} is malformed: {reason}")]
    Malformed {
        /// Which part.
        part: &'static str,
        /// The rule.
        reason: String,
    },
    /// zstd refused.
    #[error("{part} cannot be decompressed: {reason}")]
    Decompress {
        /// Which part.
        part: &'static str,
        /// What zstd said.
        reason: String,
    },
    /// What was given to the encoder cannot be encoded.
    #[error("cannot be encoded: {reason}")]
    Encode {
        /// Why.
        reason: String,
    },
}

impl FormatError {
    pub(super) fn new(object: &str, block: Option<usize>, offset: u64, problem: Problem) -> Self {
        Self { object: object.to_owned(), block, offset, problem }
    }
}

impl Classify for FormatError {
    fn kind(&self) -> Kind {
        match self.problem {
            Problem::Version { .. } => Kind::Unsupported,
            Problem::Encode { .. } => Kind::Internal,
            _ => Kind::Corrupt,
        }
    }

    fn hint(&self) -> Option<String> {
        match self.problem {
            Problem::Version { .. } => {
                Some("use the release of this software that wrote it, or a newer one".to_owned())
            }
            Problem::Encode { .. } => Some("please report this with the text above".to_owned()),
            _ => Some(format!(
                "the stored object is damaged; an earlier version may be whole: list the versions of {}, and run `replay verify`",
                self.object
            )),
        }
    }
}
