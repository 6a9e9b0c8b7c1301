//! What a journal has of one table: its timelines, each with its documents and the names of its segments.
//!
//! One listing a timeline, or one for a table that is listed in one request, and a read of each small document that it names, all at once; no segment is opened. What enters is a store and a table's
//! name; what leaves is [`TimelineObjects`]. Knows nothing of cuts or coverage.

mod near;
mod ranges;
#[cfg(test)]
mod tests_reads;

pub use near::nearest;

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::pin::Pin;

use crate::documents::{
    self, CheckpointDocument, CompactionDocument, DocumentError, EndDocument, GapDocument, SnapshotDocument,
    StartDocument, TableDocument,
};
use crate::error::{Classify, Kind, Result};
use crate::layout::{self, SegmentName};
use crate::model::{TableName, Timeline, TimelineLabel};
use crate::store::{ObjectMeta, ReadStore};
use futures::future::{try_join, try_join3, try_join4};
use futures::stream::{StreamExt as _, TryStreamExt as _};
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Documents that are read at once.
const READS_AT_ONCE: usize = 16;
/// Timelines that are read at once.
const TIMELINES_AT_ONCE: usize = 4;
/// Levels above a segment that compactions are followed through: there are three, and windows that came late.
const COMPACTIONS_DEEP_MAX: usize = 8;
/// Table names that a message lists.
const NAMES_SHOWN_MAX: usize = 20;

/// What is wrong with a listing.
#[derive(Debug, Error)]
pub enum ListingError {
    /// The journal has nothing of the table.
    #[error("{location} has no table {table}")]
    NoTable {
        /// The store.
        location: String,
        /// The table asked for.
        table: TableName,
        /// Tables that are there, as text.
        known: String,
        /// The one of them whose name is nearly the same.
        near: Option<String>,
    },
}

impl Classify for ListingError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        let Self::NoTable { known, table, near, .. } = self;
        Some(if known.is_empty() {
            format!(
                "the journal has no table yet: fill it with `journal follow --table {table}` or `journal ingest FILE`"
            )
        } else {
            let near = near.as_ref().map_or_else(String::new, |near| format!("did you mean {near}? "));
            format!("{near}it has: {known}")
        })
    }
}

/// A segment as the listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedSegment {
    /// Its key in the store.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// What its name says.
    pub name: SegmentName,
    /// When the last of what it holds was appended, in seconds since 1970, as the store says.
    pub appended: u64,
}

/// A completed snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedSnapshot {
    /// Its folder's name.
    pub name: String,
    /// What completes it.
    pub document: SnapshotDocument,
}

/// An object of a snapshot that is not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedObject {
    /// Its key in the store.
    pub key: String,
    /// The snapshot's folder.
    pub snapshot: String,
    /// Its bytes.
    pub size: u64,
    /// When it was stored, in seconds since 1970, as the store says.
    pub modified: u64,
}

/// A compaction that the journal has a document of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedCompaction {
    /// The document's key in the store.
    pub key: String,
    /// When it was stored, in seconds since 1970, as the store says.
    pub modified: u64,
    /// What it says.
    pub document: CompactionDocument,
}

/// All that the journal has of one timeline.
#[derive(Debug, Clone)]
pub struct TimelineObjects {
    /// Table and stream label.
    pub timeline: Timeline,
    /// `table.json`.
    pub table: Option<TableDocument>,
    /// `start.json`.
    pub start: Option<StartDocument>,
    /// `end.json`.
    pub end: Option<EndDocument>,
    /// `gaps/`, by name.
    pub gaps: Vec<GapDocument>,
    /// `checkpoints/`, by name.
    pub checkpoints: Vec<CheckpointDocument>,
    /// Completed snapshots, by name.
    pub snapshots: Vec<ListedSnapshot>,
    /// Segments, by key.
    pub segments: Vec<ListedSegment>,
    /// Compactions whose inputs may still be there, by key.
    pub compactions: Vec<ListedCompaction>,
    /// Keys of the events, by name; they are read by who shows them.
    pub events: Vec<String>,
    /// Objects in the quarantine.
    pub quarantined: u64,
    /// Objects of snapshots that were never completed: a baseline that was stopped, or a fold under way.
    pub unfinished: Vec<UnfinishedObject>,
    /// Progress documents of compactions, by key, and when each was stored, in seconds since 1970, as the store says.
    pub progress: Vec<(String, u64)>,
    /// The newest time of storing that any object shows, in seconds since 1970, as the store says.
    pub newest: u64,
    /// Every other object.
    pub foreign: Vec<String>,
}

