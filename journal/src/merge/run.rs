//! One run of a merge: its blocks, fetched ahead, and the record it stands at.

use std::ops::Range;
use std::sync::Arc;

use super::UnreadableList;
use super::open::Opened;
use super::spans::{Ahead, Piece, span_of};
use super::stretches::{Stretch, Stretches};
use crate::cut::Cut;
use crate::error::{Kind, Result};
use crate::format::{BlockCursor, BlockEntry, Columns, Decompressor, Footer, PageRef, RunKind, Tail, WriterOptions};
use crate::model::{Second, SequenceNumber};
use bytes::Bytes;

/// How many spans of blocks are under way for a run.
const SPANS_AHEAD: usize = 2;
/// The same where a span is a few columns of one block, or blocks that have no neighbours among those wanted.
const NARROW_AHEAD: usize = 16;
/// Raw bytes have at least so many times the length of stored ones, of images that are no noise.
const LEAST_DENSITY: usize = 2;

/// What is read of a run.
#[derive(Clone)]
pub(super) struct BlocksRead {
    /// The parts of blocks.
    pub(super) columns: Columns,
    /// Whether other parts are not even fetched; then each block is a request of its own.
    pub(super) narrow: bool,
    /// Bytes of neighbouring blocks that one request asks for.
    pub(super) span_bytes: u64,
    /// Where blocks that are corrupt are named; an error when none.
    pub(super) unreadable: Option<UnreadableList>,
    /// Whether all records of the run have happened at the cut.
    pub(super) all_before: bool,
}

/// Blocks of a run: all that are read of it, or those of one stretch.
pub(super) struct Blocks {
    tail: Tail,
    /// Numbers of those that are read, in order.
    numbers: Vec<usize>,
    /// Spans of them: the place after the last block of each, and where its parts lie. None of an object that was fetched whole.
    pub(super) spans: Vec<(usize, [Range<u64>; 2])>,
}

impl Blocks {
    fn new(tail: Tail, numbers: Vec<usize>, read: &BlocksRead, by_range: bool) -> Self {
        let (mut spans, mut place) = (Vec::new(), 0);
        while by_range && place < numbers.len() {
            let (end, parts) = span_of(&tail, &numbers, place, read);
            spans.push((end, parts));
            place = end;
        }
        Self { tail, numbers, spans }
    }

    fn entry(&self, place: usize) -> Option<(usize, &BlockEntry)> {
        let number = *self.numbers.get(place)?;
        Some((number, self.tail.blocks.get(number)?))
    }

    fn entries(&self) -> impl Iterator<Item = &BlockEntry> {
        self.numbers.iter().filter_map(|number| self.tail.blocks.get(*number))
    }

    /// The places of the blocks that can have keys from `keys`.
    pub(super) fn places_of(&self, keys: &Range<&[u8]>) -> Range<usize> {
        if self.tail.footer.last_key.as_slice() < keys.start {
            return 0..0;
        }
        let below = |key: &[u8]| {
            let is_below =
                |number: &usize| self.tail.blocks.get(*number).is_some_and(|block| block.first_key.as_slice() < key);
            self.numbers.partition_point(is_below)
        };
        let (start, end) = (below(keys.start), below(keys.end));
        let begins = self.entry(start).is_some_and(|(_, block)| block.begins_with(keys.start));
        let first = if begins { start } else { start.saturating_sub(1) };
        first.min(end)..end
    }

    /// The span that has the block at a place.
    fn span_at(&self, place: usize) -> usize {
        self.spans.partition_point(|(end, _)| *end <= place)
    }

    pub(super) fn spans_of(&self, places: &Range<usize>) -> Range<usize> {
        if places.is_empty() { 0..0 } else { self.span_at(places.start)..self.span_at(places.end - 1) + 1 }
    }

    /// Bytes of the longest span.
    fn span_bytes(&self) -> usize {
        let length =
            |(_, parts): &(usize, [Range<u64>; 2])| parts.iter().map(|part| part.end - part.start).sum::<u64>();
        usize::try_from(self.spans.iter().map(length).max().unwrap_or(0)).unwrap_or(usize::MAX)
    }
}

/// A run that is to be read, as a whole or in parts.
pub(super) struct RunPlan {
    opened: Opened,
    read: BlocksRead,
    /// Records that have not happened at it are passed over.
    until: Option<Cut>,
    /// Its blocks, or those of the first stretch where there are others.
    pub(super) first: Arc<Blocks>,
    /// The pages of the other stretches.
    others: Vec<Range<usize>>,
}

