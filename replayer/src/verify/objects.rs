//! Every checksum of every object, and whether names and documents agree with contents.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use journal::documents::{self, DocumentError};
use journal::error::{Classify as _, Kind, Result};
use journal::format::{Footer, RunKind as Content, VerifiedRun, verify_object};
use journal::layout;
use journal::model::{KeyAttributes, TableName, Timeline, TimelineLabel};
use journal::store::{ReadStore, StoreError};
use serde::de::DeserializeOwned;

use super::{TimelineReport, VerifyError};
use crate::coverage::CoveredTimeline;
use crate::listing::{self, ListedSegment, ListedSnapshot, TimelineObjects};
use crate::merge::{RunInput, RunKind};

/// Objects that are fetched ahead of the one that is checked.
const READS_AHEAD: usize = 3;

/// A timeline as far as its documents can be read.
pub(super) struct Listed {
    pub(super) objects: TimelineObjects,
    pub(super) problems: Vec<(String, String)>,
}

/// The timelines of a table. Other than [`listing::timelines`] it goes on past documents that cannot be read.
pub(super) async fn listed(store: &dyn ReadStore, table: &TableName) -> Result<Vec<Listed>> {
    let mut all = Vec::new();
    for folder in store.list_folders(&layout::table_folder(table)).await? {
        let Ok(label) = TimelineLabel::parse(&folder) else { continue };
        let timeline = Timeline { table: table.clone(), label };
        let listing = store.list_all(&layout::timeline_folder(&timeline)).await?;
        let there = !listing.is_empty();
        let sorted = listing::sort(listing, timeline.clone());
        let mut objects = sorted.objects;
        let mut documents = Documents { store, problems: Vec::new() };
        objects.table = documents.read(&layout::table_document(&timeline)).await?;
        objects.start = documents.read(&layout::start_document(&timeline)).await?;
        objects.end = documents.read(&layout::end_document(&timeline)).await?;
        for key in &sorted.gaps {
            objects.gaps.extend(documents.read(key).await?);
        }
        for key in &sorted.checkpoints {
            objects.checkpoints.extend(documents.read(key).await?);
        }
        for (name, key) in &sorted.snapshots {
            let read = documents.read(key).await?;
            objects.snapshots.extend(read.map(|document| ListedSnapshot { name: name.clone(), document }));
        }
        let problems = documents.problems;
        if there {
            all.push(Listed { objects, problems });
        }
    }
    if all.is_empty() {
        // For the message that names the tables there are.
        listing::timelines(store, table).await?;
    }
    Ok(all)
}

struct Documents<'a> {
    store: &'a dyn ReadStore,
    problems: Vec<(String, String)>,
}