impl TimelineObjects {
    /// A timeline of which nothing is known.
    #[must_use]
    pub fn empty(timeline: Timeline) -> Self {
        Self {
            timeline,
            table: None,
            start: None,
            end: None,
            gaps: Vec::new(),
            checkpoints: Vec::new(),
            snapshots: Vec::new(),
            segments: Vec::new(),
            compactions: Vec::new(),
            events: Vec::new(),
            quarantined: 0,
            unfinished: Vec::new(),
            progress: Vec::new(),
            newest: 0,
            foreign: Vec::new(),
        }
    }

    /// Keys of listed segments that need not be read, for compaction made others of them that are all listed too, or were
    /// themselves compacted into such.
    #[must_use]
    pub fn superseded(&self) -> HashSet<String> {
        let folder = layout::segments_folder(&self.timeline);
        let listed: HashSet<&str> =
            self.segments.iter().filter_map(|segment| segment.key.strip_prefix(&folder)).collect();
        let durable = Durable { listed: &listed, compactions: &self.compactions };
        let whole = self.compactions.iter().filter(|compaction| durable.has_outputs(compaction, 0));
        let inputs = whole.flat_map(|compaction| &compaction.document.inputs);
        inputs.filter(|name| listed.contains(name.as_str())).map(|name| format!("{folder}{name}")).collect()
    }

    /// Whether all outputs of a compaction are listed, or were themselves compacted into segments of which this holds.
    #[must_use]
    pub fn holds_outputs(&self, compaction: &ListedCompaction) -> bool {
        let folder = layout::segments_folder(&self.timeline);
        let listed = self.segments.iter().filter_map(|segment| segment.key.strip_prefix(&folder)).collect();
        Durable { listed: &listed, compactions: &self.compactions }.has_outputs(compaction, 0)
    }

    /// Whether the journal has anything of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start.is_none() && self.table.is_none() && self.segments.is_empty() && self.snapshots.is_empty()
    }
}

/// Follows compactions of compactions.
struct Durable<'a> {
    listed: &'a HashSet<&'a str>,
    compactions: &'a [ListedCompaction],
}

impl Durable<'_> {
    fn has_outputs(&self, compaction: &ListedCompaction, depth: usize) -> bool {
        compaction.document.outputs.iter().all(|output| {
            self.listed.contains(output.as_str())
                || (depth < COMPACTIONS_DEEP_MAX
                    && self.compactions.iter().any(|next| {
                        next.document.inputs.binary_search(output).is_ok() && self.has_outputs(next, depth + 1)
                    }))
        })
    }
}

/// The tables that a journal has, sorted.
///
/// # Errors
/// When the store cannot be read.
pub async fn tables(store: &dyn ReadStore) -> Result<Vec<TableName>> {
    let folders = store.list_folders("").await?;
    Ok(folders.iter().filter_map(|name| TableName::parse(name).ok()).collect())
}

