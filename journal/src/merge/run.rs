//! One run of a merge: its blocks, fetched ahead, and the record it stands at.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use super::RunInput;
use crate::error::Result;
use crate::format::{BlockCursor, Decompressor, Header, Layout, RunKind, TAIL_BYTES, Tail, read_tail};
use crate::model::{Second, SequenceNumber};
use crate::store::{ReadStore, StoreError};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Objects up to this size are fetched whole, in one request.
pub(super) const WHOLE_BYTES_MAX: u64 = 1 << 20;
/// How many spans of blocks are under way for a run.
const SPANS_AHEAD: usize = 2;

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
        span: Option<(Range<u64>, Bytes)>,
    },
    /// A temporary file of ours.
    File { file: File, buffer: Vec<u8> },
}

struct Fetch {
    range: Range<u64>,
    task: JoinHandle<std::result::Result<Bytes, StoreError>>,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.task.abort();
    }
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
    /// Bytes that were read from the store.
    pub(super) bytes_read: u64,
    source: Source,
    blocks: Range<usize>,
    with_old: bool,
    span_bytes: u64,
}

/// What was fetched to open a run.
pub(super) struct Opened {
    pub(super) input: usize,
    pub(super) object: String,
    pub(super) from: Option<Second>,
    pub(super) tail: Tail,
    pub(super) whole: Option<Bytes>,
    pub(super) bytes_read: u64,
}

/// Fetches what is needed to open a run: the whole object if it is small, else its tail.
pub(super) async fn open(store: Arc<dyn ReadStore>, input: usize, run: RunInput) -> Result<Opened> {
    let RunInput { key: object, size, from, .. } = run;
    if size <= WHOLE_BYTES_MAX {
        let bytes = store.get(&object).await?;
        Header::parse(&object, &bytes)?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        return match read_tail(&object, &bytes, length)? {
            Layout::Complete(tail) => Ok(Opened { input, object, from, tail, whole: Some(bytes), bytes_read: length }),
            Layout::More(expected) => Err(too_short(&object, length, expected)),
        };
    }
    let mut wanted = TAIL_BYTES;
    let mut bytes_read = 0u64;
    loop {
        let (bytes, size) = store.get_tail(&object, wanted).await?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        bytes_read = bytes_read.saturating_add(length);
        match read_tail(&object, &bytes, size)? {
            Layout::Complete(tail) => return Ok(Opened { input, object, from, tail, whole: None, bytes_read }),
            Layout::More(more) if more > wanted && length < size => wanted = more,
            Layout::More(expected) => return Err(too_short(&object, length, expected)),
        }
    }
}

fn too_short(object: &str, found: u64, expected: u64) -> crate::Error {
    let problem = crate::format::Problem::Length { part: "object", found, expected };
    crate::format::FormatError { object: object.to_owned(), block: None, offset: 0, problem }.into()
}

impl OpenRun {
    /// A run of the store that reads the blocks `blocks`.
    pub(super) fn from_store(
        opened: Opened,
        store: &Arc<dyn ReadStore>,
        handle: &Handle,
        blocks: Range<usize>,
        with_old: bool,
        span_bytes: u64,
    ) -> Self {
        let source = match opened.whole {
            Some(bytes) => Source::Whole(bytes),
            None => Source::Ranged {
                store: store.clone(),
                handle: handle.clone(),
                under_way: VecDeque::new(),
                next: blocks.start,
                span: None,
            },
        };
        let cursor = BlockCursor::new(&opened.object, opened.tail.footer.clone());
        Self {
            object: opened.object,
            input: Some(opened.input),
            tail: opened.tail,
            cursor,
            from: opened.from,
            bytes_read: opened.bytes_read,
            source,
            blocks,
            with_old,
            span_bytes,
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
        let blocks = 0..tail.blocks.len();
        Ok(Self {
            object,
            input: None,
            tail,
            cursor,
            from: None,
            bytes_read: 0,
            source: Source::File { file, buffer: Vec::new() },
            blocks,
            with_old: true,
            span_bytes: 0,
        })
    }

    /// Memory that the run takes while it is read, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let block = self.tail.blocks.iter().map(crate::format::BlockEntry::raw_bytes).max().unwrap_or(0);
        let index = self.tail.blocks.len() * 256;
        let fetched = match &self.source {
            Source::Whole(bytes) => bytes.len(),
            Source::Ranged { .. } => (SPANS_AHEAD + 1) * usize::try_from(self.span_bytes).unwrap_or(usize::MAX),
            Source::File { .. } => block,
        };
        block.saturating_add(fetched).saturating_add(index)
    }

