//! Reads the records of one block, one after the other, without an allocation a record.

mod walk;

use std::ops::Range;
use std::sync::Arc;

use super::block::{FLAG_SAME_KEY, OldImage, OldState, Record, RecordKind};
use super::codec::Decompressor;
use super::error::{FormatError, Problem};
use super::footer::{Footer, RunKind};
use super::index::{BlockEntry, ChunkRef, length_u64};
use crate::model::{Second, SequenceNumber};

/// Which parts of a block are read. Runs of rows have one part, which is always read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Columns {
    /// Keys and metadata: enough to count and to filter by key, time and kind.
    Keys,
    /// Of each key its latest record alone, without its old image; keys whose records go on in the next block are passed over. The
    /// state that the run's records make, if all have happened. Runs of rows give all their records.
    Latest,
    /// All but old images that are not those of the record before.
    New,
    /// All.
    All,
}

/// Where the image after a record lies.
#[derive(Debug, Clone, Default)]
enum New {
    #[default]
    None,
    /// In the buffer of images (columns) or of metadata (rows).
    Stored(Range<usize>),
    /// It was put together.
    Built,
}

/// Where the image before a record lies.
#[derive(Debug, Clone, Default)]
enum Old {
    #[default]
    None,
    /// It is the new image of the record before: where that lies.
    Same(New),
    Whole(Range<usize>),
    Difference(Difference),
    NotRead,
}

/// What an image has of another, and where its own middle lies.
#[derive(Debug, Clone)]
struct Difference {
    prefix: usize,
    suffix: usize,
    middle: Range<usize>,
}

/// Where a block's buffers are read next.
#[derive(Debug, Clone, Copy, Default)]
struct Positions {
    keys: usize,
    meta: usize,
    images: usize,
    history: usize,
    middles: usize,
}

/// What is read of a record beside key and images.
#[derive(Debug, Clone, Copy)]
struct Parsed {
    kind: RecordKind,
    sequence: SequenceNumber,
    second: Option<Second>,
    user: Option<usize>,
    old: OldState,
}

/// Walks the records of a block. The buffers are kept from block to block.
pub struct BlockCursor {
    object: String,
    footer: Arc<Footer>,
    base: ([u8; 17], u8),
    base_second: u64,
    keys: Vec<u8>,
    /// Of rows: all there is.
    meta: Vec<u8>,
    /// Latest images, and behind them the middles of differences.
    images: Vec<u8>,
    /// Superseded records.
    history: Vec<u8>,
    /// Where the middles begin.
    images_end: usize,
    at: Positions,
    block: usize,
    offset: u64,
    left: u64,
    columns: Columns,
    key: Vec<u8>,
    /// Of the key whose records are being given: how many superseded ones are still to come, its latest one and where the image of
    /// that lies, until it is given, and whether its records go on in the next block.
    superseded: u64,
    latest: Option<Parsed>,
    latest_image: Option<Range<usize>>,
    goes_on: bool,
    /// The new image of the record, if it had to be put together, and that of the record before.
    built: [Vec<u8>; 2],
    record: Parsed,
    started: bool,
    new: New,
    old: Old,
}

impl std::fmt::Debug for BlockCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockCursor").field("object", &self.object).field("block", &self.block).finish_non_exhaustive()
    }
}

const NO_RECORD: Parsed =
    Parsed { kind: RecordKind::Item, sequence: SequenceNumber::MIN, second: None, user: None, old: OldState::None };

impl BlockCursor {
    /// A cursor over blocks of the run `object` with this footer.
    #[must_use]
    pub fn new(object: &str, footer: Arc<Footer>) -> Self {
        Self {
            object: object.to_owned(),
            base: footer.sequences.0.to_parts(),
            base_second: footer.statistics.seconds.map_or(0, |(first, _)| first.get()),
            footer,
            keys: Vec::new(),
            meta: Vec::new(),
            images: Vec::new(),
            history: Vec::new(),
            images_end: 0,
            at: Positions::default(),
            block: 0,
            offset: 0,
            left: 0,
            columns: Columns::All,
            key: Vec::new(),
            superseded: 0,
            latest: None,
            latest_image: None,
            goes_on: false,
            built: Default::default(),
            record: NO_RECORD,
            started: false,
            new: New::None,
            old: Old::None,
        }
    }