/// Reads all that the journal has of a table, one entry a timeline, sorted by label.
///
/// # Errors
/// When the journal has no such table, the store cannot be read, or a document is not what was written.
pub async fn timelines(store: &dyn ReadStore, table: &TableName) -> Result<Vec<TimelineObjects>> {
    let read = |(label, listing)| -> Pin<Box<dyn Future<Output = Result<TimelineObjects>> + Send + '_>> {
        let timeline = Timeline { table: table.clone(), label };
        Box::pin(async move {
            let listing = match listing {
                Some(listing) => listing,
                None => ranges::list(store, &layout::timeline_folder(&timeline)).await?,
            };
            read(store, sort(listing, timeline)).await
        })
    };
    let reading = futures::stream::iter(labels(store, table).await?.into_iter().map(read)).buffered(TIMELINES_AT_ONCE);
    let mut timelines: Vec<TimelineObjects> = reading.try_collect().await?;
    timelines.retain(|objects| !objects.is_empty());
    if timelines.is_empty() {
        let tables = tables(store).await?;
        let mut known: Vec<&str> =
            tables.iter().map(TableName::as_str).filter(|name| *name != table.as_str()).collect();
        let near = nearest(table.as_str(), &known).map(str::to_owned);
        let more = known.len().saturating_sub(NAMES_SHOWN_MAX);
        known.truncate(NAMES_SHOWN_MAX);
        let mut known = known.join(", ");
        if more > 0 {
            known = format!("{known} and {more} more");
        }
        let location = store.location().to_owned();
        return Err(ListingError::NoTable { location, table: table.clone(), known, near }.into());
    }
    Ok(timelines)
}

/// The labels of a table's timelines, sorted, each with all of its objects where one request lists the whole table.
async fn labels(store: &dyn ReadStore, table: &TableName) -> Result<Vec<(TimelineLabel, Option<Vec<ObjectMeta>>)>> {
    let folder = layout::table_folder(table);
    let first = store.list(&folder, None).await?;
    let label_of = |name: &str| TimelineLabel::parse(name).ok();
    if first.next.is_some() {
        let folders = store.list_folders(&folder).await?;
        return Ok(folders.iter().filter_map(|name| Some((label_of(name)?, None))).collect());
    }
    let mut listings: BTreeMap<String, Vec<ObjectMeta>> = BTreeMap::new();
    for object in first.objects {
        if let Some((name, _)) = object.key.strip_prefix(&folder).and_then(|path| path.split_once('/')) {
            let name = name.to_owned();
            listings.entry(name).or_default().push(object);
        }
    }
    Ok(listings.into_iter().filter_map(|(name, listing)| Some((label_of(&name)?, Some(listing)))).collect())
}

/// Reads all that the journal has of one timeline.
///
/// # Errors
/// When the store cannot be read, or a document is not what was written.
pub async fn timeline(store: &dyn ReadStore, timeline: Timeline) -> Result<TimelineObjects> {
    read(store, sort(ranges::list(store, &layout::timeline_folder(&timeline)).await?, timeline)).await
}

/// Reads the documents that a listing shows.
async fn read(store: &dyn ReadStore, sorted: Sorted) -> Result<TimelineObjects> {
    let mut objects = sorted.objects;
    let timeline = &objects.timeline.clone();
    let read = |(key, modified): (String, u64)| -> Reading<'_, Option<ListedCompaction>> {
        Box::pin(async move {
            // One that is gone meanwhile is done with: its inputs were deleted, and then it was.
            let document = documents::read(store, &key).await?;
            Ok(document.map(|document| ListedCompaction { key, modified, document }))
        })
    };
    let compactions = async {
        let reading = futures::stream::iter(sorted.compactions.into_iter().map(read)).buffered(READS_AT_ONCE);
        let found: Vec<Option<ListedCompaction>> = reading.try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    };
    let (names, keys): (Vec<String>, Vec<String>) = sorted.snapshots.into_iter().unzip();
    let listed = &sorted.documents;
    let own = try_join3(
        read_listed(store, listed, layout::table_document(timeline)),
        read_listed(store, listed, layout::start_document(timeline)),
        read_listed(store, listed, layout::end_document(timeline)),
    );
    let (gaps, checkpoints) = (read_each(store, &sorted.gaps), read_each(store, &sorted.checkpoints));
    let others = try_join4(gaps, checkpoints, compactions, read_each::<SnapshotDocument>(store, &keys));
    // At once: what waits for an answer is what takes time.
    let (own, others) = try_join(own, others).await?;
    (objects.table, objects.start, objects.end) = own;
    let snapshots;
    (objects.gaps, objects.checkpoints, objects.compactions, snapshots) = others;
    let snapshots = names.into_iter().zip(snapshots);
    objects.snapshots = snapshots.map(|(name, document)| ListedSnapshot { name, document }).collect();
    Ok(objects)
}

