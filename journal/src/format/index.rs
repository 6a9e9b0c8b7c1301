//! The index: where blocks lie and what is in them, in pages that the top lists. FORMAT.md, "Index".

use super::error::Problem;
use super::footer::RunKind;
use super::wire::{Wire, put_bytes, put_length, put_varint, shared_prefix};
use super::{BLOCKS_MAX, CHUNK_RAW_MAX, HEADER_BYTES};
use crate::model::Second;

/// Where one chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChunkRef {
    /// Offset in the object.
    pub offset: u64,
    /// Stored bytes.
    pub stored: usize,
    /// Bytes after decompression.
    pub raw: usize,
    /// CRC-32 of the stored bytes.
    pub crc32: u32,
}

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockEntry {
    /// Key of its first record.
    pub first_key: Vec<u8>,
    /// Whether the block before it has records of that key too.
    pub continued: bool,
    /// Records in it.
    pub records: u64,
    /// First and last second; none when no record has one.
    pub seconds: Option<(Second, Second)>,
    /// One chunk (rows) or five (columns).
    pub chunks: Vec<ChunkRef>,
}

/// Chunks of a block of columns that lie in the first area.
pub(super) const FIRST_CHUNKS: usize = 3;

impl BlockEntry {
    /// Whether it has the first of all records of `key`, if there are any, and none of a key below: then nothing before it is needed
    /// for the key or for those above.
    #[must_use]
    pub fn begins_with(&self, key: &[u8]) -> bool {
        !self.continued && self.first_key == key
    }

    /// Where it begins in the object.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.chunks.first().map_or(0, |chunk| chunk.offset)
    }

    /// The bytes of the object that these columns of the block take: in the first area, and in the second. Without any in an area
    /// the range is empty.
    #[must_use]
    pub fn places(&self, columns: super::Columns) -> [std::ops::Range<u64>; 2] {
        let (first, second) = self.chunks.split_at(FIRST_CHUNKS.min(self.chunks.len()));
        let (first_count, second_count) = match columns {
            super::Columns::Keys => (FIRST_CHUNKS - 1, 1),
            super::Columns::Latest => (FIRST_CHUNKS, 0),
            super::Columns::New | super::Columns::All => (FIRST_CHUNKS, 2),
        };
        [(first, first_count), (second, second_count)].map(|(chunks, count)| {
            let chunks = chunks.get(..count.min(chunks.len())).unwrap_or_default();
            let (Some(one), Some(last)) = (chunks.first(), chunks.last()) else { return 0..0 };
            one.offset..last.offset.saturating_add(length_u64(last.stored))
        })
    }

    /// Bytes that its chunks take in the first area, and in the second.
    fn stored_bytes(&self) -> [u64; 2] {
        self.places(super::Columns::All).map(|place| place.end - place.start)
    }

    /// Bytes of these columns of the block after decompression.
    #[must_use]
    pub fn raw_bytes(&self, columns: super::Columns) -> usize {
        let places = self.places(columns);
        let read = |chunk: &&ChunkRef| places.iter().any(|place| place.contains(&chunk.offset));
        self.chunks.iter().filter(read).map(|chunk| chunk.raw).sum()
    }
}

pub(super) fn length_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Blocks that one page of the index describes: about 1.5 KB, so that a lookup reads little beside its block.
pub(super) const PAGE_BLOCKS: usize = 32;

/// One page of the index as the top describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexPage {
    /// No key of the page is below it, and none before the page is above it.
    pub(super) from_key: Vec<u8>,
    /// Blocks on the pages before it.
    pub(super) first_block: usize,
    /// Blocks on it.
    pub(super) blocks: usize,
    /// Records in its blocks.
    pub(super) records: u64,
    /// Where its blocks lie in the object: in the first area, and in the second.
    pub(super) data: [std::ops::Range<u64>; 2],
    /// Where the page lies in the object.
    pub(super) place: std::ops::Range<u64>,
    /// CRC-32 of its bytes.
    pub(super) crc32: u32,
}