/// The keys of a stretch: none is below the start, none above the end, where that is known.
pub(super) struct StretchKeys<'a> {
    pub(super) start: &'a [u8],
    pub(super) end: Option<&'a [u8]>,
}

impl RunPlan {
    /// `blocks` are the numbers of those that are read among those that the tail has.
    pub(super) fn new(opened: Opened, blocks: Vec<usize>, read: BlocksRead) -> Self {
        let dated = opened.tail.footer.statistics.undated == 0;
        let until = opened.until.filter(|_| dated && !read.all_before);
        let first = Arc::new(Blocks::new(opened.tail.clone(), blocks, &read, opened.whole.is_none()));
        let others = match &opened.rest {
            Some(rest) => {
                let starts = (rest.from..rest.top.pages()).step_by(rest.pages_at_once.max(1));
                starts.map(|start| start..start.saturating_add(rest.pages_at_once).min(rest.top.pages())).collect()
            }
            None => Vec::new(),
        };
        Self { opened, read, until, first, others }
    }

    pub(super) fn object(&self) -> &str {
        &self.opened.object
    }

    pub(super) fn footer(&self) -> &Footer {
        &self.opened.tail.footer
    }

    /// Bytes that were read from the store to open it.
    pub(super) fn bytes_read(&self) -> u64 {
        self.opened.bytes_read
    }

    pub(super) fn is_read_by_range(&self) -> bool {
        self.opened.whole.is_none()
    }

    /// How many stretches it has.
    pub(super) fn stretches(&self) -> usize {
        self.others.len() + 1
    }

    fn page_key(&self, page: usize) -> &[u8] {
        self.opened.rest.as_ref().and_then(|rest| rest.top.page(page)).map_or(&[], |page| page.from_key)
    }

    /// The pages of a stretch but the first.
    fn others_at(&self, at: usize) -> Option<&Range<usize>> {
        self.others.get(at.checked_sub(1)?)
    }