/// A listing, sorted into what its keys say; no document is read yet.
#[derive(Debug)]
pub struct Sorted {
    /// What the keys alone tell.
    pub objects: TimelineObjects,
    /// Which of `table.json`, `start.json` and `end.json` there are, by key.
    pub documents: Vec<String>,
    /// Keys of the gaps' documents.
    pub gaps: Vec<String>,
    /// Keys of the checkpoints.
    pub checkpoints: Vec<String>,
    /// Keys of the compaction documents, and when each was stored, in seconds since 1970.
    pub compactions: Vec<(String, u64)>,
    /// Name of each complete snapshot, and the key of its document.
    pub snapshots: Vec<(String, String)>,
}

/// Sorts a listing of one timeline's folder.
#[must_use]
pub fn sort(listing: Vec<ObjectMeta>, timeline: Timeline) -> Sorted {
    let folder = layout::timeline_folder(&timeline);
    let mut sorted = Sorted {
        objects: TimelineObjects::empty(timeline),
        documents: Vec::new(),
        gaps: Vec::new(),
        checkpoints: Vec::new(),
        compactions: Vec::new(),
        snapshots: Vec::new(),
    };
    let mut parts: Vec<UnfinishedObject> = Vec::new();
    for ObjectMeta { key, size, modified } in listing {
        sorted.objects.newest = sorted.objects.newest.max(modified);
        let path: Vec<&str> = key.strip_prefix(&folder).unwrap_or(&key).split('/').collect();
        match path.as_slice() {
            ["table.json" | "start.json" | "end.json"] => sorted.documents.push(key),
            ["gaps", name] if name.strip_suffix(".json").is_some() => sorted.gaps.push(key),
            ["checkpoints", name] if name.strip_suffix(".json").is_some() => sorted.checkpoints.push(key),
            ["compactions", name] if name.strip_suffix(".json").is_some() => sorted.compactions.push((key, modified)),
            ["compactions", _, number] if number.strip_suffix(".json").is_some() => {
                sorted.objects.progress.push((key, modified));
            }
            ["events", name] if name.strip_suffix(".json").is_some() => sorted.objects.events.push(key),
            ["quarantine", _] => sorted.objects.quarantined += 1,
            ["snapshots", name, "snapshot.json"] => sorted.snapshots.push(((*name).to_owned(), key)),
            ["snapshots", name, part]
                if matches!(*part, "plan.json" | "undated.json") || part.strip_suffix(".run").is_some() =>
            {
                parts.push(UnfinishedObject { snapshot: (*name).to_owned(), key, size, modified });
            }
            ["segments", ..] => match SegmentName::parse(&key) {
                Some(name) => sorted.objects.segments.push(ListedSegment {
                    appended: name.appended.unwrap_or(modified),
                    key,
                    size,
                    name,
                }),
                None => sorted.objects.foreign.push(key),
            },
            _ => sorted.objects.foreign.push(key),
        }
    }
    let complete: HashSet<&str> = sorted.snapshots.iter().map(|(name, _)| name.as_str()).collect();
    sorted.objects.unfinished = parts.into_iter().filter(|part| !complete.contains(part.snapshot.as_str())).collect();
    sorted
}

