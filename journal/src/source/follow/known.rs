//! The timelines of a table that the journal knows.

use tracing::error;

use crate::documents::{self, DocumentError, TableDocument};
use crate::error::Classify as _;
use crate::layout;
use crate::model::{TableName, Timeline, TimelineLabel};
use crate::store::ReadStore;

/// A timeline with a description of its table: one that was followed, or of which a baseline was taken. Timelines that were
/// ingested from files have none, and nobody can say in which account their streams are.
#[derive(Debug, Clone)]
pub(super) struct KnownTimeline {
    pub(super) timeline: Timeline,
    pub(super) document: TableDocument,
    /// Whether a follower saw its stream.
    pub(super) started: bool,
    /// Whether it has ended.
    pub(super) ended: bool,
}

/// All timelines of `table` with a description.
pub(super) async fn timelines(store: &dyn ReadStore, table: &TableName) -> Result<Vec<KnownTimeline>, DocumentError> {
    let mut known = Vec::new();
    for folder in store.list_folders(&layout::table_folder(table)).await? {
        let Ok(label) = TimelineLabel::parse(&folder) else { continue };
        let timeline = Timeline { table: table.clone(), label };
        let document: Option<TableDocument> = match documents::read(store, &layout::table_document(&timeline)).await {
            // Live streams cannot wait until somebody has mended the description of an old one.
            Err(error @ DocumentError::Malformed { .. }) => {
                error!(%timeline, hint = error.hint().unwrap_or_default(), "an earlier timeline cannot be taken up: {error}");
                continue;
            }
            document => document?,
        };
        let Some(document) = document.filter(|document| *document.stream_arn.timeline() == timeline) else { continue };
        let started = documents::read::<serde_json::Value>(store, &layout::start_document(&timeline)).await?.is_some();
        let ended = documents::read::<serde_json::Value>(store, &layout::end_document(&timeline)).await?.is_some();
        known.push(KnownTimeline { timeline, document, started, ended });
    }
    Ok(known)
}
