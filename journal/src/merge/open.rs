//! Opens a run: of its end and its index what is wanted, or all of a small object.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join3;

use super::{RecordScan, RunInput};
use crate::cut::Cut;
use crate::error::Result;
use crate::format::{FormatError, Header, Layout, Problem, TAIL_BYTES, Tail, Top, TopLayout, read_tail, read_top};
use crate::model::Second;
use crate::store::ReadStore;

/// Objects up to this size are fetched whole, in one request.
pub(super) const WHOLE_BYTES_MAX: u64 = 1 << 20;

/// What was fetched to open a run.
pub(super) struct Opened {
    pub(super) object: String,
    pub(super) from: Option<Second>,
    pub(super) until: Option<Cut>,
    /// The blocks of the wanted keys, or the first of them.
    pub(super) tail: Tail,
    /// What has the others.
    pub(super) rest: Option<Rest>,
    pub(super) whole: Option<Bytes>,
    /// The page of the key filter that knows the one key that is wanted.
    pub(super) filter_page: Option<Bytes>,
    /// The blocks that hold records of the wanted seconds, where a time index tells; its error is for the scan to judge.
    pub(super) timely: Option<std::result::Result<Vec<usize>, FormatError>>,
    pub(super) bytes_read: u64,
}

/// The part of a long run's index that is read later.
pub(super) struct Rest {
    pub(super) top: Top,
    /// The first page of it.
    pub(super) from: usize,
    /// So many pages are read at once.
    pub(super) pages_at_once: usize,
}

/// How runs are opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening {
    /// Objects of at most so many bytes are fetched whole.
    pub(super) whole_bytes_max: u64,
    /// Of a run that is read from its beginning to its end, so many pages of the index are read at once.
    pub(super) pages_at_once: usize,
}

/// Fetches what is needed to open a run: a small object as a whole, of another one its end, and of the index only the pages that the scan's keys and
/// seconds may be on; where that is all of them, the first.
pub(super) async fn open(
    store: Arc<dyn ReadStore>,
    run: RunInput,
    scan: RecordScan,
    Opening { whole_bytes_max, pages_at_once }: Opening,
) -> Result<Opened> {
    let RunInput { key: object, size, from, until, .. } = run;
    let (top, end, whole) = if size <= whole_bytes_max {
        let bytes = store.get(&object).await?;
        Header::parse(&object, &bytes)?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        match read_top(&object, &bytes, length)? {
            TopLayout::Complete(top) => {
                (top, End { bytes: bytes.clone(), size: length, bytes_read: length }, Some(bytes))
            }
            TopLayout::More(expected) => return Err(too_short(&object, length, expected)),
        }
    } else {
        let (top, end) = read_end(store.as_ref(), &object, |bytes, size| {
            Ok(match read_top(&object, bytes, size)? {
                TopLayout::Complete(top) => Ok(top),
                TopLayout::More(more) => Err(more),
            })
        })
        .await?;
        (top, end, None)
    };
    let pages = scan.keys.as_ref().map_or(0..top.pages(), |keys| top.pages_of_keys(keys));
    let is_long = whole.is_none() && scan.keys.is_none() && scan.seconds.is_none() && pages.len() > pages_at_once;
    let pages = if is_long { 0..pages_at_once } else { pages };
    let key = scan.keys.as_ref().and_then(only_key);
    let filter_page = key.and_then(|key| top.filter_page(key)).filter(|_| !pages.is_empty());
    let filter_place = filter_page.map(|page| page.offset..page.offset.saturating_add(u64::from(page.length)));
    // One item's blocks are few without a look at their time.
    let seconds = scan.seconds.filter(|_| key.is_none() && !pages.is_empty());
    // At once: what waits for an answer is what takes time.
    let (index, filter, timely) = try_join3(
        end.part(store.as_ref(), &object, top.place_of(&pages)),
        end.part(store.as_ref(), &object, filter_place.clone().unwrap_or_default()),
        timely(store.as_ref(), &object, &end, &top, seconds),
    )
    .await?;
    let tail = top.tail(&object, pages, &index.0)?;
    let rest = is_long.then_some(Rest { top, from: pages_at_once, pages_at_once });
    let bytes_read = [index.1, filter.1, timely.1].into_iter().fold(end.bytes_read, u64::saturating_add);
    let (filter_page, timely) = (filter_place.map(|_| filter.0), timely.0);
    Ok(Opened { object, from, until, tail, rest, whole, filter_page, timely, bytes_read })
}

