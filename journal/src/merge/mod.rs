//! The k-way merge of runs, and the state at a cut that comes of it.
//!
//! What enters are the objects of runs (segments, snapshot parts); what leaves are records or items in key order, each
//! once. Memory is bounded by [`MergeOptions::memory_bytes_max`]: small runs are sorted together in memory, and what does not fit goes
//! through temporary files. Synchronous on blocking threads; the store's answers are fetched ahead. Knows nothing of tables, coverage or
//! sinks.

mod batch;
mod error;
mod fold;
mod gather;
mod heap;
mod job;
mod open;
mod packed;
mod parts;
mod run;
mod scan;
mod source;
mod spans;
mod spill;
mod stretches;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_later;
#[cfg(test)]
mod tests_stretches;
#[cfg(test)]
mod tests_time;

use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::model::{ChangeKind, Second, SequenceNumber, UserIdentity};
use crate::store::ReadStore;
use bytes::Bytes;

use crate::cut::Cut;

pub use crate::format::Columns;
pub use error::MergeError;
pub use open::tail_of;
pub use scan::{RecordScan, Unreadable, UnreadableList};

/// What threads of a merge share. One that was lost in the middle of something has said so itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a run is to the merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunKind {
    /// Change records.
    Segment,
    /// Items of a snapshot: they count for keys without any record.
    Snapshot,
}

/// One object to merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInput {
    /// Its key in the store.
    pub key: String,
    /// Its bytes, as the listing says.
    pub size: u64,
    /// What it is.
    pub kind: RunKind,
    /// Of a segment: records of earlier seconds are passed over, for what is read with it has their effect.
    pub from: Option<Second>,
    /// Of a segment: records that have not happened at this cut are passed over, for not all that follow it are read. Not where a
    /// record of the segment has no second.
    pub until: Option<Cut>,
}

/// Threads of a merge by default, where there are as many processors. A few at most: each has blocks of its own in memory. Asked for once, for
/// the system's answer is spread over a dozen files, and a lookup takes no longer than reading them.
static THREADS: LazyLock<NonZeroUsize> =
    LazyLock::new(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN).min(THREADS_MAX));
const THREADS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

/// Bounds of a merge.
#[derive(Debug, Clone)]
pub struct MergeOptions {
    /// Memory for blocks, in bytes.
    pub memory_bytes_max: usize,
    /// Where temporary files go; the system's folder when none.
    pub spill_folder: Option<PathBuf>,
    /// Threads that work on it, where what is done is done in parts.
    pub threads: NonZeroUsize,
}

impl Default for MergeOptions {
    fn default() -> Self {
        Self { memory_bytes_max: 48 << 20, spill_folder: None, threads: *THREADS }
    }
}

/// One change record, borrowed for the length of a visit.
#[derive(Debug, Clone, Copy)]
pub struct RecordRef<'a> {
    /// The encoded key.
    pub key: &'a [u8],
    /// Its sequence number.
    pub sequence: SequenceNumber,
    /// Its second.
    pub second: Option<Second>,
    /// What it did.
    pub kind: ChangeKind,
    /// Image before.
    pub old: Option<&'a [u8]>,
    /// Image after.
    pub new: Option<&'a [u8]>,
    /// Who.
    pub user: Option<&'a UserIdentity>,
}

/// One live item, borrowed for the length of a visit.
#[derive(Debug, Clone, Copy)]
pub struct ItemRef<'a> {
    /// The encoded key.
    pub key: &'a [u8],
    /// Its image.
    pub image: &'a [u8],
    /// The record that made it so; none when it comes from a snapshot or from an old image.
    pub sequence: Option<SequenceNumber>,
    /// That record's second.
    pub second: Option<Second>,
}

/// The state of one key at a cut, whether the item is there or not, borrowed for the length of a visit.
#[derive(Debug, Clone, Copy)]
pub struct StateRef<'a> {
    /// The encoded key.
    pub key: &'a [u8],
    /// The item's image; none when there is no item at the cut.
    pub image: Option<&'a [u8]>,
    /// The record that made it so; none when it is not known.
    pub sequence: Option<SequenceNumber>,
    /// That record's second.
    pub second: Option<Second>,
}

/// What a merge did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct MergeReport {
    /// Objects read.
    pub objects: u64,
    /// Bytes read from the store.
    pub bytes_read: u64,
    /// Bytes written to temporary runs.
    pub bytes_spilled: u64,
    /// Records and items of snapshots read from the store, duplicates included.
    pub records: u64,
    /// Records that were in more than one run.
    pub duplicates: u64,
    /// Duplicates that did not say the same: the journal contradicts itself.
    pub contradictions: u64,
    /// Records without a second.
    pub undated: u64,
    /// Keys that any run has.
    pub keys: u64,
    /// Items given out.
    pub items: u64,
}

