//! Reads the top of a run's index with what stands beside it: footer, filter directory, trailer.

use std::ops::Range;
use std::sync::Arc;

use super::error::{FormatError, Problem};
use super::filter::{self, FilterPage};
use super::footer::Footer;
use super::index::{self, IndexPage, length_u64};
use super::reader::{TAIL_BYTES, Tail, slice};
use super::time::TimeIndex;
use super::{END_MAGIC, HEADER_BYTES, TRAILER_BYTES};

/// What tells which page of the index, and which page of the key filter, knows a key.
#[derive(Debug, Clone)]
pub struct Top {
    /// The footer.
    pub footer: Arc<Footer>,
    pages: Vec<IndexPage>,
    filter: Arc<Vec<FilterPage>>,
    /// Where the time index ends and the filter directory begins.
    directory_start: u64,
}

/// What the top says of one page of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRef<'a> {
    /// No key of the page is below it, and none before the page is above it.
    pub from_key: &'a [u8],
    /// Blocks on it.
    pub blocks: usize,
    /// Stored bytes of its blocks in the first area, and in the second.
    pub stored: [u64; 2],
}

/// How far reading a top came.
#[derive(Debug, Clone)]
pub enum TopLayout {
    /// All of it.
    Complete(Top),
    /// The bytes given do not reach far enough: read this many from the end.
    More(u64),
}

/// The fields of the trailer.
struct Trailer {
    at: u64,
    footer: Range<u64>,
    footer_crc32: u32,
}

/// Reads the top from the last bytes of an object of `size` bytes.
///
/// # Errors
/// When the bytes are not the end of a run, or a checksum or rule does not hold.
pub fn read_top(object: &str, tail: &[u8], size: u64) -> Result<TopLayout, FormatError> {
    let least = length_u64(HEADER_BYTES + TRAILER_BYTES);
    if size < least {
        let problem = Problem::Length { part: "object", found: size, expected: least };
        return Err(FormatError::new(object, None, 0, problem));
    }
    if tail.len() < TRAILER_BYTES {
        return Ok(TopLayout::More(TAIL_BYTES.min(size)));
    }
    let end = End { object, tail, start: size.saturating_sub(length_u64(tail.len())) };
    let trailer = end.trailer(size)?;
    if trailer.footer.start < end.start {
        return Ok(TopLayout::More(size - trailer.footer.start));
    }
    let stored = end.part(&trailer.footer, trailer.footer_crc32, "footer")?;
    let at = |offset| move |problem| FormatError::new(object, None, offset, problem);
    let footer = Footer::parse(stored).map_err(at(trailer.footer.start))?;
    let top_start = trailer.footer.start.saturating_sub(length_u64(footer.index_top_length));
    let directory_start = top_start.saturating_sub(length_u64(footer.filter_directory_length));
    let time = time_place(&footer, directory_start);
    let parts_follow = length_u64(HEADER_BYTES) <= footer.filter_offset
        && footer.filter_offset <= footer.index_offset
        && footer.index_offset <= time.start
        && time.start <= time.end
        && time.end <= directory_start;
    if !parts_follow {
        return end.malformed(trailer.footer.start, "footer", "its parts do not follow each other");
    }
    if directory_start < end.start {
        return Ok(TopLayout::More(size - directory_start));
    }
    let stored = end.part(&(top_start..trailer.footer.start), footer.index_top_crc32, "index")?;
    let pages = index::parse_top(stored, footer.index_offset).map_err(at(top_start))?;
    let stored = end.part(&(directory_start..top_start), footer.filter_directory_crc32, "filter directory")?;
    let filter =
        filter::parse_directory(stored, footer.filter_pages, footer.filter_offset).map_err(at(directory_start))?;
    let filter_end =
        filter.last().map_or(footer.filter_offset, |page| page.offset.saturating_add(u64::from(page.length)));
    let records = pages.iter().fold(0u64, |sum, page| sum.saturating_add(page.records));
    let agrees = filter_end == footer.index_offset
        && pages.last().is_some_and(|page| page.place.end == time.start && page.data[1].end == footer.filter_offset)
        && records == footer.statistics.records
        && trailer.at == trailer.footer.end;
    if !agrees {
        return end.malformed(trailer.footer.start, "footer", "it does not agree with the index");
    }
    Ok(TopLayout::Complete(Top { footer: Arc::new(footer), pages, filter: Arc::new(filter), directory_start }))
}

