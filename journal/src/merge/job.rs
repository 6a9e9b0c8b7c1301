//! One merge from beginning to end: open runs in groups, spill groups that are too many, merge what is left.

use std::fs::File;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Kind, Result};
use crate::format::{
    BlockCursor, Columns, OldImage, Record, RecordKind, RunKind as FormatKind, RunWriter, TAIL_BYTES, WriterOptions,
};
use crate::model::{KeyAttributes, Second, SequenceNumber};
use crate::store::ReadStore;
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::runtime::Handle;

use super::ahead::Workers;
use super::fold::{KeyState, Thinner};
use super::heap::Heap;
use super::open::{self, Opened, WHOLE_BYTES_MAX};
use super::run::{BlocksRead, OpenRun};
use super::{MergeError, MergeOptions, MergeReport, RecordRef, RecordScan, RunInput, RunKind, StateRef};
use crate::cut::{Cut, Position};

/// Requests under way while runs are opened.
const OPENING: usize = 16;
/// Bounds of what one range read asks for.
const SPAN_BYTES: Range<u64> = 64 << 10..2 << 20;
/// Fewer blocks are loaded sooner than a thread is made.
const BLOCKS_WORTH_THREADS: usize = 4;

pub(super) struct Job {
    store: Arc<dyn ReadStore>,
    options: MergeOptions,
    handle: Handle,
    stopped: Arc<AtomicBool>,
    report: MergeReport,
    key_attributes: Option<KeyAttributes>,
    workers: Option<Arc<Workers>>,
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
        let mut job =
            Job { store, options, handle, stopped, report, key_attributes: None, workers: None, dated_only: false };
        work(&mut job).map(|()| job.report)
    });
    let result = thread.await.map_err(|error| MergeError::Thread { reason: error.to_string() })?;
    drop(guard);
    result
}

/// What a group of runs is opened for.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    scan: &'a RecordScan,
    /// For items: the cut; old images before it are not read.
    cut: Option<Cut>,
    /// Whether of each key of a run the last record at the cut is enough.
    thin: bool,
    span_bytes: u64,
}

/// Runs of one kind that are open, and whether more are to come.
struct Group {
    runs: Vec<OpenRun>,
    last: bool,
}

impl Job {
    pub(super) fn records(
        &mut self,
        inputs: &[RunInput],
        scan: &RecordScan,
        visit: &mut dyn FnMut(RecordRef<'_>) -> Result<bool>,
    ) -> Result<()> {
        let keys = scan.keys.as_ref();
        let segments = select(inputs, RunKind::Segment);
        let runs = self.gather(&segments, scan, None, false)?;
        let mut heap = self.heap(runs, true)?;
        let mut scratch = Vec::new();
        let mut last_key: Option<Vec<u8>> = None;
        while let Some(run) = heap.top() {
            let record = run.cursor.record();
            if keys.is_some_and(|keys| record.key >= keys.end.as_ref()) {
                break;
            }
            let wanted = keys.is_none_or(|keys| record.key >= keys.start.as_ref());
            if let (true, RecordKind::Change(kind)) = (wanted, record.kind) {
                if last_key.as_deref() != Some(record.key) {
                    self.report.keys += 1;
                    last_key.get_or_insert_default().clone_from(&record.key.to_vec());
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
                    input: run.input,
                })?;
                if !goes_on {
                    break;
                }
            }
            heap.next()?;
        }
        self.finish(&heap);
        Ok(())
    }

