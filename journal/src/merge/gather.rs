//! Opens the inputs of a merge within its memory: small runs are read into a batch, others stay to be read block by block, and what does
//! not fit is sorted into temporary files.

use std::ops::Range;
use std::sync::Arc;

use futures::StreamExt as _;

use super::batch::{Batch, BatchCursor, Gathering};
use super::heap::{Bounds, Heap};
use super::job::{Job, borrowed};
use super::open::{self, Opened, Opening, WHOLE_BYTES_MAX};
use super::packed::Images;
use super::run::{BlocksRead, RunPlan};
use super::source::Source;
use super::spill::{self, FoldingWriter, SpillWriter, Spilled, SpilledCursor};
use super::stretches::Stretches;
use super::{MergeError, RecordScan, RunInput, RunKind};
use crate::cut::{Cut, Position};
use crate::error::{Kind, Result};
use crate::format::{Columns, Decompressor, RunKind as FormatKind, shared_prefix};
use crate::model::SequenceNumber;
use crate::task::own_task;

/// Runs that are opened at the same time.
const AT_ONCE: usize = 16;
/// The same where a single key is wanted of long runs: little of each index is.
const LOOKUPS_AT_ONCE: usize = 64;
/// Bounds of what one range read asks for.
const SPAN_BYTES: Range<u64> = 64 << 10..2 << 20;
/// What is fetched ahead of all runs together, in bytes: more than a connection has under way.
const AHEAD_BYTES: u64 = 6 << 20;

/// Pages of the index that are read at once, of all runs together and of one. A page is about 1.5 KB stored, and 10 KB when it is parsed.
const PAGES: usize = 128;
const PAGES_OF_RUN: Range<usize> = 2..64;

/// A batch has at most this share of the memory: what is beyond costs little more in a temporary file, which is read once.
const BATCH_SHARE: usize = 4;
/// What is read of temporary files at the same time has this share of it.
const FILES_SHARE: usize = 4;
/// A run that is longer than memory goes through temporary files of at least so many bytes.
const BATCH_BYTES_MIN: usize = 4 << 20;

/// What a merge reads, when its inputs have been opened.
#[derive(Default)]
pub(super) struct Gathered {
    runs: Vec<Arc<RunPlan>>,
    /// Memory that the runs take while they are read, in bytes.
    open_bytes: usize,
    gathering: Gathering,
    batches: Vec<Arc<Batch>>,
    spilled: Vec<Arc<Spilled>>,
    /// Whether records were left out that a fold at the cut does not need.
    thinned: bool,
}

/// How inputs of one kind are read.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    scan: &'a RecordScan,
    /// For items: the cut; old images before it are not read.
    cut: Option<Cut>,
    /// The cut, where records that a fold does not need may be left out.
    thin: Option<Cut>,
    kind: RunKind,
    span_bytes: u64,
    /// Whether small runs are read into a batch.
    drain: bool,
}

