//! What a scan of records wants to read, and what it could not.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::lock;
use super::open::{WHOLE_BYTES_MAX, only_key};
use crate::format::{Columns, TAIL_BYTES};
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

/// What one key takes of a long run, where it has no long history: the run's end, a page of the index, one of the key filter, and a block.
const LOOKUP_BYTES: u64 = 48 << 10;

impl RecordScan {
    /// Objects of at most so many bytes are fetched whole.
    pub(super) fn whole_bytes_max(&self) -> u64 {
        if self.columns > Columns::Keys { WHOLE_BYTES_MAX } else { TAIL_BYTES }
    }

    /// Whether a single key is wanted.
    #[must_use]
    pub fn is_lookup(&self) -> bool {
        self.keys.as_ref().and_then(only_key).is_some()
    }

    /// About how many bytes are read of a run of `size` bytes, rather more than fewer: all of it, but of a long one for a single key.
    #[must_use]
    pub fn bytes_of(&self, size: u64) -> u64 {
        if size > self.whole_bytes_max() && self.is_lookup() { size.min(LOOKUP_BYTES) } else { size }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_takes_little_of_a_long_run() {
        let key = |keys: [&'static [u8]; 2]| Some(Bytes::from_static(keys[0])..Bytes::from_static(keys[1]));
        let one = RecordScan { keys: key([b"a", b"a\0"]), ..RecordScan::default() };
        assert!(one.is_lookup());
        assert_eq!(one.bytes_of(30 << 20), LOOKUP_BYTES);
        assert_eq!(one.bytes_of(WHOLE_BYTES_MAX), WHOLE_BYTES_MAX, "fetched whole");
        let many = RecordScan { keys: key([b"a", b"b"]), ..RecordScan::default() };
        assert!(!many.is_lookup() && !RecordScan::default().is_lookup());
        assert_eq!(many.bytes_of(30 << 20), 30 << 20);
        assert_eq!(RecordScan::default().bytes_of(30 << 20), 30 << 20);
        let keys_alone = RecordScan { columns: Columns::Keys, ..one };
        assert_eq!(keys_alone.bytes_of(WHOLE_BYTES_MAX), LOOKUP_BYTES);
        assert_eq!(keys_alone.bytes_of(TAIL_BYTES), TAIL_BYTES);
    }
}
