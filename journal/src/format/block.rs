//! A record of a run, and records of one block being gathered. FORMAT.md, "Records in blocks".

use super::columns::ColumnBlock;
use super::rows::RowBlock;
use super::wire::{put_bytes, put_length, put_sequence, put_varint, shared_prefix};
use crate::model::{ChangeKind, Second, SequenceNumber, UserIdentity};

pub(super) const FLAG_SECOND: u8 = 1 << 2;
/// Of rows: a new image follows.
pub(super) const FLAG_NEW: u8 = 1 << 3;
/// Of the latest record in columns: a count of superseded records follows.
pub(super) const FLAG_SUPERSEDED: u8 = 1 << 3;
pub(super) const OLD_SHIFT: u8 = 4;
/// Of rows: the key is that of the record before.
pub(super) const FLAG_SAME_KEY: u8 = 1 << 6;
/// Of columns, where the latest record is told: the key's records go on in the next block.
pub(super) const FLAG_GOES_ON: u8 = 1 << 6;
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

/// Whether a record of this kind has a new image.
pub(super) fn has_image(kind: RecordKind) -> bool {
    !matches!(kind, RecordKind::Change(ChangeKind::Remove) | RecordKind::Tombstone)
}

/// The old image of a record as its flags tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OldState {
    None,
    /// Equal to the new image of the record before.
    Same,
    Stored,
}

impl OldState {
    /// `before` is the new image of the record before it of its key in its block.
    pub(super) fn of(old: Option<&[u8]>, before: Option<&[u8]>) -> Self {
        match (old, before) {
            (None, _) => Self::None,
            (Some(old), Some(before)) if old == before => Self::Same,
            _ => Self::Stored,
        }
    }
}

/// What is written of a record beside key and images.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) kind: RecordKind,
    pub(super) sequence: SequenceNumber,
    pub(super) second: Option<Second>,
    /// The user's number in the run's list.
    pub(super) user: Option<usize>,
    pub(super) old: OldState,
}

impl Head {
    /// The flags, without those that rows and columns use in their own ways.
    pub(super) fn flags(&self) -> u8 {
        let kind = match self.kind {
            RecordKind::Change(ChangeKind::Insert) => 0,
            RecordKind::Change(ChangeKind::Modify) => 1,
            RecordKind::Change(ChangeKind::Remove) | RecordKind::Tombstone => 2,
            RecordKind::Item => 3,
        };
        // An item has no old image: there the same bits say whether its sequence number is known.
        let old: u8 = match (self.kind, self.old) {
            (RecordKind::Item, _) => u8::from(self.sequence != SequenceNumber::MIN),
            (_, OldState::None) => 0,
            (_, OldState::Same) => 1,
            (_, OldState::Stored) => 2,
        };
        let second = if self.second.is_some() { FLAG_SECOND } else { 0 };
        let user = if self.user.is_some() { FLAG_USER } else { 0 };
        kind | (old << OLD_SHIFT) | second | user
    }

    /// Appends sequence number, second and user.
    pub(super) fn put_rest(&self, out: &mut Vec<u8>, base: Base) {
        if self.kind != RecordKind::Item || self.sequence != SequenceNumber::MIN {
            put_sequence(out, self.sequence, base.sequence);
        }
        if let Some(second) = self.second {
            put_varint(out, second.get().saturating_sub(base.second.map_or(0, Second::get)));
        }
        if let Some(user) = self.user {
            put_length(out, user);
        }
    }
}

/// Appends a key relative to the one before it, which it then replaces.
pub(super) fn put_key(out: &mut Vec<u8>, last: &mut Vec<u8>, key: &[u8]) {
    let shared = shared_prefix(last, key);
    put_length(out, shared);
    put_bytes(out, key.get(shared..).unwrap_or_default());
    last.truncate(shared);
    last.extend_from_slice(key.get(shared..).unwrap_or_default());
}

/// How the records of a block are gathered.
#[derive(Debug)]
enum Gathered {
    Rows(RowBlock),
    Columns(ColumnBlock),
}

/// Gathers records until the block is full.
#[derive(Debug)]
pub(super) struct BlockBuilder {
    gathered: Gathered,
    pub(super) first_key: Vec<u8>,
    pub(super) last_key: Vec<u8>,
    pub(super) records: u64,
    pub(super) seconds: Option<(Second, Second)>,
}

impl BlockBuilder {
    pub(super) fn new(columns: bool) -> Self {
        let gathered =
            if columns { Gathered::Columns(ColumnBlock::default()) } else { Gathered::Rows(RowBlock::default()) };
        Self { gathered, first_key: Vec::new(), last_key: Vec::new(), records: 0, seconds: None }
    }

    /// How full the block is, in raw bytes.
    pub(super) fn fill(&self) -> usize {
        match &self.gathered {
            Gathered::Rows(rows) => rows.bytes.len(),
            Gathered::Columns(columns) => columns.fill(),
        }
    }

    /// The raw chunks. Nothing is added any more; `goes_on` says whether the next block begins with a record of the last key.
    pub(super) fn chunks(&mut self, goes_on: bool, base: Base) -> Chunks<'_> {
        match &mut self.gathered {
            Gathered::Rows(rows) => Chunks::Rows(&rows.bytes),
            Gathered::Columns(columns) => {
                columns.end_key(goes_on, base);
                Chunks::Columns(columns)
            }
        }
    }

    /// Forgets everything but the memory.
    pub(super) fn clear(&mut self) {
        match &mut self.gathered {
            Gathered::Rows(rows) => rows.clear(),
            Gathered::Columns(columns) => columns.clear(),
        }
        self.first_key.clear();
        self.last_key.clear();
        self.records = 0;
        self.seconds = None;
    }

    /// Whether the block's last record is of this key.
    pub(super) fn ends_with(&self, key: &[u8]) -> bool {
        self.records > 0 && self.last_key.as_slice() == key
    }

    /// Adds a record; `user` is its user's number in the run's list. `old` are the bytes of its old image.
    pub(super) fn push(&mut self, record: &Record<'_>, old: Option<&[u8]>, user: Option<usize>, base: Base) {
        let same_key = self.ends_with(record.key);
        if self.records == 0 {
            self.first_key.extend_from_slice(record.key);
        }
        if let Some(second) = record.second {
            self.seconds = Some(match self.seconds {
                None => (second, second),
                Some((first, last)) => (first.min(second), last.max(second)),
            });
        }
        match &mut self.gathered {
            Gathered::Rows(rows) => rows.push(record, old, user, base, same_key, &mut self.last_key),
            Gathered::Columns(columns) => columns.push(record, old, user, base, same_key, &mut self.last_key),
        }
        self.records += 1;
    }
}

/// The raw chunks of a block.
pub(super) enum Chunks<'a> {
    Rows(&'a [u8]),
    Columns(&'a ColumnBlock),
}
