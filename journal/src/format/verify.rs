//! Checks a whole run, byte for byte.

use super::block::Record;
use super::codec::Decompressor;
use super::cursor::{BlockCursor, Columns};
use super::error::{FormatError, Problem};
use super::filter;
use super::footer::RunKind;
use super::index::{BlockEntry, length_u64};
use super::reader::{Header, Layout, Tail, read_tail, slice};
use super::time::Gathered;
use super::top::{Top, TopLayout, read_top};

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
    let (tail, top) = match (read_tail(object, bytes, size)?, read_top(object, bytes, size)?) {
        (Layout::Complete(tail), TopLayout::Complete(top)) => (tail, top),
        (Layout::More(expected), _) | (_, TopLayout::More(expected)) => {
            return Err(FormatError::new(object, None, 0, Problem::Length { part: "object", found: size, expected }));
        }
    };
    let mut pages = Vec::new();
    for page in tail.filter.iter() {
        let stored =
            slice(bytes, 0, page.offset, usize::try_from(page.length).unwrap_or(usize::MAX)).unwrap_or_default();
        let found = crc32fast::hash(stored);
        let fail = |problem| FormatError::new(object, None, page.offset, problem);
        if found != page.crc32 {
            return Err(fail(Problem::Checksum { part: "filter page", found, expected: page.crc32 }));
        }
        pages.push(if stored.is_empty() { None } else { Some(filter::parse_page(stored).map_err(fail)?) });
    }
    let mut check = Check {
        object,
        tail: &tail,
        top: &top,
        pages,
        last: None,
        goes_on: false,
        keys: 0,
        undated: 0,
        records: 0,
        gathered: Gathered::default(),
    };
    let mut decompressor = Decompressor::new()?;
    let mut cursor = BlockCursor::new(object, tail.footer.clone());
    // Of columns, what is read without history must be what history ends with.
    let columns = tail.footer.kind != RunKind::Rows;
    let mut latest = BlockCursor::new(object, tail.footer.clone());
    for (number, entry) in tail.blocks.iter().enumerate() {
        cursor.load_from(&mut decompressor, number, entry, bytes, Columns::All)?;
        if columns {
            latest.load_from(&mut decompressor, number, entry, bytes, Columns::Latest)?;
        }
        let mut first = true;
        while cursor.advance()? {
            check.record(number, entry, &cursor.record(), std::mem::take(&mut first))?;
            if columns && cursor.next_has_same_key() == Some(false) {
                let same = latest.advance()? && Check::is_latest(&latest.record(), &cursor.record());
                check.holds(number, entry, same, "its first area tells another state than its records")?;
            }
        }
        if columns {
            let same = !latest.advance()?;
            check.holds(number, entry, same, "its first area tells another state than its records")?;
            check.goes_on = cursor.next_has_same_key().is_none();
        }
        check.gathered.end_block();
    }
    check.end()?;
    check.time_index(bytes)?;
    let records = check.records;
    Ok(VerifiedRun { tail, records })
}

struct Check<'a> {
    object: &'a str,
    tail: &'a Tail,
    top: &'a Top,
    pages: Vec<Option<xorf::BinaryFuse8Ref<'a>>>,
    last: Option<(Vec<u8>, crate::model::SequenceNumber)>,
    /// Whether the block before says that its last key goes on. Of columns.
    goes_on: bool,
    keys: u64,
    undated: u64,
    records: u64,
    gathered: Gathered,
}

impl Check<'_> {
    fn holds(&self, block: usize, entry: &BlockEntry, holds: bool, reason: &str) -> Result<(), FormatError> {
        if holds {
            return Ok(());
        }
        let problem = Problem::Malformed { part: "block", reason: reason.to_owned() };
        Err(FormatError::new(self.object, Some(block), entry.offset(), problem))
    }

    fn is_latest(latest: &Record<'_>, record: &Record<'_>) -> bool {
        let what = |record: &Record<'_>| (record.sequence, record.second, record.kind);
        latest.key == record.key && what(latest) == what(record) && latest.new == record.new
    }

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
            Err(FormatError::new(self.object, Some(block), entry.offset(), problem))
        };
        let footer = &self.tail.footer;
        if first && record.key != entry.first_key.as_slice() {
            return fail("its first key is not the index's");
        }
        if first && !self.last.as_ref().is_none_or(|(before, _)| self.top.parts(block, before, record.key)) {
            return fail("the index's top does not part it from the block before");
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
        if first && same_key != entry.continued {
            return fail("the index is wrong about whether the block before has its first key too");
        }
        if first && footer.kind != RunKind::Rows && same_key != self.goes_on {
            return fail("its first key is not what the block before says");
        }
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
        if let (Some(_), Some((base, _)), Some(second)) = (footer.time, footer.statistics.seconds, record.second) {
            self.gathered.add(second.get().saturating_sub(base.get()), block);
        }
        self.records += 1;
        let (key, sequence) = self.last.get_or_insert_with(|| (Vec::new(), record.sequence));
        if !same_key {
            key.clear();
            key.extend_from_slice(record.key);
        }
        *sequence = record.sequence;
        Ok(())
    }

    /// The time index has the cells of the records, and no others.
    fn time_index(&self, bytes: &[u8]) -> Result<(), FormatError> {
        let part = |place: &std::ops::Range<u64>| {
            let length = usize::try_from(place.end.saturating_sub(place.start)).unwrap_or(usize::MAX);
            slice(bytes, 0, place.start, length).unwrap_or_default()
        };
        let (Some(place), Some(fields)) = (self.top.time_directory(), self.tail.footer.time) else { return Ok(()) };
        let Some(index) = self.top.time_index(self.object, part(&place))? else { return Ok(()) };
        let pages = 0..index.pages();
        let cells = index.cells(self.object, pages.clone(), part(&index.place_of(&pages)))?;
        let blocks = length_u64(self.tail.blocks.len());
        if self.undated == 0 && cells == self.gathered.cells(fields.slot_seconds, blocks) {
            return Ok(());
        }
        let reason = "its cells are not those of the records".to_owned();
        Err(FormatError::new(self.object, None, place.start, Problem::Malformed { part: "time index", reason }))
    }

    fn end(&self) -> Result<(), FormatError> {
        let statistics = &self.tail.footer.statistics;
        let undated = self.tail.footer.kind == RunKind::Snapshot || self.undated == statistics.undated;
        let last = !self.goes_on && self.last.as_ref().is_some_and(|(key, _)| *key == self.tail.footer.last_key);
        if self.keys == statistics.keys && undated && last {
            return Ok(());
        }
        let problem =
            Problem::Malformed { part: "footer", reason: "its counts are not those of the records".to_owned() };
        Err(FormatError::new(self.object, None, self.tail.footer.filter_offset, problem))
    }
}
