//! The timelines of a table that the journal knows.

use tracing::{error, warn};

use super::backoff::Halt;
use super::context::Context;
use super::stop::Stop;
use crate::documents::{self, DocumentError, TableDocument};
use crate::error::Classify as _;
use crate::layout;
use crate::model::{StreamArn, TableName, Timeline, TimelineLabel};
use crate::store::ReadStore;

/// A timeline of the journal that was followed, or whose table was described.
#[derive(Debug, Clone)]
pub(super) struct KnownTimeline {
    pub(super) timeline: Timeline,
    /// What its table was like. Absent where the table was gone before it could be described.
    pub(super) document: Option<TableDocument>,
    /// Whether a follower saw its stream.
    pub(super) started: bool,
    /// Whether it has ended.
    pub(super) ended: bool,
}

impl KnownTimeline {
    /// The stream's ARN: as described or, where it was not, that of another stream of the table with this label.
    pub(super) fn stream(&self, other: Option<&StreamArn>) -> Option<StreamArn> {
        if let Some(document) = &self.document {
            return Some(document.stream_arn.clone());
        }
        let (table, _) = other?.as_str().rsplit_once('/')?;
        StreamArn::parse(&format!("{table}/{}", self.timeline.label)).ok()
    }
}

/// All timelines of `table` that were followed or described. Those that were only ingested from files are left out: nobody can
/// say in which account their streams are.
///
/// Each timeline is read with tries of its own: a table with many of them, in a store that fails now and then, would never
/// be read in one go.
pub(super) async fn timelines(context: &Context, stop: &Stop, table: &TableName) -> Result<Vec<KnownTimeline>, Halt> {
    let store = context.store.as_ref();
    let what = format!("looking for timelines of table {table}");
    let mut known = Vec::new();
    let parent = layout::table_folder(table);
    for folder in context.retry(stop, &what, || store.list_folders(&parent)).await? {
        let Ok(label) = TimelineLabel::parse(&folder) else { continue };
        let timeline = Timeline { table: table.clone(), label };
        known.extend(context.retry(stop, &what, || read(store, &timeline)).await?);
    }
    Ok(known)
}

/// What the journal knows of the timeline.
async fn read(store: &dyn ReadStore, timeline: &Timeline) -> Result<Option<KnownTimeline>, DocumentError> {
    let document = description(store, timeline).await?;
    let started = documents::read::<serde_json::Value>(store, &layout::start_document(timeline)).await?.is_some();
    if document.is_none() && !started {
        return Ok(None);
    }
    let ended = documents::read::<serde_json::Value>(store, &layout::end_document(timeline)).await?.is_some();
    Ok(Some(KnownTimeline { timeline: timeline.clone(), document, started, ended }))
}

/// The description of the timeline's table. One that is not whole counts as none: live streams cannot wait until it is mended.
async fn description(store: &dyn ReadStore, timeline: &Timeline) -> Result<Option<TableDocument>, DocumentError> {
    let key = layout::table_document(timeline);
    match documents::read::<TableDocument>(store, &key).await {
        Err(malformed @ DocumentError::Malformed { .. }) => {
            error!(%timeline, hint = malformed.hint().unwrap_or_default(), "the description of the table is left aside: {malformed}");
            Ok(None)
        }
        Ok(Some(document)) if document.stream_arn.timeline() != timeline => {
            warn!(%timeline, "{key} is of another timeline and is left aside");
            Ok(None)
        }
        document => document,
    }
}
