//! Records of one block, being gathered. FORMAT.md, "Records in blocks".

use super::wire::{put_bytes, put_length, put_sequence, put_varint, shared_prefix, shared_suffix};
use crate::model::{ChangeKind, Second, SequenceNumber, UserIdentity};

pub(super) const FLAG_SECOND: u8 = 1 << 2;
pub(super) const FLAG_NEW: u8 = 1 << 3;
pub(super) const OLD_SHIFT: u8 = 4;
pub(super) const FLAG_SAME_KEY: u8 = 1 << 6;
pub(super) const FLAG_USER: u8 = 1 << 7;

/// What a record of a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// A change.
    Change(ChangeKind),
    /// An item of a snapshot; its sequence number is that of the record that made it so, [`SequenceNumber::MIN`] where
    /// that is not known.
    Item,
    /// What a snapshot keeps of an item that was removed shortly before it.
    Tombstone,
}

/// The image before a change, as it lies in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldImage<'a> {
    /// There was no item.
    None,
    /// Equal to the new image of the record before it in the same block: the proof that nothing is missing between.
    Same(&'a [u8]),
    /// The whole image.
    Whole(&'a [u8]),
    /// The new image with its middle replaced.
    Patch {
        /// The new image.
        new: &'a [u8],
        /// Bytes kept at its beginning.
        prefix: usize,
        /// Bytes kept at its end.
        suffix: usize,
        /// What stood between them.
        middle: &'a [u8],
    },
    /// There is one, but its column was not read.
    NotRead,
}

impl<'a> OldImage<'a> {
    /// The image's bytes; `scratch` is used when they have to be put together. None when there was no item, or its
    /// column was not read.
    pub fn bytes<'s>(&self, scratch: &'s mut Vec<u8>) -> Option<&'s [u8]>
    where
        'a: 's,
    {
        match *self {
            Self::None | Self::NotRead => None,
            Self::Same(bytes) | Self::Whole(bytes) => Some(bytes),
            Self::Patch { new, prefix, suffix, middle } => {
                scratch.clear();
                scratch.extend_from_slice(new.get(..prefix).unwrap_or_default());
                scratch.extend_from_slice(middle);
                scratch.extend_from_slice(new.get(new.len().saturating_sub(suffix)..).unwrap_or_default());
                Some(scratch)
            }
        }
    }
}

/// One record of a run, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The encoded key.
    pub key: &'a [u8],
    /// The sequence number; the lowest for an item of a snapshot where it is not known.
    pub sequence: SequenceNumber,
    /// The second.
    pub second: Option<Second>,
    /// What it is.
    pub kind: RecordKind,
    /// The image after.
    pub new: Option<&'a [u8]>,
    /// The image before.
    pub old: OldImage<'a>,
    /// Who, where known.
    pub user: Option<&'a UserIdentity>,
}

/// What every record of a run is written relative to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base {
    pub(super) sequence: SequenceNumber,
    pub(super) second: Option<Second>,
}

/// Gathers records until the block is full.
#[derive(Debug, Default)]
pub(super) struct BlockBuilder {
    pub(super) columns: bool,
    pub(super) keys: Vec<u8>,
    pub(super) meta: Vec<u8>,
    pub(super) new: Vec<u8>,
    pub(super) old: Vec<u8>,
    pub(super) first_key: Vec<u8>,
    pub(super) last_key: Vec<u8>,
    pub(super) records: u64,
    pub(super) seconds: Option<(Second, Second)>,
    /// Where the new image of the last record lies, in `new` (columns) or `meta` (rows).
    last_new: Option<std::ops::Range<usize>>,
}

impl BlockBuilder {
    pub(super) fn new(columns: bool) -> Self {
        Self { columns, ..Self::default() }
    }

    /// Raw bytes so far.
    pub(super) fn raw_bytes(&self) -> usize {
        self.keys.len() + self.meta.len() + self.new.len() + self.old.len()
    }

    /// Forgets everything but the memory.
    pub(super) fn clear(&mut self) {
        for buffer in
            [&mut self.keys, &mut self.meta, &mut self.new, &mut self.old, &mut self.first_key, &mut self.last_key]
        {
            buffer.clear();
        }
        self.records = 0;
        self.seconds = None;
        self.last_new = None;
    }

