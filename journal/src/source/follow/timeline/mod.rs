//! Follows one timeline: lists its shards, reads them parents first, and ends it when its stream is over.
//!
//! What enters is a stream and the table's description; what leaves are the timeline's documents and why the following
//! ended. Every shard that is listed gets a checkpoint before anything is decided about it, so a later run can tell a shard
//! that was never there from one that came and went unread. A shard is marked finished only when its children are known and
//! have checkpoints of their own, which begin where it ended: at every moment the unfinished checkpoints say how far the
//! whole timeline is covered. How one shard is read is not known here.

mod absorb;
mod settle;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tracing::{debug, info, warn};

use crate::documents::{self, StartDocument, TableDocument};
use crate::error::Error;
use crate::layout;
use crate::source::VIEW_NEEDED;
use crate::source::follow::backoff::{Halt, Patience};
use crate::source::follow::checkpoint::{self, Checkpoint};
use crate::source::follow::context::{Context, Line};
use crate::source::follow::end;
use crate::source::follow::gap::OpenGap;
use crate::source::follow::listing;
use crate::source::follow::report::FollowError;
use crate::source::follow::shard::{ShardEnd, ShardFate, ShardOutcome, ShardReader};
use crate::source::follow::stop::Stop;
use crate::source::follow::tree::{Node, Phase, Tree};
use crate::source::stream::{ShardId, StreamError, StreamStatus};

/// Between two listings while something waits for one.
const RELIST_SOON: Duration = Duration::from_secs(2);

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
    /// Shards whose parent the last listing did not have, and whether the timeline had been followed before it.
    orphans: BTreeMap<ShardId, bool>,
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
            orphans: BTreeMap::new(),
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
                parent_is_past: checkpoint.has_progress(),
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
                if let Some(found) = listing.view_type.as_ref().filter(|found| *found != VIEW_NEEDED) {
                    let (table, found) = (self.line.timeline().table.clone(), found.clone());
                    return Err(FollowError::ViewType { table, found }.into());
                }
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
        let all_started = self.tree.startable().is_empty() && self.orphans.is_empty();
        let caught_up = self.context().options.once && self.listed_at.is_some() && settled && all_started;
        Ok(caught_up.then_some(TimelineEnd::CaughtUp))
    }
}