type Reading<'a, T> = Pin<Box<dyn Future<Output = Result<T, DocumentError>> + Send + 'a>>;

/// A document of the timeline, if the listing has it: one that came after the listing tells of what the listing does not have.
async fn read_listed<T: DeserializeOwned>(store: &dyn ReadStore, listed: &[String], key: String) -> Result<Option<T>> {
    if listed.contains(&key) { Ok(documents::read(store, &key).await?) } else { Ok(None) }
}

pub(crate) async fn read_each<T: DeserializeOwned + Send>(store: &dyn ReadStore, keys: &[String]) -> Result<Vec<T>> {
    // A document that was there a moment ago and is gone now was replaced or deleted by hand: that is a defect to name.
    let read = |key: String| -> Reading<'_, T> {
        Box::pin(async move {
            documents::read(store, &key).await?.ok_or_else(|| DocumentError::Malformed {
                location: store.location().to_owned(),
                key,
                reason: "it was listed but is not there".to_owned(),
            })
        })
    };
    let documents: Vec<T> =
        futures::stream::iter(keys.iter().cloned().map(read)).buffered(READS_AT_ONCE).try_collect().await?;
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::WriteStore as _;
    use crate::store::memory::MemoryStore;
    use bytes::Bytes;

    async fn put(store: &MemoryStore, key: &str, bytes: &'static [u8]) {
        store.replace(key, Bytes::from_static(bytes)).await.unwrap();
    }

    fn table() -> TableName {
        TableName::parse("notes-table-dev").unwrap()
    }

    #[tokio::test]
    async fn every_object_finds_its_place_and_a_foreign_one_is_named() {
        let store = MemoryStore::default();
        let folder = "notes-table-dev/2020-03-29T00:00:00.000";
        let segment =
            format!("{folder}/segments/0/2020-03-21/001584810304-001584810305-{:040}-{:040}-00000001.seg", 1, 2);
        let start = documents::to_bytes(&StartDocument {
            covered_from: crate::model::Second::new(5).unwrap(),
            whole: true,
            reason: String::new(),
        })
        .unwrap();
        store.replace(&format!("{folder}/start.json"), start).await.unwrap();
        put(&store, &segment, b"x").await;
        put(&store, &format!("{folder}/segments/0/x.seg"), b"x").await;
        put(&store, &format!("{folder}/quarantine/a.json"), b"{}").await;
        put(&store, &format!("{folder}/snapshots/5-baseline-1/part-00000-00000000.run"), b"x").await;
        put(&store, &format!("{folder}/notes.txt"), b"x").await;
        let found = timelines(&store, &table()).await.unwrap();
        assert_eq!(found.len(), 1);
        let objects = &found[0];
        assert_eq!(objects.segments.iter().map(|s| &s.key).collect::<Vec<_>>(), vec![&segment]);
        assert_eq!((objects.quarantined, objects.unfinished.len(), objects.foreign.len()), (1, 1, 2));
        assert!(objects.start.as_ref().unwrap().whole);
    }

    #[tokio::test]
    async fn an_unknown_table_is_refused_with_the_known_ones() {
        let store = MemoryStore::default();
        put(&store, "other-table/1/table.json", b"{}").await;
        put(&store, "~quarantine/a.json", b"{}").await;
        let error = timelines(&store, &table()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert_eq!(error.hint().as_deref(), Some("it has: other-table"));
        let error = timelines(&store, &TableName::parse("other-tabel").unwrap()).await.unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("did you mean other-table? it has: other-table"));
    }

    #[tokio::test]
    async fn a_torn_document_is_corrupt_and_named() {
        let store = MemoryStore::default();
        put(&store, "notes-table-dev/1/start.json", b"{\"covered").await;
        let error = timelines(&store, &table()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.to_string().contains("notes-table-dev/1/start.json"), "{error}");
    }
}
