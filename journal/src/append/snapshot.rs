//! Writes a snapshot: sorted runs of items, completed by a document.

use std::sync::Arc;

use bytes::Bytes;

use crate::documents::{self, SnapshotDocument, SnapshotPart};
use crate::error::Result;
use crate::format::{OldImage, Record, RecordKind, RunWriter, WriterOptions};
use crate::layout;
use crate::model::{Image, ItemKey, KeyAttributes, Second, SequenceNumber, StreamArn};
use crate::store::WriteStore;

/// Bytes of keys and images that are gathered, sorted and written as one part.
pub const PART_BYTES_MAX: usize = 32 << 20;

/// Takes items in any order and writes them as sorted runs of bounded size. Nothing counts until `finish`.
#[derive(Debug)]
pub struct SnapshotWriter {
    store: Arc<dyn WriteStore>,
    stream: StreamArn,
    key_attributes: KeyAttributes,
    name: String,
    part_bytes_max: usize,
    items: Vec<(ItemKey, Image)>,
    bytes: usize,
    parts: Vec<SnapshotPart>,
}

impl SnapshotWriter {
    /// A snapshot under `name` in the stream's timeline. `name` is made of the snapshot's start, as in
    /// `1585440000-baseline-3f2a`, and must be new.
    #[must_use]
    pub fn new(store: Arc<dyn WriteStore>, stream: StreamArn, key_attributes: KeyAttributes, name: String) -> Self {
        Self {
            store,
            stream,
            key_attributes,
            name,
            part_bytes_max: PART_BYTES_MAX,
            items: Vec::new(),
            bytes: 0,
            parts: Vec::new(),
        }
    }

    /// Sets how many bytes make a part, for tests.
    #[must_use]
    pub fn with_part_bytes_max(mut self, part_bytes_max: usize) -> Self {
        self.part_bytes_max = part_bytes_max;
        self
    }

    /// Adds an item. Writes a part when enough items are gathered. An item must be given once; a copy in the same part
    /// replaces the one before it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn push(&mut self, key: ItemKey, image: Image) -> Result<()> {
        self.bytes += key.as_bytes().len() + image.as_bytes().len() + 64;
        self.items.push((key, image));
        if self.bytes >= self.part_bytes_max {
            self.write_part().await?;
        }
        Ok(())
    }

    async fn write_part(&mut self) -> Result<()> {
        if self.items.is_empty() {
            return Ok(());
        }
        let mut items = std::mem::take(&mut self.items);
        self.bytes = 0;
        items.sort_by(|a, b| a.0.cmp(&b.0));
        let mut writer = RunWriter::new(
            WriterOptions::snapshot(),
            self.stream.clone(),
            self.key_attributes.clone(),
            SequenceNumber::MIN,
            None,
        )?;
        for (at, (key, image)) in items.iter().enumerate() {
            if items.get(at + 1).is_some_and(|(next, _)| next == key) {
                continue;
            }
            writer.push(&Record {
                key: key.as_bytes(),
                sequence: SequenceNumber::MIN,
                second: None,
                kind: RecordKind::Item,
                new: Some(image.as_bytes()),
                old: OldImage::None,
                user: None,
            })?;
        }
        let run = writer.finish()?;
        let name = format!("part-{:05}-{:08x}.run", self.parts.len(), run.crc32);
        let key = format!("{}{name}", layout::snapshot_folder(self.stream.timeline(), &self.name));
        self.store.put_new(&key, Bytes::from(run.bytes)).await?;
        self.parts.push(SnapshotPart { name, size: run.size, crc32: run.crc32, items: run.footer.statistics.records });
        Ok(())
    }

    /// Writes what is left and the document that completes the snapshot.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn finish(mut self, started: Second, finished: Second) -> Result<SnapshotDocument> {
        self.write_part().await?;
        let document = SnapshotDocument {
            kind: "baseline".to_owned(),
            started,
            finished,
            key_attributes: Some(self.key_attributes),
            items: self.parts.iter().map(|part| part.items).sum(),
            parts: self.parts,
            fold: None,
        };
        let key = layout::snapshot_document(self.stream.timeline(), &self.name);
        self.store.put_new(&key, documents::to_bytes(&document)?).await?;
        Ok(document)
    }
}
