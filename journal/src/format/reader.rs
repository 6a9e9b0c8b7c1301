//! Reads a run's tail, and checks a whole run.

use std::sync::Arc;

use super::block::Record;
use super::cursor::{BlockCursor, Decompressor};
use super::error::{FormatError, Problem};
use super::filter::{self, FilterPage};
use super::footer::{Footer, RunKind};
use super::index::{self, BlockEntry, length_u64};
use super::{END_MAGIC, HEADER_BYTES, MAGIC, MAJOR, TRAILER_BYTES};

/// How much of an object's end a first read asks for: trailer, footer and the index of all but the largest runs.
pub const TAIL_BYTES: u64 = 64 << 10;

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
    /// The blocks in order.
    pub blocks: Arc<Vec<BlockEntry>>,
    /// The pages of the key filter.
    pub filter: Vec<FilterPage>,
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
    let least = length_u64(HEADER_BYTES + TRAILER_BYTES);
    if size < least {
        return Err(FormatError::new(
            object,
            None,
            0,
            Problem::Length { part: "object", found: size, expected: least },
        ));
    }
    let given = length_u64(tail.len());
    if given < length_u64(TRAILER_BYTES) {
        return Ok(Layout::More(TAIL_BYTES.min(size)));
    }
    let start = size.saturating_sub(given);
    let trailer_offset = size.saturating_sub(length_u64(TRAILER_BYTES));
    let fail = |offset, problem| Err(FormatError::new(object, None, offset, problem));
    let trailer = slice(tail, start, trailer_offset, TRAILER_BYTES).unwrap_or_default();
    let (body, magic) = trailer.split_at(TRAILER_BYTES - 4);
    if magic != END_MAGIC {
        return fail(trailer_offset, Problem::Magic { part: "trailer" });
    }
    let (fields, crc) = body.split_at(24);
    let expected = u32::from_le_bytes(crc.try_into().unwrap_or_default());
    let found = crc32fast::hash(fields);
    if found != expected {
        return fail(trailer_offset, Problem::Checksum { part: "trailer", found, expected });
    }
    let mut wire = super::wire::Wire::new(fields, "trailer");
    let at = |problem| FormatError::new(object, None, trailer_offset, problem);
    let footer_offset = wire.u64().map_err(at)?;
    let footer_length = wire.u32().map_err(at)?;
    let footer_crc32 = wire.u32().map_err(at)?;
    let written_size = wire.u64().map_err(at)?;
    if written_size != size {
        return fail(trailer_offset, Problem::Length { part: "object", found: size, expected: written_size });
    }
    if footer_offset.checked_add(u64::from(footer_length)) != Some(trailer_offset) {
        return fail(
            trailer_offset,
            Problem::Malformed {
                part: "trailer",
                reason: "the footer does not end where the trailer begins".to_owned(),
            },
        );
    }
    if footer_offset < start {
        return Ok(Layout::More(size - footer_offset));
    }
    let part = |offset: u64, length: usize, crc32: u32, name: &'static str| {
        let bytes = slice(tail, start, offset, length).ok_or_else(|| {
            FormatError::new(
                object,
                None,
                offset,
                Problem::Malformed { part: name, reason: "it lies outside the object".to_owned() },
            )
        })?;
        let found = crc32fast::hash(bytes);
        if found == crc32 {
            Ok(bytes)
        } else {
            Err(FormatError::new(object, None, offset, Problem::Checksum { part: name, found, expected: crc32 }))
        }
    };
    let footer_bytes =
        part(footer_offset, usize::try_from(footer_length).unwrap_or(usize::MAX), footer_crc32, "footer")?;
    let footer =
        Footer::parse(footer_bytes).map_err(|problem| FormatError::new(object, None, footer_offset, problem))?;
    let directory_length = length_u64(footer.filter_directory_length);
    let index_end = footer.index_offset.checked_add(length_u64(footer.index_length));
    let directory_offset = footer.index_offset.saturating_sub(directory_length);
    let sound = index_end == Some(footer_offset)
        && directory_length <= footer.index_offset
        && footer.filter_offset <= directory_offset
        && footer.filter_offset >= length_u64(HEADER_BYTES);
    if !sound {
        return fail(
            footer_offset,
            Problem::Malformed { part: "footer", reason: "its parts do not follow each other".to_owned() },
        );
    }
    if directory_offset < start {
        return Ok(Layout::More(size - directory_offset));
    }
    let index = part(footer.index_offset, footer.index_length, footer.index_crc32, "index")?;
    let blocks = index::parse(index, footer.kind, footer.statistics.seconds.map(|(first, _)| first))
        .map_err(|problem| FormatError::new(object, None, footer.index_offset, problem))?;
    let directory =
        part(directory_offset, footer.filter_directory_length, footer.filter_directory_crc32, "filter directory")?;
    let filter = filter::parse_directory(directory, footer.filter_pages, footer.filter_offset)
        .map_err(|problem| FormatError::new(object, None, directory_offset, problem))?;
    let pages_end =
        filter.last().map_or(footer.filter_offset, |page| page.offset.saturating_add(u64::from(page.length)));
    let blocks_end = blocks.last().map_or(0, |block| block.range().end);
    let records: u64 = blocks.iter().fold(0, |sum, block| sum.saturating_add(block.records));
    if pages_end != directory_offset || blocks_end != footer.filter_offset || records != footer.statistics.records {
        return fail(
            footer_offset,
            Problem::Malformed { part: "footer", reason: "it does not agree with the index".to_owned() },
        );
    }
    Ok(Layout::Complete(Tail { footer: Arc::new(footer), blocks: Arc::new(blocks), filter }))
}

