//! The time index: which blocks hold records of a time, in pages that a directory lists. FORMAT.md, "Time index".

use std::ops::Range;

use super::BLOCKS_MAX;
use super::error::{FormatError, Problem};
use super::index::length_u64;
use super::top::End;
use super::wire::{Wire, put_length, put_varint};
use crate::model::Second;

/// Runs of fewer blocks are read as their seconds tell.
pub(super) const BLOCKS_MIN: usize = 16;
/// Slots that a run's time is cut into, at most: the mean gap between cells is so many by the records of a block, one byte.
const SLOTS_MAX: u64 = 4096;
/// Cells of one page: about 1 KB.
const PAGE_CELLS: usize = 1024;
/// Bits of a block's number in what is gathered.
const BLOCK_BITS: u32 = BLOCKS_MAX.trailing_zeros();

/// What the footer says of a run's time index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimeFields {
    /// Seconds of a slot.
    pub(super) slot_seconds: u64,
    /// Where the pages begin.
    pub(super) offset: u64,
    /// Bytes of the directory, which follows them.
    pub(super) directory_length: usize,
    pub(super) directory_crc32: u32,
}

/// Which blocks have records of which seconds, gathered block after block.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// Second, counted from the run's first, and block, in one number each: as many as a run has records.
    pairs: Vec<u64>,
    /// How many of them are of blocks that were ended.
    ended: usize,
}

impl Gathered {
    /// Adds a record of the block at hand; its second counts from the run's first.
    pub(super) fn add(&mut self, second: u64, block: usize) {
        self.pairs.push(second << BLOCK_BITS | length_u64(block));
    }

    /// Ends the block at hand: a second of it is kept once.
    pub(super) fn end_block(&mut self) {
        let mut block = self.pairs.split_off(self.ended);
        block.sort_unstable();
        block.dedup();
        self.pairs.append(&mut block);
        self.ended = self.pairs.len();
    }

    /// The cells of `blocks` blocks where a slot has so many seconds, in order, each once.
    pub(super) fn cells(&self, slot_seconds: u64, blocks: u64) -> Vec<u64> {
        let cell = |pair: &u64| {
            let (second, block) = (pair >> BLOCK_BITS, pair & ((1 << BLOCK_BITS) - 1));
            (second / slot_seconds.max(1)).saturating_mul(blocks).saturating_add(block)
        };
        let mut cells: Vec<u64> = self.pairs.iter().map(cell).collect();
        cells.sort_unstable();
        cells.dedup();
        cells
    }
}

/// Seconds of a slot of a run whose last second lies so many after its first.
pub(super) fn slot_seconds(span: u64) -> u64 {
    span / SLOTS_MAX + 1
}

/// The time index with these cells, whose pages will begin at `offset`: pages, and the directory after them.
pub(super) fn encode(cells: &[u64], slot_seconds: u64, offset: u64) -> (TimeFields, Vec<u8>) {
    let (mut out, mut directory) = (Vec::with_capacity(cells.len() * 5 / 4), Vec::new());
    put_length(&mut directory, cells.len());
    let mut last_first = 0;
    for page in cells.chunks(PAGE_CELLS) {
        let (start, first) = (out.len(), page.first().copied().unwrap_or(0));
        for (before, cell) in page.iter().zip(page.iter().skip(1)) {
            put_varint(&mut out, cell - before);
        }
        let stored = out.get(start..).unwrap_or_default();
        put_varint(&mut directory, first - last_first);
        put_length(&mut directory, stored.len());
        directory.extend_from_slice(&crc32fast::hash(stored).to_le_bytes());
        last_first = first;
    }
    out.extend_from_slice(&directory);
    let (directory_length, directory_crc32) = (directory.len(), crc32fast::hash(&directory));
    (TimeFields { slot_seconds, offset, directory_length, directory_crc32 }, out)
}

/// One page as the directory describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TimePage {
    /// Its first cell.
    first: u64,
    cells: usize,
    place: Range<u64>,
    crc32: u32,
}

/// Where to read which blocks of a run hold records of a time.
#[derive(Debug, Clone)]
pub struct TimeIndex {
    pages: Vec<TimePage>,
    first_second: Second,
    slot_seconds: u64,
    /// Blocks of the run.
    blocks: u64,
}

