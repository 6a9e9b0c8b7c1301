//! The end of a timeline: whether its stream is over, why, and the document that says so.

use tracing::info;

use super::backoff::Halt;
use super::checkpoint::Checkpoint;
use super::context::Line;
use super::gap;
use super::stop::Stop;
use crate::documents::{self, DocumentError, EndDocument, GapDocument, TableDocument};
use crate::layout;
use crate::model::{Second, SequenceNumber};
use crate::source::stream::TableSight;
use crate::store::StoreError;

/// `EndDocument::reason` of a timeline whose table was deleted.
pub(super) const TABLE_DELETED: &str = "table deleted";
/// `EndDocument::reason` of a timeline whose stream was switched off.
pub(super) const STREAM_DISABLED: &str = "stream disabled";
/// Name of the gap between a stream's being switched off and the end of its timeline.
pub(super) const DISABLED_GAP: &str = "stream-disabled";

async fn look(line: &Line, stop: &Stop) -> Result<Option<TableSight>, Halt> {
    let table = &line.timeline().table;
    let what = format!("looking for table {table}");
    line.context.retry(stop, &what, || line.context.service.find_table(table)).await
}

/// Whether a stream that could not be found is really over: the table does not name it as its own any more.
pub(super) async fn is_gone(line: &Line, stop: &Stop) -> Result<bool, Halt> {
    let sight = look(line, stop).await?;
    let stream = sight.and_then(|sight| sight.stream);
    Ok(stream.is_none_or(|stream| stream.arn != line.stream || !stream.enabled))
}

/// Why a stream that is over is over.
fn reason(line: &Line, sight: Option<&TableSight>, document: Option<&TableDocument>) -> &'static str {
    let Some(sight) = sight else { return TABLE_DELETED };
    // A stream that was never described is of this table if it is not older than it.
    let same_table = document.map_or_else(
        || {
            let birth = line.timeline().label.birth_milliseconds();
            birth.zip(sight.created_milliseconds).is_some_and(|(birth, created)| created <= birth)
        },
        |document| sight.is_same_table(document),
    );
    if same_table && sight.status != "DELETING" { STREAM_DISABLED } else { TABLE_DELETED }
}

/// Writes the end of the timeline. Everything that could be read of it must be durable.
pub(super) async fn write<'a>(
    line: &Line,
    stop: &Stop,
    document: Option<&TableDocument>,
    checkpoints: impl Iterator<Item = &'a Checkpoint>,
) -> Result<(), Halt> {
    let sight = look(line, stop).await?;
    let reason = reason(line, sight.as_ref(), document);
    let at = line.context.clock.now();
    let mut known: Option<Second> = None;
    let mut last_sequence: Option<SequenceNumber> = None;
    for checkpoint in checkpoints {
        known = known.max(checkpoint.known_until());
        last_sequence = last_sequence.max(checkpoint.document().last_sequence);
    }
    if reason == STREAM_DISABLED {
        // When exactly it was switched off nobody says; changes since then are in no stream.
        let known = known.max(line.enabled_through()).unwrap_or_else(|| line.covered_from());
        let gap = GapDocument {
            shard: None,
            after_sequence: last_sequence,
            before_sequence: None,
            from: known.before().min(at.before()),
            to: at,
            reason: "the stream was switched off at an unknown moment in between".to_owned(),
        };
        gap::state_as(line, stop, DISABLED_GAP, &gap).await?;
    }
    let key = layout::end_document(line.timeline());
    let body = documents::to_bytes(&EndDocument { at, reason: reason.to_owned(), last_sequence })?;
    let what = format!("writing {key}");
    let context = &line.context;
    context
        .retry(stop, &what, || async {
            match context.store.put_new(&key, body.clone()).await {
                // Another follower saw the end first; what it says stands.
                Ok(_) | Err(StoreError::Differs { .. }) => Ok(()),
                Err(error) => Err(DocumentError::from(error)),
            }
        })
        .await?;
    line.tally.lock().timelines_ended += 1;
    info!(timeline = %line.timeline(), reason, last = last_sequence.map(tracing::field::display), "the timeline has ended");
    Ok(())
}
