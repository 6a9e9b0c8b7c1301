//! The state of one key at a cut, from its records in sequence order. SEMANTICS.md, "State at a cut".

use crate::format::{Record, RecordKind};
use crate::model::{Second, SequenceNumber};

use super::StateRef;
use crate::cut::{Cut, Position};

impl Cut {
    /// Whether a record has happened at this cut. `second` is the record's own, or that of the record before it of its
    /// key when it has none; a record without either counts as old as can be.
    #[must_use]
    #[inline]
    pub fn has(&self, sequence: SequenceNumber, second: Option<Second>) -> bool {
        match (self.position, self.inclusive) {
            (Position::Second(at), true) => second.is_none_or(|second| second <= at),
            (Position::Second(at), false) => second.is_none_or(|second| second < at),
            (Position::Sequence(at), true) => sequence.cmp_value(&at).is_le(),
            (Position::Sequence(at), false) => sequence.cmp_value(&at).is_lt(),
        }
    }
}

/// Which rule gives a key's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Found {
    /// Nothing yet.
    #[default]
    Nothing,
    /// An item of a snapshot: rule 3.
    Snapshot,
    /// The first record after the cut: rule 2.
    After,
    /// The last record at or before the cut: rule 1.
    Before,
}

/// Folds the records of one key after the other. Buffers are kept from key to key.
#[derive(Debug, Default)]
pub(super) struct KeyState {
    pub(super) key: Vec<u8>,
    started: bool,
    found: Found,
    image: Vec<u8>,
    live: bool,
    sequence: Option<SequenceNumber>,
    second: Option<Second>,
    /// The second that a record without one takes over.
    last_second: Option<Second>,
    scratch: Vec<u8>,
}

impl KeyState {
    /// Whether `key` is another one than the one being folded.
    #[inline]
    pub(super) fn is_other(&self, key: &[u8]) -> bool {
        self.started && self.key.as_slice() != key
    }

    /// Whether any record of a key was added.
    #[inline]
    pub(super) fn is_started(&self) -> bool {
        self.started
    }

    /// Begins the next key.
    #[inline]
    pub(super) fn reset(&mut self) {
        self.started = false;
        self.found = Found::Nothing;
        self.live = false;
        self.sequence = None;
        self.second = None;
        self.last_second = None;
    }

    /// Adds the key's next record in sequence order. What a snapshot has of the key comes first.
    #[inline]
    pub(super) fn add(&mut self, record: &Record<'_>, cut: &Cut) {
        if !self.started {
            self.started = true;
            self.key.clear();
            self.key.extend_from_slice(record.key);
        }
        if !matches!(record.kind, RecordKind::Change(_)) {
            self.add_entry(record, cut);
            return;
        }
        let second = record.second.or(self.last_second);
        self.last_second = second;
        if cut.has(record.sequence, second) {
            // What the snapshot has was made by a later record.
            if self.sequence.is_some_and(|sequence| record.sequence <= sequence) {
                return;
            }
            self.set(Found::Before, record.new, Some(record.sequence), record.second);
        } else if matches!(self.found, Found::Nothing | Found::Snapshot) {
            let mut scratch = std::mem::take(&mut self.scratch);
            let old = record.old.bytes(&mut scratch);
            self.set(Found::After, old, None, None);
            self.scratch = scratch;
        }
    }

    /// Adds what a snapshot has of the key. An entry that had happened at the cut stands for its record, with all before it;
    /// one that had not (the snapshot is younger than the cut) only speaks for keys without a record since the cut.
    fn add_entry(&mut self, record: &Record<'_>, cut: &Cut) {
        let known = record.sequence != SequenceNumber::MIN;
        if known && cut.has(record.sequence, record.second) {
            self.set(Found::Before, record.new, Some(record.sequence), record.second);
        } else if record.kind == RecordKind::Item {
            self.set(Found::Snapshot, record.new, None, None);
        }
    }

    #[inline]
    fn set(&mut self, found: Found, image: Option<&[u8]>, sequence: Option<SequenceNumber>, second: Option<Second>) {
        self.found = found;
        self.live = image.is_some();
        self.image.clear();
        self.image.extend_from_slice(image.unwrap_or_default());
        self.sequence = sequence;
        self.second = second;
    }

    /// The key's state at the cut; none when no key was begun.
    #[inline]
    pub(super) fn found(&self) -> Option<StateRef<'_>> {
        self.started.then_some(StateRef {
            key: &self.key,
            image: self.live.then_some(self.image.as_slice()),
            sequence: self.sequence,
            second: self.second,
        })
    }
}
