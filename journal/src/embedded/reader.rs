//! The connection that only reads, and what the front answers from it itself.

use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, Transaction};
use serde_json::{Value, json};

use super::fault::{self, Fault};
use super::streams;

/// An operation that is answered here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    /// One of the Streams API, by its name.
    Streams(String),
    /// `DescribeContinuousBackups`, which the engine does not know: there are none.
    ContinuousBackups,
}

/// Answers operations, each in one transaction.
#[derive(Debug)]
pub(super) struct Reader {
    connection: Mutex<Connection>,
}

impl Reader {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection: Mutex::new(connection) }
    }

    /// Runs one operation.
    ///
    /// # Errors
    /// As the service, or when the database fails.
    pub(super) fn answer(&self, operation: &Operation, body: &[u8]) -> Result<Value, Fault> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        match operation {
            Operation::Streams(name) => streams::answer(&transaction, name, body),
            Operation::ContinuousBackups => continuous_backups(&transaction, body),
        }
    }
}

fn continuous_backups(transaction: &Transaction<'_>, body: &[u8]) -> Result<Value, Fault> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Request {
        table_name: String,
    }
    let Request { table_name } = fault::parse(body)?;
    let there: bool =
        transaction.query_row("SELECT EXISTS (SELECT 1 FROM _tables WHERE table_name = ?1)", [&table_name], |row| {
            row.get(0)
        })?;
    if !there {
        return Err(Fault::TableNotFound(format!("Table not found: {table_name}")));
    }
    Ok(json!({"ContinuousBackupsDescription": {
        "ContinuousBackupsStatus": "ENABLED",
        "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "DISABLED"},
    }}))
}