impl Documents<'_> {
    async fn read<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        match documents::read(self.store, key).await {
            Ok(found) => Ok(found),
            Err(DocumentError::Malformed { key, reason, .. }) => {
                self.problems.push((key, reason));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What an object must be.
enum Expected {
    Segment(ListedSegment),
    Part { crc32: u32, size: u64, items: u64 },
}

/// Reads and checks every run. Gives back the sound segments.
pub(super) async fn check(
    store: &Arc<dyn ReadStore>,
    covered: &CoveredTimeline,
    report: &mut TimelineReport,
    interrupt: &journal::interrupt::Interrupt,
    progress: &(impl Fn(u64) + Send),
) -> Result<Sound> {
    let objects = &covered.objects;
    let timeline = &objects.timeline;
    let mut expected: Vec<(String, Expected)> =
        objects.segments.iter().map(|segment| (segment.key.clone(), Expected::Segment(segment.clone()))).collect();
    for snapshot in &objects.snapshots {
        let folder = layout::snapshot_folder(timeline, &snapshot.name);
        let mut items = 0;
        for part in &snapshot.document.parts {
            let wanted = Expected::Part { crc32: part.crc32, size: part.size, items: part.items };
            expected.push((format!("{folder}{}", part.name), wanted));
            items += part.items;
        }
        if items != snapshot.document.items {
            let problem = format!("it counts {} items, its parts {items}", snapshot.document.items);
            report.problem(&layout::snapshot_document(timeline, &snapshot.name), problem);
        }
    }
    let mut sound = Sound { inputs: Vec::new(), key_attributes: None };
    let mut fetched = futures::stream::iter(expected)
        .map(|(key, expected)| async move {
            let bytes = match store.get(&key).await {
                Ok(bytes) => Ok(bytes),
                Err(error @ StoreError::NotFound { .. }) => Err(error.to_string()),
                Err(error) => return Err(error),
            };
            Ok((key, expected, bytes))
        })
        .buffered(READS_AHEAD);
    while let Some((key, expected, bytes)) = fetched.try_next().await? {
        if interrupt.requested() {
            return Err(VerifyError::Interrupted { timeline: timeline.to_string() }.into());
        }
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(problem) => {
                report.problem(&key, problem);
                continue;
            }
        };
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        report.bytes += size;
        match expected {
            Expected::Segment(_) => report.segments += 1,
            Expected::Part { .. } => report.snapshot_parts += 1,
        }
        match check_run(&key, bytes).await? {
            Ok((run, crc32)) => match disagreement(&run, crc32, size, &expected, timeline) {
                Some(problem) => report.problem(&key, problem),
                None => sound.take(key, size, &run.tail.footer, &expected, report),
            },
            Err(problem) => report.problem(&key, problem),
        }
        progress(size);
    }
    Ok(sound)
}

/// Sound segments, and the key that they all have.
pub(super) struct Sound {
    pub(super) inputs: Vec<RunInput>,
    pub(super) key_attributes: Option<KeyAttributes>,
}

impl Sound {
    fn take(&mut self, key: String, size: u64, footer: &Footer, expected: &Expected, report: &mut TimelineReport) {
        let known = self.key_attributes.get_or_insert_with(|| footer.key_attributes.clone());
        if *known != footer.key_attributes {
            let problem = format!("its key is {}, other runs of the timeline have {known}", footer.key_attributes);
            report.problem(&key, problem);
        } else if matches!(expected, Expected::Segment(_)) {
            self.inputs.push(RunInput { key, size, kind: RunKind::Segment, from: None, until: None });
        }
    }
}

/// Checks a run's bytes on a blocking thread; the outer error is a defect, the inner one what is wrong with the bytes.
async fn check_run(key: &str, bytes: Bytes) -> Result<Result<(VerifiedRun, u32), String>> {
    let name = key.to_owned();
    let checked = tokio::task::spawn_blocking(move || {
        let crc32 = crc32fast::hash(&bytes);
        verify_object(&name, &bytes).map(|run| (run, crc32))
    });
    let checked = checked.await.map_err(|_| VerifyError::Lost { key: key.to_owned() })?;
    match checked {
        Ok(sound) => Ok(Ok(sound)),
        // Another version of the format is no damage, but nothing can be said of the object.
        Err(error) if error.kind() == Kind::Internal => Err(error.into()),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// Where a sound run is not the one that its name or its snapshot's document says.
fn disagreement(run: &VerifiedRun, crc32: u32, size: u64, expected: &Expected, timeline: &Timeline) -> Option<String> {
    let footer = &run.tail.footer;
    if footer.stream.timeline() != timeline {
        return Some(format!("it belongs to timeline {}", footer.stream.timeline()));
    }
    let wanted = match expected {
        Expected::Segment(segment) => segment.name.crc32,
        Expected::Part { crc32, .. } => *crc32,
    };
    if crc32 != wanted {
        return Some(format!("its crc32 is {crc32:08x}, its name or document says {wanted:08x}"));
    }
    match expected {
        Expected::Segment(segment) => {
            let name = &segment.name;
            let (first, last) = footer.sequences;
            if footer.kind == Content::Snapshot {
                Some("it is a part of a snapshot, not a segment".to_owned())
            } else if name.seconds != footer.statistics.seconds {
                Some("its records are of other seconds than its name says".to_owned())
            } else if first.cmp_value(&name.sequences.0).is_ne() || last.cmp_value(&name.sequences.1).is_ne() {
                Some("its records have other sequence numbers than its name says".to_owned())
            } else {
                None
            }
        }
        Expected::Part { size: wanted, items, .. } => {
            let live = run.records.saturating_sub(footer.statistics.removes);
            if footer.kind != Content::Snapshot {
                Some("it is a segment, not a part of a snapshot".to_owned())
            } else if size != *wanted || live != *items {
                Some(format!("it has {size} bytes and {live} items, its document says {wanted} and {items}"))
            } else {
                None
            }
        }
    }
}
