//! One run of a merge: its blocks, fetched ahead, and the record it stands at.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use super::UnreadableList;
use super::ahead::{Block, Loader, Pending};
use super::open::Opened;
use super::span::{self, Fetch, Piece, parts_of, span_of};
use crate::cut::Cut;
use crate::error::{Kind, Result};
use crate::format::{BlockCursor, BlockEntry, Columns, Layout, RunKind, TAIL_BYTES, Tail, read_tail};
use crate::model::{Second, SequenceNumber};
use crate::store::ReadStore;
use bytes::Bytes;
use tokio::runtime::Handle;

/// How many spans of blocks are under way for a run.
const SPANS_AHEAD: usize = 2;
/// The same where a span is a few columns of one block, or blocks that have no neighbours among those wanted.
const NARROW_AHEAD: usize = 16;

/// Where a run's blocks come from.
enum Source {
    /// The whole object.
    Whole(Bytes),
    /// Range reads of neighbouring blocks, some of them ahead.
    Ranged {
        store: Arc<dyn ReadStore>,
        handle: Handle,
        under_way: VecDeque<Fetch>,
        next: usize,
        span: Option<[Piece; 2]>,
    },
    /// A temporary file of ours.
    File(File),
}

/// A run that stands at a record.
pub(super) struct OpenRun {
    /// The object's key, for messages.
    pub(super) object: String,
    /// Index of the input; none for a temporary run.
    pub(super) input: Option<usize>,
    pub(super) tail: Tail,
    pub(super) cursor: BlockCursor,
    /// Records of earlier seconds are passed over.
    from: Option<Second>,
    /// Records that have not happened at it are passed over.
    until: Option<Cut>,
    /// Bytes that were read from the store.
    pub(super) bytes_read: u64,
    source: Source,
    read: BlocksRead,
    /// How many of the blocks have been fetched.
    fetched: usize,
    /// Those of them that are being loaded, in order; an error is told when its block is wanted.
    ahead: VecDeque<Result<Pending>>,
    /// Cursors whose block is behind.
    spare: Vec<BlockCursor>,
    /// Whether the rest of the block at hand cannot be read and is left.
    broken: bool,
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

impl OpenRun {
    /// A run of the store.
    pub(super) fn from_store(opened: Opened, store: &Arc<dyn ReadStore>, handle: &Handle, read: BlocksRead) -> Self {
        let source = match opened.whole {
            Some(bytes) => Source::Whole(bytes),
            None => Source::Ranged {
                store: store.clone(),
                handle: handle.clone(),
                under_way: VecDeque::new(),
                next: 0,
                span: None,
            },
        };
        let dated = opened.tail.footer.statistics.undated == 0;
        let until = opened.until.filter(|_| dated && !read.all_before);
        let cursor = BlockCursor::new(&opened.object, opened.tail.footer.clone());
        Self {
            object: opened.object,
            input: Some(opened.input),
            tail: opened.tail,
            cursor,
            from: opened.from,
            until,
            bytes_read: opened.bytes_read,
            source,
            read,
            fetched: 0,
            ahead: VecDeque::new(),
            spare: Vec::new(),
            broken: false,
        }
    }

    /// A temporary run.
    pub(super) fn from_file(mut file: File, size: u64) -> Result<Self, super::MergeError> {
        let object = "temporary run".to_owned();
        let fail = |source| super::MergeError::Spill { action: "read", folder: std::env::temp_dir(), source };
        let mut wanted = TAIL_BYTES.min(size);
        let tail = loop {
            let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(usize::MAX)];
            file.seek(SeekFrom::Start(size - wanted)).map_err(fail)?;
            file.read_exact(&mut bytes).map_err(fail)?;
            let layout = read_tail(&object, &bytes, size).map_err(|error| fail(std::io::Error::other(error)))?;
            match layout {
                Layout::Complete(tail) => break tail,
                Layout::More(more) => wanted = more.min(size),
            }
        };
        let cursor = BlockCursor::new(&object, tail.footer.clone());
        let blocks = (0..tail.blocks.len()).collect();
        Ok(Self {
            object,
            input: None,
            tail,
            cursor,
            from: None,
            until: None,
            bytes_read: 0,
            source: Source::File(file),
            read: BlocksRead {
                blocks,
                columns: Columns::All,
                narrow: false,
                span_bytes: 0,
                unreadable: None,
                all_before: false,
            },
            fetched: 0,
            ahead: VecDeque::new(),
            spare: Vec::new(),
            broken: false,
        })
    }