/// From where the pages of the time index lie to where its directory begins; empty where the run has none.
fn time_place(footer: &Footer, directory_start: u64) -> Range<u64> {
    match &footer.time {
        Some(time) => time.offset..directory_start.saturating_sub(length_u64(time.directory_length)),
        None => directory_start..directory_start,
    }
}

/// Bytes of an object, its last ones or others; they begin at `start`.
pub(super) struct End<'a> {
    pub(super) object: &'a str,
    pub(super) tail: &'a [u8],
    pub(super) start: u64,
}

impl<'a> End<'a> {
    fn trailer(&self, size: u64) -> Result<Trailer, FormatError> {
        let at = size.saturating_sub(length_u64(TRAILER_BYTES));
        let fail = |problem| FormatError::new(self.object, None, at, problem);
        let trailer = slice(self.tail, self.start, at, TRAILER_BYTES).unwrap_or_default();
        let Some((body, magic)) = trailer.split_last_chunk::<4>().map(|(body, magic)| (body, *magic)) else {
            return self.malformed(at, "trailer", "it ends too early");
        };
        if magic != END_MAGIC {
            return Err(fail(Problem::Magic { part: "trailer" }));
        }
        let (fields, crc) = body.split_at_checked(24).unwrap_or_default();
        let expected = u32::from_le_bytes(crc.try_into().unwrap_or_default());
        let found = crc32fast::hash(fields);
        if found != expected {
            return Err(fail(Problem::Checksum { part: "trailer", found, expected }));
        }
        let mut wire = super::wire::Wire::new(fields, "trailer");
        let footer = wire.u64().map_err(fail)?;
        let (length, footer_crc32) = (wire.u32().map_err(fail)?, wire.u32().map_err(fail)?);
        let written_size = wire.u64().map_err(fail)?;
        if written_size != size {
            return Err(fail(Problem::Length { part: "object", found: size, expected: written_size }));
        }
        if footer.checked_add(u64::from(length)) != Some(at) {
            return self.malformed(at, "trailer", "the footer does not end where the trailer begins");
        }
        Ok(Trailer { at, footer: footer..at, footer_crc32 })
    }

    /// A part of the object that has this checksum.
    pub(super) fn part(&self, place: &Range<u64>, expected: u32, part: &'static str) -> Result<&'a [u8], FormatError> {
        let length = usize::try_from(place.end.saturating_sub(place.start)).unwrap_or(usize::MAX);
        let Some(bytes) = slice(self.tail, self.start, place.start, length) else {
            return self.malformed(place.start, part, "it lies outside the object");
        };
        let found = crc32fast::hash(bytes);
        if found == expected {
            return Ok(bytes);
        }
        Err(FormatError::new(self.object, None, place.start, Problem::Checksum { part, found, expected }))
    }

    fn malformed<T>(&self, offset: u64, part: &'static str, reason: &str) -> Result<T, FormatError> {
        Err(FormatError::new(self.object, None, offset, Problem::Malformed { part, reason: reason.to_owned() }))
    }
}

impl Top {
    /// How many pages the index has.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// One page of the index.
    #[must_use]
    pub fn page(&self, at: usize) -> Option<PageRef<'_>> {
        let page = self.pages.get(at)?;
        let stored = page.data.each_ref().map(|area| area.end.saturating_sub(area.start));
        Some(PageRef { from_key: &page.from_key, blocks: page.blocks, stored })
    }

