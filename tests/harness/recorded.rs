//! What a journal holds, record by record, read without the merge: every segment of a timeline, its checksums checked.

use bytes::Bytes;
use journal::format::{BlockCursor, Decompressor, Record, RecordKind, verify_object};
use journal::layout;
use journal::model::{ChangeRecord, Image, ItemKey, Timeline};
use journal::store::ReadStore;

/// The records of every segment of a timeline, copies included, segments in the order of their names; and how many
/// segments there are.
///
/// # Panics
/// When the store fails, or a segment is not sound.
pub async fn records(store: &dyn ReadStore, timeline: &Timeline) -> (Vec<ChangeRecord>, usize) {
    let objects = store.list_all(&layout::segments_folder(timeline)).await.unwrap();
    let mut records = Vec::new();
    for object in &objects {
        let bytes = store.get(&object.key).await.unwrap();
        read(&object.key, &bytes, &mut records);
    }
    (records, objects.len())
}

fn read(object: &str, bytes: &[u8], records: &mut Vec<ChangeRecord>) {
    let verified = verify_object(object, bytes).unwrap();
    let mut cursor = BlockCursor::new(object, verified.tail.footer.clone());
    let mut decompressor = Decompressor::new().unwrap();
    for (number, entry) in verified.tail.blocks.iter().enumerate() {
        let range = entry.range();
        let stored = &bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        cursor.load(&mut decompressor, number, entry, stored, true).unwrap();
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
