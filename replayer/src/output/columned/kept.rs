//! Items kept as their bytes.

use journal::error::Result;

use super::sink::RowSink;
use crate::key_schema::KeySchema;
use crate::state::EncodedItem;

/// Items in memory, in the order in which they came.
#[derive(Default)]
pub(super) struct Kept {
    /// Keys and images, one after the other.
    bytes: Vec<u8>,
    /// The bytes of each key and of each image.
    lengths: Vec<[usize; 2]>,
    bytes_max: usize,
}

impl Kept {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), lengths: Vec::new(), bytes_max }
    }

    pub(super) fn push(&mut self, item: &EncodedItem<'_>) {
        self.bytes.extend_from_slice(item.key);
        self.bytes.extend_from_slice(item.image);
        self.lengths.push([item.key.len(), item.image.len()]);
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= self.bytes_max
    }

    /// Writes all of them.
    pub(super) fn write(&self, sink: &mut dyn RowSink, schema: &KeySchema) -> Result<()> {
        let mut rest = self.bytes.as_slice();
        let mut take = |length: usize| {
            let (taken, left) = rest.split_at_checked(length).unwrap_or_default();
            rest = left;
            taken
        };
        for [key, image] in &self.lengths {
            let (key, image) = (take(*key), take(*image));
            sink.item(&EncodedItem::of(key, image, schema), None)?;
        }
        Ok(())
    }
}