    /// Takes the stored bytes of a block, its part of the first area and that of the second, as [`BlockEntry::places`] tells where
    /// they lie; checks and decompresses them. An image whose column is not read is none in the records.
    ///
    /// # Errors
    /// When a checksum or length does not hold, or zstd refuses.
    pub fn load(
        &mut self,
        decompressor: &mut Decompressor,
        block: usize,
        entry: &BlockEntry,
        stored: [&[u8]; 2],
        columns: Columns,
    ) -> Result<(), FormatError> {
        let rows = self.footer.kind == RunKind::Rows;
        self.block = block;
        self.offset = entry.offset();
        self.left = entry.records;
        self.started = false;
        self.columns = if rows { Columns::All } else { columns };
        self.at = Positions::default();
        (self.superseded, self.latest, self.latest_image, self.goes_on) = (0, None, None, false);
        self.key.clear();
        (self.new, self.old) = (New::None, Old::None);
        for buffer in [&mut self.keys, &mut self.meta, &mut self.images, &mut self.history] {
            buffer.clear();
        }
        let object = self.object.as_str();
        let places = entry.places(self.columns);
        let part = |chunk: &ChunkRef| -> Result<&[u8], FormatError> {
            let [first, second] = &places;
            let (place, bytes) = if chunk.offset < first.end { (first, stored[0]) } else { (second, stored[1]) };
            if chunk.stored == 0 {
                return Ok(&[]);
            }
            let start = usize::try_from(chunk.offset.saturating_sub(place.start)).unwrap_or(usize::MAX);
            let fail = |problem| FormatError::new(object, Some(block), chunk.offset, problem);
            let Some(bytes) = start.checked_add(chunk.stored).and_then(|end| bytes.get(start..end)) else {
                let (found, expected) = (length_u64(bytes.len()), place.end.saturating_sub(place.start));
                return Err(fail(Problem::Length { part: "block", found, expected }));
            };
            let found = crc32fast::hash(bytes);
            if found != chunk.crc32 {
                return Err(fail(Problem::Checksum { part: "chunk", found, expected: chunk.crc32 }));
            }
            Ok(bytes)
        };
        let at = |chunk: &ChunkRef| {
            let offset = chunk.offset;
            move |problem| FormatError::new(object, Some(block), offset, problem)
        };
        match entry.chunks.as_slice() {
            [only] if rows => decompressor.frame(part(only)?, only.raw, &mut self.meta).map_err(at(only))?,
            [keys, meta, images, superseded, middles] => {
                decompressor.frame(part(keys)?, keys.raw, &mut self.keys).map_err(at(keys))?;
                decompressor.frame(part(meta)?, meta.raw, &mut self.meta).map_err(at(meta))?;
                self.images_end = images.raw;
                if columns == Columns::Latest {
                    decompressor.frame(part(images)?, images.raw, &mut self.images).map_err(at(images))?;
                    return Ok(());
                }
                decompressor.frame(part(superseded)?, superseded.raw, &mut self.history).map_err(at(superseded))?;
                if columns >= Columns::New {
                    let (both, raw) = ([part(images)?, part(middles)?], images.raw.saturating_add(middles.raw));
                    decompressor.frame_in_two(both, raw, &mut self.images).map_err(at(images))?;
                }
            }
            _ => {
                let reason = "its chunks are not those of its kind of run".to_owned();
                let problem = Problem::Malformed { part: "block", reason };
                return Err(FormatError::new(object, Some(block), self.offset, problem));
            }
        }
        Ok(())
    }

