//! What can go wrong in a rewind.

use std::path::PathBuf;

use journal::error::{Classify, Kind};
use journal::model::{Second, SequenceNumber, TableName};
use thiserror::Error;

use crate::cut::Cut;
use crate::restore::ServiceError;

/// What can go wrong in a rewind.
#[derive(Debug, Error)]
pub enum RewindError {
    /// The table was deleted and made again after the cut.
    #[error(
        "table {table} {cut} was another table: it was deleted (seen at {ended}) and made again. Its items went with it without records, \
         so there is nothing in the table of today to rewind"
    )]
    Recreated {
        /// The table.
        table: TableName,
        /// The cut.
        cut: Cut,
        /// When its end was seen, as text.
        ended: String,
    },
    /// A gap lies between the cut and now.
    #[error("table {table}: between {cut} and now changes may be missing: {reason}")]
    Gap {
        /// The table.
        table: TableName,
        /// The cut.
        cut: Cut,
        /// What lies between.
        reason: String,
    },
    /// The table is not there.
    #[error("there is no table {table} to rewind")]
    Missing {
        /// The table.
        table: TableName,
        /// The cut, as flags of `replay restore`.
        at: String,
    },
    /// The table is not the one of the journal or of the run.
    #[error("table {table} is not the one that {of} knows: {reason}")]
    OtherTable {
        /// The table.
        table: TableName,
        /// `the journal` or the run.
        of: String,
        /// How that is known.
        reason: String,
    },
    /// The table cannot be written to now.
    #[error("table {table} is {status}")]
    NotActive {
        /// The table.
        table: TableName,
        /// `TableStatus`.
        status: String,
    },
    /// The window's end is before its beginning.
    #[error("nothing lies between {from} and {to}")]
    Order {
        /// The first cut.
        from: Cut,
        /// The second cut.
        to: Cut,
    },
    /// The journal went on past a stored plan.
    #[error("the journal has moved past the plan of {table}: {moved}")]
    Moved {
        /// The table.
        table: TableName,
        /// What moved.
        moved: String,
    },
    /// A plan file failed.
    #[error("{action} plan {}: {reason}", .path.display())]
    PlanFile {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A line of a plan is not what was written.
    #[error("line {line} of {of} is not what was written: {reason}")]
    Line {
        /// The plan or the run's object.
        of: String,
        /// The line, counted from 1.
        line: u64,
        /// Why.
        reason: String,
    },
    /// An image or key that is not what was written.
    #[error("the item of record {sequence} cannot be read: {reason}")]
    Item {
        /// The record.
        sequence: SequenceNumber,
        /// Why.
        reason: String,
    },
    /// There is no such run.
    #[error("there is no run {run} in {location}")]
    NoRun {
        /// The run.
        run: String,
        /// Where runs are kept.
        location: String,
        /// Runs that are there, as text.
        known: String,
    },
    /// A run that is over cannot be continued.
    #[error("run {run} has ended")]
    Ended {
        /// The run.
        run: String,
    },
    /// A run was never begun, or not completely.
    #[error("run {run} cannot be {asked}: {reason}")]
    State {
        /// The run.
        run: String,
        /// What was asked.
        asked: &'static str,
        /// Why not.
        reason: String,
    },
    /// Somebody else carries out the same run.
    #[error("run {run} is being carried out by somebody else: step {step} is done with another outcome")]
    Busy {
        /// The run.
        run: String,
        /// The step.
        step: usize,
    },
    /// The service failed.
    #[error("{action} table {table}: {source}")]
    Service {
        /// What was tried.
        action: &'static str,
        /// The table.
        table: TableName,
        /// What the service said.
        source: ServiceError,
    },
    /// The user stopped it.
    #[error("stopped while {doing} table {table}")]
    Interrupted {
        /// What was being done.
        doing: &'static str,
        /// The table.
        table: TableName,
    },
    /// A temporary file failed.
    #[error("{action} a temporary file: {reason}")]
    Spool {
        /// What was tried.
        action: &'static str,
        /// Why.
        reason: String,
    },
    /// A task ended without an answer.
    #[error("{doing} table {table} ended without an answer")]
    Lost {
        /// What was being done.
        doing: &'static str,
        /// The table.
        table: TableName,
    },
}

impl Classify for RewindError {
    fn kind(&self) -> Kind {
        match self {
            Self::Gap { .. } => Kind::Gap,
            Self::Recreated { .. }
            | Self::Missing { .. }
            | Self::Order { .. }
            | Self::PlanFile { .. }
            | Self::NoRun { .. }
            | Self::Ended { .. }
            | Self::State { .. } => Kind::Invalid,
            Self::OtherTable { .. } | Self::Moved { .. } | Self::Busy { .. } => Kind::Conflict,
            Self::NotActive { .. } | Self::Spool { .. } => Kind::Unavailable,
            Self::Line { .. } | Self::Item { .. } => Kind::Corrupt,
            Self::Service { source, .. } => source.kind(),
            Self::Interrupted { .. } => Kind::Interrupted,
            Self::Lost { .. } => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Recreated { table, cut, .. } => Some(format!(
                "make a new table of that moment and look at it: replay restore --table {table} {} --as {table}-then",
                flags(*cut)
            )),
            Self::Gap { table, cut, .. } => Some(format!(
                "choose a cut after it, or make a new table of that moment and compare: replay restore --table {table} {} --as \
                 {table}-then",
                flags(*cut)
            )),
            Self::Missing { table, at } => {
                Some(format!("make it again as it was: replay restore --table {table} {at} --as {table}"))
            }
            Self::OtherTable { .. } => Some(
                "check region, account and endpoint; if the table was made again, run `journal follow` until the journal knows it"
                    .to_owned(),
            ),
            Self::Order { .. } => Some("--between takes the earlier moment first".to_owned()),
            Self::Moved { .. } => Some("plan again and look at it: --save-plan FILE; then --plan FILE --apply".to_owned()),
            Self::Line { .. } => Some("plan again; a plan file is not to be edited".to_owned()),
            Self::NoRun { known, .. } if known.is_empty() => {
                Some("no run is kept there; --runs LOCATION names another place".to_owned())
            }
            Self::NoRun { known, .. } => Some(format!("there are: {known}; --runs LOCATION names another place")),
            Self::Ended { run } => Some(format!("to take it back: replay rewind --undo {run}")),
            Self::Busy { run, .. } => Some(format!("let the other end, or stop it; then: replay rewind --resume {run}")),
            Self::Item { .. } => Some("run `replay verify` to see which objects are unsound".to_owned()),
            Self::Service { source, .. } => source.hint(),
            Self::PlanFile { .. }
            | Self::NotActive { .. }
            | Self::State { .. }
            | Self::Interrupted { .. }
            | Self::Spool { .. }
            | Self::Lost { .. } => None,
        }
    }
}

/// A cut as the flags that mean it.
#[must_use]
pub(super) fn flags(cut: Cut) -> String {
    use crate::cut::Position;
    match (cut.position, cut.inclusive) {
        (Position::Second(second), true) => format!("--at {second}"),
        (Position::Second(second), false) => format!("--before {second}"),
        (Position::Sequence(sequence), true) => format!("--at-sequence {sequence}"),
        (Position::Sequence(sequence), false) => format!("--before-sequence {sequence}"),
    }
}

/// A second that is perhaps not known, as text.
pub(super) fn told(second: Option<Second>) -> String {
    second.map_or_else(|| "an unknown time".to_owned(), |second| second.to_string())
}