/// Visits every change record of the segments among `inputs` in the order of (key, sequence number), each once.
/// Snapshots among them are ignored. `keys`, when given, is a half-open range of encoded keys; blocks outside it are not
/// read. `visit` runs on a blocking thread; its error ends the merge.
///
/// # Errors
/// When an object cannot be read or is not what was written, or `visit` fails.
pub async fn for_each_record<F>(
    store: Arc<dyn ReadStore>,
    inputs: Vec<RunInput>,
    keys: Option<Range<Bytes>>,
    options: MergeOptions,
    mut visit: F,
) -> Result<MergeReport>
where
    F: FnMut(RecordRef<'_>) -> Result<()> + Send + 'static,
{
    let scan = RecordScan { keys, ..RecordScan::default() };
    scan_records(store, inputs, scan, options, move |record| visit(record).map(|()| true)).await
}

/// As [`for_each_record`], but reads no more than `scan` wants, and ends early when `visit` says false. Records outside the wanted
/// seconds may be among those visited.
///
/// # Errors
/// As [`for_each_record`]; corrupt objects are none where `scan` has a list for them.
pub async fn scan_records<F>(
    store: Arc<dyn ReadStore>,
    inputs: Vec<RunInput>,
    scan: RecordScan,
    options: MergeOptions,
    mut visit: F,
) -> Result<MergeReport>
where
    F: FnMut(RecordRef<'_>) -> Result<bool> + Send + 'static,
{
    job::on_thread(store, options, move |job| job.records(&inputs, &scan, &mut visit)).await
}

/// Visits every item that is live at `cut` in key order, as SEMANTICS.md defines the state at a cut. `keys`, when given,
/// is a half-open range of encoded keys; blocks outside it are not read. `visit` runs on a blocking thread.
///
/// # Errors
/// As [`for_each_record`].
pub async fn for_each_item<F>(
    store: Arc<dyn ReadStore>,
    inputs: Vec<RunInput>,
    cut: Cut,
    keys: Option<Range<Bytes>>,
    options: MergeOptions,
    mut visit: F,
) -> Result<MergeReport>
where
    F: FnMut(ItemRef<'_>) -> Result<()> + Send + 'static,
{
    for_each_key(store, inputs, cut, keys, options, move |state, _| match state.image {
        Some(image) => visit(ItemRef { key: state.key, image, sequence: state.sequence, second: state.second }),
        None => Ok(()),
    })
    .await
}

/// As [`for_each_item`], on all threads of `options`: the keys are cut into ranges, `begin` makes a part for each, `visit` gives it the
/// range's items in key order, and `take` is given the parts in the order of the keys. Where the cuts are does not depend on the number of
/// threads. A part has what a few MB of blocks hold, and there are at most two more parts at a time than threads.
///
/// # Errors
/// As [`for_each_item`], and when `take` fails; parts before the one that failed were taken.
pub async fn for_each_part<P, B, V, T>(
    store: Arc<dyn ReadStore>,
    inputs: Vec<RunInput>,
    cut: Cut,
    keys: Option<Range<Bytes>>,
    options: MergeOptions,
    (begin, visit, mut take): (B, V, T),
) -> Result<MergeReport>
where
    P: Send,
    B: Fn() -> P + Send + Sync + 'static,
    V: Fn(&mut P, ItemRef<'_>) -> Result<()> + Send + Sync + 'static,
    T: FnMut(P) -> Result<()> + Send + 'static,
{
    job::on_thread(store, options, move |job| job.parts(&inputs, cut, keys.as_ref(), &begin, &visit, &mut take)).await
}

/// Visits every key that any run has in key order with its state at `cut`, removed items too; the second argument says how
/// many records of all inputs have no second. Otherwise as [`for_each_item`].
///
/// # Errors
/// As [`for_each_record`].
pub async fn for_each_key<F>(
    store: Arc<dyn ReadStore>,
    inputs: Vec<RunInput>,
    cut: Cut,
    keys: Option<Range<Bytes>>,
    options: MergeOptions,
    mut visit: F,
) -> Result<MergeReport>
where
    F: FnMut(StateRef<'_>, u64) -> Result<()> + Send + 'static,
{
    job::on_thread(store, options, move |job| job.items(&inputs, cut, keys.as_ref(), &mut visit)).await
}

/// As [`for_each_key`], for those who need every record to have a second: the first run that is opened and has one without ends the
/// merge, before the others are read.
///
/// # Errors
/// As [`for_each_record`], and [`MergeError::Undated`].
pub async fn for_each_dated_key<F>(
    store: Arc<dyn ReadStore>,
    inputs: Vec<RunInput>,
    cut: Cut,
    keys: Option<Range<Bytes>>,
    options: MergeOptions,
    mut visit: F,
) -> Result<MergeReport>
where
    F: FnMut(StateRef<'_>) -> Result<()> + Send + 'static,
{
    job::on_thread(store, options, move |job| {
        job.dated_only = true;
        job.items(&inputs, cut, keys.as_ref(), &mut |state, _| visit(state))
    })
    .await
}