    /// As [`BlockCursor::load`], from the bytes of the whole object.
    ///
    /// # Errors
    /// As [`BlockCursor::load`].
    pub fn load_from(
        &mut self,
        decompressor: &mut Decompressor,
        block: usize,
        entry: &BlockEntry,
        bytes: &[u8],
        columns: Columns,
    ) -> Result<(), FormatError> {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let stored = entry.places(columns).map(|place| bytes.get(at(place.start)..at(place.end)).unwrap_or_default());
        self.load(decompressor, block, entry, stored, columns)
    }

    /// Memory that the buffers take, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let [one, other] = &self.built;
        let buffers = [&self.keys, &self.meta, &self.images, &self.history, one, other];
        buffers.into_iter().map(Vec::capacity).sum()
    }

    /// Goes to the next record; false at the end of the block.
    ///
    /// # Errors
    /// When the block's content breaks a rule of the format.
    #[inline]
    pub fn advance(&mut self) -> Result<bool, FormatError> {
        let step = if self.left == 0 {
            self.check_end()
        } else if self.footer.kind == RunKind::Rows {
            self.step_rows()
        } else if self.columns == Columns::Latest {
            self.step_latest()
        } else {
            self.step_all()
        };
        step.map_err(|problem| FormatError::new(&self.object, Some(self.block), self.offset, problem))
    }

    fn image(&self, place: &New) -> Option<&[u8]> {
        match place {
            _ if self.columns == Columns::Keys => None,
            New::None => None,
            New::Stored(range) if self.footer.kind == RunKind::Rows => self.meta.get(range.clone()),
            New::Stored(range) => self.images.get(range.clone()),
            New::Built => Some(&self.built[0]),
        }
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
        self.record.sequence
    }

    /// What the current record is.
    #[must_use]
    #[inline]
    pub fn kind(&self) -> RecordKind {
        self.record.kind
    }

    /// The image after the current record.
    #[must_use]
    #[inline]
    pub fn new_image(&self) -> Option<&[u8]> {
        self.image(&self.new)
    }

    /// Whether the block has a record of the same key after the current one; none says that it ends here and the next may have one.
    #[must_use]
    #[inline]
    pub(crate) fn next_has_same_key(&self) -> Option<bool> {
        if self.footer.kind == RunKind::Rows {
            let next = || self.meta.get(self.at.meta).is_some_and(|flags| flags & FLAG_SAME_KEY != 0);
            return (self.left > 0).then(next);
        }
        let more = self.superseded > 0 || self.latest.is_some();
        (more || !self.goes_on).then_some(more)
    }

    /// The second of the current record.
    #[must_use]
    #[inline]
    pub fn second(&self) -> Option<Second> {
        self.record.second
    }

    /// The current record. Meaningless before the first `advance` and after one that gave false.
    #[must_use]
    #[inline]
    pub fn record(&self) -> Record<'_> {
        let new = self.image(&self.new);
        let old = match &self.old {
            Old::None => OldImage::None,
            Old::Same(_) if self.columns == Columns::Keys => OldImage::NotRead,
            Old::Same(New::Built) => OldImage::Same(&self.built[1]),
            Old::Same(place) => OldImage::Same(self.image(place).unwrap_or_default()),
            Old::Whole(range) => OldImage::Whole(self.meta.get(range.clone()).unwrap_or_default()),
            Old::Difference(Difference { prefix, suffix, middle }) => OldImage::Patch {
                new: new.unwrap_or_default(),
                prefix: *prefix,
                suffix: *suffix,
                middle: self.images.get(middle.clone()).unwrap_or_default(),
            },
            Old::NotRead => OldImage::NotRead,
        };
        Record {
            key: &self.key,
            sequence: self.record.sequence,
            second: self.record.second,
            kind: self.record.kind,
            new,
            old,
            user: self.record.user.and_then(|number| self.footer.users.get(number)),
        }
    }
}
