//! Follows one timeline: lists its shards, reads them parents first, and ends it when its stream is over.
//!
//! What enters is a stream and the table's description; what leaves are the timeline's documents and why the following
//! ended. Every shard that is listed gets a checkpoint before anything is decided about it, so a later run can tell a shard
//! that was never there from one that came and went unread. A shard is marked finished only when its children are known and
//! have checkpoints of their own, which begin where it ended: at every moment the unfinished checkpoints say how far the
//! whole timeline is covered. How one shard is read is not known here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::stream::{StreamExt, TryStreamExt};
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, info, warn};

use super::backoff::{Halt, Patience};
use super::checkpoint::{self, Checkpoint};
use super::context::{Context, Line};
use super::end;
use super::gap::{self, OpenGap};
use super::listing::{self, Listing};
use super::report::FollowError;
use super::shard::{ShardEnd, ShardFate, ShardOutcome, ShardReader};
use super::stop::Stop;
use super::tree::{Node, Phase, Tree};
use crate::documents::{self, DocumentError, StartDocument, TableDocument};
use crate::error::Error;
use crate::layout;
use crate::model::Second;
use crate::source::stream::{Shard, ShardId, StreamError, StreamStatus};
use crate::store::StoreError;

/// Between two listings while something waits for one.
const RELIST_SOON: Duration = Duration::from_secs(2);
/// Checkpoints written at once.
const SAVES_AT_ONCE: usize = 8;

/// Why the following of a timeline ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimelineEnd {
    /// Its stream is over, and all that could be read of it is durable.
    Ended,
    /// Nothing more was found, in a run that ends by itself.
    CaughtUp,
    /// A stop was wished.
    Stopped,
}

/// Follows one timeline.
#[derive(Debug)]
pub(super) struct TimelineFollower {
    line: Arc<Line>,
    /// Stops this timeline; the line's own stop is below it and stops the shards alone.
    stop: Stop,
    document: Option<TableDocument>,
    /// What `start.json` is to say if it does not say anything yet.
    start: StartDocument,
    /// Whether `start.json` was there before.
    started: bool,
    tree: Tree,
    checkpoints: BTreeMap<ShardId, Checkpoint>,
    fates: BTreeMap<ShardId, Arc<ShardFate>>,
    open_gaps: BTreeMap<ShardId, OpenGap>,
    restarts: BTreeMap<ShardId, u32>,
    readers: JoinSet<(ShardId, ShardOutcome)>,
    status: Option<StreamStatus>,
    /// When the last complete listing began.
    listed_at: Option<Duration>,
    next_listing: Duration,
    /// When the stream was first listed as disabled.
    disabled_since: Option<Duration>,
    /// Listings in a row that did not find the stream, and since when.
    missed: u32,
    missing_since: Option<Duration>,
    /// The stream is no longer there.
    gone: bool,
    failure: Option<Error>,
}

impl TimelineFollower {
    /// Of a stream whose table looks like `document`, where that is known. `line`'s stop must be a child of `stop`.
    pub(super) fn new(line: Arc<Line>, stop: Stop, document: Option<TableDocument>, start: StartDocument) -> Self {
        Self {
            line,
            stop,
            document,
            start,
            started: false,
            tree: Tree::default(),
            checkpoints: BTreeMap::new(),
            fates: BTreeMap::new(),
            open_gaps: BTreeMap::new(),
            restarts: BTreeMap::new(),
            readers: JoinSet::new(),
            status: None,
            listed_at: None,
            next_listing: Duration::ZERO,
            disabled_since: None,
            missed: 0,
            missing_since: None,
            gone: false,
            failure: None,
        }
    }

    /// Follows until the timeline ends, or a stop is wished.
    pub(super) async fn follow(mut self) -> Result<TimelineEnd, Error> {
        let followed = self.run().await;
        // Shards still being read after a failure finish what they have in hand.
        self.line.stop.request();
        while let Some(joined) = self.readers.join_next().await {
            self.ended(joined);
        }
        match (followed, self.failure) {
            (Err(Halt::Failed(error)), _) | (Ok(_) | Err(Halt::Stopped), Some(error)) => Err(error),
            (Ok(end), None) => Ok(end),
            (Err(Halt::Stopped), None) => Ok(TimelineEnd::Stopped),
        }
    }

    fn context(&self) -> &Context {
        &self.line.context
    }

    fn running(&self) -> Duration {
        self.context().clock.running()
    }

    async fn run(&mut self) -> Result<TimelineEnd, Halt> {
        self.open().await?;
        loop {
            if !self.stop.requested() && self.failure.is_none() {
                if self.running() >= self.next_listing {
                    self.list().await?;
                }
                self.settle().await?;
                self.start_readers();
            }
            if let Some(end) = self.end().await? {
                return Ok(end);
            }
            let wait = self.next_listing.saturating_sub(self.running()).max(Duration::from_millis(1));
            let wait = if self.stop.requested() { RELIST_SOON } else { wait };
            tokio::select! {
                biased;
                Some(joined) = self.readers.join_next() => self.ended(joined),
                () = self.stop.wait(), if !self.stop.requested() => {}
                () = self.line.context.clock.sleep(wait) => {}
            }
        }
    }

