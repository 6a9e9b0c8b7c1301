//! Spans of neighbouring blocks of a run: what one range read of each area brings.

use std::ops::Range;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::run::BlocksRead;
use crate::format::Tail;
use crate::store::{ReadStore, StoreError};

/// Bytes of an object, and where they begin.
pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) bytes: Bytes,
}

impl Piece {
    /// The bytes of a place, if they are all there; none of an empty place always are.
    pub(super) fn get(&self, place: &Range<u64>) -> Option<Bytes> {
        if place.is_empty() {
            return Some(Bytes::new());
        }
        let at = |offset: u64| usize::try_from(offset.checked_sub(self.start)?).ok();
        self.bytes.get(at(place.start)?..at(place.end)?).map(|part| self.bytes.slice_ref(part))
    }
}

/// What neighbouring blocks have in the first area, and in the second, under way.
pub(super) struct Fetch {
    /// How many bytes were asked for.
    pub(super) bytes: u64,
    pub(super) task: JoinHandle<std::result::Result<[Piece; 2], StoreError>>,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) async fn fetch(
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

/// The bytes of a block's parts, where a span that was fetched has them all.
pub(super) fn parts_of(span: Option<&[Piece; 2]>, [first, second]: &[Range<u64>; 2]) -> Option<[Bytes; 2]> {
    let [near, far] = span?;
    Some([near.get(first)?, far.get(second)?])
}

/// The blocks from the one at place `first` that fit one span, at least one: the place after them, and where their parts lie.
pub(super) fn span_of(tail: &Tail, first: usize, read: &BlocksRead) -> (usize, [Range<u64>; 2]) {
    let entry = |place: usize| {
        let number = *read.blocks.get(place)?;
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
