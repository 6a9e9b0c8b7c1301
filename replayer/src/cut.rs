//! Cuts: where history is cut for a replay.
//!
//! Owns the meaning of `--at`, `--before`, `--at-sequence` and `--before-sequence`. What enters is a user's text and the
//! current time; what leaves is a [`CutRequest`], which becomes a [`Cut`] once the coverage is known. Knows nothing of
//! timelines or stores.

mod parse;

use std::fmt;

use journal::model::{Second, SequenceNumber};

pub use parse::{CutError, CutText};

/// A position in a timeline's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// A second of stream time.
    Second(Second),
    /// A sequence number; compared by value.
    Sequence(SequenceNumber),
}

/// Where history is cut: everything up to the position, with it or just before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The position.
    pub position: Position,
    /// Whether changes at the position itself have happened.
    pub inclusive: bool,
}

impl Cut {
    /// Everything up to the end of `second`.
    #[must_use]
    pub fn at(second: Second) -> Self {
        Self { position: Position::Second(second), inclusive: true }
    }

    /// Everything up to `sequence`, with it.
    #[must_use]
    pub fn at_sequence(sequence: SequenceNumber) -> Self {
        Self { position: Position::Sequence(sequence), inclusive: true }
    }

    /// The last second whose changes have all happened, for a cut by second.
    #[must_use]
    pub fn last_second(&self) -> Option<Second> {
        match self.position {
            Position::Second(second) if self.inclusive => Some(second),
            Position::Second(second) => Some(second.before()),
            Position::Sequence(_) => None,
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.inclusive { "at" } else { "before" };
        match self.position {
            Position::Second(second) => write!(f, "{word} {second}"),
            Position::Sequence(sequence) => write!(f, "{word} sequence number {sequence}"),
        }
    }
}

/// A cut as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutRequest {
    /// A position that is known already.
    Cut(Cut),
    /// The last covered second of the newest timeline.
    Latest,
}