/// The pages of the index and the top that lists them. `last_keys` has for each page after the first the last key before it.
pub(super) fn encode(
    entries: &[BlockEntry],
    last_keys: &[Vec<u8>],
    first_second: Option<Second>,
) -> (Vec<u8>, Vec<u8>) {
    let (mut pages, mut top) = (Vec::with_capacity(entries.len() * 48), Vec::new());
    put_length(&mut top, entries.len().div_ceil(PAGE_BLOCKS));
    let mut last_from: &[u8] = &[];
    for (number, page) in entries.chunks(PAGE_BLOCKS).enumerate() {
        let start = pages.len();
        encode_page(&mut pages, page, first_second);
        let stored = pages.get(start..).unwrap_or_default();
        let first_key = page.first().map_or(&[][..], |entry| entry.first_key.as_slice());
        let before = number.checked_sub(1).and_then(|at| last_keys.get(at));
        let from = before.map_or(&[][..], |before| separator(before, first_key));
        let shared = shared_prefix(last_from, from);
        put_length(&mut top, shared);
        put_bytes(&mut top, from.get(shared..).unwrap_or_default());
        last_from = from;
        put_length(&mut top, page.len());
        put_varint(&mut top, page.iter().map(|entry| entry.records).sum());
        for area in 0..2 {
            put_varint(&mut top, page.iter().filter_map(|entry| entry.stored_bytes().get(area).copied()).sum());
        }
        put_length(&mut top, stored.len());
        top.extend_from_slice(&crc32fast::hash(stored).to_le_bytes());
    }
    (pages, top)
}

/// The shortest beginning of `key` that lies above `before`; all of it when it does not.
fn separator<'a>(before: &[u8], key: &'a [u8]) -> &'a [u8] {
    key.get(..=shared_prefix(before, key)).unwrap_or(key)
}

fn encode_page(out: &mut Vec<u8>, entries: &[BlockEntry], first_second: Option<Second>) {
    let mut last: &[u8] = &[];
    for entry in entries {
        let shared = shared_prefix(last, &entry.first_key);
        put_length(out, shared);
        put_bytes(out, entry.first_key.get(shared..).unwrap_or_default());
        last = &entry.first_key;
        put_varint(out, entry.records.saturating_mul(2).saturating_add(u64::from(entry.continued)));
        match (entry.seconds, first_second) {
            (Some((first, end)), Some(base)) => {
                put_varint(out, 1 + first.get().saturating_sub(base.get()));
                put_varint(out, end.get().saturating_sub(first.get()));
            }
            _ => put_varint(out, 0),
        }
        for chunk in &entry.chunks {
            put_length(out, chunk.stored);
            if chunk.stored > 0 {
                put_length(out, chunk.raw);
                out.extend_from_slice(&chunk.crc32.to_le_bytes());
            }
        }
    }
}

/// Reads the top; the first page begins at `offset`.
pub(super) fn parse_top(bytes: &[u8], offset: u64) -> Result<Vec<IndexPage>, Problem> {
    let mut wire = Wire::new(bytes, "index");
    let count = wire.length()?;
    if count == 0 || count > BLOCKS_MAX.div_ceil(PAGE_BLOCKS) || count > bytes.len() {
        return Err(wire.malformed("number of pages"));
    }
    let mut pages: Vec<IndexPage> = Vec::with_capacity(count);
    let (mut place, mut first_block) = (offset, 0usize);
    // Where the second area begins is known when the first has been added up.
    let mut data = [length_u64(HEADER_BYTES), 0];
    for _ in 0..count {
        let before = pages.last().map_or(&[][..], |page| page.from_key.as_slice());
        let from_key = wire.shared_bytes(before)?;
        if from_key.as_slice() < before {
            return Err(wire.malformed("pages are not in the order of their keys"));
        }
        let (blocks, records) = (wire.length()?, wire.varint()?);
        let (bytes, length) = ([wire.varint()?, wire.varint()?], wire.length()?);
        if blocks == 0 || blocks > BLOCKS_MAX || records < length_u64(blocks) {
            return Err(wire.malformed("number of blocks"));
        }
        let end = place.checked_add(length_u64(length)).ok_or_else(|| wire.malformed("a length is too large"))?;
        let [first, second] = data;
        let ends = [first.checked_add(bytes[0]), second.checked_add(bytes[1])];
        let [Some(first_end), Some(second_end)] = ends else { return Err(wire.malformed("a length is too large")) };
        let crc32 = wire.u32()?;
        pages.push(IndexPage {
            from_key,
            first_block,
            blocks,
            records,
            data: [first..first_end, second..second_end],
            place: place..end,
            crc32,
        });
        (place, data, first_block) = (end, [first_end, second_end], first_block.saturating_add(blocks));
    }
    if first_block > BLOCKS_MAX {
        return Err(wire.malformed("number of blocks"));
    }
    let [second_area, length] = data;
    if second_area.checked_add(length).is_none() {
        return Err(wire.malformed("a length is too large"));
    }
    for page in &mut pages {
        let [_, second] = &mut page.data;
        *second = second_area + second.start..second_area + second.end;
    }
    if wire.is_empty() { Ok(pages) } else { Err(wire.malformed("bytes follow its end")) }
}

