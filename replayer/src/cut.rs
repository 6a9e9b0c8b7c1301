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

impl CutRequest {
    /// Reads a cut that is one text: a time as for `--at`, `latest`, `before:TIME`, `sequence:NUMBER` or
    /// `before-sequence:NUMBER`.
    ///
    /// # Errors
    /// As [`CutText::parse`].
    pub fn parse(text: &str, now: &jiff::Zoned) -> Result<Self, CutError> {
        let none = CutText::default();
        let text = match text.split_once(':') {
            Some(("sequence", number)) => CutText { at_sequence: Some(number), ..none },
            Some(("before-sequence", number)) => CutText { before_sequence: Some(number), ..none },
            Some(("before", time)) => CutText { before: Some(time), ..none },
            _ => CutText { at: Some(text), ..none },
        };
        text.parse(now)
    }
}
