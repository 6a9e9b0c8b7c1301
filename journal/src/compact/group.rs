//! Compacts one window: merges its segments, stores what comes out, reads it back, and says so in a document.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;

use super::progress::{self, Reached};
use super::window::Window;
use super::{CompactError, CompactOptions, CompactReport};
use crate::documents::{self, CompactionDocument};
use crate::error::Result;
use crate::format::{self, OldImage, Record, RecordKind, RunWriter, WriterOptions};
use crate::layout::{self, SegmentName};
use crate::listing::TimelineObjects;
use crate::merge::{self, RecordRef, RunInput, RunKind};
use crate::model::{KeyAttributes, StreamArn, Timeline};
use crate::store::{ReadStore, StoreError, WriteStore};

/// Compacts the window. Its inputs stay.
pub(super) async fn compact(
    store: &Arc<dyn WriteStore>,
    objects: &TimelineObjects,
    window: &Window,
    options: &CompactOptions,
) -> Result<CompactReport> {
    let timeline = &objects.timeline;
    let (stream, key_attributes) = whose(store.as_ref(), timeline, window).await?;
    let names = input_names(timeline, window);
    let id = id(&names);
    let done = progress::done(store.as_ref(), objects, &id).await?;
    let keys = done.keys();
    let (there, resumed) = (done.outputs.len(), done.last_key.is_some());
    let output = Output {
        store: Arc::clone(store),
        handle: Handle::current(),
        timeline: timeline.clone(),
        id: id.clone(),
        stream,
        key_attributes,
        level: window.level,
        base: (window.first_sequence, window.first_second),
        appended: window.inputs.iter().map(|input| input.appended).max().unwrap_or(0),
        run_bytes_max: options.run_bytes_max,
        writer: None,
        last_key: Vec::new(),
        last_new: None,
        breaks: done.breaks,
        written: done.outputs,
    };
    let shared = Arc::new(Mutex::new(output));
    let inner = Arc::clone(&shared);
    let inputs = window
        .inputs
        .iter()
        .map(|input| RunInput {
            key: input.key.clone(),
            size: input.size,
            kind: RunKind::Segment,
            from: None,
            until: None,
        })
        .collect();
    let read: Arc<dyn ReadStore> = store.clone();
    let merged = merge::for_each_record(read, inputs, keys, options.merge.clone(), move |record| {
        inner.lock().unwrap_or_else(PoisonError::into_inner).push(&record)
    })
    .await
    .map_err(|error| moved(error, timeline, window))?;
    if merged.contradictions > 0 {
        let window = window.name.clone();
        return Err(
            CompactError::Contradiction { timeline: timeline.clone(), window, count: merged.contradictions }.into()
        );
    }
    let (last, mut written, breaks) = {
        let mut output = shared.lock().unwrap_or_else(PoisonError::into_inner);
        (output.take_run()?, std::mem::take(&mut output.written), output.breaks)
    };
    if let Some(last) = last {
        store.put_new(&last.0.key, last.1).await?;
        written.push(last.0);
    }
    let records: u64 = written.iter().map(|written| written.records).sum();
    // Where another run had begun, it counted what lies below its last key.
    let expected = merged.records.saturating_sub(merged.duplicates);
    if !resumed && records != expected {
        let window = window.name.clone();
        return Err(CompactError::Count { timeline: timeline.clone(), window, expected, found: records }.into());
    }
    for written in &written {
        read_back(store.as_ref(), written).await?;
    }
    let document = document(timeline, window, names, &written, records);
    let key = format!("{}{id}.json", layout::compactions_folder(timeline));
    store.put_new(&key, documents::to_bytes(&document)?).await?;
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    Ok(CompactReport {
        windows: 1,
        resumed: u64::from(resumed),
        inputs: count(window.inputs.len()),
        bytes_in: document.bytes_in,
        outputs: count(written.len()),
        bytes_out: document.bytes_out,
        records,
        duplicates: merged.duplicates,
        breaks,
        // After each output but the last its progress, and one document at the end.
        puts: 2 * count(written.len().saturating_sub(there)),
        objects_read: merged.objects + count(written.len()) + 1,
        ..CompactReport::default()
    })
}

/// The stream and key attributes that the inputs are of, as their first says; the merge checks the others.
async fn whose(store: &dyn WriteStore, timeline: &Timeline, window: &Window) -> Result<(StreamArn, KeyAttributes)> {
    let Some(first) = window.inputs.first() else {
        return Err(CompactError::Moved { timeline: timeline.clone(), window: window.name.clone() }.into());
    };
    let tail = merge::tail_of(store, &first.key).await.map_err(|error| moved(error, timeline, window))?;
    Ok((tail.footer.stream.clone(), tail.footer.key_attributes.clone()))
}

/// An input that is gone was compacted by another process, or deleted.
fn moved(error: crate::Error, timeline: &Timeline, window: &Window) -> crate::Error {
    match error.downcast_ref::<StoreError>() {
        Some(StoreError::NotFound { .. }) => {
            CompactError::Moved { timeline: timeline.clone(), window: window.name.clone() }.into()
        }
        _ => error,
    }
}