impl Job {
    /// Opens inputs of one kind and adds them to what was gathered.
    pub(super) fn gather(
        &mut self,
        inputs: &[&RunInput],
        scan: &RecordScan,
        cut: Option<Cut>,
        thin: bool,
        gathered: &mut Gathered,
    ) -> Result<()> {
        let Some(kind) = inputs.first().map(|input| input.kind) else { return Ok(()) };
        let budget = self.options.memory_bytes_max;
        let many = u64::try_from(inputs.len()).unwrap_or(u64::MAX);
        let ahead = AHEAD_BYTES.min(u64::try_from(budget).unwrap_or(u64::MAX) / 4);
        let span_bytes = (ahead / many / 3).clamp(SPAN_BYTES.start, SPAN_BYTES.end);
        let thin = cut.filter(|_| thin);
        let wanted = Wanted { scan, cut, thin, kind, span_bytes, drain: inputs.len() > 1 };
        let (store, handle) = (self.store.clone(), self.handle.clone());
        let opening = Opening {
            whole_bytes_max: scan.whole_bytes_max(),
            pages_at_once: (PAGES / inputs.len()).clamp(PAGES_OF_RUN.start, PAGES_OF_RUN.end),
        };
        let opening = inputs.iter().map(|input| {
            let opened = open::open(store.clone(), (*input).clone(), scan.clone(), opening);
            let (handle, key) = (&handle, input.key.clone());
            // They go on while one of them is read.
            async move {
                let opened = own_task(handle, opened).await;
                let opened = opened.unwrap_or_else(|reason| Err(MergeError::Thread { reason }.into()));
                opened.map_err(|error| (key, error))
            }
        });
        let at_once = if scan.is_lookup() && inputs.iter().all(|input| input.size > scan.whole_bytes_max()) {
            LOOKUPS_AT_ONCE
        } else {
            // Fewer at once when the budget is small: each may hold a whole small object.
            (budget / usize::try_from(WHOLE_BYTES_MAX).unwrap_or(1) / 4).clamp(1, AT_ONCE)
        };
        let mut opening = std::pin::pin!(futures::stream::iter(opening).buffered(at_once));
        let mut decompressor = None;
        loop {
            self.check_stopped()?;
            let Some(opened) = handle.block_on(opening.next()) else { break };
            let opened = match (opened, &scan.unreadable) {
                (Ok(opened), _) => opened,
                (Err((object, error)), Some(list)) if error.kind() == Kind::Corrupt => {
                    list.add(&object, &error);
                    continue;
                }
                (Err((_, error)), _) => return Err(error),
            };
            let Some(run) = self.accept(opened, wanted)? else { continue };
            if wanted.drain && run.footer().kind == FormatKind::Rows {
                let decompressor = match &mut decompressor {
                    Some(decompressor) => decompressor,
                    none => none.insert(Decompressor::new()?),
                };
                self.drain(&run, wanted, gathered, decompressor)?;
            } else {
                gathered.open_bytes = gathered.open_bytes.saturating_add(run.memory_bytes(self.readers.get()));
                gathered.runs.push(run);
            }
            self.keep_within(wanted, gathered)?;
        }
        // What is read at once, a batch and temporary files, has no more than the share of either.
        let per_file = spill::OPEN_BYTES.saturating_mul(self.readers.get());
        let files = gathered.spilled.len().saturating_mul(per_file);
        if files > 0
            && files.saturating_add(gathered.gathering.memory_bytes()) > self.options.memory_bytes_max / FILES_SHARE
        {
            self.spill_batch(wanted, gathered)?;
        }
        self.finish_batch(wanted, gathered)?;
        self.merge_spilled(wanted, gathered, per_file)
    }