    pub(super) fn items(
        &mut self,
        inputs: &[RunInput],
        cut: Cut,
        keys: Option<&Range<Bytes>>,
        visit: &mut dyn FnMut(StateRef<'_>, u64) -> Result<()>,
    ) -> Result<()> {
        let scan = &RecordScan { keys: keys.cloned(), ..RecordScan::default() };
        let (segments, snapshots) = (select(inputs, RunKind::Segment), select(inputs, RunKind::Snapshot));
        // Thinned temporary runs lose what a record without a second needs to know of its neighbours, so when one turns
        // up, which AWS does not do, the work is done again without thinning.
        let mut runs = self.gather(&segments, scan, Some(cut), true)?;
        if self.report.undated > 0 && self.report.bytes_spilled > 0 && matches!(cut.position, Position::Second(_)) {
            drop(runs);
            self.report = MergeReport::default();
            runs = self.gather(&segments, scan, Some(cut), false)?;
        }
        runs.extend(self.gather(&snapshots, scan, Some(cut), true)?);
        let mut heap = self.heap(runs, false)?;
        let mut state = KeyState::default();
        while let Some(run) = heap.top() {
            if state.is_other(run.cursor.key()) {
                self.check_stopped()?;
                self.visit_item(&mut state, visit)?;
            }
            // Most keys of a compacted run are told by one record, in the buffer that it was read into.
            if keys.is_none()
                && !state.is_started()
                && let Some(run) = heap.skip_superseded()?
            {
                let found = last_of(&run.cursor, &cut);
                self.report.keys += 1;
                self.report.items += u64::from(found.image.is_some());
                visit(found, self.report.undated)?;
                heap.next()?;
                self.check_stopped()?;
                continue;
            }
            let Some(run) = heap.top() else { break };
            let record = run.cursor.record();
            if keys.is_none_or(|keys| record.key >= keys.start.as_ref() && record.key < keys.end.as_ref()) {
                state.add(&record, &cut);
            } else if keys.is_some_and(|keys| record.key >= keys.end.as_ref()) {
                break;
            }
            heap.next()?;
        }
        self.visit_item(&mut state, visit)?;
        self.finish(&heap);
        Ok(())
    }

    fn visit_item(
        &mut self,
        state: &mut KeyState,
        visit: &mut dyn FnMut(StateRef<'_>, u64) -> Result<()>,
    ) -> Result<()> {
        if let Some(found) = state.found() {
            self.report.keys += 1;
            self.report.items += u64::from(found.image.is_some());
            visit(found, self.report.undated)?;
        }
        state.reset();
        Ok(())
    }

    fn check_stopped(&self) -> Result<()> {
        if self.stopped.load(Ordering::Relaxed) { Err(MergeError::Stopped.into()) } else { Ok(()) }
    }

    /// Brings runs into the order of the merge, with other threads beside this one where there are blocks for them.
    fn heap(&mut self, runs: Vec<OpenRun>, compare_content: bool) -> Result<Heap> {
        if self.workers.is_none() && runs.iter().map(OpenRun::blocks).sum::<usize>() >= BLOCKS_WORTH_THREADS {
            self.workers = Workers::beside(self.options.threads);
        }
        Heap::new(runs, compare_content, self.workers.as_ref())
    }

    fn finish(&mut self, heap: &Heap) {
        self.report.duplicates += heap.duplicates;
        self.report.contradictions += heap.contradictions;
        self.report.bytes_read += heap.total_bytes_read();
    }

    /// Opens inputs of one kind; as many as memory allows stay open, the others become temporary runs.
    fn gather(
        &mut self,
        inputs: &[(usize, RunInput)],
        scan: &RecordScan,
        cut: Option<Cut>,
        thin: bool,
    ) -> Result<Vec<OpenRun>> {
        let budget = self.options.memory_bytes_max;
        let many = u64::try_from(inputs.len().max(1)).unwrap_or(u64::MAX);
        let span_bytes = (u64::try_from(budget).unwrap_or(u64::MAX) / many / 6).clamp(SPAN_BYTES.start, SPAN_BYTES.end);
        let wanted = Wanted { scan, cut, thin, span_bytes };
        let (store, handle) = (self.store.clone(), self.handle.clone());
        let whole = if scan.columns > Columns::Keys { WHOLE_BYTES_MAX } else { TAIL_BYTES };
        let opening = inputs.iter().map(|(number, input)| {
            let (store, input) = (store.clone(), input.clone());
            let key = input.key.clone();
            let opened = open::open(store, *number, input, scan.clone(), whole);
            async move { opened.await.map_err(|error| (key, error)) }
        });
        // Fewer at once when the budget is small: each may hold a whole small object.
        let at_once = (budget / usize::try_from(WHOLE_BYTES_MAX).unwrap_or(1) / 2).clamp(1, OPENING);
        let mut opening = std::pin::pin!(futures::stream::iter(opening).buffered(at_once));
        let kind = inputs.first().map_or(RunKind::Segment, |(_, input)| input.kind);
        let mut spilled = Vec::new();
        loop {
            let group = self.open_group(&handle, opening.as_mut(), kind, wanted)?;
            if group.last && spilled.is_empty() {
                return Ok(group.runs);
            }
            if !group.runs.is_empty() {
                spilled.extend(self.spill(group.runs, cut.filter(|_| thin))?);
            }
            if group.last {
                return self.open_spilled(spilled, cut.filter(|_| thin));
            }
        }
    }

    /// Opens runs until memory is full or there are no more.
    fn open_group(
        &mut self,
        handle: &Handle,
        mut opening: std::pin::Pin<&mut (impl futures::Stream<Item = Result<Opened, (String, crate::Error)>> + ?Sized)>,
        kind: RunKind,
        wanted: Wanted<'_>,
    ) -> Result<Group> {
        let mut runs = Vec::new();
        let mut memory = 0usize;
        loop {
            self.check_stopped()?;
            let Some(opened) = handle.block_on(opening.next()) else { return Ok(Group { runs, last: true }) };
            let opened = match (opened, &wanted.scan.unreadable) {
                (Ok(opened), _) => opened,
                (Err((object, error)), Some(list)) if error.kind() == Kind::Corrupt => {
                    list.add(&object, &error);
                    continue;
                }
                (Err((_, error)), _) => return Err(error),
            };
            let Some(run) = self.accept(opened, handle, kind, wanted)? else { continue };
            memory = memory.saturating_add(run.memory_bytes(self.options.threads > NonZeroUsize::MIN));
            runs.push(run);
            if memory > self.options.memory_bytes_max && runs.len() > 1 {
                return Ok(Group { runs, last: false });
            }
        }
    }

    /// Checks an opened run against the others and leaves out what is not wanted of it.
    fn accept(
        &mut self,
        opened: Opened,
        handle: &Handle,
        kind: RunKind,
        wanted: Wanted<'_>,
    ) -> Result<Option<OpenRun>> {
        let footer = opened.tail.footer.clone();
        self.report.objects += 1;
        if self.dated_only && footer.statistics.undated > 0 {
            return Err(MergeError::Undated { object: opened.object, count: footer.statistics.undated }.into());
        }
        if (footer.kind == FormatKind::Snapshot) != (kind == RunKind::Snapshot) {
            return Err(MergeError::WrongKind { object: opened.object }.into());
        }
        match &self.key_attributes {
            Some(expected) if *expected != footer.key_attributes => {
                return Err(MergeError::KeyAttributes {
                    object: opened.object,
                    found: footer.key_attributes.to_string(),
                    expected: expected.to_string(),
                }
                .into());
            }
            Some(_) => {}
            None => self.key_attributes = Some(footer.key_attributes.clone()),
        }
        let scan = wanted.scan;
        let blocks = blocks_of(&opened, scan)?;
        if blocks.is_empty() || !may_contain(&opened, scan)? {
            self.report.bytes_read += opened.bytes_read;
            return Ok(None);
        }
        self.report.records +=
            blocks.iter().filter_map(|at| opened.tail.blocks.get(*at)).map(|block| block.records).sum::<u64>();
        self.report.undated += footer.statistics.undated;
        // Old images matter only after the cut.
        let all_before = wanted.cut.is_some_and(|cut| match cut.position {
            Position::Second(_) => {
                footer.statistics.undated == 0
                    && footer.statistics.seconds.is_none_or(|(_, last)| cut.has(SequenceNumber::MIN, Some(last)))
            }
            Position::Sequence(_) => cut.has(footer.sequences.1, None),
        });
        // Where no record is passed over, a record that another one of its key follows is never the state.
        let latest = all_before && wanted.thin && opened.from.is_none() && scan.unreadable.is_none();
        let read = BlocksRead {
            blocks,
            columns: match all_before {
                true if latest => scan.columns.min(Columns::Latest),
                true => scan.columns.min(Columns::New),
                false => scan.columns,
            },
            narrow: scan.columns == Columns::Keys && footer.kind != FormatKind::Rows,
            span_bytes: wanted.span_bytes,
            unreadable: scan.unreadable.clone(),
            all_before,
        };
        Ok(Some(OpenRun::from_store(opened, &self.store, handle, read)))
    }

    /// Merges a group into one temporary run; with `thin`, only with what a fold at that cut still needs. None when all that
    /// the runs hold is passed over.
    fn spill(&mut self, runs: Vec<OpenRun>, thin: Option<Cut>) -> Result<Option<(File, u64)>> {
        let folder = self.options.spill_folder.clone().unwrap_or_else(std::env::temp_dir);
        let fail = |action| {
            let folder = folder.clone();
            move |source| MergeError::Spill { action, folder, source }
        };
        let mut file = tempfile::tempfile_in(&folder).map_err(fail("make"))?;
        let first_sequence = runs.iter().map(|run| run.tail.footer.sequences.0).min().unwrap_or(SequenceNumber::MIN);
        let first_second: Option<Second> =
            runs.iter().filter_map(|run| run.tail.footer.statistics.seconds).map(|(first, _)| first).min();
        let Some((kind, stream, names)) = runs
            .first()
            .map(|run| (run.tail.footer.kind, run.tail.footer.stream.clone(), run.tail.footer.key_attributes.clone()))
        else {
            return Err(MergeError::Thread { reason: "a group without runs".to_owned() }.into());
        };
        let mut options = WriterOptions::temporary();
        if kind == FormatKind::Snapshot {
            options.kind = FormatKind::Snapshot;
        }
        let mut writer = RunWriter::new(options, stream, names, first_sequence, first_second)?;
        let mut heap = self.heap(runs, thin.is_none())?;
        if heap.top().is_none() {
            self.finish(&heap);
            return Ok(None);
        }
        let mut thinner = Thinner::default();
        let mut size = 0u64;
        while let Some(run) = heap.top() {
            let record = run.cursor.record();
            match thin.filter(|_| matches!(record.kind, RecordKind::Change(_))) {
                None => writer.push(&record)?,
                Some(cut) => {
                    if thinner.kept.as_ref().is_some_and(|kept| kept.key.as_slice() != record.key) {
                        self.check_stopped()?;
                        push_kept(&mut writer, &mut thinner)?;
                    }
                    thinner.add(&record, &cut);
                }
            }
            if writer.size() - size > 1 << 20 {
                let ready = writer.take_ready();
                size += u64::try_from(ready.len()).unwrap_or(0);
                file.write_all(&ready).map_err(fail("write"))?;
            }
            heap.next()?;
        }
        push_kept(&mut writer, &mut thinner)?;
        self.finish(&heap);
        let run = writer.finish()?;
        file.write_all(&run.bytes).map_err(fail("write"))?;
        self.report.bytes_spilled += run.size;
        Ok(Some((file, run.size)))
    }

    /// Opens temporary runs, merging them further while they are too many for memory.
    fn open_spilled(&mut self, mut spilled: Vec<(File, u64)>, thin: Option<Cut>) -> Result<Vec<OpenRun>> {
        loop {
            let count = spilled.len();
            let mut next = Vec::new();
            let mut runs: Vec<OpenRun> = Vec::new();
            let mut memory = 0usize;
            for (file, size) in spilled {
                let run = OpenRun::from_file(file, size)?;
                memory = memory.saturating_add(run.memory_bytes(self.options.threads > NonZeroUsize::MIN));
                runs.push(run);
                if memory > self.options.memory_bytes_max && runs.len() > 2 {
                    next.extend(self.spill(std::mem::take(&mut runs), thin)?);
                    memory = 0;
                }
            }
            if next.is_empty() {
                return Ok(runs);
            }
            if !runs.is_empty() {
                next.extend(self.spill(runs, thin)?);
            }
            if next.len() >= count {
                return next
                    .into_iter()
                    .map(|(file, size)| OpenRun::from_file(file, size).map_err(Into::into))
                    .collect();
            }
            spilled = next;
        }
    }
}

/// Asks the key filter when a single key is wanted.
fn may_contain(opened: &Opened, scan: &RecordScan) -> Result<bool> {
    let Some(key) = scan.keys.as_ref().and_then(open::only_key) else { return Ok(true) };
    let Some(page) = opened.tail.filter_page(key) else { return Ok(true) };
    let stored = opened.filter_page.clone().unwrap_or_default();
    match (opened.tail.may_contain(&opened.object, page, &stored, key), &scan.unreadable) {
        // Without the filter the block itself has to tell.
        (Err(error), Some(list)) => {
            list.add(&opened.object, &error.into());
            Ok(true)
        }
        (answer, _) => Ok(answer?),
    }
}

/// The state that the last record of a key tells, all of whose records have happened at the cut: as [`KeyState`] would find it.
#[inline]
fn last_of<'a>(cursor: &'a BlockCursor, cut: &Cut) -> StateRef<'a> {
    let (sequence, second) = (cursor.sequence(), cursor.second());
    let counts = match cursor.kind() {
        RecordKind::Change(_) => true,
        RecordKind::Item | RecordKind::Tombstone => sequence != SequenceNumber::MIN && cut.has(sequence, second),
    };
    StateRef {
        key: cursor.key(),
        image: cursor.new_image(),
        sequence: counts.then_some(sequence),
        second: second.filter(|_| counts),
    }
}

