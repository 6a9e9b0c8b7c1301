//! Reads the records of one block, one after the other, without an allocation a record.

use std::ops::Range;
use std::sync::Arc;

use super::block::{FLAG_NEW, FLAG_SAME_KEY, FLAG_SECOND, FLAG_USER, OLD_SHIFT, OldImage, Record, RecordKind};
use super::error::{FormatError, Problem};
use super::footer::{Footer, RunKind};
use super::index::BlockEntry;
use super::wire::Wire;
use crate::model::{ChangeKind, Second, SequenceNumber};

const KEYS: usize = 0;
const META: usize = 1;
const NEW: usize = 2;
const OLD: usize = 3;
/// Longer keys than any are refused before memory is taken for them.
const KEY_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Clone, Default)]
enum Old {
    #[default]
    None,
    Same(Range<usize>),
    Whole(Range<usize>),
    Patch {
        prefix: usize,
        suffix: usize,
        middle: Range<usize>,
    },
    NotRead,
}

/// Which parts of a block are read. Runs of rows have one part, which is always read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Columns {
    /// Keys and metadata: enough to count and to filter by key, time and kind.
    Keys,
    /// These and new images.
    New,
    /// All.
    All,
}

impl Columns {
    /// How many chunks of a block of columns these are.
    #[must_use]
    pub fn chunks(self) -> usize {
        match self {
            Self::Keys => NEW,
            Self::New => OLD,
            Self::All => OLD + 1,
        }
    }
}

/// A zstd context. One serves any number of cursors: it takes about 160 KB.
pub struct Decompressor(zstd::bulk::Decompressor<'static>);

impl Decompressor {
    /// A context.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new() -> Result<Self, FormatError> {
        zstd::bulk::Decompressor::new().map(Self).map_err(|error| {
            FormatError::new("zstd", None, 0, Problem::Decompress { part: "context", reason: error.to_string() })
        })
    }
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

/// Walks the records of a block. The buffers are kept from block to block.
pub struct BlockCursor {
    object: String,
    footer: Arc<Footer>,
    base: ([u8; 17], u8),
    base_second: u64,
    /// Rows use only `META`.
    buffers: [Vec<u8>; 4],
    positions: [usize; 4],
    block: usize,
    offset: u64,
    left: u64,
    columns: Columns,
    key: Vec<u8>,
    started: bool,
    sequence: SequenceNumber,
    second: Option<Second>,
    kind: RecordKind,
    new: Option<Range<usize>>,
    old: Old,
    user: Option<usize>,
}

impl std::fmt::Debug for BlockCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockCursor").field("object", &self.object).field("block", &self.block).finish_non_exhaustive()
    }
}

impl BlockCursor {
    /// A cursor over blocks of the run `object` with this footer.
    #[must_use]
    pub fn new(object: &str, footer: Arc<Footer>) -> Self {
        Self {
            object: object.to_owned(),
            base: footer.sequences.0.to_parts(),
            base_second: footer.statistics.seconds.map_or(0, |(first, _)| first.get()),
            footer,
            buffers: Default::default(),
            positions: [0; 4],
            block: 0,
            offset: 0,
            left: 0,
            columns: Columns::All,
            key: Vec::new(),
            started: false,
            sequence: SequenceNumber::MIN,
            second: None,
            kind: RecordKind::Item,
            new: None,
            old: Old::None,
            user: None,
        }
    }

    /// Takes a block's stored bytes (those of [`BlockEntry::range`]; without old images the last chunk may be left out),
    /// checks and decompresses them.
    ///
    /// # Errors
    /// When a checksum or length does not hold, or zstd refuses.
    pub fn load(
        &mut self,
        decompressor: &mut Decompressor,
        block: usize,
        entry: &BlockEntry,
        stored: &[u8],
        with_old: bool,
    ) -> Result<(), FormatError> {
        let columns = if with_old { Columns::All } else { Columns::New };
        self.load_columns(decompressor, block, entry, stored, columns)
    }