    /// Adds a record; `user` is its user's number in the run's list. `old` are the bytes of its old image.
    pub(super) fn push(&mut self, record: &Record<'_>, old: Option<&[u8]>, user: Option<usize>, base: Base) {
        let same_key = self.records > 0 && record.key == self.last_key.as_slice();
        if self.records == 0 {
            self.first_key.extend_from_slice(record.key);
        }
        let images = if self.columns { &self.new } else { &self.meta };
        let before = self.last_new.clone().and_then(|range| images.get(range));
        let old_state: u8 = match old {
            None => 0,
            Some(bytes) if same_key && before == Some(bytes) => 1,
            Some(_) => 2,
        };
        let kind = match record.kind {
            RecordKind::Change(ChangeKind::Insert) => 0,
            RecordKind::Change(ChangeKind::Modify) => 1,
            RecordKind::Change(ChangeKind::Remove) | RecordKind::Tombstone => 2,
            RecordKind::Item => 3,
        };
        // An item has no old image: there the same bits say whether its sequence number is known.
        let unknown_sequence = record.kind == RecordKind::Item && record.sequence == SequenceNumber::MIN;
        let old_state = if record.kind == RecordKind::Item { u8::from(!unknown_sequence) } else { old_state };
        let mut flags: u8 = kind | (old_state << OLD_SHIFT);
        for (flag, is_set) in [
            (FLAG_SECOND, record.second.is_some()),
            (FLAG_NEW, record.new.is_some()),
            (FLAG_SAME_KEY, same_key),
            (FLAG_USER, user.is_some()),
        ] {
            if is_set {
                flags |= flag;
            }
        }
        self.meta.push(flags);
        if !same_key {
            let keys = if self.columns { &mut self.keys } else { &mut self.meta };
            let shared = shared_prefix(&self.last_key, record.key);
            put_length(keys, shared);
            put_bytes(keys, record.key.get(shared..).unwrap_or_default());
            self.last_key.truncate(shared);
            self.last_key.extend_from_slice(record.key.get(shared..).unwrap_or_default());
        }
        if !unknown_sequence {
            put_sequence(&mut self.meta, record.sequence, base.sequence);
        }
        if let Some(second) = record.second {
            put_varint(&mut self.meta, second.get().saturating_sub(base.second.map_or(0, Second::get)));
            self.seconds = Some(match self.seconds {
                None => (second, second),
                Some((first, last)) => (first.min(second), last.max(second)),
            });
        }
        if let Some(user) = user {
            put_length(&mut self.meta, user);
        }
        if self.columns {
            self.push_image_columns(record.new, old.filter(|_| old_state == 2));
        } else {
            self.push_image_rows(record.new, old.filter(|_| old_state == 2));
        }
        self.records += 1;
    }

    fn push_image_rows(&mut self, new: Option<&[u8]>, stored_old: Option<&[u8]>) {
        self.last_new = new.map(|new| {
            put_bytes(&mut self.meta, new);
            self.meta.len() - new.len()..self.meta.len()
        });
        if let Some(old) = stored_old {
            put_bytes(&mut self.meta, old);
        }
    }

    fn push_image_columns(&mut self, new: Option<&[u8]>, stored_old: Option<&[u8]>) {
        self.last_new = new.map(|new| {
            put_length(&mut self.meta, new.len());
            self.new.extend_from_slice(new);
            self.new.len() - new.len()..self.new.len()
        });
        if let Some(old) = stored_old {
            let new = new.unwrap_or_default();
            let prefix = shared_prefix(new, old);
            let (new_rest, old_rest) = (new.get(prefix..).unwrap_or_default(), old.get(prefix..).unwrap_or_default());
            let suffix = shared_suffix(new_rest, old_rest);
            let middle = old_rest.get(..old_rest.len() - suffix).unwrap_or_default();
            put_length(&mut self.meta, prefix);
            put_length(&mut self.meta, suffix);
            put_length(&mut self.meta, middle.len());
            self.old.extend_from_slice(middle);
        }
    }
}