    /// The pages that can have blocks with keys from `range`, as indices.
    #[must_use]
    pub fn pages_of_keys(&self, range: &Range<bytes::Bytes>) -> Range<usize> {
        if self.footer.last_key.as_slice() < range.start.as_ref() {
            return 0..0;
        }
        let first =
            self.pages.partition_point(|page| page.from_key.as_slice() < range.start.as_ref()).saturating_sub(1);
        let end = self.pages.partition_point(|page| page.from_key.as_slice() < range.end.as_ref());
        first.min(end)..end
    }

    /// Whether what the top says of a page that begins with this block lies between the keys on both its sides; true where no
    /// page begins with it.
    pub(super) fn parts(&self, block: usize, before: &[u8], first: &[u8]) -> bool {
        let Ok(page) = self.pages.binary_search_by_key(&block, |page| page.first_block) else { return true };
        self.pages.get(page).is_some_and(|page| page.from_key == first || page.from_key.as_slice() > before)
    }

    /// Where neighbouring pages lie in the object.
    #[must_use]
    pub fn place_of(&self, pages: &Range<usize>) -> Range<u64> {
        match self.pages.get(pages.clone()) {
            Some([first, .., last]) => first.place.start..last.place.end,
            Some([only]) => only.place.clone(),
            _ => self.footer.index_offset..self.footer.index_offset,
        }
    }

    /// The page of the key filter that knows a key; none when the run has no filter, so that the key may be there.
    #[must_use]
    pub fn filter_page(&self, key: &[u8]) -> Option<FilterPage> {
        filter::page_for(&self.filter, key)
    }

    /// Where the directory of the time index lies in the object; none where the run has no time index.
    #[must_use]
    pub fn time_directory(&self) -> Option<Range<u64>> {
        self.footer.time.map(|_| time_place(&self.footer, self.directory_start).end..self.directory_start)
    }

    /// The time index, whose directory has these stored bytes; none where the run has none.
    ///
    /// # Errors
    /// When the directory is not what was written.
    pub fn time_index(&self, object: &str, stored: &[u8]) -> Result<Option<TimeIndex>, FormatError> {
        let (Some(fields), Some(place)) = (&self.footer.time, self.time_directory()) else { return Ok(None) };
        let bytes =
            End { object, tail: stored, start: place.start }.part(&place, fields.directory_crc32, "time directory")?;
        let fail = |problem| FormatError::new(object, None, place.start, problem);
        let Some((first_second, _)) = self.footer.statistics.seconds else {
            let reason = "a run without seconds has a time index".to_owned();
            return Err(fail(Problem::Malformed { part: "time directory", reason }));
        };
        let blocks = self.pages.last().map_or(0, |page| page.first_block.saturating_add(page.blocks));
        TimeIndex::parse(bytes, fields, first_second, blocks, place.start).map(Some).map_err(fail)
    }

    /// The tail with the blocks of neighbouring pages alone, whose stored bytes are those of [`Top::place_of`].
    ///
    /// # Errors
    /// When a page is not what was written.
    pub fn tail(&self, object: &str, pages: Range<usize>, stored: &[u8]) -> Result<Tail, FormatError> {
        let place = self.place_of(&pages);
        let pages = self.pages.get(pages).unwrap_or_default();
        let end = End { object, tail: stored, start: place.start };
        let mut blocks = Vec::with_capacity(pages.iter().map(|page| page.blocks.min(stored.len())).sum());
        let first_second = self.footer.statistics.seconds.map(|(first, _)| first);
        for page in pages {
            let bytes = end.part(&page.place, page.crc32, "index page")?;
            index::parse_page(&mut blocks, page, bytes, self.footer.kind, first_second)
                .map_err(|problem| FormatError::new(object, None, page.place.start, problem))?;
        }
        Ok(Tail {
            footer: self.footer.clone(),
            blocks: Arc::new(blocks),
            first_block: pages.first().map_or(0, |page| page.first_block),
            filter: self.filter.clone(),
        })
    }
}
