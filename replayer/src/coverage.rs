//! Coverage as the journal states it, and which timeline and interval a cut lies in.

mod choose;

pub use choose::{Choice, CoverageError, choose};
pub use journal::coverage::{Beginning, CoveredTimeline, Ending, Gap, Interval, Place};

#[cfg(test)]
pub(crate) mod tests;
