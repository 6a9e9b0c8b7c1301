//! Stating gaps: each hole is a document, made before anything after it is acknowledged.
//!
//! A gap's name is made of what is known of its beginning, never of the clock, so a follower that died before it could go on
//! meets its own statement again. Where the end is only "now" and a later look finds it later, a second document says so.

use tracing::warn;

use super::backoff::Halt;
use super::context::Line;
use super::stop::Stop;
use crate::documents::{self, DocumentError, GapDocument};
use crate::layout;
use crate::model::{Second, SequenceNumber};
use crate::store::StoreError;

/// A hole whose beginning is known and whose end is not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenGap {
    /// The last record before it.
    pub(super) after: Option<SequenceNumber>,
    /// The last second known to be complete.
    pub(super) from: Second,
    /// What happened.
    pub(super) reason: String,
}

impl OpenGap {
    /// The hole with its end: just before `first`, the first record read after it, or now where none was found.
    pub(super) fn close(
        self,
        shard: &str,
        first: Option<(SequenceNumber, Option<Second>)>,
        now: Second,
    ) -> GapDocument {
        // More records of the first one's second may be missing: the one after it is the first that is whole.
        let after = |second: Second| Second::new(second.get().saturating_add(1)).unwrap_or(Second::MAX);
        let to = first.and_then(|(_, second)| second).map_or(now, after);
        GapDocument {
            shard: Some(shard.to_owned()),
            after_sequence: self.after,
            before_sequence: first.map(|(sequence, _)| sequence),
            from: self.from,
            to: to.max(after(self.from)),
            reason: self.reason,
        }
    }
}

/// The name of a gap, from its beginning.
fn name(gap: &GapDocument) -> String {
    let after = gap.after_sequence.map_or_else(|| "start".to_owned(), SequenceNumber::to_padded);
    let shard = gap.shard.as_deref().unwrap_or("stream");
    format!("{}-{after}-{:012}", layout::safe_part(shard), gap.from.get())
}

/// Makes the statement durable.
pub(super) async fn state(line: &Line, stop: &Stop, gap: &GapDocument) -> Result<(), Halt> {
    state_as(line, stop, &name(gap), gap).await
}

/// Makes the statement durable under a name of its own.
pub(super) async fn state_as(line: &Line, stop: &Stop, name: &str, gap: &GapDocument) -> Result<(), Halt> {
    let folder = layout::gaps_folder(line.timeline());
    let key = format!("{folder}{name}.json");
    let context = &line.context;
    let what = format!("stating the gap {key}");
    let stated: bool = context.retry(stop, &what, || make(line, &key, gap)).await?;
    if !stated {
        // An earlier statement ends earlier. It stands, and this one goes on from it.
        let key = format!("{folder}{name}-{:012}.json", gap.to.get());
        context.retry(stop, &what, || make(line, &key, gap)).await?;
    }
    line.tally.lock().gaps += 1;
    warn!(
        timeline = %line.timeline(),
        shard = gap.shard.as_deref().unwrap_or("-"),
        from = %gap.from,
        to = %gap.to,
        "a gap is stated: {}",
        gap.reason
    );
    Ok(())
}

/// Makes the document. False when there is one that says less.
async fn make(line: &Line, key: &str, gap: &GapDocument) -> Result<bool, DocumentError> {
    let store = line.context.store.as_ref();
    match store.put_new(key, documents::to_bytes(gap)?).await {
        Ok(_) => Ok(true),
        Err(StoreError::Differs { .. }) => {
            let stored: Option<GapDocument> = documents::read(store, key).await?;
            Ok(stored.is_some_and(|stored| stored.from <= gap.from && stored.to >= gap.to))
        }
        Err(error) => Err(error.into()),
    }
}
