//! How far one shard has been read: the checkpoint in memory and its document.
//!
//! A checkpoint says only what is durable. Within one process it never moves backwards; a document that another follower
//! wrote is replaced, which does no harm, for reading a record again gives the same record.

use std::time::Duration;

use super::backoff::Halt;
use super::context::Context;
use super::stop::Stop;
use crate::documents::{self, CheckpointDocument};
use crate::error::Error;
use crate::layout;
use crate::model::{Second, SequenceNumber, Timeline};
use crate::source::stream::{Shard, ShardId};

/// A shard's checkpoint and when it was last written.
#[derive(Debug, Clone)]
pub(super) struct Checkpoint {
    document: CheckpointDocument,
    /// Whether the document in the store says the same.
    saved: bool,
    /// When it was last written, in the clock's running time.
    saved_at: Option<Duration>,
}

impl Checkpoint {
    /// Of a shard that has not been read.
    pub(super) fn new(shard: &Shard) -> Self {
        let document = CheckpointDocument {
            shard: shard.id.as_str().to_owned(),
            parent: shard.parent.as_ref().map(|parent| parent.as_str().to_owned()),
            last_sequence: None,
            last_second: None,
            read_through: None,
            finished: false,
        };
        Self { document, saved: false, saved_at: None }
    }

    /// As it was stored.
    pub(super) fn stored(document: CheckpointDocument) -> Self {
        Self { document, saved: true, saved_at: None }
    }

    /// What it says.
    pub(super) fn document(&self) -> &CheckpointDocument {
        &self.document
    }

    /// The shard that it says it came from.
    pub(super) fn parent(&self) -> Option<ShardId> {
        self.document.parent.as_deref().and_then(ShardId::parse)
    }

    /// Whether anything of the shard has been made durable.
    pub(super) fn has_progress(&self) -> bool {
        self.document.last_sequence.is_some() || self.document.finished
    }

    /// Until when the shard is known to be complete, the second itself perhaps only in part.
    pub(super) fn known_until(&self) -> Option<Second> {
        self.document.read_through.max(self.document.last_second)
    }

    /// Everything up to this record is durable.
    pub(super) fn advance(&mut self, sequence: SequenceNumber, second: Option<Second>) {
        if self.document.last_sequence.is_some_and(|last| sequence.cmp_value(&last).is_lt()) {
            return;
        }
        self.saved &= self.document.last_sequence == Some(sequence);
        self.document.last_sequence = Some(sequence);
        if second > self.document.last_second {
            self.document.last_second = second;
            self.saved = false;
        }
    }

    /// Everything of the shard until this second has been read and is durable.
    pub(super) fn read_through(&mut self, second: Second) {
        if Some(second) > self.document.read_through {
            self.document.read_through = Some(second);
            self.saved = false;
        }
    }

    /// The shard has no record from before this second, for it comes after one that ended then. Of several such seconds the
    /// earliest counts. Says nothing of a shard that has been read.
    pub(super) fn inherit(&mut self, second: Second) {
        if !self.has_progress() && self.document.read_through.is_none_or(|through| second < through) {
            self.document.read_through = Some(second);
            self.saved = false;
        }
    }

    /// The shard is closed and durable to its end.
    pub(super) fn finish(&mut self) {
        self.saved &= self.document.finished;
        self.document.finished = true;
    }

    /// Whether enough time has passed since it was last written.
    pub(super) fn is_due(&self, running: Duration, age: Duration) -> bool {
        !self.saved && self.saved_at.is_none_or(|at| running.saturating_sub(at) >= age)
    }

    /// Writes it, if the store does not have it so already.
    pub(super) async fn save(&mut self, context: &Context, stop: &Stop, timeline: &Timeline) -> Result<(), Halt> {
        if self.saved {
            return Ok(());
        }
        let key = layout::checkpoint_document(timeline, &self.document.shard);
        let body = documents::to_bytes(&self.document)?;
        let what = format!("writing the checkpoint {key}");
        context.retry(stop, &what, || context.store.replace(&key, body.clone())).await?;
        self.saved = true;
        self.saved_at = Some(context.clock.running());
        Ok(())
    }
}

/// Reads all checkpoints of a timeline.
pub(super) async fn read_all(
    context: &Context,
    stop: &Stop,
    timeline: &Timeline,
) -> Result<Vec<(ShardId, Checkpoint)>, Halt> {
    /// Documents that are read at once.
    const READS_AT_ONCE: usize = 16;
    let folder = layout::checkpoints_folder(timeline);
    let what = format!("reading the checkpoints of {timeline}");
    let documents = context
        .retry(stop, &what, || async {
            use futures::stream::{StreamExt, TryStreamExt};
            let objects = context.store.list_all(&folder).await.map_err(documents::DocumentError::from)?;
            // A list rather than a mapping: a closure would make this future unfit for a task.
            let mut reads = Vec::new();
            for object in objects {
                reads.push(read_one(context, object.key));
            }
            futures::stream::iter(reads)
                .buffer_unordered(READS_AT_ONCE)
                .try_filter_map(|document| std::future::ready(Ok(document)))
                .try_collect::<Vec<_>>()
                .await
                .map_err(Error::from)
        })
        .await?;
    Ok(documents
        .into_iter()
        .filter_map(|document| Some((ShardId::parse(&document.shard)?, Checkpoint::stored(document))))
        .collect())
}

async fn read_one(context: &Context, key: String) -> Result<Option<CheckpointDocument>, documents::DocumentError> {
    documents::read(context.store.as_ref(), &key).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(text: &str) -> SequenceNumber {
        SequenceNumber::parse(text).unwrap()
    }

    #[test]
    fn a_checkpoint_never_moves_backwards() {
        let shard = Shard { id: ShardId::parse("shard-1").unwrap(), parent: None, first: None, last: None };
        let mut checkpoint = Checkpoint::new(&shard);
        checkpoint.advance(sequence("100"), Second::new(50).ok());
        checkpoint.advance(sequence("99"), Second::new(60).ok());
        checkpoint.advance(sequence("101"), Second::new(40).ok());
        checkpoint.advance(sequence("102"), None);
        checkpoint.read_through(Second::new(45).unwrap());
        checkpoint.read_through(Second::new(44).unwrap());
        assert_eq!(checkpoint.document().last_sequence, Some(sequence("102")));
        assert_eq!(checkpoint.document().last_second, Second::new(50).ok());
        assert_eq!(checkpoint.document().read_through, Second::new(45).ok());
        assert_eq!(checkpoint.known_until(), Second::new(50).ok());
    }
}
