//! What a journal holds, record by record, read without the merge: every segment of a timeline, its checksums checked.

use std::collections::BTreeSet;

use bytes::Bytes;
use journal::format::{BlockCursor, Columns, Decompressor, Record, RecordKind, verify_object};
use journal::layout;
use journal::model::{ChangeRecord, Image, ItemKey, Timeline};
use journal::store::ReadStore;

/// The records of every segment of a timeline, copies included, segments in the order of their names; and how many
/// segments there are.
///
/// # Panics
/// When the store fails, or a segment is not sound.
pub async fn records(store: &dyn ReadStore, timeline: &Timeline) -> (Vec<ChangeRecord>, usize) {
    let mut watch = Watch::default();
    watch.look(store, timeline).await;
    let segments = watch.segments();
    (watch.records, segments)
}

/// What was seen of a timeline that grows: each segment is read once.
#[derive(Debug, Default)]
pub struct Watch {
    /// The records of every segment seen so far, copies included.
    pub records: Vec<ChangeRecord>,
    read: BTreeSet<String>,
}

impl Watch {
    /// Reads the segments that are new.
    ///
    /// # Panics
    /// When the store fails, or a segment is not sound.
    pub async fn look(&mut self, store: &dyn ReadStore, timeline: &Timeline) {
        for object in store.list_all(&layout::segments_folder(timeline)).await.unwrap() {
            if !self.read.contains(&object.key) {
                let bytes = store.get(&object.key).await.unwrap();
                read(&object.key, &bytes, &mut self.records);
                self.read.insert(object.key);
            }
        }
    }

    /// How many segments were read.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.read.len()
    }
}

fn read(object: &str, bytes: &[u8], records: &mut Vec<ChangeRecord>) {
    let verified = verify_object(object, bytes).unwrap();
    let mut cursor = BlockCursor::new(object, verified.tail.footer.clone());
    let mut decompressor = Decompressor::new().unwrap();
    for (number, entry) in verified.tail.blocks.iter().enumerate() {
        cursor.load_from(&mut decompressor, number, entry, bytes, Columns::All).unwrap();
        while cursor.advance().unwrap() {
            records.push(owned(&cursor.record()));
        }
    }
}

fn owned(record: &Record<'_>) -> ChangeRecord {
    let RecordKind::Change(kind) = record.kind else { panic!("a segment holds changes alone") };
    let image = |bytes: &[u8]| Image::from_bytes(Bytes::copy_from_slice(bytes));
    ChangeRecord {
        key: ItemKey::from_bytes(Bytes::copy_from_slice(record.key)),
        sequence: record.sequence,
        second: record.second,
        kind,
        old: record.old.bytes(&mut Vec::new()).map(image),
        new: record.new.map(image),
        user: record.user.cloned(),
    }
}
