//! Writes a fold: merges what its plan says, stores the parts in the order of their keys, and completes them.
//!
//! Goes on behind the parts that are there: equal plans make equal parts.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::runtime::Handle;

use super::base::{SKEW_SECONDS, earlier, part_inputs};
use super::plan;
use super::{SnapshotError, SnapshotOptions, SnapshotReport};
use crate::coverage::CoveredTimeline;
use crate::cut::Cut;
use crate::documents::{self, FoldDocument, SnapshotDocument, SnapshotPart, SnapshotPlanDocument};
use crate::error::Result;
use crate::format::{OldImage, Record, RecordKind, RunWriter, WriterOptions};
use crate::layout;
use crate::merge::{self, MergeError, RunInput, RunKind, StateRef};
use crate::model::{SequenceNumber, Timeline};
use crate::store::{ReadStore, StoreError, WriteStore};

/// Above every encoded key: their first byte is a type, 1 to 3.
const ABOVE_ALL_KEYS: &[u8] = &[0xff];

/// Writes what is missing of a fold.
pub(super) async fn write(
    store: &Arc<dyn WriteStore>,
    covered: &CoveredTimeline,
    name: &str,
    plan: &SnapshotPlanDocument,
    options: &SnapshotOptions,
) -> Result<SnapshotReport> {
    let timeline = &covered.objects.timeline;
    let Done { parts, tombstones, last_key } = parts_there(store.as_ref(), covered, name).await?;
    let mut report = SnapshotReport { resumed: u64::from(!parts.is_empty()), ..SnapshotReport::default() };
    let there = parts.len();
    let output = Output {
        store: Arc::clone(store),
        handle: Handle::current(),
        timeline: timeline.clone(),
        name: name.to_owned(),
        plan: plan.clone(),
        writer: None,
        tombstones,
        part_tombstones: 0,
        parts,
    };
    let shared = Arc::new(Mutex::new(output));
    let inner = Arc::clone(&shared);
    let read: Arc<dyn ReadStore> = store.clone();
    let keys = last_key.map(|last| Range {
        start: Bytes::from([last.as_slice(), &[0]].concat()),
        end: Bytes::from_static(ABOVE_ALL_KEYS),
    });
    let inputs = inputs(covered, name, plan)?;
    let visit = move |state: StateRef<'_>| inner.lock().unwrap_or_else(PoisonError::into_inner).push(&state);
    let merging = merge::for_each_dated_key(read, inputs, Cut::at(plan.fold.cut), keys, options.merge.clone(), visit);
    let merged = merging.await.map_err(|error| gone(error, timeline, name))?;
    let (last, parts, tombstones) = {
        let mut output = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let last = output.take_part()?;
        (last, std::mem::take(&mut output.parts), output.tombstones)
    };
    if let Some((key, bytes)) = last {
        store.put_new(&key, bytes).await?;
    }
    report.parts = u64::try_from(parts.len() - there).unwrap_or(0);
    report.bytes_out = parts.iter().skip(there).map(|part| part.size).sum();
    report.items = parts.iter().map(|part| part.items).sum();
    report.tombstones = tombstones;
    report.objects_read = merged.objects;
    report.bytes_in = merged.bytes_read;
    report.puts = report.parts + 1;
    let document = SnapshotDocument {
        kind: "fold".to_owned(),
        started: plan.fold.cut,
        finished: plan.fold.cut,
        key_attributes: Some(plan.key_attributes.clone()),
        items: report.items,
        parts,
        fold: Some(FoldDocument { tombstones, ..plan.fold.clone() }),
    };
    let key = layout::snapshot_document(timeline, name);
    match store.put_new(&key, documents::to_bytes(&document)?).await {
        // Another run completed it, with parts of other bytes: both are whole.
        Ok(_) | Err(StoreError::Differs { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    report.snapshots.push(name.to_owned());
    Ok(report)
}

/// What a plan says to merge.
fn inputs(covered: &CoveredTimeline, name: &str, plan: &SnapshotPlanDocument) -> Result<Vec<RunInput>> {
    let folder = layout::segments_folder(&covered.objects.timeline);
    let segments = plan.segments.iter().map(|(segment, size, from)| RunInput {
        key: format!("{folder}{segment}"),
        size: *size,
        kind: RunKind::Segment,
        from: *from,
        until: plan.until.map(Cut::at),
    });
    let mut inputs: Vec<RunInput> = segments.collect();
    if let Some(base) = &plan.fold.base {
        let Some(snapshot) = covered.objects.snapshots.iter().find(|snapshot| snapshot.name == *base) else {
            let timeline = covered.objects.timeline.clone();
            return Err(SnapshotError::Gone { timeline, name: name.to_owned(), missing: base.clone() }.into());
        };
        inputs.extend(part_inputs(covered, snapshot));
    }
    Ok(inputs)
}

/// An input that is gone was compacted, and its grace time is over; one with records that have no second makes no snapshot.
pub(super) fn gone(error: crate::Error, timeline: &Timeline, name: &str) -> crate::Error {
    let timeline = timeline.clone();
    if let Some(MergeError::Undated { object, count }) = error.downcast_ref() {
        return SnapshotError::Undated { timeline, object: object.clone(), count: *count }.into();
    }
    match error.downcast_ref::<StoreError>() {
        Some(StoreError::NotFound { key, .. }) => {
            SnapshotError::Gone { timeline, name: name.to_owned(), missing: key.clone() }.into()
        }
        _ => error,
    }
}

/// Parts that a run which was stopped has left.
#[derive(Default)]
struct Done {
    parts: Vec<SnapshotPart>,
    tombstones: u64,
    last_key: Option<Vec<u8>>,
}

/// The parts that are there, from the first on without a hole. Where there are two of one number (made by different versions
/// of zstd), they end before it.
async fn parts_there(store: &dyn ReadStore, covered: &CoveredTimeline, name: &str) -> Result<Done> {
    let folder = layout::snapshot_folder(&covered.objects.timeline, name);
    let mut numbered: BTreeMap<usize, Vec<(String, u32, u64)>> = BTreeMap::new();
    // Listed anew: what the timeline's listing shows may be older than the plan.
    for object in store.list_all(&folder).await? {
        let part = object.key.strip_prefix(&folder).unwrap_or_default();
        let parsed = part.strip_prefix("part-").and_then(|rest| rest.strip_suffix(".run")?.split_once('-'));
        let Some((number, crc)) = parsed else { continue };
        if let (Ok(number), Ok(crc32)) = (number.parse(), u32::from_str_radix(crc, 16)) {
            numbered.entry(number).or_default().push((part.to_owned(), crc32, object.size));
        }
    }
    let mut done = Done::default();
    for (expected, (number, parts)) in numbered.into_iter().enumerate() {
        let [(name, crc32, size)] = parts.as_slice() else { break };
        if number != expected {
            break;
        }
        let tail = merge::tail_of(store, &format!("{folder}{name}")).await?;
        let statistics = &tail.footer.statistics;
        done.tombstones += statistics.removes;
        let items = statistics.records.saturating_sub(statistics.removes);
        done.parts.push(SnapshotPart { name: name.clone(), size: *size, crc32: *crc32, items });
        done.last_key = Some(tail.footer.last_key.clone());
    }
    Ok(done)
}

/// Takes the folded keys and stores parts of bounded size. Works on the merge's thread.
struct Output {
    store: Arc<dyn WriteStore>,
    handle: Handle,
    timeline: Timeline,
    name: String,
    plan: SnapshotPlanDocument,
    writer: Option<RunWriter>,
    tombstones: u64,
    part_tombstones: u64,
    parts: Vec<SnapshotPart>,
}

impl Output {
    fn push(&mut self, state: &StateRef<'_>) -> Result<()> {
        let sequence = state.sequence;
        let kept_from = earlier(self.plan.fold.horizon, SKEW_SECONDS);
        let kind = match (state.image, sequence) {
            (Some(_), _) => RecordKind::Item,
            (None, Some(_)) if state.second.is_none_or(|second| second >= kept_from) => RecordKind::Tombstone,
            (None, _) => return Ok(()),
        };
        if self.writer.as_ref().is_some_and(|writer| writer.size() >= self.plan.part_bytes_max)
            && let Some((key, bytes)) = self.take_part()?
        {
            self.handle.block_on(self.store.put_new(&key, bytes))?;
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let (first_sequence, first_second) = plan::first_of(&self.plan.fold);
                // A part cannot be cut inside a block.
                let options = WriterOptions::snapshot();
                let part = usize::try_from(self.plan.part_bytes_max).unwrap_or(usize::MAX);
                let block_bytes = options.block_bytes.min(part.max(1));
                none.insert(RunWriter::new(
                    WriterOptions { block_bytes, ..options },
                    self.plan.stream.clone(),
                    self.plan.key_attributes.clone(),
                    first_sequence,
                    first_second,
                )?)
            }
        };
        writer.push(&Record {
            key: state.key,
            sequence: sequence.unwrap_or(SequenceNumber::MIN),
            second: state.second.filter(|_| sequence.is_some()),
            kind,
            new: state.image,
            old: OldImage::None,
            user: None,
        })?;
        self.part_tombstones += u64::from(kind == RecordKind::Tombstone);
        Ok(())
    }

    /// Ends the part that is being written.
    fn take_part(&mut self) -> Result<Option<(String, Bytes)>> {
        let Some(writer) = self.writer.take() else { return Ok(None) };
        let run = writer.finish()?;
        let tombstones = std::mem::take(&mut self.part_tombstones);
        let name = format!("part-{:05}-{:08x}.run", self.parts.len(), run.crc32);
        let key = format!("{}{name}", layout::snapshot_folder(&self.timeline, &self.name));
        let items = run.footer.statistics.records.saturating_sub(tombstones);
        self.tombstones += tombstones;
        self.parts.push(SnapshotPart { name, size: run.size, crc32: run.crc32, items });
        Ok(Some((key, Bytes::from(run.bytes))))
    }
}
