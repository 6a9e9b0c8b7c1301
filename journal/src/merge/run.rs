//! One run of a merge: its blocks, fetched ahead, and the record it stands at.

use std::ops::Range;
use std::sync::Arc;

use super::UnreadableList;
use super::open::Opened;
use super::spans::{Ahead, Piece, Spans, span_of};
use crate::cut::Cut;
use crate::error::{Kind, Result};
use crate::format::{BlockCursor, BlockEntry, Columns, Decompressor, Footer, RunKind};
use crate::model::{Second, SequenceNumber};
use crate::store::ReadStore;
use bytes::Bytes;
use tokio::runtime::Handle;

/// How many spans of blocks are under way for a run.
const SPANS_AHEAD: usize = 2;
/// The same where a span is a few columns of one block, or blocks that have no neighbours among those wanted.
const NARROW_AHEAD: usize = 16;

/// Where a run's blocks come from.
enum Blocks {
    /// The whole object.
    Whole(Bytes),
    /// Spans of neighbouring blocks, by range.
    Ranged {
        spans: Arc<Spans>,
        /// The span at hand: what it has in the first area, and in the second.
        here: Option<[Piece; 2]>,
        /// The spans that have not been left, that at hand among them.
        left: Range<usize>,
    },
}

/// A part of a run that is read from its beginning to its end, and the record it stands at.
pub(super) struct OpenRun {
    plan: Arc<RunPlan>,
    pub(super) cursor: BlockCursor,
    source: Blocks,
    /// Places of the blocks that have not been loaded, among those that are read of the run.
    places: Range<usize>,
    /// Whether the rest of the block at hand cannot be read and is left.
    broken: bool,
    /// Records of earlier seconds are passed over.
    from: Option<Second>,
    /// Records that have not happened at it are passed over.
    until: Option<Cut>,
}

/// What is read of a run.
#[derive(Clone)]
pub(super) struct BlocksRead {
    /// Numbers of the blocks, in order.
    pub(super) blocks: Vec<usize>,
    /// The parts of them.
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

/// A run that is to be read, as a whole or in parts.
pub(super) struct RunPlan {
    opened: Opened,
    read: BlocksRead,
    /// Records that have not happened at it are passed over.
    until: Option<Cut>,
    /// Spans of the blocks: the place after the last block of each, and where its parts lie. None of an object that was fetched whole.
    spans: Vec<(usize, [Range<u64>; 2])>,
}

impl RunPlan {
    pub(super) fn new(opened: Opened, read: BlocksRead) -> Self {
        let dated = opened.tail.footer.statistics.undated == 0;
        let until = opened.until.filter(|_| dated && !read.all_before);
        let mut spans = Vec::new();
        if opened.whole.is_none() {
            let mut place = 0;
            while place < read.blocks.len() {
                let (end, parts) = span_of(&opened.tail, place, &read);
                spans.push((end, parts));
                place = end;
            }
        }
        Self { opened, read, until, spans }
    }

    pub(super) fn footer(&self) -> &Footer {
        &self.opened.tail.footer
    }

    /// Bytes that were read from the store to open it.
    pub(super) fn bytes_read(&self) -> u64 {
        self.opened.bytes_read
    }

    fn entry(&self, place: usize) -> Option<(usize, &BlockEntry)> {
        let number = *self.read.blocks.get(place)?;
        Some((number, self.opened.tail.blocks.get(number)?))
    }

    /// The first keys of the blocks that are read, and the raw bytes of each.
    pub(super) fn places(&self) -> impl Iterator<Item = (&[u8], usize)> {
        let entries = self.read.blocks.iter().filter_map(|number| self.opened.tail.blocks.get(*number));
        entries.map(|entry| (entry.first_key.as_slice(), entry.raw_bytes(self.read.columns)))
    }

    /// The first and the last key that it has, or may have where not all of it is read.
    pub(super) fn ends(&self) -> Option<(&[u8], &[u8])> {
        Some((self.entry(0)?.1.first_key.as_slice(), self.footer().last_key.as_slice()))
    }

    /// The places of the blocks that can have keys from `keys`.
    fn places_of(&self, keys: &Range<&[u8]>) -> Range<usize> {
        if self.footer().last_key.as_slice() < keys.start {
            return 0..0;
        }
        let below = |key: &[u8]| {
            self.read.blocks.partition_point(|number| {
                self.opened.tail.blocks.get(*number).is_some_and(|block| block.first_key.as_slice() < key)
            })
        };
        let (first, end) = (below(keys.start).saturating_sub(1), below(keys.end));
        first.min(end)..end
    }

    /// The span that has the block at a place.
    fn span_at(&self, place: usize) -> usize {
        self.spans.partition_point(|(end, _)| *end <= place)
    }

    fn spans_of(&self, places: &Range<usize>) -> Range<usize> {
        if places.is_empty() { 0..0 } else { self.span_at(places.start)..self.span_at(places.end - 1) + 1 }
    }

