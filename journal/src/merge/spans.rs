//! The bytes of a run that are read by range: what neighbouring blocks have in an area with one request, some requests ahead, each span
//! fetched once though several threads read parts of it.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::run::BlocksRead;
use super::{MergeError, lock};
use crate::error::Result;
use crate::format::Tail;
use crate::store::{ReadStore, StoreError};

/// Bytes of an object, and where they begin.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) bytes: Bytes,
}

impl Piece {
    /// The bytes of a place; none where they are not all there.
    pub(super) fn get(&self, place: &Range<u64>) -> Bytes {
        let at = |offset: u64| usize::try_from(offset.checked_sub(self.start)?).ok();
        let part = at(place.start).zip(at(place.end)).and_then(|(start, end)| self.bytes.get(start..end));
        part.map_or_else(Bytes::new, |part| self.bytes.slice_ref(part))
    }
}

/// What neighbouring blocks have in the first area, and in the second: two requests at once.
async fn fetch(
    store: &dyn ReadStore,
    object: &str,
    [first, second]: [Range<u64>; 2],
) -> std::result::Result<[Piece; 2], StoreError> {
    let piece = |place: Range<u64>| async move {
        let start = place.start;
        let bytes = if place.is_empty() { Bytes::new() } else { store.get_range(object, place).await? };
        Ok::<_, StoreError>(Piece { start, bytes })
    };
    let (first, second) = futures::future::try_join(piece(first), piece(second)).await?;
    Ok([first, second])
}

/// The blocks from the one at place `first` that fit one span, at least one: the place after them, and where their parts lie.
pub(super) fn span_of(tail: &Tail, numbers: &[usize], first: usize, read: &BlocksRead) -> (usize, [Range<u64>; 2]) {
    let entry = |place: usize| {
        let number = *numbers.get(place)?;
        Some((number, tail.blocks.get(number)?.places(read.columns)))
    };
    let Some((mut number, mut places)) = entry(first) else { return (first + 1, [0..0, 0..0]) };
    let mut last = first + 1;
    while !read.narrow
        && let Some((next, more)) = entry(last)
    {
        let longer = [(&places[0], &more[0]), (&places[1], &more[1])].map(|(place, more)| joined(place, more));
        let length = longer.iter().fold(0u64, |sum, place| sum.saturating_add(place.end - place.start));
        if next != number + 1 || length > read.span_bytes {
            break;
        }
        (number, places) = (next, longer);
        last += 1;
    }
    (last, places)
}

/// One place of two that follow each other in an area; either may be empty.
fn joined(one: &Range<u64>, next: &Range<u64>) -> Range<u64> {
    match (one.is_empty(), next.is_empty()) {
        (true, _) => next.clone(),
        (_, true) => one.clone(),
        _ => one.start..next.end,
    }
}

/// Requests under way, or their answers.
enum Fetch {
    Asked(JoinHandle<std::result::Result<[Piece; 2], StoreError>>),
    Here([Piece; 2]),
    /// Who waited for it was told why.
    Failed,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        if let Self::Asked(task) = self {
            task.abort();
        }
    }
}

struct Span {
    /// Where it lies in the first area, and in the second.
    parts: [Range<u64>; 2],
    /// Readers that have not left it.
    readers: usize,
    fetch: Option<Arc<Mutex<Fetch>>>,
    asked: bool,
}

impl Span {
    fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.end.saturating_sub(part.start)).fold(0, u64::saturating_add)
    }
}

struct State {
    spans: Vec<Span>,
    /// No span before it can still be asked for ahead.
    ahead: usize,
    /// Spans that are held.
    held: usize,
    /// Bytes that they have.
    held_bytes: u64,
}

/// How much is fetched before it is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead {
    /// So many spans may be held, of whatever size.
    pub(super) spans: usize,
    /// So many may be held while they have no more than `small_bytes` together: blocks that have no neighbours among those that are wanted.
    pub(super) small_spans: usize,
    pub(super) small_bytes: u64,
}

impl Ahead {
    /// Whether one more span may be asked for.
    fn has_room(&self, state: &State) -> bool {
        state.held < self.spans || (state.held < self.small_spans && state.held_bytes <= self.small_bytes)
    }
}