    /// How many blocks are read of it.
    pub(super) fn blocks(&self) -> usize {
        self.read.blocks.len()
    }

    /// Whether all records of the run have happened at the cut, so that the last one of a key is all that is needed of it.
    #[inline]
    pub(super) fn is_simple(&self) -> bool {
        self.read.all_before && self.from.is_none() && self.read.unreadable.is_none()
    }

    /// Memory that the run takes while it is read, in bytes; more when other threads load a block `ahead`.
    pub(super) fn memory_bytes(&self, ahead: bool) -> usize {
        let raw_bytes = |block: &BlockEntry| block.raw_bytes(self.read.columns);
        let block = self.tail.blocks.iter().map(raw_bytes).max().unwrap_or(0);
        let loaded = if ahead && self.read.blocks.len() > 1 { block.saturating_mul(2) } else { block };
        let index = self.tail.blocks.len() * 256;
        let fetched = match &self.source {
            Source::Whole(bytes) => bytes.len(),
            Source::Ranged { .. } if self.read.narrow => NARROW_AHEAD.saturating_mul(block),
            Source::Ranged { .. } => (SPANS_AHEAD + 1) * usize::try_from(self.read.span_bytes).unwrap_or(usize::MAX),
            Source::File(_) => block,
        };
        loaded.saturating_add(fetched).saturating_add(index)
    }

    /// Where the record that it stands at comes in the order of the merge: items of a snapshot come before the records of
    /// their key, and are never copies of one.
    #[inline]
    pub(super) fn order(&self) -> Option<SequenceNumber> {
        (self.tail.footer.kind != RunKind::Snapshot).then(|| self.cursor.sequence())
    }

    /// Goes to the next record; false at the end of the run.
    #[inline]
    pub(super) fn advance(&mut self, loader: &mut Loader) -> Result<bool> {
        loop {
            match (self.step(loader), &self.read.unreadable) {
                // The other blocks may be whole.
                (Err(error), Some(list)) if error.kind() == Kind::Corrupt => {
                    list.add(&self.object, &error);
                    self.broken = true;
                }
                (stepped, _) => return stepped,
            }
        }
    }

    #[inline]
    fn step(&mut self, loader: &mut Loader) -> Result<bool> {
        loop {
            while !self.broken && self.cursor.advance()? {
                let second = self.cursor.second();
                if self.from.is_none_or(|from| second.is_none_or(|second| second >= from))
                    && self.until.is_none_or(|until| until.has(self.cursor.sequence(), second))
                {
                    return Ok(true);
                }
            }
            if self.ahead.is_empty() && self.fetched >= self.read.blocks.len() {
                return Ok(false);
            }
            self.load_next(loader)?;
            self.broken = false;
        }
    }

    fn load_next(&mut self, loader: &mut Loader) -> Result<()> {
        self.load_ahead(loader);
        match self.ahead.pop_front() {
            Some(pending) => {
                let next = loader.take(&pending?)?;
                self.spare.push(std::mem::replace(&mut self.cursor, next));
                self.load_ahead(loader);
            }
            None => {
                if let Some((number, stored)) = self.fetch_next()?
                    && let Some(entry) = self.tail.blocks.get(number)
                {
                    let named = self.tail.first_block.saturating_add(number);
                    let stored = stored.each_ref().map(Bytes::as_ref);
                    self.cursor.load(loader.decompressor(), named, entry, stored, self.read.columns)?;
                }
            }
        }
        Ok(())
    }

