//! Why a table cannot be protected.

use std::time::Duration;

use thiserror::Error;

use crate::error::{Classify, Kind};
use crate::model::TableName;
use crate::source::VIEW_NEEDED;

/// Why a table cannot be protected.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ProtectError {
    /// No such table.
    #[error("table {table} does not exist")]
    NoTable {
        /// The table.
        table: TableName,
    },
    /// The table is in a state in which nothing can be made of it.
    #[error("table {table} is {status}")]
    Status {
        /// The table.
        table: TableName,
        /// `TableStatus`.
        status: String,
    },
    /// Its stream is off, and it was not asked to be switched on.
    #[error("table {table} has no stream, or its stream is switched off")]
    NoStream {
        /// The table.
        table: TableName,
    },
    /// Its stream has another view type.
    #[error("the stream of table {table} has view type {found}: {meaning}, and a journal needs {VIEW_NEEDED}")]
    View {
        /// The table.
        table: TableName,
        /// The view type.
        found: String,
        /// What is missing in it.
        meaning: &'static str,
    },
    /// A mapping's filters keep records from the journal.
    #[error("mapping {id} of table {table} has {filters} filters: changes that match none never reach the journal")]
    Filters {
        /// The table.
        table: TableName,
        /// The mapping.
        id: String,
        /// How many.
        filters: usize,
    },
    /// The service takes longer than one may wait.
    #[error("table {table}: after {waited:?} it is still to be done: {step}")]
    Slow {
        /// The table.
        table: TableName,
        /// What.
        step: String,
        /// How long was waited.
        waited: Duration,
    },
    /// It was not confirmed.
    #[error("nothing was changed: {what} needs a confirmation")]
    NotConfirmed {
        /// What.
        what: String,
        /// The flag that confirms it.
        flag: &'static str,
    },
}

/// What a stream of this view type lacks.
pub(crate) fn meaning(view: &str) -> &'static str {
    match view {
        "KEYS_ONLY" => "its records say which item changed, not to what",
        "NEW_IMAGE" => {
            "its records say what an item became, not what it was, so neither a lost change can be seen nor what was before the first record"
        }
        "OLD_IMAGE" => {
            "its records say what an item was, not what it became, so the last change of every item is missing"
        }
        _ => "what its records hold is not known",
    }
}

impl Classify for ProtectError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoTable { .. }
            | Self::NoStream { .. }
            | Self::View { .. }
            | Self::Filters { .. }
            | Self::NotConfirmed { .. } => Kind::Invalid,
            Self::Status { .. } | Self::Slow { .. } => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoTable { .. } => {
                "check the name, the region, the account, and AWS_ENDPOINT_URL where a local service is meant"
                    .to_owned()
            }
            Self::Status { .. } | Self::Slow { .. } => {
                "run the same command again later: it goes on from what is done".to_owned()
            }
            Self::NoStream { table } => format!(
                "journal protect {table} switches it on; so that the next deploy does not switch it off again, have it in the app's template too"
            ),
            Self::View { table, .. } => format!(
                "the view type cannot be changed. `journal protect {table} --replace-stream` switches the stream off and on: the table gets a new \
                 stream and a new timeline, changes made in between are in neither (they are a stated gap; the baseline that follows holds their \
                 outcome), and whatever reads the old stream must be pointed to the new one"
            ),
            Self::Filters { id, .. } => {
                format!("take them away: aws lambda update-event-source-mapping --uuid {id} --filter-criteria '{{}}'")
            }
            Self::NotConfirmed { flag, .. } => format!("add {flag}"),
        })
    }
}