    /// Checks an opened run against the others and leaves out what is not wanted of it.
    fn accept(&mut self, opened: Opened, wanted: Wanted<'_>) -> Result<Option<Arc<RunPlan>>> {
        let footer = opened.tail.footer.clone();
        self.report.objects += 1;
        if self.dated_only && footer.statistics.undated > 0 {
            return Err(MergeError::Undated { object: opened.object, count: footer.statistics.undated }.into());
        }
        if (footer.kind == FormatKind::Snapshot) != (wanted.kind == RunKind::Snapshot) {
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
        // Of a run whose index is not all there yet all is wanted.
        self.report.records += match &opened.rest {
            Some(_) => footer.statistics.records,
            None => blocks.iter().filter_map(|at| opened.tail.blocks.get(*at)).map(|block| block.records).sum::<u64>(),
        };
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
        let latest = all_before && wanted.thin.is_some() && opened.from.is_none() && scan.unreadable.is_none();
        let read = BlocksRead {
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
        Ok(Some(Arc::new(RunPlan::new(opened, blocks, read))))
    }

    /// Reads all that is wanted of a run into the batch.
    fn drain(
        &mut self,
        plan: &Arc<RunPlan>,
        wanted: Wanted<'_>,
        gathered: &mut Gathered,
        decompressor: &mut Decompressor,
    ) -> Result<()> {
        let keys = borrowed(wanted.scan.keys.as_ref());
        let from = (self.store.clone(), self.handle.clone());
        let stretches = Arc::new(Stretches::new(plan.clone(), from, Arc::from([]), 1));
        if let Some(mut run) = plan.open(&stretches, keys.as_ref()) {
            let images = wanted.thin.map_or(Images::Both, Images::ForCut);
            while run.advance(decompressor)? {
                let record = run.cursor.record();
                if keys.as_ref().is_some_and(|keys| record.key >= keys.end) {
                    break;
                }
                if keys.as_ref().is_none_or(|keys| record.key >= keys.start) {
                    gathered.gathering.add(&record, images)?;
                    let most = (self.options.memory_bytes_max / BATCH_SHARE).max(BATCH_BYTES_MIN);
                    if gathered.gathering.memory_bytes() > most {
                        self.spill_batch(wanted, gathered)?;
                    }
                }
            }
        }
        self.report.bytes_read += plan.bytes_read() + stretches.bytes_read();
        Ok(())
    }

    /// Spills when there is more than memory is for.
    fn keep_within(&mut self, wanted: Wanted<'_>, gathered: &mut Gathered) -> Result<()> {
        let batches: usize = gathered.batches.iter().map(|batch| batch.memory_bytes()).sum();
        let (open, filling) = (gathered.open_bytes, gathered.gathering.memory_bytes());
        let memory = self.options.memory_bytes_max;
        if filling > memory / BATCH_SHARE {
            return self.spill_batch(wanted, gathered);
        }
        if open.saturating_add(batches).saturating_add(filling) <= memory {
            return Ok(());
        }
        if filling >= open {
            return self.spill_batch(wanted, gathered);
        }
        if gathered.runs.len() > 1 {
            let part = Gathered { runs: std::mem::take(&mut gathered.runs), ..Gathered::default() };
            gathered.open_bytes = 0;
            gathered.thinned |= wanted.thin.is_some();
            gathered.spilled.extend(self.spill(&part, wanted)?);
        }
        Ok(())
    }

    fn sort_batch(&mut self, wanted: Wanted<'_>, gathered: &mut Gathered) -> Result<Option<Batch>> {
        if gathered.gathering.is_empty() {
            return Ok(None);
        }
        let (batch, copies) = gathered.gathering.finish(wanted.thin, wanted.cut.is_none())?;
        self.report.duplicates += copies.duplicates;
        self.report.contradictions += copies.contradictions;
        gathered.thinned |= wanted.thin.is_some();
        Ok(Some(batch))
    }

    fn spill_batch(&mut self, wanted: Wanted<'_>, gathered: &mut Gathered) -> Result<()> {
        let Some(batch) = self.sort_batch(wanted, gathered)? else { return Ok(()) };
        let spilled = batch.spill(self.spill_writer()?)?;
        self.report.bytes_spilled += spilled.as_ref().map_or(0, |spilled| spilled.size());
        gathered.spilled.extend(spilled);
        gathered.gathering.reuse(batch);
        Ok(())
    }

    /// Sorts what the batch has; it stays in memory.
    fn finish_batch(&mut self, wanted: Wanted<'_>, gathered: &mut Gathered) -> Result<()> {
        let batch = self.sort_batch(wanted, gathered)?;
        gathered.gathering = Gathering::default();
        gathered.batches.extend(batch.map(Arc::new));
        Ok(())
    }

    /// Merges temporary files into fewer while they are too many for memory.
    fn merge_spilled(&mut self, wanted: Wanted<'_>, gathered: &mut Gathered, per_file: usize) -> Result<()> {
        let at_once = (self.options.memory_bytes_max / FILES_SHARE / per_file).max(2);
        while gathered.spilled.len() > at_once {
            // The smallest, and no more of them than have to go: each is written once more.
            gathered.spilled.sort_by_key(|spilled| spilled.size());
            let needed = (gathered.spilled.len() - at_once + 1).min(at_once);
            let spilled = gathered.spilled.drain(..needed).collect();
            let part = Gathered { spilled, ..Gathered::default() };
            let merged = self.spill(&part, wanted)?;
            gathered.spilled.extend(merged);
        }
        Ok(())
    }

    fn spill_writer(&self) -> Result<SpillWriter> {
        let folder = self.options.spill_folder.clone().unwrap_or_else(std::env::temp_dir);
        Ok(SpillWriter::new(folder, self.report.bytes_spilled)?)
    }

    /// Merges a part of what was gathered into one temporary file; where records may be left out, only with those that a fold at the cut
    /// still needs. None when all of it is passed over.
    fn spill(&mut self, part: &Gathered, wanted: Wanted<'_>) -> Result<Option<Arc<Spilled>>> {
        let mut writer = FoldingWriter::new(self.spill_writer()?, wanted.thin);
        let reading = part.reading(self, &[]);
        let mut heap = reading.heap(borrowed(wanted.scan.keys.as_ref()).as_ref(), wanted.cut.is_none())?;
        while let Some(record) = heap.top().and_then(Source::record) {
            if writer.push(&record)? {
                self.check_stopped()?;
            }
            heap.next()?;
        }
        self.report.duplicates += heap.duplicates;
        self.report.contradictions += heap.contradictions;
        self.report.bytes_read += reading.bytes_read();
        let spilled = writer.finish()?;
        self.report.bytes_spilled += spilled.as_ref().map_or(0, |spilled| spilled.size());
        Ok(spilled)
    }
}

impl Gathered {
    /// Whether records were left out that a fold at the cut does not need.
    pub(super) fn is_thinned(&self) -> bool {
        self.thinned
    }

    /// What reads it, as a whole or in these parts.
    pub(super) fn reading(&self, job: &Job, parts: &[Range<&[u8]>]) -> Reading<'_> {
        let threads = if parts.is_empty() { 1 } else { job.readers.get() };
        let parts: Arc<[Range<Vec<u8>>]> = parts.iter().map(|part| part.start.to_vec()..part.end.to_vec()).collect();
        let stretches = self.runs.iter().map(|run| {
            let from = (job.store.clone(), job.handle.clone());
            Arc::new(Stretches::new(run.clone(), from, parts.clone(), threads))
        });
        Reading { gathered: self, stretches: stretches.collect(), ends: self.ends() }
    }

    /// What no key lies at or above: the end of all keys.
    pub(super) fn end(&self) -> Vec<u8> {
        let mut end = self.ends().map_or(Vec::new(), |(_, last)| last.to_vec());
        end.push(0);
        end
    }

    /// The lowest and the highest key that there may be.
    fn ends(&self) -> Option<(&[u8], &[u8])> {
        let runs = self.runs.iter().filter_map(|run| run.ends());
        let batches = self.batches.iter().filter_map(|batch| batch.ends());
        let ends = runs.chain(batches).chain(self.spilled.iter().filter_map(|spilled| spilled.ends()));
        ends.reduce(|(low, high), (first, last)| (low.min(first), high.max(last)))
    }

    /// Keys between which about `bytes(runs)` decompressed bytes lie, where so many runs overlap: strictly inside `keys`, in order.
    pub(super) fn cuts(&self, keys: &Range<&[u8]>, bytes: impl Fn(usize) -> usize) -> Vec<Vec<u8>> {
        let runs = self.runs.iter().flat_map(|run| run.places());
        let batches = self.batches.iter().flat_map(|batch| batch.sample());
        let spilled = self.spilled.iter().flat_map(|spilled| spilled.places());
        let inside = |key: &[u8]| key > keys.start && key < keys.end;
        let mut places: Vec<(&[u8], usize)> =
            runs.chain(batches).chain(spilled).filter(|(key, _)| inside(key)).collect();
        places.sort_unstable();
        let middle = places.get(places.len() / 2).map_or(&[][..], |(key, _)| key);
        let overlap =
            self.runs.iter().filter_map(|run| run.ends()).filter(|(first, last)| *first <= middle && middle <= *last);
        let bytes = bytes(overlap.count());
        let (mut cuts, mut sum): (Vec<Vec<u8>>, usize) = (Vec::new(), 0);
        for (key, raw) in places {
            if sum >= bytes && cuts.last().is_none_or(|last| last.as_slice() < key) {
                cuts.push(key.to_vec());
                sum = 0;
            }
            sum = sum.saturating_add(raw);
        }
        cuts
    }
}

/// Opens what was gathered, in parts or as a whole.
pub(super) struct Reading<'a> {
    gathered: &'a Gathered,
    stretches: Vec<Arc<Stretches>>,
    /// The lowest and the highest key that there may be.
    ends: Option<(&'a [u8], &'a [u8])>,
}

