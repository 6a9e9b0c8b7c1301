//! A cut: where a timeline's history is cut for a replay or a snapshot.
//!
//! A position and whether it is included; pure data. How users write cuts is the replayer's.

use std::fmt;

use crate::model::{Second, SequenceNumber};

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