    /// Takes up what the journal knows of the timeline.
    async fn open(&mut self) -> Result<(), Halt> {
        let timeline = self.line.timeline().clone();
        let key = layout::start_document(&timeline);
        let what = format!("reading {key}");
        let context = Arc::clone(&self.line.context);
        let start: Option<StartDocument> =
            context.retry(&self.stop, &what, || documents::read(context.store.as_ref(), &key)).await?;
        self.started = start.is_some();
        self.line.set_covered_from(start.as_ref().unwrap_or(&self.start).covered_from);
        for (id, checkpoint) in checkpoint::read_all(&context, &self.stop, &timeline).await? {
            let finished = checkpoint.document().finished;
            let node = Node {
                parent: checkpoint.parent(),
                phase: if finished { Phase::Finished } else { Phase::Waiting },
                listed: false,
                has_progress: checkpoint.has_progress(),
            };
            self.tree.insert(id.clone(), node);
            self.checkpoints.insert(id, checkpoint);
        }
        let unfinished = self.tree.in_phase(|phase| phase == Phase::Waiting).len();
        info!(%timeline, unfinished_shards = unfinished, first_sight = !self.started, "following the timeline");
        Ok(())
    }

    /// Lists the stream's shards.
    async fn list(&mut self) -> Result<(), Halt> {
        let began = self.running();
        match listing::list(&self.line, &self.stop).await? {
            Some(listing) => {
                self.missed = 0;
                self.missing_since = None;
                self.gone = false;
                self.listed_at = Some(began);
                self.next_listing = began.saturating_add(self.context().options.relist);
                self.absorb(listing).await
            }
            None => self.stream_not_found().await,
        }
    }

    /// A stream that was just made may not be known everywhere yet: that it is gone is believed only after some time, and
    /// when the table does not name it as its own.
    async fn stream_not_found(&mut self) -> Result<(), Halt> {
        let running = self.running();
        self.next_listing = running.saturating_add(RELIST_SOON);
        let missing = running.saturating_sub(*self.missing_since.get_or_insert(running));
        if self.gone {
            return Ok(());
        }
        if missing >= self.context().options.end_grace && end::is_gone(&self.line, &self.stop).await? {
            warn!(timeline = %self.line.timeline(), "the stream is no longer there");
            self.gone = true;
            for fate in self.fates.values() {
                fate.abandoned.store(true, Ordering::Relaxed);
            }
            return Ok(());
        }
        self.missed = self.missed.saturating_add(1);
        let error = StreamError::NotFound { action: "DescribeStream", object: self.line.stream.to_string() };
        if matches!(self.context().patience(), Patience::Bounded(most) if self.missed >= most) {
            return Err(error.into());
        }
        warn!(timeline = %self.line.timeline(), failures = self.missed, "{error}; trying again");
        Ok(())
    }

    /// Enters a listing: every shard that is new gets a checkpoint.
    async fn absorb(&mut self, listing: Listing) -> Result<(), Halt> {
        if self.status != Some(listing.status) {
            info!(timeline = %self.line.timeline(), status = ?listing.status, shards = listing.shards.len(), "stream status");
        }
        self.status = Some(listing.status);
        if listing.status == StreamStatus::Disabled {
            self.disabled_since = self.disabled_since.or(self.listed_at);
        }
        self.tree.unlist_all();
        let mut new = Vec::new();
        for shard in &listing.shards {
            let fate = self.fates.entry(shard.id.clone()).or_default();
            let closed = shard.last.is_some();
            fate.closed.store(closed, Ordering::Relaxed);
            fate.abandoned.store(!closed && listing.status == StreamStatus::Disabled, Ordering::Relaxed);
            if let Some(node) = self.tree.get_mut(&shard.id) {
                node.listed = true;
            } else {
                debug!(timeline = %self.line.timeline(), shard = %shard.id, parent = shard.parent.as_ref().map(tracing::field::display), "new shard");
                let node =
                    Node { parent: shard.parent.clone(), phase: Phase::Waiting, listed: true, has_progress: false };
                self.tree.insert(shard.id.clone(), node);
                self.checkpoints.insert(shard.id.clone(), Checkpoint::new(shard));
                new.push(shard);
            }
        }
        if self.started {
            self.inherit_unseen(&new);
        }
        self.save_all().await?;
        if !self.started {
            self.write_start().await?;
            self.started = true;
        }
        Ok(())
    }