    /// As [`BlockCursor::load`], with the chunks of `columns` alone: those of [`BlockEntry::range_of`]. An image whose column is
    /// not read is none in the records.
    ///
    /// # Errors
    /// As [`BlockCursor::load`].
    pub fn load_columns(
        &mut self,
        decompressor: &mut Decompressor,
        block: usize,
        entry: &BlockEntry,
        stored: &[u8],
        columns: Columns,
    ) -> Result<(), FormatError> {
        self.block = block;
        self.offset = entry.range().start;
        self.left = entry.records;
        self.started = false;
        self.columns = if self.footer.kind == RunKind::Rows { Columns::All } else { columns };
        self.positions = [0; 4];
        self.key.clear();
        self.new = None;
        let in_columns = self.footer.kind != RunKind::Rows;
        for (number, chunk) in entry.chunks.iter().enumerate() {
            let slot = if in_columns { number } else { META };
            let Some(buffer) = self.buffers.get_mut(slot) else { continue };
            buffer.clear();
            if slot >= self.columns.chunks() {
                continue;
            }
            let fail = |problem| Err(FormatError::new(&self.object, Some(block), chunk.offset, problem));
            let start = usize::try_from(chunk.offset.saturating_sub(self.offset)).unwrap_or(usize::MAX);
            let Some(bytes) = start.checked_add(chunk.stored).and_then(|end| stored.get(start..end)) else {
                let found = u64::try_from(stored.len()).unwrap_or(u64::MAX);
                return fail(Problem::Length { part: "block", found, expected: entry.range().end - self.offset });
            };
            let found = crc32fast::hash(bytes);
            if found != chunk.crc32 {
                return fail(Problem::Checksum { part: "chunk", found, expected: chunk.crc32 });
            }
            if chunk.stored == 0 {
                continue;
            }
            buffer.reserve_exact(chunk.raw);
            if let Err(error) = decompressor.0.decompress_to_buffer(bytes, buffer) {
                return fail(Problem::Decompress { part: "chunk", reason: error.to_string() });
            }
            if buffer.len() != chunk.raw {
                let found = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
                return fail(Problem::Length {
                    part: "chunk",
                    found,
                    expected: u64::try_from(chunk.raw).unwrap_or(u64::MAX),
                });
            }
        }
        Ok(())
    }

