//! The index: where blocks lie and what is in them. FORMAT.md, "Index".

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
    /// Records in it.
    pub records: u64,
    /// First and last second; none when no record has one.
    pub seconds: Option<(Second, Second)>,
    /// One chunk (rows) or four (columns).
    pub chunks: Vec<ChunkRef>,
}

impl BlockEntry {
    /// The bytes of the object that the block takes.
    #[must_use]
    pub fn range(&self) -> std::ops::Range<u64> {
        let start = self.chunks.first().map_or(0, |chunk| chunk.offset);
        let end = self.chunks.last().map_or(0, |chunk| chunk.offset.saturating_add(length_u64(chunk.stored)));
        start..end
    }

    /// The bytes of the object that these columns of the block take; the whole block where it is of rows.
    #[must_use]
    pub fn range_of(&self, columns: super::Columns) -> std::ops::Range<u64> {
        let last = self.chunks.iter().take(columns.chunks()).next_back();
        let start = self.chunks.first().map_or(0, |chunk| chunk.offset);
        start..last.map_or(start, |chunk| chunk.offset.saturating_add(length_u64(chunk.stored)))
    }

    /// Bytes of the block's chunks after decompression.
    #[must_use]
    pub fn raw_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.raw).sum()
    }
}

pub(super) fn length_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

pub(super) fn encode(entries: &[BlockEntry], first_second: Option<Second>) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * 48 + 4);
    put_length(&mut out, entries.len());
    let mut last: &[u8] = &[];
    for entry in entries {
        let shared = shared_prefix(last, &entry.first_key);
        put_length(&mut out, shared);
        put_bytes(&mut out, entry.first_key.get(shared..).unwrap_or_default());
        last = &entry.first_key;
        put_varint(&mut out, entry.records);
        match (entry.seconds, first_second) {
            (Some((first, end)), Some(base)) => {
                put_varint(&mut out, 1 + first.get().saturating_sub(base.get()));
                put_varint(&mut out, end.get().saturating_sub(first.get()));
            }
            _ => put_varint(&mut out, 0),
        }
        for chunk in &entry.chunks {
            put_length(&mut out, chunk.stored);
            put_length(&mut out, chunk.raw);
            out.extend_from_slice(&chunk.crc32.to_le_bytes());
        }
    }
    out
}

pub(super) fn parse(bytes: &[u8], kind: RunKind, first_second: Option<Second>) -> Result<Vec<BlockEntry>, Problem> {
    let mut wire = Wire::new(bytes, "index");
    let count = wire.length()?;
    if count == 0 || count > BLOCKS_MAX || count > bytes.len() {
        return Err(wire.malformed("number of blocks"));
    }
    let mut entries: Vec<BlockEntry> = Vec::with_capacity(count);
    let mut offset = length_u64(HEADER_BYTES);
    for _ in 0..count {
        let shared = wire.length()?;
        let rest = wire.bytes()?;
        let before = entries.last().map_or(&[][..], |entry| entry.first_key.as_slice());
        let mut first_key =
            before.get(..shared).ok_or_else(|| wire.malformed("a key shares more than there is"))?.to_vec();
        first_key.extend_from_slice(rest);
        if first_key.as_slice() < before {
            return Err(wire.malformed("blocks are not in the order of their keys"));
        }
        let records = wire.varint()?;
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
        for _ in 0..kind.chunks() {
            let (stored, raw, crc32) = (wire.length()?, wire.length()?, wire.u32()?);
            if raw > CHUNK_RAW_MAX || stored > CHUNK_RAW_MAX + 1024 || (stored == 0) != (raw == 0) {
                return Err(wire.malformed("the lengths of a chunk"));
            }
            chunks.push(ChunkRef { offset, stored, raw, crc32 });
            offset = offset.saturating_add(length_u64(stored));
        }
        entries.push(BlockEntry { first_key, records, seconds, chunks });
    }
    if wire.is_empty() { Ok(entries) } else { Err(wire.malformed("bytes follow its end")) }
}
