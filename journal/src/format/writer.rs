//! Writes a run: records in, bytes of one object out.

use std::collections::HashMap;

use super::block::{Base, BlockBuilder, Chunks, Record, RecordKind, has_image};
use super::codec::Compressor;
use super::columns::{ColumnBlock, SUPERSEDED_SHARE};
use super::error::{FormatError, Problem};
use super::footer::{Footer, RunKind, Statistics};
use super::index::{self, BlockEntry, ChunkRef, FIRST_CHUNKS, length_u64};
use super::time::{self, TimeFields};
use super::{BLOCKS_MAX, CHUNK_RAW_MAX, END_MAGIC, MAGIC, MAJOR, MINOR, filter};
use crate::model::{ChangeKind, ChangeRecord, KeyAttributes, Second, SequenceNumber, StreamArn, UserIdentity};

/// How a run is written.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// Row or column blocks, records or items.
    pub kind: RunKind,
    /// zstd level, 1 to 19.
    pub level: i32,
    /// A block ends with the record that brings its raw bytes to this; where the key's records go on, with the key's last one,
    /// or with the one that brings them to a quarter more.
    pub block_bytes: usize,
    /// Whether a key filter is written.
    pub filter: bool,
    /// Whether a time index is written, where there are blocks and seconds for one.
    pub time_index: bool,
}

impl WriterOptions {
    /// What one batch makes: rows, zstd 1, blocks of 1 MiB.
    #[must_use]
    pub fn rows() -> Self {
        Self { kind: RunKind::Rows, level: 1, block_bytes: 1 << 20, filter: true, time_index: false }
    }

    /// What compaction makes: columns, zstd 3, blocks of 28 KiB, which are at most 16 KB stored where text is as dense as
    /// prose.
    #[must_use]
    pub fn columns() -> Self {
        Self { kind: RunKind::Columns, level: 3, block_bytes: 28 << 10, filter: true, time_index: true }
    }

    /// A part of a snapshot: columns, zstd 3, blocks of 28 KiB.
    #[must_use]
    pub fn snapshot() -> Self {
        Self { kind: RunKind::Snapshot, time_index: false, ..Self::columns() }
    }

    /// Where a block ends within a key.
    fn most_block_bytes(&self) -> usize {
        self.block_bytes.saturating_add(self.block_bytes / 4)
    }
}

/// A finished run.
#[derive(Debug)]
pub struct EncodedRun {
    /// What has not been taken with [`RunWriter::take_ready`]: all of it, if nothing was taken.
    pub bytes: Vec<u8>,
    /// The footer that was written.
    pub footer: Footer,
    /// Bytes of the whole object.
    pub size: u64,
    /// CRC-32 of the whole object.
    pub crc32: u32,
}

/// Takes records in the order of (key, sequence number) and makes a run of them.
pub struct RunWriter {
    options: WriterOptions,
    stream: StreamArn,
    key_attributes: KeyAttributes,
    base: Base,
    compressor: Compressor,
    block: BlockBuilder,
    blocks: Vec<BlockEntry>,
    /// Whether the block that is gathered begins with the last key of the one before.
    continued: bool,
    /// The last key of each full page of the index.
    page_ends: Vec<Vec<u8>>,
    out: Vec<u8>,
    /// The second area, which is written when the first is complete.
    second: Vec<u8>,
    taken: u64,
    crc: crc32fast::Hasher,
    hashed: usize,
    statistics: Statistics,
    last: Option<(Vec<u8>, SequenceNumber)>,
    last_sequence: SequenceNumber,
    users: Vec<UserIdentity>,
    user_numbers: HashMap<UserIdentity, usize>,
    hashes: Vec<u64>,
    gathered: time::Gathered,
    scratch: Vec<u8>,
}

impl std::fmt::Debug for RunWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunWriter")
            .field("stream", &self.stream)
            .field("statistics", &self.statistics)
            .finish_non_exhaustive()
    }
}