/// The blocks that hold records of these seconds, as the run's time index says, and how many bytes were read for it.
async fn timely(
    store: &dyn ReadStore,
    object: &str,
    end: &End,
    top: &Top,
    seconds: Option<(Second, Second)>,
) -> Result<(Option<std::result::Result<Vec<usize>, FormatError>>, u64)> {
    let (Some(seconds), Some(place)) = (seconds, top.time_directory()) else { return Ok((None, 0)) };
    let (directory, read) = end.part(store, object, place).await?;
    let index = match top.time_index(object, &directory) {
        Ok(Some(index)) => index,
        Ok(None) => return Ok((None, read)),
        Err(error) => return Ok((Some(Err(error)), read)),
    };
    let (stored, more) = end.part(store, object, index.place_of(&index.pages_of(seconds))).await?;
    Ok((Some(index.blocks(object, seconds, &stored)), read.saturating_add(more)))
}

/// The key of a range that has only that one.
pub(super) fn only_key(keys: &Range<Bytes>) -> Option<&Bytes> {
    (keys.end.strip_prefix(keys.start.as_ref()) == Some(&[0])).then_some(&keys.start)
}

/// The tail of a run: its footer and index, by one or two reads of its end.
///
/// # Errors
/// When the object cannot be read or is not a run.
pub async fn tail_of(store: &dyn ReadStore, object: &str) -> Result<Tail> {
    let (tail, _) = read_end(store, object, |bytes, size| {
        Ok(match read_tail(object, bytes, size)? {
            Layout::Complete(tail) => Ok(tail),
            Layout::More(more) => Err(more),
        })
    })
    .await?;
    Ok(tail)
}

/// The last bytes of an object.
struct End {
    bytes: Bytes,
    /// Bytes of the object.
    size: u64,
    /// Bytes that were read for it.
    bytes_read: u64,
}

impl End {
    /// A part of the object, and how many bytes were read for it.
    async fn part(&self, store: &dyn ReadStore, object: &str, place: Range<u64>) -> Result<(Bytes, u64)> {
        if place.is_empty() {
            return Ok((Bytes::new(), 0));
        }
        let start = self.size.saturating_sub(u64::try_from(self.bytes.len()).unwrap_or(u64::MAX));
        let at = |offset: u64| offset.checked_sub(start).and_then(|at| usize::try_from(at).ok());
        if let (Some(from), Some(to)) = (at(place.start), at(place.end).filter(|to| *to <= self.bytes.len())) {
            return Ok((self.bytes.slice(from..to), 0));
        }
        let length = place.end - place.start;
        Ok((store.get_range(object, place).await?, length))
    }
}

/// Reads an object's end until `parse` has enough of it; an `Ok(Err(more))` of `parse` says how many bytes it wants.
async fn read_end<T>(
    store: &dyn ReadStore,
    object: &str,
    parse: impl Fn(&[u8], u64) -> Result<std::result::Result<T, u64>>,
) -> Result<(T, End)> {
    let mut wanted = TAIL_BYTES;
    let mut bytes_read = 0u64;
    loop {
        let (bytes, size) = store.get_tail(object, wanted).await?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        bytes_read = bytes_read.saturating_add(length);
        match parse(&bytes, size)? {
            Ok(parsed) => return Ok((parsed, End { bytes, size, bytes_read })),
            Err(more) if more > wanted && length < size => wanted = more,
            Err(expected) => return Err(too_short(object, length, expected)),
        }
    }
}

fn too_short(object: &str, found: u64, expected: u64) -> crate::Error {
    let problem = Problem::Length { part: "object", found, expected };
    FormatError { object: object.to_owned(), block: None, offset: 0, problem }.into()
}