    pub(super) fn keys_of(&self, at: usize) -> StretchKeys<'_> {
        let start = self.others_at(at).map_or(&[][..], |pages| self.page_key(pages.start));
        StretchKeys { start, end: self.others.get(at).map(|pages| self.page_key(pages.start)) }
    }

    /// The stretches that can have keys from `keys`.
    pub(super) fn stretches_of(&self, keys: &Range<&[u8]>) -> Range<usize> {
        if self.footer().last_key.as_slice() < keys.start
            || self.first.entry(0).is_none_or(|(_, first)| first.first_key.as_slice() >= keys.end)
            || (self.others.is_empty() && self.first.places_of(keys).is_empty())
        {
            return 0..0;
        }
        // The first one begins before all keys.
        let below = |key: &[u8]| 1 + self.others.partition_point(|pages| self.page_key(pages.start) < key);
        let end = below(keys.end);
        (below(keys.start) - 1).min(end)..end
    }

    /// Where the pages of a stretch lie; none of the first, which is here.
    pub(super) fn pages_of(&self, at: usize) -> Option<Range<u64>> {
        Some(self.opened.rest.as_ref()?.top.place_of(self.others_at(at)?))
    }

    /// The blocks of a stretch from the stored bytes of its pages.
    pub(super) fn parse(&self, at: usize, stored: &[u8]) -> Result<Blocks> {
        let (Some(rest), Some(pages)) = (&self.opened.rest, self.others_at(at)) else {
            return Err(super::MergeError::Thread { reason: "there is no such stretch of a run".to_owned() }.into());
        };
        let tail = rest.top.tail(&self.opened.object, pages.clone(), stored)?;
        let numbers = (0..tail.blocks.len()).collect();
        Ok(Blocks::new(tail, numbers, &self.read, true))
    }

    /// Keys here and there, and about how many raw bytes lie from each to the next.
    pub(super) fn places(&self) -> impl Iterator<Item = (&[u8], usize)> {
        let entries =
            self.first.entries().map(|entry| (entry.first_key.as_slice(), entry.raw_bytes(self.read.columns)));
        let rest =
            self.opened.rest.iter().flat_map(|rest| (rest.from..rest.top.pages()).filter_map(|at| rest.top.page(at)));
        entries.chain(rest.map(|page| (page.from_key, self.raw_bytes(&page))))
    }

    /// About how many raw bytes the blocks of a page have: more rather than fewer.
    fn raw_bytes(&self, page: &PageRef<'_>) -> usize {
        let [first, second] = page.stored.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let stored = if self.read.columns == Columns::Latest { first } else { first.saturating_add(second) };
        stored.saturating_mul(LEAST_DENSITY).max(page.blocks.saturating_mul(self.block_bytes()))
    }

    /// What a block has in raw bytes when nothing else is known.
    fn block_bytes(&self) -> usize {
        match self.footer().kind {
            RunKind::Rows => WriterOptions::rows().block_bytes,
            RunKind::Columns | RunKind::Snapshot => WriterOptions::columns().block_bytes,
        }
    }

    /// The first and the last key that it has, or may have where not all of it is read.
    pub(super) fn ends(&self) -> Option<(&[u8], &[u8])> {
        Some((self.first.entry(0)?.1.first_key.as_slice(), self.footer().last_key.as_slice()))
    }

    /// How much is fetched while so many threads read it: each has a span at hand. There may be many small ones, no more than large ones
    /// take.
    pub(super) fn ahead(&self, threads: usize) -> Ahead {
        let spans = if self.read.narrow { NARROW_AHEAD } else { SPANS_AHEAD };
        Ahead { spans: threads + spans, small_spans: threads + NARROW_AHEAD, small_bytes: self.read.span_bytes }
    }

    /// Opens it, or the part of it that has these keys; none when it has no block with them.
    pub(super) fn open(self: &Arc<Self>, stretches: &Arc<Stretches>, keys: Option<&Range<&[u8]>>) -> Option<OpenRun> {
        let left = keys.map_or(0..self.stretches(), |keys| self.stretches_of(keys));
        if left.is_empty() || self.first.numbers.is_empty() {
            stretches.leave(left);
            return None;
        }
        let cursor = BlockCursor::new(&self.opened.object, self.opened.tail.footer.clone());
        Some(OpenRun {
            plan: self.clone(),
            stretches: stretches.clone(),
            keys: keys.map(|keys| keys.start.to_vec()..keys.end.to_vec()),
            cursor,
            left,
            here: None,
            broken: false,
            from: self.opened.from,
            until: self.until,
        })
    }

    /// Whether all records of the run have happened at the cut, so that the last one of a key is all that is needed of it.
    #[inline]
    fn is_simple(&self) -> bool {
        self.read.all_before && self.opened.from.is_none() && self.read.unreadable.is_none()
    }

    /// Memory that the run takes while `threads` read it, in bytes.
    pub(super) fn memory_bytes(&self, threads: usize) -> usize {
        let block = self.first.entries().map(|entry| entry.raw_bytes(self.read.columns)).max().unwrap_or(0);
        let block = if self.others.is_empty() { block } else { block.max(self.block_bytes()) };
        // Of a long run the stretch at hand and the next one.
        let index = self.first.tail.blocks.len() * self.stretches().min(3) * 256;
        let fetched = if let Some(bytes) = &self.opened.whole {
            bytes.len()
        } else {
            let spans = if self.others.is_empty() { self.first.spans.len() } else { usize::MAX };
            (threads + self.ahead(threads).spans).min(spans).saturating_mul(self.first.span_bytes())
        };
        block.saturating_mul(threads).saturating_add(fetched).saturating_add(index)
    }
}

/// A part of a run that is read from its beginning to its end, and the record it stands at.
pub(super) struct OpenRun {
    plan: Arc<RunPlan>,
    stretches: Arc<Stretches>,
    /// The keys of the part; everything when none.
    keys: Option<Range<Vec<u8>>>,
    pub(super) cursor: BlockCursor,
    /// The stretches that have not been left, that at hand among them.
    left: Range<usize>,
    here: Option<Here>,
    /// Whether the rest of the block at hand cannot be read and is left.
    broken: bool,
    /// Records of earlier seconds are passed over.
    from: Option<Second>,
    /// Records that have not happened at it are passed over.
    until: Option<Cut>,
}

/// The stretch at hand.
struct Here {
    stretch: Arc<Stretch>,
    /// Places of the blocks that have not been loaded.
    places: Range<usize>,
    /// The span at hand: what it has in the first area, and in the second.
    span: Option<[Piece; 2]>,
    /// The spans that have not been left, that at hand among them.
    left: Range<usize>,
}

impl Here {
    /// The stored bytes of the parts of the block at a place. What was asked for may not have come whole: that its checksum tells.
    fn stored(&mut self, place: usize, parts: &[Range<u64>; 2], whole: Option<&Bytes>) -> Result<[Bytes; 2]> {
        let [first, second] = parts;
        let Some(spans) = &self.stretch.spans else {
            let whole = Piece { start: 0, bytes: whole.cloned().unwrap_or_default() };
            return Ok([whole.get(first), whole.get(second)]);
        };
        let at = self.stretch.blocks.span_at(place);
        if at > self.left.start {
            self.span = None;
            spans.leave(self.left.start..at);
            self.left.start = at;
        }
        let [near, far] = match &mut self.span {
            Some(span) => span,
            None => self.span.insert(spans.get(at)?),
        };
        Ok([near.get(first), far.get(second)])
    }