impl RunWriter {
    /// A run of `stream`. `first_sequence` and `first_second` are the lowest that any of its records has: they are what
    /// the others are written relative to.
    ///
    /// # Errors
    /// When zstd refuses the level.
    pub fn new(
        options: WriterOptions,
        stream: StreamArn,
        key_attributes: KeyAttributes,
        first_sequence: SequenceNumber,
        first_second: Option<Second>,
    ) -> Result<Self, FormatError> {
        let compressor = Compressor::new(options.level)?;
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&MAJOR.to_le_bytes());
        header.extend_from_slice(&MINOR.to_le_bytes());
        let crc = crc32fast::hash(&header);
        header.extend_from_slice(&crc.to_le_bytes());
        Ok(Self {
            block: BlockBuilder::new(options.kind != RunKind::Rows),
            options,
            stream,
            key_attributes,
            base: Base { sequence: first_sequence, second: first_second },
            compressor,
            blocks: Vec::new(),
            continued: false,
            page_ends: Vec::new(),
            out: header,
            second: Vec::new(),
            taken: 0,
            crc: crc32fast::Hasher::new(),
            hashed: 0,
            statistics: Statistics::default(),
            last: None,
            last_sequence: first_sequence,
            users: Vec::new(),
            user_numbers: HashMap::new(),
            hashes: Vec::new(),
            gathered: time::Gathered::default(),
            scratch: Vec::new(),
        })
    }

    /// Encodes a sorted slice of records as one run.
    ///
    /// # Errors
    /// When the slice is empty or not strictly sorted by (key, sequence number).
    pub fn encode(
        options: WriterOptions,
        stream: StreamArn,
        key_attributes: KeyAttributes,
        records: &[ChangeRecord],
    ) -> Result<EncodedRun, FormatError> {
        let first_sequence = records.iter().map(|record| record.sequence).min().unwrap_or(SequenceNumber::MIN);
        let first_second = records.iter().filter_map(|record| record.second).min();
        let mut writer = Self::new(options, stream, key_attributes, first_sequence, first_second)?;
        for record in records {
            writer.push(&Record {
                key: record.key.as_bytes(),
                sequence: record.sequence,
                second: record.second,
                kind: RecordKind::Change(record.kind),
                new: record.new.as_ref().map(crate::model::Image::as_bytes),
                old: record.old.as_ref().map_or(super::OldImage::None, |old| super::OldImage::Whole(old.as_bytes())),
                user: record.user.as_ref(),
            })?;
        }
        writer.finish()
    }

    /// Adds a record.
    ///
    /// # Errors
    /// When it does not come after the one before it, is of the wrong sort for this run, or lies before the run's first
    /// second or sequence number: defects of the caller.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), FormatError> {
        let same_key = match &self.last {
            Some((key, sequence)) => match record.key.cmp(key.as_slice()) {
                std::cmp::Ordering::Greater => false,
                std::cmp::Ordering::Equal if record.sequence > *sequence => true,
                _ => return Err(encode_error("records are not in order".to_owned())),
            },
            None => false,
        };
        let folded = matches!(record.kind, RecordKind::Item | RecordKind::Tombstone);
        let wrong_image = record.new.is_some() != has_image(record.kind);
        if folded != (self.options.kind == RunKind::Snapshot) || wrong_image || (folded && same_key) {
            return Err(encode_error("a record of the wrong sort for this run".to_owned()));
        }
        // Full since the record before: whether its key goes on is known only now.
        let fill = self.block.fill();
        if fill >= self.options.block_bytes {
            let goes_on = self.block.ends_with(record.key);
            // One who looks for a key that ends with its block reads that block alone.
            if !goes_on || fill >= self.options.most_block_bytes() {
                self.flush_block(goes_on)?;
            }
        }
        let known = record.kind != RecordKind::Item || record.sequence != SequenceNumber::MIN;
        if (known && record.sequence < self.base.sequence)
            || record.second.is_some_and(|second| self.base.second.is_none_or(|base| second < base))
        {
            return Err(encode_error("a record before the first of its run".to_owned()));
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let old = record.old.bytes(&mut scratch);
        let raw = record.key.len() + record.new.map_or(0, <[u8]>::len) + old.map_or(0, <[u8]>::len) + 128;
        if raw > CHUNK_RAW_MAX.saturating_sub(self.options.most_block_bytes().saturating_mul(SUPERSEDED_SHARE)) {
            return Err(encode_error(format!("a record of {raw} bytes")));
        }
        let user = record.user.map(|user| self.user_number(user));
        self.block.push(record, old, user, self.base);
        self.scratch = scratch;
        self.count(record, same_key);
        Ok(())
    }

    fn user_number(&mut self, user: &UserIdentity) -> usize {
        if let Some(number) = self.user_numbers.get(user) {
            return *number;
        }
        let number = self.users.len();
        self.users.push(user.clone());
        self.user_numbers.insert(user.clone(), number);
        number
    }

    fn count(&mut self, record: &Record<'_>, same_key: bool) {
        let statistics = &mut self.statistics;
        statistics.records += 1;
        match record.kind {
            RecordKind::Change(ChangeKind::Insert) => statistics.inserts += 1,
            RecordKind::Change(ChangeKind::Modify) => statistics.modifies += 1,
            RecordKind::Change(ChangeKind::Remove) | RecordKind::Tombstone => statistics.removes += 1,
            RecordKind::Item => {}
        }
        match record.second {
            None => statistics.undated += 1,
            Some(second) => {
                statistics.seconds = Some(match statistics.seconds {
                    None => (second, second),
                    Some((first, last)) => (first.min(second), last.max(second)),
                });
                if self.options.time_index {
                    let at = second.get().saturating_sub(self.base.second.map_or(0, Second::get));
                    self.gathered.add(at, self.blocks.len());
                }
            }
        }
        self.last_sequence = self.last_sequence.max(record.sequence);
        if same_key {
            if let Some((_, sequence)) = &mut self.last {
                *sequence = record.sequence;
            }
            return;
        }
        statistics.keys += 1;
        if self.options.filter {
            self.hashes.push(filter::key_hash(record.key));
        }
        match &mut self.last {
            Some((key, sequence)) => {
                key.clear();
                key.extend_from_slice(record.key);
                *sequence = record.sequence;
            }
            None => self.last = Some((record.key.to_vec(), record.sequence)),
        }
    }

    fn offset(&self) -> u64 {
        self.taken.saturating_add(length_u64(self.out.len()))
    }

    fn flush_block(&mut self, goes_on: bool) -> Result<(), FormatError> {
        if self.block.records == 0 {
            return Ok(());
        }
        if self.blocks.len() >= BLOCKS_MAX {
            return Err(encode_error("too many blocks for one run".to_owned()));
        }
        let offset = self.offset();
        let compressor = &mut self.compressor;
        let chunks = match self.block.chunks(goes_on, self.base) {
            Chunks::Rows(raw) => vec![(compressor.frame(raw)?, raw.len())],
            Chunks::Columns(ColumnBlock { keys, latest, images, superseded, differences, .. }) => {
                let (first, second) = compressor.frame_in_two(images, differences)?;
                vec![
                    (compressor.frame(keys)?, keys.len()),
                    (compressor.frame(latest)?, latest.len()),
                    (first, images.len()),
                    (compressor.frame(superseded)?, superseded.len()),
                    (second, differences.len()),
                ]
            }
        };
        // Those of the second area lie that far behind the end of the first.
        let mut ends = [offset, length_u64(self.second.len())];
        let (mut refs, [first, second]) = (Vec::with_capacity(chunks.len()), &mut ends);
        for (number, (stored, raw)) in chunks.into_iter().enumerate() {
            let (end, area) =
                if number < FIRST_CHUNKS { (&mut *first, &mut self.out) } else { (&mut *second, &mut self.second) };
            refs.push(ChunkRef { offset: *end, stored: stored.len(), raw, crc32: crc32fast::hash(&stored) });
            *end = end.saturating_add(length_u64(stored.len()));
            area.extend_from_slice(&stored);
            self.statistics.raw_bytes += length_u64(raw);
        }
        let chunks = refs;
        self.blocks.push(BlockEntry {
            first_key: self.block.first_key.clone(),
            continued: std::mem::replace(&mut self.continued, goes_on),
            records: self.block.records,
            seconds: self.block.seconds,
            chunks,
        });
        if self.blocks.len().is_multiple_of(index::PAGE_BLOCKS) {
            self.page_ends.push(self.block.last_key.clone());
        }
        self.block.clear();
        self.gathered.end_block();
        Ok(())
    }

    /// The time index, which begins at `offset`; none where the run has none.
    fn time_index(&mut self, offset: u64) -> Option<(TimeFields, Vec<u8>)> {
        let gathered = std::mem::take(&mut self.gathered);
        let (first, (_, last)) = (self.base.second?, self.statistics.seconds?);
        let wanted = self.options.time_index && self.blocks.len() >= time::BLOCKS_MIN && self.statistics.undated == 0;
        wanted.then(|| {
            let slot_seconds = time::slot_seconds(last.get().saturating_sub(first.get()));
            time::encode(&gathered.cells(slot_seconds, length_u64(self.blocks.len())), slot_seconds, offset)
        })
    }

    /// Takes the bytes that are final so far, for writers that do not hold a run in memory. The second area of a run of columns is
    /// held until the end.
    pub fn take_ready(&mut self) -> Vec<u8> {
        self.hash_out();
        self.taken = self.offset();
        self.hashed = 0;
        std::mem::take(&mut self.out)
    }

    /// Bytes of the object so far, without the block being gathered.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.offset().saturating_add(length_u64(self.second.len()))
    }

    /// Records so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.statistics.records
    }

    fn hash_out(&mut self) {
        self.crc.update(self.out.get(self.hashed..).unwrap_or_default());
        self.hashed = self.out.len();
    }

    /// Writes the last block, filter, index, footer and trailer.
    ///
    /// # Errors
    /// When no record was pushed.
    pub fn finish(mut self) -> Result<EncodedRun, FormatError> {
        self.flush_block(false)?;
        let Some((last_key, _)) = self.last.take() else {
            return Err(encode_error("a run without records".to_owned()));
        };
        let second = std::mem::take(&mut self.second);
        self.out.extend_from_slice(&second);
        drop(second);
        let filter_offset = self.offset();
        let (pages, directory, filter_pages) =
            filter::build(&mut self.hashes).map_err(|problem| FormatError::new("a new run", None, 0, problem))?;
        self.out.extend_from_slice(&pages);
        let index_offset = self.offset();
        let (index_pages, index_top) = index::encode(&self.blocks, &self.page_ends, self.base.second);
        let time_offset = index_offset.saturating_add(length_u64(index_pages.len()));
        let (time, time_index) = self.time_index(time_offset).unzip();
        for part in [&index_pages, &time_index.unwrap_or_default(), &directory, &index_top] {
            self.out.extend_from_slice(part);
        }
        // The base is a lower bound that decoding needs; the last second is what was seen.
        let seconds = match (self.base.second, self.statistics.seconds) {
            (Some(first), Some((_, last))) => Some((first, last)),
            _ => None,
        };
        let snapshot = self.options.kind == RunKind::Snapshot;
        let statistics = Statistics {
            seconds,
            undated: if snapshot { 0 } else { self.statistics.undated },
            ..self.statistics.clone()
        };
        let footer = Footer {
            kind: self.options.kind,
            stream: self.stream.clone(),
            key_attributes: self.key_attributes.clone(),
            statistics,
            sequences: (self.base.sequence, self.last_sequence),
            last_key,
            users: std::mem::take(&mut self.users),
            filter_pages,
            filter_offset,
            filter_directory_length: directory.len(),
            filter_directory_crc32: crc32fast::hash(&directory),
            index_offset,
            index_top_length: index_top.len(),
            index_top_crc32: crc32fast::hash(&index_top),
            time,
        };
        let footer_offset = self.offset();
        let encoded = footer.encode();
        self.out.extend_from_slice(&encoded);
        let length = u32::try_from(encoded.len()).map_err(|_| encode_error("a footer above 4 GiB".to_owned()))?;
        let size = self.offset().saturating_add(length_u64(super::TRAILER_BYTES));
        let mut trailer = Vec::with_capacity(super::TRAILER_BYTES);
        trailer.extend_from_slice(&footer_offset.to_le_bytes());
        trailer.extend_from_slice(&length.to_le_bytes());
        trailer.extend_from_slice(&crc32fast::hash(&encoded).to_le_bytes());
        trailer.extend_from_slice(&size.to_le_bytes());
        let crc = crc32fast::hash(&trailer);
        trailer.extend_from_slice(&crc.to_le_bytes());
        trailer.extend_from_slice(&END_MAGIC);
        self.out.extend_from_slice(&trailer);
        self.hash_out();
        debug_assert_eq!(size, self.offset());
        Ok(EncodedRun { bytes: std::mem::take(&mut self.out), footer, size, crc32: self.crc.clone().finalize() })
    }
}

fn encode_error(reason: String) -> FormatError {
    FormatError::new("a new run", None, 0, Problem::Encode { reason })
}