/// The spans of one run, in order.
pub(super) struct Spans {
    store: Arc<dyn ReadStore>,
    handle: Handle,
    object: String,
    ahead: Ahead,
    state: Mutex<State>,
    /// Counts what is read.
    bytes_read: Arc<AtomicU64>,
}

impl Spans {
    /// Spans with the number of readers that each will have; what `ahead` lets is fetched before it is wanted.
    pub(super) fn new(
        (store, handle, object): (Arc<dyn ReadStore>, Handle, String),
        spans: impl Iterator<Item = ([Range<u64>; 2], usize)>,
        ahead: Ahead,
        bytes_read: Arc<AtomicU64>,
    ) -> Self {
        let spans = spans.map(|(parts, readers)| Span { parts, readers, fetch: None, asked: false }).collect();
        let state = Mutex::new(State { spans, ahead: 0, held: 0, held_bytes: 0 });
        Self { store, handle, object, ahead, state, bytes_read }
    }

    /// Asks for the first of them.
    pub(super) fn begin(&self) {
        self.ask_ahead(&mut lock(&self.state));
    }

    fn ask(&self, state: &mut State, at: usize) -> Option<Arc<Mutex<Fetch>>> {
        let span = state.spans.get_mut(at)?;
        if span.fetch.is_none() {
            let (store, object, parts) = (self.store.clone(), self.object.clone(), span.parts.clone());
            let task = self.handle.spawn(async move { fetch(store.as_ref(), &object, parts).await });
            span.fetch = Some(Arc::new(Mutex::new(Fetch::Asked(task))));
            span.asked = true;
            let (fetch, bytes) = (span.fetch.clone(), span.bytes());
            state.held += 1;
            state.held_bytes = state.held_bytes.saturating_add(bytes);
            return fetch;
        }
        span.fetch.clone()
    }

    /// Asks for the next spans that nobody has asked for.
    fn ask_ahead(&self, state: &mut State) {
        while self.ahead.has_room(state) {
            let Some(span) = state.spans.get(state.ahead) else { return };
            if !span.asked && span.readers > 0 {
                self.ask(state, state.ahead);
            }
            state.ahead += 1;
        }
    }

    /// The bytes of a span, waited for: what it has in the first area, and in the second.
    pub(super) fn get(&self, at: usize) -> Result<[Piece; 2]> {
        let (asked, parts) = {
            let mut state = lock(&self.state);
            let asked = self.ask(&mut state, at);
            self.ask_ahead(&mut state);
            (asked, state.spans.get(at).map(|span| span.parts.clone()).unwrap_or_default())
        };
        let Some(asked) = asked else { return Ok(parts.map(|part| Piece { start: part.start, bytes: Bytes::new() })) };
        let mut asked = lock(&asked);
        let fetched = match &mut *asked {
            Fetch::Here(pieces) => return Ok(pieces.clone()),
            Fetch::Asked(task) => {
                self.handle.block_on(task).map_err(|error| MergeError::Thread { reason: error.to_string() })?
            }
            Fetch::Failed => self.handle.block_on(fetch(self.store.as_ref(), &self.object, parts)),
        };
        match fetched {
            Ok(pieces) => {
                let read = pieces.iter().map(|piece| u64::try_from(piece.bytes.len()).unwrap_or(0)).sum();
                self.bytes_read.fetch_add(read, Ordering::Relaxed);
                *asked = Fetch::Here(pieces.clone());
                Ok(pieces)
            }
            Err(error) => {
                *asked = Fetch::Failed;
                Err(error.into())
            }
        }
    }

    /// Says that a reader wants none of these spans any more.
    pub(super) fn leave(&self, left: Range<usize>) {
        if left.is_empty() {
            return;
        }
        let mut state = lock(&self.state);
        for at in left {
            let Some(span) = state.spans.get_mut(at) else { continue };
            span.readers = span.readers.saturating_sub(1);
            if span.readers == 0 && span.fetch.take().is_some() {
                let bytes = span.bytes();
                state.held = state.held.saturating_sub(1);
                state.held_bytes = state.held_bytes.saturating_sub(bytes);
            }
        }
    }
}