    /// Whether the span at hand is the last that the part has of the stretch.
    fn is_last_span(&self) -> bool {
        self.left.len() <= 1
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        if let Some(spans) = &self.stretch.spans {
            spans.leave(self.left.clone());
        }
    }
}

impl OpenRun {
    /// No key of the part is below it, but for those before the part begins.
    pub(super) fn first_key(&self) -> &[u8] {
        match self.left.start {
            0 => self.plan.first.entry(0).map_or(&[], |(_, entry)| entry.first_key.as_slice()),
            at => self.plan.keys_of(at).start,
        }
    }

    /// Asks for its first blocks, without waiting for them.
    pub(super) fn begin(&self) {
        self.stretches.begin(self.left.start);
    }

    /// Where the record that it stands at comes in the order of the merge: items of a snapshot come before the records of
    /// their key, and are never copies of one.
    #[inline]
    pub(super) fn order(&self) -> Option<SequenceNumber> {
        (self.plan.footer().kind != RunKind::Snapshot).then(|| self.cursor.sequence())
    }

    /// Goes to the next record; false at the end of the run.
    #[inline]
    pub(super) fn advance(&mut self, decompressor: &mut Decompressor) -> Result<bool> {
        loop {
            match (self.step(decompressor), &self.plan.read.unreadable) {
                // The other blocks may be whole.
                (Err(error), Some(list)) if error.kind() == Kind::Corrupt => {
                    list.add(&self.plan.opened.object, &error);
                    self.broken = true;
                }
                (stepped, _) => return stepped,
            }
        }
    }

    #[inline]
    fn step(&mut self, decompressor: &mut Decompressor) -> Result<bool> {
        loop {
            while !self.broken && self.cursor.advance()? {
                let second = self.cursor.second();
                if self.from.is_none_or(|from| second.is_none_or(|second| second >= from))
                    && self.until.is_none_or(|until| until.has(self.cursor.sequence(), second))
                {
                    return Ok(true);
                }
            }
            if !self.load_next(decompressor)? {
                return Ok(false);
            }
            self.broken = false;
        }
    }

    /// As [`super::source::Source::skip_superseded`].
    #[inline]
    pub(super) fn skip_superseded(&mut self) -> Result<bool> {
        if !self.plan.is_simple() {
            return Ok(false);
        }
        loop {
            match self.cursor.next_has_same_key() {
                Some(true) => {
                    self.cursor.advance()?;
                }
                same => return Ok(same.is_some()),
            }
        }
    }

    /// Loads the next block; false when there is none.
    fn load_next(&mut self, decompressor: &mut Decompressor) -> Result<bool> {
        loop {
            if let Some(here) = &mut self.here {
                if let Some(place) = here.places.next() {
                    let blocks = here.stretch.blocks.clone();
                    let Some((number, entry)) = blocks.entry(place) else { continue };
                    let columns = self.plan.read.columns;
                    let stored = here.stored(place, &entry.places(columns), self.plan.opened.whole.as_ref())?;
                    if here.is_last_span() && self.left.len() > 1 {
                        self.stretches.ask_ahead(self.left.start + 1);
                    }
                    let number = blocks.tail.first_block.saturating_add(number);
                    self.cursor.load(decompressor, number, entry, stored.each_ref().map(Bytes::as_ref), columns)?;
                    return Ok(true);
                }
                self.here = None;
                self.leave_first();
            }
            if self.left.is_empty() {
                return Ok(false);
            }
            match self.stretches.get(self.left.start) {
                Ok(stretch) => self.here = Some(self.part_of(stretch)),
                Err(error) => {
                    self.leave_first();
                    return Err(error);
                }
            }
        }
    }

    /// Where the part lies in a stretch.
    fn part_of(&self, stretch: Arc<Stretch>) -> Here {
        let blocks = &stretch.blocks;
        let keys = self.keys.as_ref().map(|keys| keys.start.as_slice()..keys.end.as_slice());
        let places = keys.map_or(0..blocks.numbers.len(), |keys| blocks.places_of(&keys));
        let left = blocks.spans_of(&places);
        Here { places, span: None, left, stretch }
    }

    fn leave_first(&mut self) {
        let first = self.left.start;
        self.left.start += 1;
        self.stretches.leave(first..first + 1);
    }
}

impl Drop for OpenRun {
    fn drop(&mut self) {
        self.here = None;
        self.stretches.leave(self.left.clone());
    }
}
