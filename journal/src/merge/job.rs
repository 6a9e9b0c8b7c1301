//! One merge from beginning to end: open runs in groups, spill groups that are too many, merge what is left.

use std::num::NonZeroUsize;
use std::ops::{AddAssign, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Result;
use crate::format::RecordKind;
use crate::model::KeyAttributes;
use crate::store::ReadStore;
use bytes::Bytes;
use tokio::runtime::Handle;

use super::fold::KeyState;
use super::gather::Gathered;
use super::heap::Heap;
use super::parts;
use super::source::Source;
use super::{ItemRef, MergeError, MergeOptions, MergeReport, RecordRef, RecordScan, RunInput, RunKind, StateRef};
use crate::cut::{Cut, Position};

/// Decompressed bytes of a part for each run that lies across it: the block at its edge, which is loaded twice, is little beside it.
const PART_BYTES: usize = 2 << 20;
/// A part has no more than this share of the memory.
const PART_SHARE: usize = 16;
/// No part is shorter than this many decompressed bytes.
const PART_BYTES_MIN: usize = 256 << 10;

pub(super) struct Job {
    pub(super) store: Arc<dyn ReadStore>,
    pub(super) options: MergeOptions,
    pub(super) handle: Handle,
    stopped: Arc<AtomicBool>,
    pub(super) report: MergeReport,
    pub(super) key_attributes: Option<KeyAttributes>,
    /// How many threads read what was gathered, each with blocks of its own.
    pub(super) readers: NonZeroUsize,
    /// Whether a run with a record without a second ends the merge when it is opened.
    pub(super) dated_only: bool,
}

/// Stops the thread when the caller no longer waits.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a merge on a blocking thread.
pub(super) async fn on_thread<F>(store: Arc<dyn ReadStore>, options: MergeOptions, work: F) -> Result<MergeReport>
where
    F: FnOnce(&mut Job) -> Result<()> + Send + 'static,
{
    let stopped = Arc::new(AtomicBool::new(false));
    let guard = StopOnDrop(stopped.clone());
    let handle = Handle::current();
    let thread = tokio::task::spawn_blocking(move || {
        let report = MergeReport::default();
        let readers = NonZeroUsize::MIN;
        let mut job = Job { store, options, handle, stopped, report, key_attributes: None, readers, dated_only: false };
        work(&mut job).map(|()| job.report)
    });
    let result = thread.await.map_err(|error| MergeError::Thread { reason: error.to_string() })?;
    drop(guard);
    result
}

/// What a walk counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    keys: u64,
    items: u64,
    duplicates: u64,
    contradictions: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.keys += other.keys;
        self.items += other.items;
        self.duplicates += other.duplicates;
        self.contradictions += other.contradictions;
    }
}

