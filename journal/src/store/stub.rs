//! Stands in until the stores are here.

use std::sync::Arc;

use super::{ReadStore, StoreError, WriteStore};
use crate::documents::DocumentError;

fn none(location: &str) -> StoreError {
    StoreError::Location { location: location.to_owned(), reason: "no store is built in yet".to_owned() }
}

/// Opens a location for reading.
///
/// # Errors
/// Always.
pub async fn open_read(location: &str) -> Result<Arc<dyn ReadStore>, StoreError> {
    Err(none(location))
}

/// Opens a location for writing.
///
/// # Errors
/// Always.
pub async fn open_write(location: &str) -> Result<Arc<dyn WriteStore>, StoreError> {
    Err(none(location))
}

/// Makes a journal.
///
/// # Errors
/// Always.
pub async fn init(location: &str) -> Result<(), DocumentError> {
    Err(none(location).into())
}