    /// Memory that the buffers take, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.buffers.iter().map(Vec::capacity).sum()
    }

    /// Goes to the next record; false at the end of the block.
    ///
    /// # Errors
    /// When the block's content breaks a rule of the format.
    #[inline]
    pub fn advance(&mut self) -> Result<bool, FormatError> {
        let step = if self.left == 0 { self.check_end() } else { self.step() };
        step.map_err(|problem| FormatError::new(&self.object, Some(self.block), self.offset, problem))
    }

    fn check_end(&self) -> Result<bool, Problem> {
        for (slot, (buffer, position)) in self.buffers.iter().zip(self.positions).enumerate() {
            let read = self.footer.kind != RunKind::Rows || slot == META;
            if read && position != buffer.len() && slot < self.columns.chunks() {
                return Err(Problem::Malformed { part: "block", reason: "bytes follow its last record".to_owned() });
            }
        }
        Ok(false)
    }

    #[inline]
    fn step(&mut self) -> Result<bool, Problem> {
        let rows = self.footer.kind == RunKind::Rows;
        let [keys, meta, new, old] = &self.buffers;
        let [keys_at, meta_at, new_at, old_at] = self.positions;
        let mut wire = Wire::at(meta, meta_at, "block");
        let flags = wire.byte()?;
        let same_key = flags & FLAG_SAME_KEY != 0;
        let mut keys_wire = Wire::at(keys, keys_at, "keys");
        if same_key {
            if !self.started {
                return Err(wire.malformed("the first record has no key"));
            }
        } else {
            let from = if rows { &mut wire } else { &mut keys_wire };
            let shared = from.length()?;
            let rest = from.bytes()?;
            if shared > self.key.len() || shared + rest.len() > KEY_BYTES_MAX {
                return Err(from.malformed("a key's length"));
            }
            self.key.truncate(shared);
            self.key.extend_from_slice(rest);
        }
        self.kind = match (flags & 3, self.footer.kind) {
            (0, RunKind::Rows | RunKind::Columns) => RecordKind::Change(ChangeKind::Insert),
            (1, RunKind::Rows | RunKind::Columns) => RecordKind::Change(ChangeKind::Modify),
            (2, RunKind::Rows | RunKind::Columns) => RecordKind::Change(ChangeKind::Remove),
            (2, RunKind::Snapshot) => RecordKind::Tombstone,
            (3, RunKind::Snapshot) => RecordKind::Item,
            _ => return Err(wire.malformed("a record of the wrong sort")),
        };
        // An item has no old image: these bits say there whether its sequence number follows.
        let old_state = (flags >> OLD_SHIFT) & 3;
        let (old_state, sequence_follows) = match self.kind {
            RecordKind::Item if old_state <= 1 => (0, old_state == 1),
            _ => (old_state, true),
        };
        self.sequence = if sequence_follows { wire.sequence(&self.base)? } else { SequenceNumber::MIN };
        self.second = if flags & FLAG_SECOND == 0 {
            None
        } else {
            let second = self.base_second.checked_add(wire.varint()?).and_then(|second| Second::new(second).ok());
            Some(second.ok_or_else(|| wire.malformed("a second is too large"))?)
        };
        self.user = if flags & FLAG_USER == 0 {
            None
        } else {
            let number = wire.length()?;
            if number >= self.footer.users.len() {
                return Err(wire.malformed("a user that is not listed"));
            }
            Some(number)
        };
        let before = self.new.take();
        let (mut new_end, mut old_end) = (new_at, old_at);
        if flags & FLAG_NEW != 0 {
            let length = wire.length()?;
            self.new = Some(if rows {
                wire.take(length)?;
                wire.position() - length..wire.position()
            } else {
                new_end = new_at
                    .checked_add(length)
                    .filter(|end| *end <= new.len() || self.columns < Columns::New)
                    .ok_or_else(|| wire.malformed("a new image's length"))?;
                new_at..new_end
            });
        }
        self.old = match old_state {
            0 => Old::None,
            1 => match before {
                Some(range) if same_key => Old::Same(range),
                _ => return Err(wire.malformed("an old image equal to one that is not there")),
            },
            2 if rows => {
                let length = wire.length()?;
                wire.take(length)?;
                Old::Whole(wire.position() - length..wire.position())
            }
            2 => {
                let (prefix, suffix, length) = (wire.length()?, wire.length()?, wire.length()?);
                let kept = self.new.as_ref().map_or(0, Range::len);
                if prefix.checked_add(suffix).is_none_or(|both| both > kept) {
                    return Err(wire.malformed("an old image keeps more than there is"));
                }
                if self.columns == Columns::All {
                    old_end = old_at
                        .checked_add(length)
                        .filter(|end| *end <= old.len())
                        .ok_or_else(|| wire.malformed("an old image's length"))?;
                    Old::Patch { prefix, suffix, middle: old_at..old_end }
                } else {
                    Old::NotRead
                }
            }
            _ => return Err(wire.malformed("an old image of an unknown sort")),
        };
        let sound = match self.kind {
            RecordKind::Item => self.new.is_some() && old_state == 0,
            RecordKind::Tombstone => self.new.is_none() && old_state == 0,
            RecordKind::Change(ChangeKind::Remove) => self.new.is_none(),
            RecordKind::Change(_) => self.new.is_some(),
        };
        if !sound {
            return Err(wire.malformed("a record without the image its kind needs"));
        }
        let (meta_end, keys_end) = (wire.position(), keys_wire.position());
        self.positions = [keys_end, meta_end, new_end, old_end];
        self.left -= 1;
        self.started = true;
        Ok(true)
    }

    /// The key of the current record.
    #[must_use]
    #[inline]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The sequence number of the current record.
    #[must_use]
    #[inline]
    pub fn sequence(&self) -> SequenceNumber {
        self.sequence
    }

    /// What the current record is.
    #[must_use]
    #[inline]
    pub fn kind(&self) -> RecordKind {
        self.kind
    }

    /// The image after the current record.
    #[must_use]
    #[inline]
    pub fn new_image(&self) -> Option<&[u8]> {
        let images = if self.footer.kind == RunKind::Rows { &self.buffers[META] } else { &self.buffers[NEW] };
        self.new.as_ref().filter(|_| self.columns >= Columns::New).and_then(|range| images.get(range.clone()))
    }

    /// Whether the block has a record after the current one; none says that it ends here.
    #[must_use]
    #[inline]
    pub(crate) fn next_has_same_key(&self) -> Option<bool> {
        let [_, meta, ..] = &self.buffers;
        let [_, at, ..] = self.positions;
        (self.left > 0).then(|| meta.get(at).is_some_and(|flags| flags & FLAG_SAME_KEY != 0))
    }

    /// The second of the current record.
    #[must_use]
    #[inline]
    pub fn second(&self) -> Option<Second> {
        self.second
    }

    /// The current record. Meaningless before the first `advance` and after one that gave false.
    #[must_use]
    #[inline]
    pub fn record(&self) -> Record<'_> {
        let images = if self.footer.kind == RunKind::Rows { &self.buffers[META] } else { &self.buffers[NEW] };
        let olds = if self.footer.kind == RunKind::Rows { &self.buffers[META] } else { &self.buffers[OLD] };
        let with_new = self.columns >= Columns::New;
        let new = self.new.as_ref().filter(|_| with_new).and_then(|range| images.get(range.clone()));
        let old = match &self.old {
            Old::None => OldImage::None,
            Old::Same(_) if !with_new => OldImage::NotRead,
            Old::Same(range) => OldImage::Same(images.get(range.clone()).unwrap_or_default()),
            Old::Whole(range) => OldImage::Whole(olds.get(range.clone()).unwrap_or_default()),
            Old::Patch { prefix, suffix, middle } => OldImage::Patch {
                new: new.unwrap_or_default(),
                prefix: *prefix,
                suffix: *suffix,
                middle: olds.get(middle.clone()).unwrap_or_default(),
            },
            Old::NotRead => OldImage::NotRead,
        };
        Record {
            key: &self.key,
            sequence: self.sequence,
            second: self.second,
            kind: self.kind,
            new,
            old,
            user: self.user.and_then(|number| self.footer.users.get(number)),
        }
    }
}

// `KEYS` names the first buffer for readers of `load`; the others are used by name.
const _: () = assert!(KEYS == 0 && META == 1 && NEW == 2 && OLD == 3);