    /// Lets other threads, if there are any, load the next blocks. Waits for no bytes while there is a block to go on with.
    pub(super) fn load_ahead(&mut self, loader: &Loader) {
        while self.ahead.len() < loader.ahead()
            && self.fetched < self.read.blocks.len()
            && (self.ahead.is_empty() || self.is_next_here())
        {
            let fetched = self.fetch_next();
            let columns = self.read.columns;
            let pending = fetched.map(|fetched| {
                let (number, stored) = fetched?;
                let entry = self.tail.blocks.get(number)?.clone();
                let number = self.tail.first_block.saturating_add(number);
                let fresh = || BlockCursor::new(&self.object, self.tail.footer.clone());
                let cursor = self.spare.pop().unwrap_or_else(fresh);
                Some(loader.submit(Block { cursor, number, entry, stored, columns }))
            });
            self.ahead.extend(pending.transpose());
        }
    }

    /// Where the parts of the block that is fetched next lie.
    fn next_places(&self) -> Option<(usize, [Range<u64>; 2])> {
        let number = *self.read.blocks.get(self.fetched)?;
        Some((number, self.tail.blocks.get(number)?.places(self.read.columns)))
    }

    /// Whether its bytes can be had without waiting.
    fn is_next_here(&self) -> bool {
        let Source::Ranged { span, under_way, .. } = &self.source else { return true };
        let Some((_, places)) = self.next_places() else { return true };
        parts_of(span.as_ref(), &places).is_some() || under_way.front().is_some_and(|fetch| fetch.task.is_finished())
    }

    /// Fetches the next block: its number and stored bytes.
    fn fetch_next(&mut self) -> Result<Option<(usize, [Bytes; 2])>> {
        let next = self.next_places();
        self.fetched += 1;
        let Some((number, places)) = next else { return Ok(None) };
        let stored = match &mut self.source {
            Source::Whole(bytes) => {
                let whole = Piece { start: 0, bytes: bytes.clone() };
                let stored = places.each_ref().map(|place| whole.get(place).unwrap_or_default());
                if self.fetched == self.read.blocks.len() {
                    self.source = Source::Whole(Bytes::new());
                }
                stored
            }
            Source::Ranged { store, handle, under_way, next, span } => {
                while *next < self.read.blocks.len() && has_room(under_way, &self.read) {
                    let (end, wanted) = span_of(&self.tail, *next, &self.read);
                    *next = end;
                    let (store, object) = (store.clone(), self.object.clone());
                    let bytes = wanted.iter().map(|place| place.end - place.start).sum();
                    let task = handle.spawn(async move { span::fetch(store.as_ref(), &object, wanted).await });
                    under_way.push_back(Fetch { bytes, task });
                }
                if parts_of(span.as_ref(), &places).is_none() {
                    let Some(mut fetch) = under_way.pop_front() else { return Ok(None) };
                    let pieces = handle
                        .block_on(&mut fetch.task)
                        .map_err(|error| super::MergeError::Thread { reason: error.to_string() })??;
                    let read = pieces.iter().map(|piece| u64::try_from(piece.bytes.len()).unwrap_or(0)).sum();
                    self.bytes_read = self.bytes_read.saturating_add(read);
                    *span = Some(pieces);
                }
                // What was asked for may not have come whole: that its checksum tells.
                parts_of(span.as_ref(), &places).unwrap_or_default()
            }
            Source::File(file) => {
                let fail = |source| super::MergeError::Spill { action: "read", folder: std::env::temp_dir(), source };
                let mut read = |place: &Range<u64>| {
                    let mut buffer = vec![0; usize::try_from(place.end - place.start).unwrap_or(usize::MAX)];
                    file.seek(SeekFrom::Start(place.start))?;
                    file.read_exact(&mut buffer).map(|()| Bytes::from(buffer))
                };
                let [first, second] = &places;
                [read(first).map_err(fail)?, read(second).map_err(fail)?]
            }
        };
        Ok(Some((number, stored)))
    }
}

/// Whether one more span may be under way: there may be many small ones, together no more than [`SPANS_AHEAD`] large ones.
fn has_room(under_way: &VecDeque<Fetch>, read: &BlocksRead) -> bool {
    let bytes = under_way.iter().map(|fetch| fetch.bytes).sum::<u64>();
    let large = u64::try_from(SPANS_AHEAD - 1).unwrap_or(0).saturating_mul(read.span_bytes);
    under_way.len() < SPANS_AHEAD || (under_way.len() < NARROW_AHEAD && (read.narrow || bytes <= large))
}
