//! Ingest: files of stream records into a journal.
//!
//! What enters are files; what leaves is a report, and everything they hold in segments or in quarantine. Files are read on
//! a thread of their own while batches are stored. Knows nothing of what is in a file.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::files::{FileBatches, FileError, IngestOptions, Input};
use crate::append::{self, AppendReport, Batch};
use crate::error::Result;
use crate::interrupt::{Interrupt, InterruptedError};
use crate::layout;
use crate::store::WriteStore;

/// Reasons that a report shows.
const REASONS_MAX: usize = 5;
/// Quarantine folders that a report names.
const FOLDERS_MAX: usize = 100;

/// What an ingest did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct IngestReport {
    /// Files read to their end.
    pub files: u64,
    /// Records that were understood, copies included.
    pub records_read: u64,
    /// Of these, copies of another in the same batch.
    pub duplicates: u64,
    /// What the appends did. Records of segments that were there already are counted in `records`.
    pub appended: AppendReport,
    /// The first reasons for which records were quarantined.
    pub reasons: Vec<String>,
    /// The folders that quarantined records lie in.
    pub quarantine: BTreeSet<String>,
}

/// How far an ingest is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IngestProgress {
    /// Bytes of all files that were read, as they lie.
    pub bytes: u64,
    /// Records that are durable.
    pub records: u64,
    /// Records in quarantine.
    pub quarantined: u64,
}

/// Batches that are on their way to the store at the same time.
const APPENDS_MAX: usize = 4;

/// Appends the records of files, one file after the other. `report` says what was done, also when it ends early.
///
/// # Errors
/// When a file cannot be read to its end, with everything before appended; when the store fails; when it was interrupted.
/// After each of these the same command again does what is left, and what is done is not done twice.
pub async fn ingest(
    store: &dyn WriteStore,
    inputs: &[Input],
    options: &IngestOptions,
    interrupt: &Interrupt,
    report: &mut IngestReport,
    mut progress: impl FnMut(IngestProgress),
) -> Result<()> {
    let mut before = 0;
    for input in inputs {
        let (sender, mut receiver) = mpsc::channel(2);
        let (reading, options) = (input.clone(), options.clone());
        // A thread of its own, not awaited: a read of a terminal cannot be ended from here.
        let read = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&read);
        tokio::task::spawn_blocking(move || {
            let mut batches = match FileBatches::open(&reading, options) {
                Ok(batches) => batches,
                Err(error) => return drop(sender.blocking_send(Err(error))),
            };
            while let Some(batch) = batches.next() {
                counter.store(batches.bytes_read(), Ordering::Relaxed);
                if sender.blocking_send(batch).is_err() {
                    return;
                }
            }
        });
        append_all(store, &mut receiver, interrupt, report, |report| {
            progress(IngestProgress {
                bytes: before + read.load(Ordering::Relaxed),
                records: report.appended.records,
                quarantined: report.appended.quarantined,
            });
        })
        .await?;
        if interrupt.requested() {
            let step = format!("ingesting {}", input.name());
            let resume = "what was read is in the journal; run the same command again for the rest: what is there \
                          already is not stored twice"
                .to_owned();
            return Err(InterruptedError { step, resume }.into());
        }
        before += read.load(Ordering::Relaxed);
        report.files += 1;
    }
    Ok(())
}

