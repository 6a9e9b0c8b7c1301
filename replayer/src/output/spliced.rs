//! Lines of JSON spliced from items' bytes: nothing is decoded, and the destination gets large writes.

use std::io::Write as _;

use journal::error::Result;
use journal::model::{Spelling, Splicer};

use super::Format;
use super::destination::{Destination, OutputError};
use crate::audit::make_json_inert;
use crate::digest::ItemHash;
use crate::state::EncodedItem;

/// Bytes gathered before they are written.
const GATHERED_BYTES: usize = 256 << 10;

/// A file of JSON lines.
pub(super) struct SplicedSink {
    /// What stands around each item.
    around: (&'static [u8], &'static [u8]),
    spelling: Spelling,
    /// Made with the first item, which knows the table's key.
    splicer: Option<Splicer>,
    gathered: Vec<u8>,
    destination: Box<Destination>,
}

impl SplicedSink {
    /// DynamoDB JSON as AWS's export writes it; plain JSON for every other format.
    pub(super) fn new(format: Format, destination: Destination) -> Self {
        let (around, spelling): ((&[u8], &[u8]), _) = match format {
            Format::DynamodbJson => ((b"{\"Item\":", b"}\n"), Spelling::DynamoDb),
            _ => ((b"", b"\n"), Spelling::Plain),
        };
        Self { around, spelling, splicer: None, gathered: Vec::new(), destination: Box::new(destination) }
    }

    /// Adds a line; gives the item's part of the state digest.
    pub(super) fn item(&mut self, item: &EncodedItem<'_>) -> Result<ItemHash> {
        let splicer = self.splicer.get_or_insert_with(|| Splicer::new(item.key_attributes(), self.spelling));
        self.gathered.extend_from_slice(self.around.0);
        let start = self.gathered.len();
        let told = item.splice(splicer, &mut self.gathered)?;
        if !told.printable {
            make_json_inert(&mut self.gathered, start);
        }
        self.gathered.extend_from_slice(self.around.1);
        if self.gathered.len() >= GATHERED_BYTES {
            self.write_gathered()?;
        }
        Ok(told.hash)
    }

    fn write_gathered(&mut self) -> Result<(), OutputError> {
        let written = self.destination.write_all(&self.gathered);
        self.gathered.clear();
        written.map_err(|error| self.destination.failed(error))
    }

    /// Makes the file whole; gives its bytes.
    pub(super) fn finish(mut self) -> Result<u64, OutputError> {
        self.write_gathered()?;
        self.destination.finish()
    }
}
