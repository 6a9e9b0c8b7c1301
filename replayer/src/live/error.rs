//! Why a live table cannot be held against a cut.

use journal::error::{Classify, Kind};
use journal::model::{SequenceNumber, TableName};
use thiserror::Error;

use crate::cut::Cut;

/// Why a live table cannot be held against a cut.
#[derive(Debug, Error)]
pub enum LiveError {
    /// The changes between the cut and now are not all in one stretch of the table's history.
    #[error("table {table} {cut}: which items changed since cannot be told: {reason}")]
    Apart {
        /// The table.
        table: TableName,
        /// The cut.
        cut: Cut,
        /// What lies between.
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
    /// The service leaves keys unread.
    #[error("reading table {table}: {keys} keys stay unprocessed after {attempts} attempts")]
    Unprocessed {
        /// The table.
        table: TableName,
        /// Keys that are left.
        keys: usize,
        /// Attempts without progress.
        attempts: u32,
    },
}

impl Classify for LiveError {
    fn kind(&self) -> Kind {
        match self {
            Self::Apart { .. } => Kind::Invalid,
            Self::Item { .. } => Kind::Corrupt,
            Self::Unprocessed { .. } => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Apart { .. } => Some("--whole compares all items of the table, whatever lies between".to_owned()),
            Self::Item { .. } => Some("run `replay verify` to see which objects are unsound".to_owned()),
            Self::Unprocessed { .. } => {
                Some("the table's read capacity is used up: run the same command later".to_owned())
            }
        }
    }
}