fn select(inputs: &[RunInput], kind: RunKind) -> Vec<(usize, RunInput)> {
    inputs.iter().cloned().enumerate().filter(|(_, input)| input.kind == kind).collect()
}

/// The blocks that can have records of the wanted keys and seconds.
fn blocks_of(opened: &Opened, scan: &RecordScan) -> Result<Vec<usize>> {
    let tail = &opened.tail;
    let blocks = match &scan.keys {
        Some(keys) => tail.blocks_of_keys(keys),
        None => 0..tail.blocks.len(),
    };
    // A record without a second could be in any block.
    let Some((from, through)) = scan.seconds.filter(|_| tail.footer.statistics.undated == 0) else {
        return Ok(blocks.collect());
    };
    let may_have = |at: &usize| {
        let seconds = tail.blocks.get(*at).and_then(|block| block.seconds);
        seconds.is_none_or(|(first, last)| first <= through && last >= from)
    };
    match (&opened.timely, &scan.unreadable) {
        (Some(Ok(timely)), _) => {
            let here = timely.iter().filter_map(|number| number.checked_sub(tail.first_block));
            return Ok(here.filter(|at| blocks.contains(at) && may_have(at)).collect());
        }
        // Without the time index the blocks themselves have to tell.
        (Some(Err(error)), Some(list)) => list.add(&opened.object, &error.clone().into()),
        (Some(Err(error)), None) => return Err(error.clone().into()),
        (None, _) => {}
    }
    Ok(blocks.filter(may_have).collect())
}

fn push_kept(writer: &mut RunWriter, thinner: &mut Thinner) -> Result<()> {
    if let Some(kept) = &thinner.kept {
        writer.push(&Record {
            key: &kept.key,
            sequence: kept.sequence,
            second: kept.second,
            kind: RecordKind::Change(kept.kind),
            new: kept.new.as_deref(),
            old: kept.old.as_deref().map_or(OldImage::None, OldImage::Whole),
            user: None,
        })?;
    }
    thinner.reset();
    Ok(())
}
