//! Rows: the records of a block one after the other, in one chunk. FORMAT.md, "Records in blocks".

use std::ops::Range;

use super::block::{Base, FLAG_NEW, FLAG_SAME_KEY, Head, OldState, Record, put_key};
use super::wire::put_bytes;

/// Records of one block, being gathered.
#[derive(Debug, Default)]
pub(super) struct RowBlock {
    pub(super) bytes: Vec<u8>,
    /// Where the new image of the last record lies.
    last_new: Option<Range<usize>>,
}

impl RowBlock {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.last_new = None;
    }

    pub(super) fn push(
        &mut self,
        record: &Record<'_>,
        old: Option<&[u8]>,
        user: Option<usize>,
        base: Base,
        same_key: bool,
        last_key: &mut Vec<u8>,
    ) {
        let before = self.last_new.clone().filter(|_| same_key).and_then(|range| self.bytes.get(range));
        let head = Head {
            kind: record.kind,
            sequence: record.sequence,
            second: record.second,
            user,
            old: OldState::of(old, before),
        };
        let new = if record.new.is_some() { FLAG_NEW } else { 0 };
        let same = if same_key { FLAG_SAME_KEY } else { 0 };
        self.bytes.push(head.flags() | new | same);
        if !same_key {
            put_key(&mut self.bytes, last_key, record.key);
        }
        head.put_rest(&mut self.bytes, base);
        self.last_new = record.new.map(|new| {
            put_bytes(&mut self.bytes, new);
            self.bytes.len() - new.len()..self.bytes.len()
        });
        if let Some(old) = old.filter(|_| head.old == OldState::Stored) {
            put_bytes(&mut self.bytes, old);
        }
    }
}
