//! Reads a run's header and its tail.

use std::sync::Arc;

use super::error::{FormatError, Problem};
use super::filter::{self, FilterPage};
use super::footer::Footer;
use super::index::{BlockEntry, length_u64};
use super::top::{TopLayout, read_top};
use super::{HEADER_BYTES, MAGIC, MAJOR};

/// How much of an object's end a first read asks for: trailer, footer, top and filter directory of all but extraordinary runs,
/// and the whole index of small ones.
pub const TAIL_BYTES: u64 = 16 << 10;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Major version.
    pub major: u16,
    /// Minor version.
    pub minor: u16,
}

impl Header {
    /// Checks the first bytes of an object.
    ///
    /// # Errors
    /// When they are not those of a run, or of another major version.
    pub fn parse(object: &str, bytes: &[u8]) -> Result<Self, FormatError> {
        let fail = |problem| Err(FormatError::new(object, None, 0, problem));
        let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return fail(Problem::Length {
                part: "header",
                found: length_u64(bytes.len()),
                expected: length_u64(HEADER_BYTES),
            });
        };
        let [m0, m1, m2, m3, m4, m5, m6, m7, major0, major1, minor0, minor1, c0, c1, c2, c3] = *header;
        if [m0, m1, m2, m3, m4, m5, m6, m7] != MAGIC {
            return fail(Problem::Magic { part: "header" });
        }
        let expected = u32::from_le_bytes([c0, c1, c2, c3]);
        let found = crc32fast::hash(header.get(..12).unwrap_or_default());
        if found != expected {
            return fail(Problem::Checksum { part: "header", found, expected });
        }
        let header = Self { major: u16::from_le_bytes([major0, major1]), minor: u16::from_le_bytes([minor0, minor1]) };
        if header.major != MAJOR {
            return fail(Problem::Version { found: header.major, expected: MAJOR });
        }
        Ok(header)
    }
}

/// What is needed of a run before any of its blocks.
#[derive(Debug, Clone)]
pub struct Tail {
    /// The footer.
    pub footer: Arc<Footer>,
    /// The blocks in order: all, or those that have the keys the tail was read for.
    pub blocks: Arc<Vec<BlockEntry>>,
    /// Blocks of the run before the first of them: 0, unless the tail was read for some keys only.
    pub first_block: usize,
    pub(super) filter: Arc<Vec<FilterPage>>,
}

/// How far reading a tail came.
#[derive(Debug, Clone)]
pub enum Layout {
    /// All of it.
    Complete(Tail),
    /// The bytes given do not reach far enough: read this many from the end.
    More(u64),
}

/// Reads the tail from the last bytes of an object of `size` bytes.
///
/// # Errors
/// When the bytes are not the end of a run, or a checksum or rule does not hold.
pub fn read_tail(object: &str, tail: &[u8], size: u64) -> Result<Layout, FormatError> {
    let top = match read_top(object, tail, size)? {
        TopLayout::Complete(top) => top,
        TopLayout::More(wanted) => return Ok(Layout::More(wanted)),
    };
    let start = size.saturating_sub(length_u64(tail.len()));
    let place = top.place_of(&(0..top.pages()));
    if place.start < start {
        return Ok(Layout::More(size - place.start));
    }
    let stored = slice(tail, start, place.start, usize::try_from(place.end - place.start).unwrap_or(usize::MAX));
    top.tail(object, 0..top.pages(), stored.unwrap_or_default()).map(Layout::Complete)
}

pub(super) fn slice(tail: &[u8], start: u64, offset: u64, length: usize) -> Option<&[u8]> {
    let from = usize::try_from(offset.checked_sub(start)?).ok()?;
    tail.get(from..from.checked_add(length)?)
}

impl Tail {
    /// The page of the key filter that knows a key; none when the run has no filter, so that the key may be there.
    #[must_use]
    pub fn filter_page(&self, key: &[u8]) -> Option<FilterPage> {
        filter::page_for(&self.filter, key)
    }

    /// Where the pages of the key filter end.
    #[must_use]
    pub fn pages_end(&self) -> u64 {
        self.footer.index_offset
    }

    /// Whether the run may have `key`, given the stored bytes of its page.
    ///
    /// # Errors
    /// When the page is not what was written.
    pub fn may_contain(&self, object: &str, page: FilterPage, stored: &[u8], key: &[u8]) -> Result<bool, FormatError> {
        let found = crc32fast::hash(stored);
        if found != page.crc32 {
            let problem = Problem::Checksum { part: "filter page", found, expected: page.crc32 };
            return Err(FormatError::new(object, None, page.offset, problem));
        }
        filter::page_contains(stored, filter::key_hash(key))
            .map_err(|problem| FormatError::new(object, None, page.offset, problem))
    }

    /// Where the blocks end: the areas in which they lie.
    #[must_use]
    pub fn blocks_end(&self) -> u64 {
        self.footer.filter_offset
    }

    /// The blocks that can have keys from `range`, as indices.
    #[must_use]
    pub fn blocks_of_keys(&self, range: &std::ops::Range<bytes::Bytes>) -> std::ops::Range<usize> {
        if self.footer.last_key.as_slice() < range.start.as_ref() {
            return 0..0;
        }
        let below = self.blocks.partition_point(|block| block.first_key.as_slice() < range.start.as_ref());
        let begins = self.blocks.get(below).is_some_and(|block| block.begins_with(&range.start));
        let first = if begins { below } else { below.saturating_sub(1) };
        let end = self.blocks.partition_point(|block| block.first_key.as_slice() < range.end.as_ref());
        first.min(end)..end
    }
}