impl TimeIndex {
    /// Reads the directory, whose checksum must have been checked, of a run of `blocks` blocks; its pages end at `end`.
    pub(super) fn parse(
        bytes: &[u8],
        fields: &TimeFields,
        first_second: Second,
        blocks: usize,
        end: u64,
    ) -> Result<Self, Problem> {
        let mut wire = Wire::new(bytes, "time directory");
        let mut left = wire.length()?;
        let count = left.div_ceil(PAGE_CELLS);
        if count == 0 || count > bytes.len() {
            return Err(wire.malformed("number of cells"));
        }
        let mut pages: Vec<TimePage> = Vec::with_capacity(count);
        let (mut first, mut offset) = (0u64, fields.offset);
        for number in 0..count {
            let delta = wire.varint()?;
            if number > 0 && delta == 0 {
                return Err(wire.malformed("pages are not in the order of their cells"));
            }
            first = first.checked_add(delta).ok_or_else(|| wire.malformed("a cell is too large"))?;
            let (length, crc32) = (wire.length()?, wire.u32()?);
            let end = offset.checked_add(length_u64(length)).ok_or_else(|| wire.malformed("a length is too large"))?;
            let cells = left.min(PAGE_CELLS);
            pages.push(TimePage { first, cells, place: offset..end, crc32 });
            (left, offset) = (left - cells, end);
        }
        if !wire.is_empty() {
            return Err(wire.malformed("bytes follow its end"));
        }
        if offset != end {
            return Err(wire.malformed("its pages do not end where it begins"));
        }
        Ok(Self { pages, first_second, slot_seconds: fields.slot_seconds.max(1), blocks: length_u64(blocks).max(1) })
    }

    /// How many pages there are.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// The cells of these seconds, both included.
    fn cells_of(&self, (from, through): (Second, Second)) -> Range<u64> {
        let slot = |second: Second| second.get().checked_sub(self.first_second.get()).map(|at| at / self.slot_seconds);
        let Some(last) = slot(through) else { return 0..0 };
        let end = last.saturating_add(1).saturating_mul(self.blocks);
        slot(from).unwrap_or(0).saturating_mul(self.blocks).min(end)..end
    }

    /// The pages that tell of these seconds, both included, as indices.
    #[must_use]
    pub fn pages_of(&self, seconds: (Second, Second)) -> Range<usize> {
        let cells = self.cells_of(seconds);
        let first = self.pages.partition_point(|page| page.first <= cells.start).saturating_sub(1);
        let end = self.pages.partition_point(|page| page.first < cells.end);
        first.min(end)..end
    }

    /// Where neighbouring pages lie in the object.
    #[must_use]
    pub fn place_of(&self, pages: &Range<usize>) -> Range<u64> {
        match self.pages.get(pages.clone()) {
            Some([first, .., last]) => first.place.start..last.place.end,
            Some([only]) => only.place.clone(),
            _ => 0..0,
        }
    }

    /// The numbers of the blocks that hold records of these seconds, and of few beside them, in order. `stored` are the bytes of
    /// [`TimeIndex::place_of`] for [`TimeIndex::pages_of`].
    ///
    /// # Errors
    /// When a page is not what was written.
    pub fn blocks(&self, object: &str, seconds: (Second, Second), stored: &[u8]) -> Result<Vec<usize>, FormatError> {
        let wanted = self.cells_of(seconds);
        let cells = self.cells(object, self.pages_of(seconds), stored)?;
        let block = |cell: &u64| usize::try_from(cell % self.blocks).ok();
        let mut blocks: Vec<usize> = cells.iter().filter(|cell| wanted.contains(cell)).filter_map(block).collect();
        blocks.sort_unstable();
        blocks.dedup();
        Ok(blocks)
    }

    /// The cells of neighbouring pages.
    pub(super) fn cells(&self, object: &str, pages: Range<usize>, stored: &[u8]) -> Result<Vec<u64>, FormatError> {
        let part = End { object, tail: stored, start: self.place_of(&pages).start };
        let mut cells = Vec::new();
        for page in self.pages.get(pages).unwrap_or_default() {
            let bytes = part.part(&page.place, page.crc32, "time page")?;
            parse_page(&mut cells, page, bytes)
                .map_err(|problem| FormatError::new(object, None, page.place.start, problem))?;
        }
        Ok(cells)
    }
}

fn parse_page(cells: &mut Vec<u64>, page: &TimePage, bytes: &[u8]) -> Result<(), Problem> {
    let mut wire = Wire::new(bytes, "time page");
    if cells.last().is_some_and(|before| *before >= page.first) {
        return Err(wire.malformed("it begins before the end of the page before"));
    }
    let mut cell = page.first;
    cells.push(cell);
    for _ in 1..page.cells {
        let gap = wire.varint()?;
        if gap == 0 {
            return Err(wire.malformed("a cell stands twice"));
        }
        cell = cell.checked_add(gap).ok_or_else(|| wire.malformed("a cell is too large"))?;
        cells.push(cell);
    }
    if wire.is_empty() { Ok(()) } else { Err(wire.malformed("bytes follow its end")) }
}