impl Job {
    pub(super) fn records(
        &mut self,
        inputs: &[RunInput],
        scan: &RecordScan,
        visit: &mut dyn FnMut(RecordRef<'_>) -> Result<bool>,
    ) -> Result<()> {
        let mut gathered = Gathered::default();
        self.gather(&select(inputs, RunKind::Segment), scan, None, false, &mut gathered)?;
        let reading = gathered.reading(self, &[]);
        let keys = borrowed(scan.keys.as_ref());
        let mut heap = reading.heap(keys.as_ref(), true)?;
        let mut scratch = Vec::new();
        let mut last_key: Option<Vec<u8>> = None;
        while let Some(record) = heap.top().and_then(Source::record) {
            if let RecordKind::Change(kind) = record.kind {
                if last_key.as_deref() != Some(record.key) {
                    self.report.keys += 1;
                    let key = last_key.get_or_insert_default();
                    key.clear();
                    key.extend_from_slice(record.key);
                    self.check_stopped()?;
                }
                let goes_on = visit(RecordRef {
                    key: record.key,
                    sequence: record.sequence,
                    second: record.second,
                    kind,
                    old: record.old.bytes(&mut scratch),
                    new: record.new,
                    user: record.user,
                })?;
                if !goes_on {
                    break;
                }
            }
            heap.next()?;
        }
        self.report.duplicates += heap.duplicates;
        self.report.contradictions += heap.contradictions;
        self.report.bytes_read += reading.bytes_read();
        Ok(())
    }

    pub(super) fn items(
        &mut self,
        inputs: &[RunInput],
        cut: Cut,
        keys: Option<&Range<Bytes>>,
        visit: &mut dyn FnMut(StateRef<'_>, u64) -> Result<()>,
    ) -> Result<()> {
        let gathered = self.gather_items(inputs, cut, keys)?;
        let reading = gathered.reading(self, &[]);
        let mut heap = reading.heap(borrowed(keys).as_ref(), false)?;
        let undated = self.report.undated;
        let counts = walk(&mut heap, &cut, &self.stopped, &mut |state| visit(state, undated))?;
        self.add(counts);
        self.report.bytes_read += reading.bytes_read();
        Ok(())
    }

    /// Gives the items of a cut to parts that are made by `begin`, on all threads, and these in order to `take`.
    pub(super) fn parts<P: Send>(
        &mut self,
        inputs: &[RunInput],
        cut: Cut,
        keys: Option<&Range<Bytes>>,
        begin: &(dyn Fn() -> P + Sync),
        visit: &(dyn Fn(&mut P, ItemRef<'_>) -> Result<()> + Sync),
        take: &mut (dyn FnMut(P) -> Result<()> + Send),
    ) -> Result<()> {
        self.readers = self.options.threads;
        let gathered = self.gather_items(inputs, cut, keys)?;
        let end = gathered.end();
        let all = borrowed(keys).unwrap_or(&[]..&end);
        let part_bytes_max = (self.options.memory_bytes_max / PART_SHARE).max(PART_BYTES_MIN);
        let cuts = gathered.cuts(&all, |runs| runs.max(1).saturating_mul(PART_BYTES).min(part_bytes_max));
        let item = |part: &mut P, state: StateRef<'_>| match state.image {
            Some(image) => {
                visit(part, ItemRef { key: state.key, image, sequence: state.sequence, second: state.second })
            }
            None => Ok(()),
        };
        let ranges = parts::ranges(&all, &cuts);
        let alone = self.readers == NonZeroUsize::MIN || ranges.len() < 2;
        let reading = gathered.reading(self, if alone { &[] } else { &ranges });
        if alone {
            // Who goes on where the range before ended loads nothing twice.
            let mut heap = reading.heap(keys.is_some().then_some(&all), false)?;
            let mut part = begin();
            let mut ends = cuts.iter().peekable();
            let counts = walk(&mut heap, &cut, &self.stopped, &mut |state| {
                while ends.next_if(|end| end.as_slice() <= state.key).is_some() {
                    take(std::mem::replace(&mut part, begin()))?;
                }
                item(&mut part, state)
            })?;
            take(part)?;
            self.add(counts);
        } else {
            let (stopped, mut sum) = (&self.stopped, Counts::default());
            let run = |number: usize| {
                let mut part = begin();
                let mut heap = reading.heap(ranges.get(number), false)?;
                let counts = walk(&mut heap, &cut, stopped, &mut |state| item(&mut part, state))?;
                Ok((part, counts))
            };
            let take = |(part, counts)| {
                sum += counts;
                take(part)
            };
            parts::in_order(ranges.len(), self.readers, run, take)?;
            self.add(sum);
        }
        self.report.bytes_read += reading.bytes_read();
        Ok(())
    }

    /// What the items of a cut are read from.
    fn gather_items(&mut self, inputs: &[RunInput], cut: Cut, keys: Option<&Range<Bytes>>) -> Result<Gathered> {
        let scan = &RecordScan { keys: keys.cloned(), ..RecordScan::default() };
        let (segments, snapshots) = (select(inputs, RunKind::Segment), select(inputs, RunKind::Snapshot));
        let mut gathered = Gathered::default();
        self.gather(&segments, scan, Some(cut), true, &mut gathered)?;
        // What was thinned has lost what a record without a second needs to know of its neighbours, so when one turns
        // up, which AWS does not do, the work is done again without thinning.
        let thin = self.report.undated == 0 || !matches!(cut.position, Position::Second(_));
        if !thin && gathered.is_thinned() {
            self.report = MergeReport::default();
            gathered = Gathered::default();
            self.gather(&segments, scan, Some(cut), thin, &mut gathered)?;
        }
        // Segments that are still open may be spilled beside snapshots.
        self.gather(&snapshots, scan, Some(cut), thin, &mut gathered)?;
        Ok(gathered)
    }

    fn add(&mut self, counts: Counts) {
        self.report.keys += counts.keys;
        self.report.items += counts.items;
        self.report.duplicates += counts.duplicates;
        self.report.contradictions += counts.contradictions;
    }

    pub(super) fn check_stopped(&self) -> Result<()> {
        check(&self.stopped)
    }
}

fn check(stopped: &AtomicBool) -> Result<()> {
    if stopped.load(Ordering::Relaxed) { Err(MergeError::Stopped.into()) } else { Ok(()) }
}

/// Gives the state of every key of a heap to `visit`.
fn walk(
    heap: &mut Heap,
    cut: &Cut,
    stopped: &AtomicBool,
    visit: &mut dyn FnMut(StateRef<'_>) -> Result<()>,
) -> Result<Counts> {
    let (mut state, mut counts) = (KeyState::default(), Counts::default());
    let mut give = |found: StateRef<'_>| {
        counts.keys += 1;
        counts.items += u64::from(found.image.is_some());
        check(stopped)?;
        visit(found)
    };
    while let Some(source) = heap.top() {
        if state.is_other(source.key()) {
            state.found().map_or(Ok(()), &mut give)?;
            state.reset();
        }
        // Most keys of a compacted run are told by one record, in the buffer that it was read into.
        if !state.is_started()
            && let Some(source) = heap.skip_superseded()?
        {
            source.last_state(cut).map_or(Ok(()), &mut give)?;
        } else if let Some(record) = heap.top().and_then(Source::record) {
            state.add(&record, cut);
        }
        heap.next()?;
    }
    state.found().map_or(Ok(()), &mut give)?;
    Ok(Counts { duplicates: heap.duplicates, contradictions: heap.contradictions, ..counts })
}

pub(super) fn borrowed(keys: Option<&Range<Bytes>>) -> Option<Range<&[u8]>> {
    keys.map(|keys| keys.start.as_ref()..keys.end.as_ref())
}

fn select(inputs: &[RunInput], kind: RunKind) -> Vec<&RunInput> {
    inputs.iter().filter(|input| input.kind == kind).collect()
}
