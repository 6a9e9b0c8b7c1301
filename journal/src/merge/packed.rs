//! Records packed one after the other, as a merge keeps what it has read of small runs, in memory and in temporary files.
//!
//! What enters are records of runs; what leaves are the same records, borrowed from the bytes. The bytes are ours and live no longer than
//! the merge: their layout is no part of the format.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::cut::Cut;
use crate::format::{OldImage, Record, RecordKind};
use crate::model::{ChangeKind, Second, SequenceNumber, UserIdentity};

/// Bytes before the key: four lengths and numbers of 4 bytes, kind, width of the sequence number, its 17 bytes, whether there is a second,
/// and the second's 8.
const HEADER_BYTES: usize = 16 + 2 + 17 + 1 + 8;
/// Stands for an image or a user that is not there.
const NONE: u32 = u32::MAX;

/// The users that packed records name by number.
#[derive(Debug, Clone, Default)]
pub(super) struct Users {
    list: Vec<UserIdentity>,
    numbers: HashMap<UserIdentity, u32>,
}

impl Users {
    fn number(&mut self, user: Option<&UserIdentity>) -> u32 {
        let Some(user) = user else { return NONE };
        if let Some(number) = self.numbers.get(user) {
            return *number;
        }
        let number = u32::try_from(self.list.len()).unwrap_or(NONE);
        self.list.push(user.clone());
        self.numbers.insert(user.clone(), number);
        number
    }

    fn get(&self, number: u32) -> Option<&UserIdentity> {
        self.list.get(usize::try_from(number).ok()?)
    }
}

/// What of a record's images is kept.
#[derive(Debug, Clone, Copy)]
pub(super) enum Images {
    /// Both.
    Both,
    /// What a fold at a cut needs: the new one of a record that has happened, the old one of another. Only right when it is known
    /// whether each has.
    ForCut(Cut),
}

/// Appends a record to `out`.
pub(super) fn pack(out: &mut Vec<u8>, record: &Record<'_>, images: Images, users: &mut Users, scratch: &mut Vec<u8>) {
    let (with_new, with_old) = match images {
        Images::ForCut(cut) if matches!(record.kind, RecordKind::Change(_)) => {
            let has = cut.has(record.sequence, record.second);
            (has, !has)
        }
        _ => (true, true),
    };
    let new = record.new.filter(|_| with_new);
    let old = if with_old { record.old.bytes(scratch) } else { None };
    let length = |bytes: Option<&[u8]>| bytes.map_or(NONE, |bytes| u32::try_from(bytes.len()).unwrap_or(NONE));
    let kind: u8 = match record.kind {
        RecordKind::Change(ChangeKind::Insert) => 0,
        RecordKind::Change(ChangeKind::Modify) => 1,
        RecordKind::Change(ChangeKind::Remove) => 2,
        RecordKind::Item => 3,
        RecordKind::Tombstone => 4,
    };
    let (value, width) = record.sequence.to_parts();
    out.reserve(HEADER_BYTES + record.key.len() + new.map_or(0, <[u8]>::len) + old.map_or(0, <[u8]>::len));
    for number in [length(Some(record.key)), length(new), length(old), users.number(record.user)] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&[kind, width]);
    out.extend_from_slice(&value);
    out.push(u8::from(record.second.is_some()));
    out.extend_from_slice(&record.second.map_or(0, Second::get).to_le_bytes());
    for bytes in [Some(record.key), new, old].into_iter().flatten() {
        out.extend_from_slice(bytes);
    }
}

/// The most bytes that a record can take when it is packed.
pub(super) fn packed_bytes_max(record: &Record<'_>) -> usize {
    let old = match record.old {
        OldImage::None | OldImage::NotRead => 0,
        OldImage::Same(bytes) | OldImage::Whole(bytes) => bytes.len(),
        OldImage::Patch { prefix, suffix, middle, .. } => prefix + middle.len() + suffix,
    };
    HEADER_BYTES + record.key.len() + record.new.map_or(0, <[u8]>::len) + old
}

/// What the head of a packed record says, read once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    key: usize,
    new: u32,
    old: u32,
    user: u32,
    kind: RecordKind,
    sequence: SequenceNumber,
    second: Option<Second>,
}

