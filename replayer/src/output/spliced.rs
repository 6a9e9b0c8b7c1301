//! Lines of JSON spliced from items' bytes: nothing is decoded, and the destination gets large writes.

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use journal::error::Result;
use journal::model::{Spelling, Splicer};

use super::Format;
use super::destination::{Destination, OutputError};
use crate::audit::make_json_inert;
use crate::digest::ItemHash;
use crate::state::EncodedItem;

/// Lines of JSON in memory.
pub(super) struct Lines {
    /// What stands around each item.
    around: (&'static [u8], &'static [u8]),
    spelling: Spelling,
    /// Made with the first item, which knows the table's key.
    splicer: Option<Splicer>,
    text: Vec<u8>,
    items: u64,
}

impl Lines {
    /// DynamoDB JSON as AWS's export writes it; plain JSON for every other format.
    fn new(format: Format) -> Self {
        let (around, spelling): ((&[u8], &[u8]), _) = match format {
            Format::DynamodbJson => ((b"{\"Item\":", b"}\n"), Spelling::DynamoDb),
            _ => ((b"", b"\n"), Spelling::Plain),
        };
        Self { around, spelling, splicer: None, text: Vec::new(), items: 0 }
    }

    /// Without a line, and with its memory.
    fn emptied(mut self) -> Self {
        self.text.clear();
        self.items = 0;
        self
    }

    /// Adds a line; gives the item's part of the state digest.
    pub(super) fn item(&mut self, item: &EncodedItem<'_>) -> Result<ItemHash> {
        let splicer = self.splicer.get_or_insert_with(|| Splicer::new(item.key_attributes(), self.spelling));
        self.text.extend_from_slice(self.around.0);
        let start = self.text.len();
        let told = item.splice(splicer, &mut self.text)?;
        if !told.printable {
            make_json_inert(&mut self.text, start);
        }
        self.text.extend_from_slice(self.around.1);
        self.items += 1;
        Ok(told.hash)
    }
}

/// Lines that are written: fresh memory costs a visit of the system for every few of them.
#[derive(Clone, Default)]
pub(super) struct Written(Arc<Mutex<Vec<Lines>>>);

impl Written {
    /// The memory of lines that are written, or new lines.
    pub(super) fn again(&self, format: Format) -> Lines {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        written.map_or_else(|| Lines::new(format), Lines::emptied)
    }

    pub(super) fn add(&self, lines: Lines) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(lines);
    }
}

/// A file of JSON lines.
pub(super) struct SplicedSink {
    destination: Box<Destination>,
    /// Lines written so far.
    items: u64,
}

impl SplicedSink {
    pub(super) fn new(destination: Destination) -> Self {
        Self { destination: Box::new(destination), items: 0 }
    }

    /// Writes lines; how many there are by then.
    pub(super) fn write(&mut self, lines: &Lines) -> Result<u64, OutputError> {
        self.destination.write_all(&lines.text).map_err(|error| self.destination.failed(error))?;
        self.items += lines.items;
        Ok(self.items)
    }

    /// Makes the file whole; gives its bytes.
    pub(super) fn finish(self) -> Result<u64, OutputError> {
        self.destination.finish()
    }
}
