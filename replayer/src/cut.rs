//! Cuts: where history is cut for a replay.

use journal::model::{Second, SequenceNumber};

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