impl Reading<'_> {
    /// All that has keys from `keys`, in the order of the merge.
    pub(super) fn heap(&self, keys: Option<&Range<&[u8]>>, compare_content: bool) -> Result<Heap> {
        let runs = self.gathered.runs.iter().zip(&self.stretches);
        let runs = runs.filter_map(|(run, stretches)| run.open(stretches, keys)).collect();
        let mut sources = Vec::new();
        for batch in &self.gathered.batches {
            let places = keys.map_or(0..batch.len(), |keys| batch.find(keys.start)..batch.find(keys.end));
            sources.push(Source::Batch(BatchCursor::new(batch.clone(), places)));
        }
        for spilled in &self.gathered.spilled {
            sources.push(Source::Spilled(SpilledCursor::new(spilled.clone(), keys)));
        }
        // The end of the range too, for keys are compared with it.
        let shared = self.ends.map_or(0, |(low, high)| {
            let end = keys.map_or(high, |keys| keys.end);
            shared_prefix(low, high).min(shared_prefix(low, end))
        });
        Heap::new(runs, sources, Bounds { keys, shared, compare_content })
    }

    /// Bytes that were read from the store for the runs so far.
    pub(super) fn bytes_read(&self) -> u64 {
        let opened: u64 = self.gathered.runs.iter().map(|run| run.bytes_read()).sum();
        opened + self.stretches.iter().map(|stretches| stretches.bytes_read()).sum::<u64>()
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