impl Head {
    /// Of the record that `bytes` begin with.
    #[inline]
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.first_chunk::<HEADER_BYTES>()?.split_first_chunk::<16>()?;
        let [k0, k1, k2, k3, n0, n1, n2, n3, o0, o1, o2, o3, u0, u1, u2, u3] = *numbers;
        let (tags, rest) = rest.split_first_chunk::<2>()?;
        let [kind, width] = *tags;
        let (value, rest) = rest.split_first_chunk::<17>()?;
        let (dated, second) = rest.split_first()?;
        let second = u64::from_le_bytes(*second.first_chunk::<8>()?);
        let kind = match kind {
            0 => RecordKind::Change(ChangeKind::Insert),
            1 => RecordKind::Change(ChangeKind::Modify),
            2 => RecordKind::Change(ChangeKind::Remove),
            3 => RecordKind::Item,
            _ => RecordKind::Tombstone,
        };
        Some(Self {
            key: usize::try_from(u32::from_le_bytes([k0, k1, k2, k3])).ok()?,
            new: u32::from_le_bytes([n0, n1, n2, n3]),
            old: u32::from_le_bytes([o0, o1, o2, o3]),
            user: u32::from_le_bytes([u0, u1, u2, u3]),
            kind,
            sequence: SequenceNumber::from_stored_parts(*value, width),
            second: if *dated == 0 { None } else { Second::new(second).ok() },
        })
    }

    /// The key of that record.
    #[inline]
    pub(super) fn key<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(HEADER_BYTES..).and_then(|rest| rest.get(..self.key)).unwrap_or_default()
    }

    /// All of that record; none when `bytes` do not hold it.
    #[inline]
    pub(super) fn packed<'a>(&self, bytes: &'a [u8]) -> Option<Packed<'a>> {
        let (key, rest) = bytes.get(HEADER_BYTES..)?.split_at_checked(self.key)?;
        let (new, rest) = part(rest, self.new)?;
        let (old, rest) = part(rest, self.old)?;
        let Self { user, kind, sequence, second, .. } = *self;
        let bytes = bytes.get(..bytes.len() - rest.len())?;
        Some(Packed { key, sequence, second, kind, new, old, user, bytes })
    }
}

/// One packed record, borrowed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed<'a> {
    pub(super) key: &'a [u8],
    pub(super) sequence: SequenceNumber,
    pub(super) second: Option<Second>,
    pub(super) kind: RecordKind,
    pub(super) new: Option<&'a [u8]>,
    pub(super) old: Option<&'a [u8]>,
    user: u32,
    /// All its bytes.
    pub(super) bytes: &'a [u8],
}

impl<'a> Packed<'a> {
    /// The record that `bytes` begin with; none when they do not hold one.
    #[inline]
    pub(super) fn first(bytes: &'a [u8]) -> Option<Self> {
        Head::read(bytes)?.packed(bytes)
    }

    /// Where it comes among records of its key: what a snapshot has of it is first, and never a copy of a record.
    #[inline]
    pub(super) fn order(&self) -> Option<SequenceNumber> {
        matches!(self.kind, RecordKind::Change(_)).then_some(self.sequence)
    }

    /// In the order of a merge.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        self.key.cmp(other.key).then_with(|| self.order().cmp(&other.order()))
    }

    /// As a record of a run.
    #[inline]
    pub(super) fn record(&self, users: &'a Users) -> Record<'a> {
        Record {
            key: self.key,
            sequence: self.sequence,
            second: self.second,
            kind: self.kind,
            new: self.new,
            old: self.old.map_or(OldImage::None, OldImage::Whole),
            user: users.get(self.user),
        }
    }

    /// Whether two records with the same key and sequence number say the same.
    pub(super) fn says_the_same(&self, other: &Self, users: &Users) -> bool {
        self.kind == other.kind
            && self.second == other.second
            && self.new == other.new
            && self.old == other.old
            && users.get(self.user) == users.get(other.user)
    }
}

#[inline]
fn part(bytes: &[u8], length: u32) -> Option<(Option<&[u8]>, &[u8])> {
    if length == NONE {
        return Some((None, bytes));
    }
    let (part, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    Some((Some(part), rest))
}

/// Chooses among the records of one key, which come in sequence order, the one that a fold still needs: the last at or before the cut or,
/// without one, the first after it. Only right when every record has a second or the cut is by sequence number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    cut: Cut,
    chosen_has: Option<bool>,
}

impl Choice {
    pub(super) fn new(cut: Cut) -> Self {
        Self { cut, chosen_has: None }
    }

    /// Begins the next key.
    pub(super) fn reset(&mut self) {
        self.chosen_has = None;
    }

    /// Whether no record of the key was chosen yet.
    pub(super) fn is_empty(&self) -> bool {
        self.chosen_has.is_none()
    }

    /// Whether the next record takes the place of the one that was chosen before it.
    #[inline]
    pub(super) fn takes(&mut self, sequence: SequenceNumber, second: Option<Second>) -> bool {
        let has = self.cut.has(sequence, second);
        if !has && self.chosen_has.is_some() {
            return false;
        }
        self.chosen_has = Some(has);
        true
    }
}