    /// What reads its spans, when it is read in these parts; none where it was fetched whole.
    pub(super) fn spans(
        &self,
        store: &Arc<dyn ReadStore>,
        handle: &Handle,
        parts: &[Range<&[u8]>],
        threads: usize,
    ) -> Option<Arc<Spans>> {
        self.opened.whole.is_none().then(|| {
            let mut readers = vec![usize::from(parts.is_empty()); self.spans.len()];
            for part in parts {
                for at in self.spans_of(&self.places_of(part)) {
                    if let Some(readers) = readers.get_mut(at) {
                        *readers += 1;
                    }
                }
            }
            let spans = self.spans.iter().map(|(_, parts)| parts.clone()).zip(readers);
            let ahead = self.ahead(threads);
            Arc::new(Spans::new(store.clone(), handle.clone(), self.opened.object.clone(), spans, ahead))
        })
    }

    /// How much is fetched while so many threads read it: each has a span at hand. There may be many small ones, no more than large ones
    /// take.
    fn ahead(&self, threads: usize) -> Ahead {
        let spans = if self.read.narrow { NARROW_AHEAD } else { SPANS_AHEAD };
        Ahead { spans: threads + spans, small_spans: threads + NARROW_AHEAD, small_bytes: self.read.span_bytes }
    }

    /// Opens it, or the part of it that has these keys; none when it has no block with them.
    pub(super) fn open(self: &Arc<Self>, spans: Option<&Arc<Spans>>, keys: Option<&Range<&[u8]>>) -> Option<OpenRun> {
        let places = keys.map_or(0..self.read.blocks.len(), |keys| self.places_of(keys));
        if places.is_empty() {
            return None;
        }
        let source = match (spans, &self.opened.whole) {
            (Some(spans), None) => Blocks::Ranged { spans: spans.clone(), here: None, left: self.spans_of(&places) },
            (_, whole) => Blocks::Whole(whole.clone().unwrap_or_default()),
        };
        let cursor = BlockCursor::new(&self.opened.object, self.opened.tail.footer.clone());
        let (from, until) = (self.opened.from, self.until);
        Some(OpenRun { plan: self.clone(), cursor, source, places, broken: false, from, until })
    }

    /// Whether all records of the run have happened at the cut, so that the last one of a key is all that is needed of it.
    #[inline]
    fn is_simple(&self) -> bool {
        self.read.all_before && self.opened.from.is_none() && self.read.unreadable.is_none()
    }

    /// Memory that the run takes while `threads` read it, in bytes.
    pub(super) fn memory_bytes(&self, threads: usize) -> usize {
        let block = self.places().map(|(_, raw)| raw).max().unwrap_or(0);
        let index = self.opened.tail.blocks.len() * 256;
        let fetched = if let Some(bytes) = &self.opened.whole {
            bytes.len()
        } else {
            let length = |parts: &[Range<u64>; 2]| {
                let bytes = parts.iter().map(|part| part.end - part.start).sum::<u64>();
                usize::try_from(bytes).unwrap_or(usize::MAX)
            };
            let span = self.spans.iter().map(|(_, parts)| length(parts)).max().unwrap_or(0);
            (threads + self.ahead(threads).spans).min(self.spans.len()).saturating_mul(span)
        };
        block.saturating_mul(threads).saturating_add(fetched).saturating_add(index)
    }
}

impl OpenRun {
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
            if self.places.is_empty() {
                return Ok(false);
            }
            self.load_next(decompressor)?;
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

    fn load_next(&mut self, decompressor: &mut Decompressor) -> Result<()> {
        let Some(place) = self.places.next() else { return Ok(()) };
        let plan = self.plan.clone();
        let Some((number, entry)) = plan.entry(place) else { return Ok(()) };
        let columns = plan.read.columns;
        let stored = self.stored(place, &entry.places(columns))?;
        let number = plan.opened.tail.first_block.saturating_add(number);
        self.cursor.load(decompressor, number, entry, stored.each_ref().map(Bytes::as_ref), columns)?;
        Ok(())
    }

    /// The stored bytes of the parts of the block at a place. What was asked for may not have come whole: that its checksum tells.
    fn stored(&mut self, place: usize, parts: &[Range<u64>; 2]) -> Result<[Bytes; 2]> {
        let [first, second] = parts;
        match &mut self.source {
            Blocks::Whole(bytes) => {
                let whole = Piece { start: 0, bytes: bytes.clone() };
                Ok([whole.get(first), whole.get(second)])
            }
            Blocks::Ranged { spans, here, left } => {
                let at = self.plan.span_at(place);
                if at > left.start {
                    *here = None;
                    spans.leave(left.start..at);
                    left.start = at;
                }
                let [near, far] = match here {
                    Some(here) => here,
                    None => here.insert(spans.get(at)?),
                };
                Ok([near.get(first), far.get(second)])
            }
        }
    }
}

impl Drop for OpenRun {
    fn drop(&mut self) {
        if let Blocks::Ranged { spans, left, .. } = &self.source {
            spans.leave(left.clone());
        }
    }
}
