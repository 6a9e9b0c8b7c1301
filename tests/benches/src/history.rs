//! A history on disk: written by the journal's own append, compacted by its own compaction.
//!
//! What enters are a profile and a number of changes; what leaves is a journal in a folder, the same bytes each time. It is
//! made once and kept while the folder is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use journal::append::{Batch, append};
use journal::compact::{CompactOptions, CompactReport, compact_table};
use journal::documents::{EndDocument, JournalDocument, KeySchemaElement, StartDocument, TableDocument, to_bytes};
use journal::interrupt::Interrupt;
use journal::layout;
use journal::merge::{RunInput, RunKind};
use journal::model::{Second, StreamRecord, TableName, Timeline};
use journal::store::{FileStore, ReadStore, WriteStore};
use tokio::runtime::Runtime;

use crate::workload::{self, Change, Profile, Workload};

/// Records that one batch has when nothing else is said.
pub const BATCH: usize = 1000;
/// After every window of every history.
const LATER: u64 = 4_000_000_000;

/// A history in a folder.
#[derive(Debug, Clone)]
pub struct History {
    /// The folder.
    pub folder: PathBuf,
    /// Changes in it.
    pub changes: u64,
    /// Bytes that its batches took.
    pub appended_bytes: u64,
    /// What compaction did, where it was compacted.
    pub compaction: Option<CompactReport>,
    /// The time it covers.
    pub seconds: (Second, Second),
}

/// A runtime whose threads stay, so that their processor time stays countable.
///
/// # Panics
/// When the system gives no threads.
#[must_use]
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_keep_alive(Duration::from_hours(24))
        .enable_all()
        .build()
        .expect("threads")
}

/// The timeline of every history.
///
/// # Panics
/// Never: the ARN is a constant.
#[must_use]
pub fn timeline() -> Timeline {
    workload::stream().expect("an ARN").timeline().clone()
}

/// The table of every history.
#[must_use]
pub fn table() -> TableName {
    timeline().table
}

/// Opens a folder as a store to write to, making it first.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn open(runtime: &Runtime, folder: &Path) -> Arc<FileStore> {
    let location = folder.display().to_string();
    runtime.block_on(FileStore::make(&location, folder)).expect("a folder");
    Arc::new(runtime.block_on(FileStore::open_write(&location, folder)).expect("a folder"))
}

/// One batch as the journal's append takes it.
///
/// # Panics
/// Never, for changes that the generator makes.
#[must_use]
pub fn batch(changes: &[Change]) -> Batch {
    let (stream, key_attributes) = (workload::stream().unwrap(), workload::key_attributes().unwrap());
    let records = changes
        .iter()
        .map(|change| StreamRecord {
            stream: stream.clone(),
            key_attributes: key_attributes.clone(),
            record: change.record().unwrap(),
        })
        .collect();
    Batch { records, quarantined: Vec::new() }
}

/// Appends the first `changes` of a profile to the journal in `folder`, unless they are there.
///
/// # Panics
/// When the folder cannot be written.
#[must_use]
pub fn append_changes(runtime: &Runtime, folder: &Path, profile: Profile, changes: u64) -> History {
    let store = open(runtime, folder);
    let (mut bytes, mut first, mut last, mut left) = (0, None, Second::MIN, changes);
    let mut workload = Workload::new(profile);
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(BATCH).min(BATCH);
        let batch_of: Vec<Change> = workload.by_ref().take(size).collect();
        left -= crate::count(size);
        let batch = batch(&batch_of);
        for record in &batch.records {
            let second = record.record.second.unwrap_or(Second::MIN);
            first = Some(first.map_or(second, |first: Second| first.min(second)));
            last = last.max(second);
        }
        let report = runtime.block_on(append(store.as_ref(), batch)).expect("a batch is appended");
        bytes += report.bytes;
    }
    let first = first.unwrap_or(Second::MIN);
    let start =
        StartDocument { covered_from: first, whole: true, reason: "the stream began with the table".to_owned() };
    let table = TableDocument {
        table: table(),
        stream_arn: workload::stream().expect("an ARN"),
        table_id: None,
        key_schema: vec![KeySchemaElement {
            name: "noteId".to_owned(),
            role: "HASH".to_owned(),
            key_type: "S".to_owned(),
        }],
        stream_view_type: "NEW_AND_OLD_IMAGES".to_owned(),
        created_milliseconds: None,
        described_at: last,
        description: serde_json::Value::Null,
        time_to_live: None,
        tags: None,
        point_in_time_recovery: None,
        not_read: Vec::new(),
    };
    let end = EndDocument { at: last, reason: "stream disabled".to_owned(), last_sequence: None };
    for (key, document) in [
        (layout::JOURNAL_DOCUMENT.to_owned(), to_bytes(&JournalDocument::current()).unwrap()),
        (layout::start_document(&timeline()), to_bytes(&start).unwrap()),
        (layout::table_document(&timeline()), to_bytes(&table).unwrap()),
        (layout::end_document(&timeline()), to_bytes(&end).unwrap()),
    ] {
        runtime.block_on(store.replace(&key, document)).expect("a document is written");
    }
    History { folder: folder.to_owned(), changes, appended_bytes: bytes, compaction: None, seconds: (first, last) }
}

/// Options under which every window is over and inputs go at once.
#[must_use]
pub fn compact_options() -> CompactOptions {
    CompactOptions { settle: Duration::ZERO, grace: Duration::ZERO, ..CompactOptions::default() }
}

/// Compacts a history as far as it goes, and deletes what was replaced.
///
/// # Panics
/// When it fails.
pub fn compact(runtime: &Runtime, history: &mut History) {
    let report = compact_at(runtime, &history.folder, LATER);
    history.compaction = Some(report);
    // A second run deletes what the first has replaced.
    let _ = compact_at(runtime, &history.folder, LATER + 1);
}

/// Compacts every window that is over at `now`.
///
/// # Panics
/// When it fails.
#[must_use]
pub fn compact_at(runtime: &Runtime, folder: &Path, now: u64) -> CompactReport {
    let store: Arc<dyn WriteStore> = open(runtime, folder);
    let (now, never) = (Second::new(now).unwrap(), Interrupt::never());
    runtime.block_on(compact_table(store, &table(), now, &compact_options(), &never, |_| {})).expect("compaction")
}

/// The runs of a journal, in the order of the listing.
///
/// # Panics
/// When the folder cannot be listed.
#[must_use]
pub fn inputs(runtime: &Runtime, store: &dyn ReadStore) -> Vec<RunInput> {
    let objects = runtime.block_on(store.list_all(&layout::segments_folder(&timeline()))).expect("a listing");
    objects
        .into_iter()
        .map(|o| RunInput { key: o.key, size: o.size, kind: RunKind::Segment, from: None, until: None })
        .collect()
}