fn slice(tail: &[u8], start: u64, offset: u64, length: usize) -> Option<&[u8]> {
    let from = usize::try_from(offset.checked_sub(start)?).ok()?;
    tail.get(from..from.checked_add(length)?)
}

impl Tail {
    /// The page of the key filter that knows a key; none when the run has no filter, so that the key may be there.
    #[must_use]
    pub fn filter_page(&self, key: &[u8]) -> Option<FilterPage> {
        self.filter.get(filter::page_of(filter::key_hash(key), self.filter.len())).copied()
    }

    /// Where the pages of the key filter end.
    #[must_use]
    pub fn pages_end(&self) -> u64 {
        self.filter.last().map_or(self.footer.filter_offset, |page| page.offset.saturating_add(u64::from(page.length)))
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

    /// The blocks that can have keys from `range`, as indices.
    #[must_use]
    pub fn blocks_of_keys(&self, range: &std::ops::Range<bytes::Bytes>) -> std::ops::Range<usize> {
        if self.footer.last_key.as_slice() < range.start.as_ref() {
            return 0..0;
        }
        let first =
            self.blocks.partition_point(|block| block.first_key.as_slice() < range.start.as_ref()).saturating_sub(1);
        let end = self.blocks.partition_point(|block| block.first_key.as_slice() < range.end.as_ref());
        first.min(end)..end
    }
}

/// What a check of a whole run found to be sound.
#[derive(Debug, Clone)]
pub struct VerifiedRun {
    /// Its tail.
    pub tail: Tail,
    /// Records that were read.
    pub records: u64,
}

/// Checks every byte of an object: header, all checksums, that its parts leave no room between them, that every record
/// can be read, that they are in order, and that filter, index and footer agree with them.
///
/// # Errors
/// At the first thing that is wrong.
pub fn verify_object(object: &str, bytes: &[u8]) -> Result<VerifiedRun, FormatError> {
    Header::parse(object, bytes)?;
    let size = length_u64(bytes.len());
    let tail = match read_tail(object, bytes, size)? {
        Layout::Complete(tail) => tail,
        Layout::More(expected) => {
            return Err(FormatError::new(object, None, 0, Problem::Length { part: "object", found: size, expected }));
        }
    };
    let mut pages = Vec::new();
    for page in &tail.filter {
        let stored =
            slice(bytes, 0, page.offset, usize::try_from(page.length).unwrap_or(usize::MAX)).unwrap_or_default();
        let found = crc32fast::hash(stored);
        let fail = |problem| FormatError::new(object, None, page.offset, problem);
        if found != page.crc32 {
            return Err(fail(Problem::Checksum { part: "filter page", found, expected: page.crc32 }));
        }
        pages.push(if stored.is_empty() { None } else { Some(filter::parse_page(stored).map_err(fail)?) });
    }
    let mut check = Check { object, tail: &tail, pages, last: None, keys: 0, undated: 0, records: 0 };
    let mut decompressor = Decompressor::new()?;
    let mut cursor = BlockCursor::new(object, tail.footer.clone());
    for (number, entry) in tail.blocks.iter().enumerate() {
        let range = entry.range();
        let stored = slice(bytes, 0, range.start, usize::try_from(range.end - range.start).unwrap_or(usize::MAX))
            .unwrap_or_default();
        cursor.load(&mut decompressor, number, entry, stored, true)?;
        let mut first = true;
        while cursor.advance()? {
            let record = cursor.record();
            check.record(number, entry, &record, std::mem::take(&mut first))?;
        }
    }
    check.end()?;
    let records = check.records;
    Ok(VerifiedRun { tail, records })
}

struct Check<'a> {
    object: &'a str,
    tail: &'a Tail,
    pages: Vec<Option<xorf::BinaryFuse8Ref<'a>>>,
    last: Option<(Vec<u8>, crate::model::SequenceNumber)>,
    keys: u64,
    undated: u64,
    records: u64,
}