async fn append_all(
    store: &dyn WriteStore,
    receiver: &mut mpsc::Receiver<Result<Batch, FileError>>,
    interrupt: &Interrupt,
    report: &mut IngestReport,
    mut progress: impl FnMut(&IngestReport),
) -> Result<()> {
    let mut appends = FuturesUnordered::new();
    let mut failed = None;
    let mut reading = true;
    while reading || !appends.is_empty() {
        tokio::select! {
            biased;
            () = interrupt.wait(), if reading => reading = false,
            Some(appended) = appends.next(), if !appends.is_empty() => {
                let (records, quarantined, appended): (u64, u64, AppendReport) = appended?;
                report.appended += appended;
                report.records_read += records;
                let contradictions = appended.quarantined.saturating_sub(quarantined);
                report.duplicates += records.saturating_sub(appended.records).saturating_sub(contradictions);
                progress(report);
            }
            batch = receiver.recv(), if reading && appends.len() < APPENDS_MAX => match batch {
                Some(Ok(batch)) => {
                    note_quarantined(report, &batch);
                    appends.push(append_one(store, batch));
                }
                Some(Err(error)) => {
                    failed = Some(error);
                    reading = false;
                }
                None => reading = false,
            }
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

async fn append_one(store: &dyn WriteStore, batch: Batch) -> Result<(u64, u64, AppendReport)> {
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    let (records, quarantined) = (count(batch.records.len()), count(batch.quarantined.len()));
    Ok((records, quarantined, append::append(store, batch).await?))
}

fn note_quarantined(report: &mut IngestReport, batch: &Batch) {
    for record in &batch.quarantined {
        if report.reasons.len() < REASONS_MAX {
            report.reasons.push(record.reason.clone());
        }
        let folder = record.timeline.as_ref();
        let folder = folder.map_or_else(|| layout::UNKNOWN_QUARANTINE.to_owned(), layout::quarantine_folder);
        if report.quarantine.len() < FOLDERS_MAX {
            report.quarantine.insert(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::{batches, gzip, lines, record};
    use super::*;
    use crate::append::append;
    use crate::error::Kind;
    use crate::store::ReadStore as _;
    use crate::store::memory::MemoryStore;

    async fn objects(store: &MemoryStore) -> Vec<String> {
        store.list_all("").await.unwrap().into_iter().map(|object| object.key).collect()
    }

    async fn ingest_files(
        store: &MemoryStore,
        paths: &[&std::path::Path],
        interrupt: &Interrupt,
    ) -> (IngestReport, Result<()>) {
        let inputs: Vec<Input> = paths.iter().map(|path| Input::of(path)).collect();
        let options = IngestOptions { batch_records_max: 7, ..IngestOptions::default() };
        let mut report = IngestReport::default();
        let result = ingest(store, &inputs, &options, interrupt, &mut report, |_| {}).await;
        (report, result)
    }

    #[tokio::test]
    async fn the_same_file_twice_makes_the_same_objects() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.jsonl.gz");
        std::fs::write(&path, gzip(format!("{}\nnonsense\n{}", lines(40), record(3)).as_bytes())).unwrap();
        let store = MemoryStore::new();
        let (first, result) = ingest_files(&store, &[&path], &Interrupt::never()).await;
        result.unwrap();
        assert_eq!((first.files, first.records_read, first.appended.records), (1, 41, 41));
        assert_eq!((first.appended.segments_created, first.appended.quarantined), (6, 1));
        assert_eq!(first.reasons.len(), 1);
        assert_eq!(first.quarantine.iter().collect::<Vec<_>>(), [layout::UNKNOWN_QUARANTINE]);
        let before = objects(&store).await;
        let (second, result) = ingest_files(&store, &[&path], &Interrupt::never()).await;
        result.unwrap();
        assert_eq!((second.appended.segments_created, second.appended.segments_already_there), (0, 6));
        assert_eq!(objects(&store).await, before);
    }

    #[tokio::test]
    async fn copies_within_a_batch_are_counted_as_duplicates() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        std::fs::write(&path, format!("{}\n{}\n{}\n", record(0), record(0), record(1))).unwrap();
        let (report, result) = ingest_files(&MemoryStore::new(), &[&path], &Interrupt::never()).await;
        result.unwrap();
        assert_eq!((report.records_read, report.duplicates, report.appended.records), (3, 1, 2));
    }

    #[tokio::test]
    async fn the_report_says_what_was_done_before_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        std::fs::write(&path, lines(3)).unwrap();
        let missing = folder.path().join("missing");
        let (report, result) = ingest_files(&MemoryStore::new(), &[&path, &missing], &Interrupt::never()).await;
        let error = result.unwrap_err();
        assert!(error.kind() == Kind::Invalid && error.to_string().contains("missing"), "{error}");
        assert_eq!((report.files, report.appended.records), (1, 3));
    }

    #[tokio::test]
    async fn an_interrupt_ends_an_ingest_and_says_how_to_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        std::fs::write(&path, lines(3)).unwrap();
        let interrupt = Interrupt::manual();
        interrupt.trigger();
        let (_, result) = ingest_files(&MemoryStore::new(), &[&path], &interrupt).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), Kind::Interrupted);
        assert!(error.hint().unwrap().contains("same command again"));
    }

    #[tokio::test]
    async fn a_quarantined_record_can_be_ingested_again_from_its_raw_bytes() {
        let (found, _) = batches(b"{\"eventName\":\"INSERT\"}".to_vec(), IngestOptions::default());
        let store = MemoryStore::new();
        let report = append(&store, found[0].clone()).await.unwrap();
        assert_eq!((report.records, report.quarantined), (0, 1));
        assert_eq!(objects(&store).await.len(), 1);
    }
}
