//! Cuts: where history is cut for a replay.
//!
//! Owns the meaning of `--at`, `--before`, `--at-sequence` and `--before-sequence`. What enters is a user's text and the
//! current time; what leaves is a [`CutRequest`], which becomes a [`Cut`] once the coverage is known. Knows nothing of
//! timelines or stores.

mod parse;

pub use journal::cut::{Cut, Position};
pub use parse::{CutError, CutText};

/// A cut as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutRequest {
    /// A position that is known already.
    Cut(Cut),
    /// The last covered second of the newest timeline.
    Latest,
}
