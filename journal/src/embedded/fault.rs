//! Why an operation that is answered here has no answer, in DynamoDB's words.

use serde::Deserialize;

/// Why an operation has no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The request is not sound.
    Validation(String),
    /// No such stream or shard.
    NotFound(String),
    /// No such table.
    TableNotFound(String),
    /// No such operation.
    UnknownOperation,
    /// The database failed, or the operation must not go on now.
    Internal(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Internal(format!("cannot read the database: {error}"))
    }
}

/// Reads a request's body.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| Fault::Validation(format!("request cannot be read: {error}")))
}
