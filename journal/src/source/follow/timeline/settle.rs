//! Decides about shards whose reading has ended: finished, to be read again, or lost.
//!
//! What enters are closed and vanished shards and a listing that is younger than their end; what leaves are stated gaps,
//! children that begin where their parent ended, and finished checkpoints, durable in this order.

use std::time::Duration;

use tracing::{debug, warn};

use super::{RELIST_SOON, TimelineFollower};
use crate::documents;
use crate::model::Second;
use crate::source::follow::backoff::Halt;
use crate::source::follow::end;
use crate::source::follow::gap::{self, OpenGap};
use crate::source::follow::tree::Phase;
use crate::source::stream::{ShardId, StreamStatus};

impl TimelineFollower {
    /// Decides about shards that have ended, by a listing that is younger than their end.
    pub(super) async fn settle(&mut self) -> Result<(), Halt> {
        let grace = self.context().options.child_grace;
        for id in self.tree.in_phase(|phase| matches!(phase, Phase::Closed(_) | Phase::Gone(_))) {
            let Some(node) = self.tree.get_mut(&id) else { continue };
            let (Phase::Closed(since) | Phase::Gone(since)) = node.phase else { continue };
            let (phase, listed) = (node.phase, node.listed);
            if self.gone || self.listed_at.is_none_or(|listed_at| listed_at < since) {
                self.list_soon();
                continue;
            }
            match phase {
                Phase::Closed(_) => {
                    let has_children = !self.tree.children(&id).is_empty();
                    let waited = self.running().saturating_sub(since) >= grace;
                    if has_children || waited || self.status == Some(StreamStatus::Disabled) {
                        self.finish(&id).await?;
                    } else {
                        self.list_soon();
                    }
                }
                _ if listed => self.begin_again(&id),
                _ => self.vanish(&id).await?,
            }
        }
        Ok(())
    }

    pub(super) fn list_soon(&mut self) {
        let soon = self.listed_at.map_or(Duration::ZERO, |at| at.saturating_add(RELIST_SOON));
        self.next_listing = self.next_listing.min(soon.max(self.running()));
    }

    /// The service lists the shard and says that it does not exist: it will know better soon.
    fn begin_again(&mut self, id: &ShardId) {
        *self.restarts.entry(id.clone()).or_default() += 1;
        self.set_phase(id, Phase::Waiting);
        warn!(timeline = %self.line.timeline(), shard = %id, "the shard is listed but cannot be read; trying again");
    }

    /// A shard is durable to its end and its children are known: they begin where it ended, and it is finished.
    async fn finish(&mut self, id: &ShardId) -> Result<(), Halt> {
        let Some(checkpoint) = self.checkpoints.get(id) else { return Ok(()) };
        let mut known = checkpoint.known_until();
        let children = self.tree.children(id);
        if let Some(open) = self.open_gaps.get(id).cloned() {
            let from = known.unwrap_or_else(|| self.line.covered_from());
            if children.is_empty() || self.is_within_retention(from) {
                self.state(open.close(id.as_str(), None, self.context().clock.now())).await?;
            } else {
                // The gap ends in the children: they find out that they were unread for too long, and state it.
                known = Some(from);
            }
        }
        self.hand_down(&children, known).await?;
        self.write_finished(id).await
    }

    /// A shard that was not read to its end is no longer there, nor perhaps are shards that came after it.
    async fn vanish(&mut self, id: &ShardId) -> Result<(), Halt> {
        let Some(checkpoint) = self.checkpoints.get(id) else { return Ok(()) };
        let known = checkpoint.known_until().unwrap_or_else(|| self.line.covered_from());
        self.hand_down(&self.tree.heirs(id), Some(known)).await?;
        if !self.is_suspected_elsewhere(known) {
            self.state_lost(id).await?;
        }
        self.write_finished(id).await
    }

    /// Whether a shard begins to be read that states, or has stated, a gap from this second or earlier. What is trimmed is
    /// older than everything that is not, so its first record lies behind all that is lost.
    fn is_suspected_elsewhere(&self, known: Second) -> bool {
        let beginning = self.tree.in_phase(|phase| matches!(phase, Phase::Waiting | Phase::Reading));
        beginning.iter().filter_map(|id| self.checkpoints.get(id)).any(|checkpoint| {
            let through = checkpoint.document().read_through.filter(|_| !checkpoint.has_progress());
            through.is_some_and(|through| through <= known && !self.is_within_retention(through))
        })
    }

    /// States that everything of a shard after its checkpoint is lost until now.
    async fn state_lost(&mut self, id: &ShardId) -> Result<(), Halt> {
        let Some(checkpoint) = self.checkpoints.get(id) else { return Ok(()) };
        let known = checkpoint.known_until().map_or_else(|| self.line.covered_from(), Second::before);
        let open = self.open_gaps.get(id).cloned().unwrap_or_else(|| OpenGap {
            after: checkpoint.document().last_sequence,
            from: known,
            reason: "the shard was gone before it was read to its end".to_owned(),
        });
        self.state(open.close(id.as_str(), None, self.context().clock.now())).await
    }

    async fn state(&self, gap: documents::GapDocument) -> Result<(), Halt> {
        if gap.to > self.line.covered_from() { gap::state(&self.line, &self.stop, &gap).await } else { Ok(()) }
    }

    fn is_within_retention(&self, second: Second) -> bool {
        let age = self.context().clock.now().get().saturating_sub(second.get());
        age <= self.context().options.retention.as_secs()
    }

    async fn hand_down(&mut self, to: &[ShardId], known: Option<Second>) -> Result<(), Halt> {
        for heir in to {
            if let (Some(known), Some(checkpoint)) = (known, self.checkpoints.get_mut(heir)) {
                checkpoint.inherit(known);
                checkpoint.save(&self.line.context, &self.stop, self.line.timeline()).await?;
            }
        }
        Ok(())
    }

    async fn write_finished(&mut self, id: &ShardId) -> Result<(), Halt> {
        if let Some(checkpoint) = self.checkpoints.get_mut(id) {
            checkpoint.finish();
            checkpoint.save(&self.line.context, &self.stop, self.line.timeline()).await?;
        }
        self.open_gaps.remove(id);
        self.set_phase(id, Phase::Finished);
        debug!(timeline = %self.line.timeline(), shard = %id, "shard is finished");
        Ok(())
    }

    /// The stream is gone before it was read to its end: that is a gap in every shard that was not finished.
    pub(super) async fn end_gone(&mut self) -> Result<(), Halt> {
        if !self.started {
            self.write_start().await?;
        }
        for id in self.tree.in_phase(|phase| phase != Phase::Finished) {
            self.state_lost(&id).await?;
            self.write_finished(&id).await?;
        }
        if self.tree.is_empty() {
            let open = OpenGap {
                after: None,
                from: self.line.covered_from().before(),
                reason: "the stream was gone before any of it was read".to_owned(),
            };
            let mut closed = open.close("", None, self.context().clock.now());
            closed.shard = None;
            self.state(closed).await?;
        }
        end::write(&self.line, &self.stop, self.document.as_ref(), self.checkpoints.values()).await
    }
}