impl Check<'_> {
    fn record(
        &mut self,
        block: usize,
        entry: &BlockEntry,
        record: &Record<'_>,
        first: bool,
    ) -> Result<(), FormatError> {
        use xorf::Filter as _;
        let fail = |reason: &str| {
            let problem = Problem::Malformed { part: "block", reason: reason.to_owned() };
            Err(FormatError::new(self.object, Some(block), entry.range().start, problem))
        };
        let footer = &self.tail.footer;
        if first && record.key != entry.first_key.as_slice() {
            return fail("its first key is not the index's");
        }
        let same_key = match &self.last {
            Some((key, sequence)) if key == record.key => {
                if record.sequence <= *sequence || footer.kind == RunKind::Snapshot {
                    return fail("its records are not in order");
                }
                true
            }
            Some((key, _)) if key.as_slice() > record.key => return fail("its records are not in order"),
            _ => false,
        };
        let in_range = |range: Option<(crate::model::Second, crate::model::Second)>| {
            record.second.is_none_or(|second| range.is_some_and(|(from, to)| (from..=to).contains(&second)))
        };
        if !in_range(entry.seconds) || !in_range(footer.statistics.seconds) {
            return fail("a second outside its bounds");
        }
        let known = footer.kind != RunKind::Snapshot || record.sequence != crate::model::SequenceNumber::MIN;
        if known && (record.sequence < footer.sequences.0 || record.sequence > footer.sequences.1) {
            return fail("a sequence number outside its bounds");
        }
        let (value, width) = record.sequence.to_parts();
        if crate::model::SequenceNumber::from_parts(value, width).is_none() {
            return fail("a sequence number of more than 40 digits");
        }
        if !same_key {
            self.keys += 1;
            let hash = filter::key_hash(record.key);
            if !self.pages.is_empty() {
                let page = self.pages.get(filter::page_of(hash, self.pages.len()));
                if !matches!(page, Some(Some(filter)) if filter.contains(&hash)) {
                    return fail("the key filter misses a key");
                }
            }
        }
        self.undated += u64::from(record.second.is_none());
        self.records += 1;
        self.last = Some((record.key.to_vec(), record.sequence));
        Ok(())
    }

    fn end(&self) -> Result<(), FormatError> {
        let statistics = &self.tail.footer.statistics;
        let undated = self.tail.footer.kind == RunKind::Snapshot || self.undated == statistics.undated;
        let last = self.last.as_ref().is_some_and(|(key, _)| *key == self.tail.footer.last_key);
        if self.keys == statistics.keys && undated && last {
            return Ok(());
        }
        let problem =
            Problem::Malformed { part: "footer", reason: "its counts are not those of the records".to_owned() };
        Err(FormatError::new(self.object, None, self.tail.footer.index_offset, problem))
    }
}
