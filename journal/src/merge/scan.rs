//! What a scan of records wants to read, and what it could not.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::lock;
use crate::format::Columns;
use crate::model::Second;

/// What is read of segments. The default is everything, and a corrupt object is an error.
#[derive(Debug, Clone)]
pub struct RecordScan {
    /// A half-open range of encoded keys.
    pub keys: Option<Range<Bytes>>,
    /// First and last second that are wanted. Blocks that lie outside are not read; records without a second always are.
    pub seconds: Option<(Second, Second)>,
    /// The columns: an image whose column is not read is none. Runs of rows are read whole.
    pub columns: Columns,
    /// Where corrupt objects are named; then what can be read of the others, and of their other blocks, is visited.
    pub unreadable: Option<UnreadableList>,
}

impl Default for RecordScan {
    fn default() -> Self {
        Self { keys: None, seconds: None, columns: Columns::All, unreadable: None }
    }
}

/// An object that cannot be read, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its key in the store.
    pub object: String,
    /// What is wrong, at the first place.
    pub reason: String,
}

/// A list of corrupt objects that a scan fills, each once.
#[derive(Debug, Clone, Default)]
pub struct UnreadableList(Arc<Mutex<Vec<Unreadable>>>);

impl UnreadableList {
    /// Names an object, or something in one, unless it is named already.
    pub fn add(&self, object: &str, error: &crate::Error) {
        let mut list = lock(&self.0);
        if !list.iter().any(|unreadable| unreadable.object == object) {
            list.push(Unreadable { object: object.to_owned(), reason: error.to_string() });
        }
    }

    /// What was named so far.
    #[must_use]
    pub fn to_vec(&self) -> Vec<Unreadable> {
        lock(&self.0).clone()
    }
}
