//! Takes in a listing: new shards get checkpoints, and what is known of where they begin.
//!
//! What enters is a complete listing; what leaves are nodes of the tree and saved checkpoints. When shards are read is not
//! decided here.

use std::sync::atomic::Ordering;

use futures::stream::{StreamExt, TryStreamExt};
use tracing::{debug, info};

use super::TimelineFollower;
use crate::documents::{self, DocumentError};
use crate::layout;
use crate::model::Second;
use crate::source::follow::backoff::Halt;
use crate::source::follow::checkpoint::Checkpoint;
use crate::source::follow::listing::Listing;
use crate::source::follow::tree::{Node, Phase};
use crate::source::stream::{ShardId, StreamStatus};
use crate::store::StoreError;

/// Checkpoints written at once.
const SAVES_AT_ONCE: usize = 8;

impl TimelineFollower {
    /// Enters a listing: every shard that is new gets a checkpoint.
    pub(super) async fn absorb(&mut self, listing: Listing) -> Result<(), Halt> {
        if self.status != Some(listing.status) {
            info!(timeline = %self.line.timeline(), status = ?listing.status, shards = listing.shards.len(), "stream status");
        }
        self.status = Some(listing.status);
        if listing.status == StreamStatus::Disabled {
            self.disabled_since = self.disabled_since.or(self.listed_at);
        }
        self.tree.unlist_all();
        for shard in &listing.shards {
            let fate = self.fates.entry(shard.id.clone()).or_default();
            let closed = shard.last.is_some();
            fate.closed.store(closed, Ordering::Relaxed);
            fate.abandoned.store(!closed && listing.status == StreamStatus::Disabled, Ordering::Relaxed);
            if let Some(node) = self.tree.get_mut(&shard.id) {
                node.listed = true;
            } else {
                debug!(timeline = %self.line.timeline(), shard = %shard.id, parent = shard.parent.as_ref().map(tracing::field::display), "new shard");
                let node = Node {
                    parent: shard.parent.clone(),
                    phase: Phase::Waiting,
                    listed: true,
                    has_progress: false,
                    parent_is_past: false,
                };
                self.tree.insert(shard.id.clone(), node);
                self.checkpoints.insert(shard.id.clone(), Checkpoint::new(shard));
            }
        }
        self.inherit_from_finished();
        self.consider_orphans(listing.at_once);
        self.save_all().await?;
        if !self.started {
            self.write_start().await?;
            self.started = true;
        }
        Ok(())
    }

    /// A shard that is listed only after its parent was finished begins where that ended.
    fn inherit_from_finished(&mut self) {
        let mut ends = Vec::new();
        for (id, node) in self.tree.nodes().filter(|(_, node)| node.phase == Phase::Waiting) {
            let parent = node.parent.as_ref().and_then(|parent| self.checkpoints.get(parent));
            if let Some(known) = parent.filter(|parent| parent.document().finished).and_then(Checkpoint::known_until) {
                ends.push((id.clone(), known));
            }
        }
        for (id, known) in ends {
            self.inherit_first(&id, known);
        }
    }

    /// Shards whose parent is not known. In a listing of several pages it may only be missing, so the next one decides. In a
    /// timeline that was followed before, the parent is then one that came and went unseen: the shard has no record from
    /// before the end of the known one that it must come from in the end, whichever that is.
    fn consider_orphans(&mut self, at_once: bool) {
        let orphans = self.tree.orphans();
        let covered_from = self.line.covered_from();
        let earliest = self
            .tree
            .possible_ancestors()
            .iter()
            .filter(|ancestor| !orphans.contains(ancestor))
            .filter_map(|ancestor| self.checkpoints.get(ancestor))
            .map(|checkpoint| checkpoint.known_until().unwrap_or(covered_from))
            .min();
        let seen_before = std::mem::take(&mut self.orphans);
        for id in orphans {
            let followed_before = seen_before.get(&id).copied();
            let Some(followed_before) = followed_before.or_else(|| at_once.then_some(self.started)) else {
                self.orphans.insert(id, self.started);
                continue;
            };
            if let Some(node) = self.tree.get_mut(&id) {
                node.parent_is_past = true;
            }
            if let Some(earliest) = earliest.filter(|_| followed_before) {
                self.inherit_first(&id, earliest);
            }
        }
        if !self.orphans.is_empty() {
            self.list_soon();
        }
    }

    fn inherit_first(&mut self, id: &ShardId, known: Second) {
        if let Some(checkpoint) = self.checkpoints.get_mut(id)
            && checkpoint.document().read_through.is_none()
        {
            checkpoint.inherit(known);
        }
    }

    /// Writes the checkpoints that have changed.
    async fn save_all(&mut self) -> Result<(), Halt> {
        let (line, stop) = (&self.line, &self.stop);
        // A list rather than a mapping: a closure over borrowed checkpoints would make this future unfit for a task.
        let mut saves = Vec::new();
        for checkpoint in self.checkpoints.values_mut() {
            saves.push(checkpoint.save(&line.context, stop, line.timeline()));
        }
        futures::stream::iter(saves).buffer_unordered(SAVES_AT_ONCE).try_collect::<()>().await
    }

    pub(super) async fn write_start(&self) -> Result<(), Halt> {
        let key = layout::start_document(self.line.timeline());
        let body = documents::to_bytes(&self.start)?;
        let what = format!("writing {key}");
        self.context()
            .retry(&self.stop, &what, || async {
                match self.context().store.put_new(&key, body.clone()).await {
                    // Another follower saw the stream first; what it says stands.
                    Ok(_) | Err(StoreError::Differs { .. }) => Ok(()),
                    Err(error) => Err(DocumentError::from(error)),
                }
            })
            .await
    }
}