    /// A shard that appears in a timeline which was followed before comes from a shard that is known, or from one that came
    /// and went unseen. It has no record from before the end of the one it must come from.
    fn inherit_unseen(&mut self, new: &[&Shard]) {
        let covered_from = self.line.covered_from();
        let ancestors = self.tree.possible_ancestors();
        let ancestors = ancestors.iter().filter(|ancestor| new.iter().all(|shard| shard.id != **ancestor));
        let earliest = ancestors
            .filter_map(|ancestor| self.checkpoints.get(ancestor))
            .map(|checkpoint| checkpoint.known_until().unwrap_or(covered_from))
            .min();
        for shard in new {
            let parent = shard.parent.as_ref().filter(|parent| self.tree.contains(parent));
            let known = match parent.and_then(|parent| self.checkpoints.get(parent)) {
                Some(parent) if parent.document().finished => parent.known_until(),
                Some(_) => None,
                None => earliest,
            };
            if let (Some(known), Some(checkpoint)) = (known, self.checkpoints.get_mut(&shard.id)) {
                checkpoint.inherit(known);
            }
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

    async fn write_start(&self) -> Result<(), Halt> {
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

    /// Decides about shards that have ended, by a listing that is younger than their end.
    async fn settle(&mut self) -> Result<(), Halt> {
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

    fn list_soon(&mut self) {
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

    fn set_phase(&mut self, id: &ShardId, phase: Phase) {
        if let Some(node) = self.tree.get_mut(id) {
            node.phase = phase;
        }
    }

    /// Begins to read every shard whose turn has come.
    fn start_readers(&mut self) {
        if self.gone || self.listed_at.is_none() {
            return;
        }
        for id in self.tree.startable() {
            let Some(checkpoint) = self.checkpoints.get(&id).cloned() else { continue };
            let restarts = self.restarts.get(&id).copied().unwrap_or_default();
            let delay = if restarts == 0 { Duration::ZERO } else { Duration::from_secs(u64::from(restarts.min(30))) };
            let fate = Arc::clone(self.fates.entry(id.clone()).or_default());
            let reader = ShardReader::new(Arc::clone(&self.line), id.clone(), fate, checkpoint);
            self.set_phase(&id, Phase::Reading);
            self.readers.spawn(async move { (id, reader.read(delay).await) });
        }
    }

    /// Takes note of a shard whose reading has ended.
    fn ended(&mut self, joined: Result<(ShardId, ShardOutcome), JoinError>) {
        let now = self.running();
        let (id, outcome) = match joined {
            Ok(ended) => ended,
            Err(error) => {
                let ended = FollowError::Ended { what: self.line.timeline().to_string(), reason: error.to_string() };
                self.fail(ended.into());
                return;
            }
        };
        if let Some(node) = self.tree.get_mut(&id) {
            node.has_progress = outcome.checkpoint.has_progress();
        }
        self.checkpoints.insert(id.clone(), outcome.checkpoint);
        if let Some(open) = outcome.open_gap {
            self.open_gaps.insert(id.clone(), open);
        }
        let phase = match outcome.end {
            Ok(ShardEnd::Closed) => Phase::Closed(now),
            Ok(ShardEnd::Gone) => Phase::Gone(now),
            Ok(ShardEnd::CaughtUp | ShardEnd::Stopped) | Err(Halt::Stopped) => Phase::Resting,
            Err(Halt::Failed(error)) => {
                self.fail(error);
                Phase::Resting
            }
        };
        debug!(timeline = %self.line.timeline(), shard = %id, ?phase, "reading of the shard ended");
        self.set_phase(&id, phase);
    }

    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
        self.line.stop.request();
    }

    /// Whether there is nothing left to do, and why.
    async fn end(&mut self) -> Result<Option<TimelineEnd>, Halt> {
        if !self.readers.is_empty() {
            return Ok(None);
        }
        if self.stop.requested() || self.failure.is_some() {
            return Ok(Some(TimelineEnd::Stopped));
        }
        if self.gone {
            self.end_gone().await?;
            return Ok(Some(TimelineEnd::Ended));
        }
        if self.tree.is_finished()
            && let Some(since) = self.disabled_since
        {
            if self.listed_at.is_none_or(|at| at.saturating_sub(since) < self.context().options.end_grace) {
                self.list_soon();
                return Ok(None);
            }
            end::write(&self.line, &self.stop, self.document.as_ref(), self.checkpoints.values()).await?;
            return Ok(Some(TimelineEnd::Ended));
        }
        let settled = self.tree.nodes().all(|(_, node)| match node.phase {
            // One that waits waits for a parent that rests.
            Phase::Resting | Phase::Finished | Phase::Waiting => true,
            Phase::Closed(since) => self.listed_at.is_some_and(|listed_at| listed_at >= since),
            Phase::Reading | Phase::Gone(_) => false,
        });
        let all_started = self.tree.startable().is_empty();
        let caught_up = self.context().options.once && self.listed_at.is_some() && settled && all_started;
        Ok(caught_up.then_some(TimelineEnd::CaughtUp))
    }

    /// The stream is gone before it was read to its end: that is a gap in every shard that was not finished.
    async fn end_gone(&mut self) -> Result<(), Halt> {
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