async fn read_back(store: &dyn WriteStore, written: &Written) -> Result<()> {
    let bytes = store.get(&written.key).await?;
    let found = format::verify_object(&written.key, &bytes)?.records;
    if found != written.records {
        let (object, expected) = (written.key.clone(), written.records);
        return Err(CompactError::ReadBack { object, expected, found }.into());
    }
    Ok(())
}

/// The inputs' names relative to the folder of the segments, sorted.
fn input_names(timeline: &Timeline, window: &Window) -> Vec<String> {
    let folder = layout::segments_folder(timeline);
    let relative = |key: &str| key.strip_prefix(&folder).unwrap_or(key).to_owned();
    let mut inputs: Vec<String> = window.inputs.iter().map(|input| relative(&input.key)).collect();
    inputs.sort_unstable();
    inputs
}

fn document(
    timeline: &Timeline,
    window: &Window,
    inputs: Vec<String>,
    written: &[Written],
    records: u64,
) -> CompactionDocument {
    let folder = layout::segments_folder(timeline);
    let relative = |key: &str| key.strip_prefix(&folder).unwrap_or(key).to_owned();
    let mut outputs: Vec<String> = written.iter().map(|written| relative(&written.key)).collect();
    outputs.sort_unstable();
    CompactionDocument {
        inputs,
        outputs,
        records,
        bytes_in: window.inputs.iter().map(|input| input.size).sum(),
        bytes_out: written.iter().map(|written| written.bytes).sum(),
    }
}

fn id(inputs: &[String]) -> String {
    let mut hash = Sha256::new();
    for input in inputs {
        hash.update(input.as_bytes());
        hash.update(b"\n");
    }
    hash.finalize().iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A segment that was stored.
pub(super) struct Written {
    pub(super) key: String,
    pub(super) bytes: u64,
    pub(super) records: u64,
}

/// Takes the merged records and stores runs of bounded size, cut between keys. Works on the merge's thread.
struct Output {
    store: Arc<dyn WriteStore>,
    handle: Handle,
    timeline: Timeline,
    id: String,
    stream: StreamArn,
    key_attributes: KeyAttributes,
    level: u8,
    base: (crate::model::SequenceNumber, crate::model::Second),
    appended: u64,
    run_bytes_max: u64,
    writer: Option<RunWriter>,
    last_key: Vec<u8>,
    last_new: Option<Vec<u8>>,
    breaks: u64,
    written: Vec<Written>,
}

impl Output {
    fn push(&mut self, record: &RecordRef<'_>) -> Result<()> {
        let same_key = self.writer.is_some() && self.last_key.as_slice() == record.key;
        if same_key {
            self.breaks += u64::from(self.last_new.as_deref() != record.old);
        } else if self.writer.as_ref().is_some_and(|writer| writer.size() >= self.run_bytes_max)
            && let Some((written, bytes)) = self.take_run()?
        {
            let handle = self.handle.clone();
            handle.block_on(self.put(written, bytes))?;
        }
        if !same_key {
            self.last_key.clear();
            self.last_key.extend_from_slice(record.key);
        }
        match (&mut self.last_new, record.new) {
            (Some(last), Some(new)) => {
                last.clear();
                last.extend_from_slice(new);
            }
            (last, new) => *last = new.map(<[u8]>::to_vec),
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(RunWriter::new(
                WriterOptions::columns(),
                self.stream.clone(),
                self.key_attributes.clone(),
                self.base.0,
                Some(self.base.1),
            )?),
        };
        writer.push(&Record {
            key: record.key,
            sequence: record.sequence,
            second: record.second,
            kind: RecordKind::Change(record.kind),
            new: record.new,
            old: record.old.map_or(OldImage::None, OldImage::Whole),
            user: record.user,
        })?;
        Ok(())
    }

    /// Stores a run after which another one comes, and says up to which key everything is stored.
    async fn put(&mut self, written: Written, bytes: Bytes) -> Result<()> {
        self.store.put_new(&written.key, bytes).await?;
        let at = Reached { number: self.written.len(), last_key: &self.last_key, breaks: self.breaks };
        progress::put(self.store.as_ref(), &self.timeline, &self.id, &written, &at).await?;
        self.written.push(written);
        Ok(())
    }

    /// Ends the run that is being written.
    fn take_run(&mut self) -> Result<Option<(Written, Bytes)>> {
        let Some(writer) = self.writer.take() else { return Ok(None) };
        let run = writer.finish()?;
        let name = SegmentName {
            level: self.level,
            seconds: run.footer.statistics.seconds,
            sequences: run.footer.sequences,
            crc32: run.crc32,
            appended: Some(self.appended),
        };
        let written =
            Written { key: name.key(&self.timeline), bytes: run.size, records: run.footer.statistics.records };
        Ok(Some((written, Bytes::from(run.bytes))))
    }
}