/// Reads the stored bytes of one page, whose checksum must have been checked, and adds its blocks.
pub(super) fn parse_page(
    entries: &mut Vec<BlockEntry>,
    page: &IndexPage,
    bytes: &[u8],
    kind: RunKind,
    first_second: Option<Second>,
) -> Result<(), Problem> {
    let mut wire = Wire::new(bytes, "index page");
    if page.blocks > bytes.len() {
        return Err(wire.malformed("number of blocks"));
    }
    let (mut offsets, mut records) = (page.data.each_ref().map(|data| data.start), 0u64);
    entries.reserve_exact(page.blocks);
    for number in 0..page.blocks {
        let before = entries.last().map(|entry| entry.first_key.as_slice());
        let first_key = wire.shared_bytes(before.filter(|_| number > 0).unwrap_or_default())?;
        if before.is_some_and(|before| first_key.as_slice() < before) {
            return Err(wire.malformed("blocks are not in the order of their keys"));
        }
        if number == 0 && !first_key.starts_with(&page.from_key) {
            return Err(wire.malformed("its first key is not what the top says"));
        }
        let is_befores = before.is_some_and(|before| first_key == before);
        let entry = parse_entry(&mut wire, first_key, &mut offsets, kind, first_second)?;
        if entry.continued {
            let is_first = page.first_block.saturating_add(number) == 0;
            if is_first || (number == 0 && entry.first_key != page.from_key) {
                return Err(wire.malformed("a block that continues none"));
            }
        } else if is_befores {
            return Err(wire.malformed("two blocks begin with one key"));
        }
        records = records.saturating_add(entry.records);
        entries.push(entry);
    }
    if !wire.is_empty() {
        return Err(wire.malformed("bytes follow its end"));
    }
    if records != page.records || offsets != page.data.each_ref().map(|data| data.end) {
        return Err(wire.malformed("it does not agree with the top"));
    }
    Ok(())
}

fn parse_entry(
    wire: &mut Wire<'_>,
    first_key: Vec<u8>,
    offsets: &mut [u64; 2],
    kind: RunKind,
    first_second: Option<Second>,
) -> Result<BlockEntry, Problem> {
    let counted = wire.varint()?;
    let (records, continued) = (counted / 2, counted % 2 == 1);
    if records == 0 {
        return Err(wire.malformed("a block without records"));
    }
    let seconds = match (wire.varint()?, first_second) {
        (0, _) => None,
        (_, None) => return Err(wire.malformed("a block has seconds, the run has none")),
        (delta, Some(base)) => {
            let first = base.get().checked_add(delta - 1).ok_or_else(|| wire.malformed("a second is too large"))?;
            let last = first.checked_add(wire.varint()?).ok_or_else(|| wire.malformed("a second is too large"))?;
            let second = |number| Second::new(number).map_err(|error| wire.malformed(&error.to_string()));
            Some((second(first)?, second(last)?))
        }
    };
    let mut chunks = Vec::with_capacity(kind.chunks());
    let [first, second] = offsets;
    for number in 0..kind.chunks() {
        let stored = wire.length()?;
        let (raw, crc32) = if stored == 0 { (0, 0) } else { (wire.length()?, wire.u32()?) };
        if raw > CHUNK_RAW_MAX || stored > CHUNK_RAW_MAX + 1024 || (stored == 0) != (raw == 0) {
            return Err(wire.malformed("the lengths of a chunk"));
        }
        let offset = if number < FIRST_CHUNKS { &mut *first } else { &mut *second };
        chunks.push(ChunkRef { offset: *offset, stored, raw, crc32 });
        *offset = offset.saturating_add(length_u64(stored));
    }
    Ok(BlockEntry { first_key, continued, records, seconds, chunks })
}