    /// Where the record that it stands at comes in the order of the merge: items of a snapshot come before the records of
    /// their key, and are never copies of one.
    #[inline]
    pub(super) fn order(&self) -> Option<SequenceNumber> {
        (self.tail.footer.kind != RunKind::Snapshot).then(|| self.cursor.sequence())
    }

    /// Goes to the next record; false at the end of the run.
    #[inline]
    pub(super) fn advance(&mut self, decompressor: &mut Decompressor) -> Result<bool> {
        loop {
            while self.cursor.advance()? {
                if self.from.is_none_or(|from| self.cursor.second().is_none_or(|second| second >= from)) {
                    return Ok(true);
                }
            }
            if self.blocks.is_empty() {
                return Ok(false);
            }
            self.load_next(decompressor)?;
        }
    }

    fn load_next(&mut self, decompressor: &mut Decompressor) -> Result<()> {
        let number = self.blocks.start;
        self.blocks.start += 1;
        let Some(entry) = self.tail.blocks.get(number) else { return Ok(()) };
        let range = entry.range();
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        match &mut self.source {
            Source::Whole(bytes) => {
                let start = usize::try_from(range.start).unwrap_or(usize::MAX);
                let stored = start.checked_add(length).and_then(|end| bytes.get(start..end)).unwrap_or_default();
                self.cursor.load(decompressor, number, entry, stored, self.with_old)?;
                if self.blocks.is_empty() {
                    self.source = Source::Whole(Bytes::new());
                }
            }
            Source::Ranged { store, handle, under_way, next, span } => {
                while under_way.len() < SPANS_AHEAD && *next < self.blocks.end {
                    let (end, wanted) = span_of(&self.tail, *next, self.blocks.end, self.span_bytes);
                    *next = end;
                    let (store, object, asked) = (store.clone(), self.object.clone(), wanted.clone());
                    let task = handle.spawn(async move { store.get_range(&object, asked).await });
                    under_way.push_back(Fetch { range: wanted, task });
                }
                if !span.as_ref().is_some_and(|(have, _)| have.start <= range.start && range.end <= have.end) {
                    let Some(mut fetch) = under_way.pop_front() else { return Ok(()) };
                    let bytes = handle
                        .block_on(&mut fetch.task)
                        .map_err(|error| super::MergeError::Thread { reason: error.to_string() })??;
                    self.bytes_read = self.bytes_read.saturating_add(u64::try_from(bytes.len()).unwrap_or(0));
                    *span = Some((fetch.range.clone(), bytes));
                }
                if let Some((have, bytes)) = span {
                    let start = usize::try_from(range.start.saturating_sub(have.start)).unwrap_or(usize::MAX);
                    let stored = start.checked_add(length).and_then(|end| bytes.get(start..end)).unwrap_or_default();
                    self.cursor.load(decompressor, number, entry, stored, self.with_old)?;
                }
            }
            Source::File { file, buffer } => {
                let fail = |source| super::MergeError::Spill { action: "read", folder: std::env::temp_dir(), source };
                buffer.resize(length, 0);
                file.seek(SeekFrom::Start(range.start)).map_err(fail)?;
                file.read_exact(buffer).map_err(fail)?;
                self.cursor.load(decompressor, number, entry, buffer, self.with_old)?;
            }
        }
        Ok(())
    }
}

/// The blocks from `first` that fit one span, at least one.
fn span_of(tail: &Tail, first: usize, end: usize, span_bytes: u64) -> (usize, Range<u64>) {
    let start = tail.blocks.get(first).map_or(0, |block| block.range().start);
    let mut last = first;
    let mut stop = start;
    while last < end {
        let Some(block) = tail.blocks.get(last) else { break };
        let block_end = block.range().end;
        if last > first && block_end - start > span_bytes {
            break;
        }
        stop = block_end;
        last += 1;
    }
    (last, start..stop)
}
