//! What every part of a follower shares: the edges, the options, the bounds, and what was done so far.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::backoff::{Backoff, Halt, Patience, Retry};
use super::clock::Clock;
use super::options::FollowOptions;
use super::report::TableReport;
use super::stop::Stop;
use crate::append::{AppendReport, Batch};
use crate::error::{Error, Result};
use crate::model::{Second, StreamArn, Timeline};
use crate::source::stream::StreamService;
use crate::store::WriteStore;

/// The service allows ten `DescribeStream` calls a second; half of them are left to others.
const LISTING_INTERVAL: Duration = Duration::from_millis(200);
/// Tries in a run that is to end by itself: about two minutes.
const TRIES_BOUNDED: u32 = 10;

/// Where batches become durable.
#[async_trait]
pub trait Durable: Send + Sync + fmt::Debug {
    /// Makes every record of a batch durable before it returns.
    ///
    /// # Errors
    /// When that did not work: then nothing of the batch is acknowledged.
    async fn append(&self, batch: Batch) -> Result<AppendReport>;
}

/// A journal's store as the place where batches become durable.
#[derive(Debug)]
pub struct StoreAppend(Arc<dyn WriteStore>);

impl StoreAppend {
    /// Appends to the journal in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn WriteStore>) -> Self {
        Self(store)
    }
}

#[async_trait]
impl Durable for StoreAppend {
    async fn append(&self, batch: Batch) -> Result<AppendReport> {
        crate::append::append(self.0.as_ref(), batch).await
    }
}

/// Everything that a follower's parts share.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) service: Arc<dyn StreamService>,
    pub(super) store: Arc<dyn WriteStore>,
    pub(super) durable: Arc<dyn Durable>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: FollowOptions,
    /// One permit a page in memory.
    pub(super) pages: Arc<Semaphore>,
    listing: tokio::sync::Mutex<Option<Duration>>,
    seeds: AtomicU64,
}

impl Context {
    pub(super) fn new(
        service: Arc<dyn StreamService>,
        store: Arc<dyn WriteStore>,
        durable: Arc<dyn Durable>,
        clock: Arc<dyn Clock>,
        options: FollowOptions,
    ) -> Self {
        let pages = Arc::new(Semaphore::new(options.memory_pages.clamp(1, Semaphore::MAX_PERMITS)));
        let seeds = AtomicU64::new(options.seed);
        Self { service, store, durable, clock, options, pages, listing: tokio::sync::Mutex::new(None), seeds }
    }

    /// Waits of its own for one part.
    pub(super) fn backoff(&self) -> Backoff {
        Backoff::new(self.seeds.fetch_add(1, Ordering::Relaxed))
    }

    /// How long failures are borne.
    pub(super) fn patience(&self) -> Patience {
        if self.options.once { Patience::Bounded(TRIES_BOUNDED) } else { Patience::Endless }
    }

    /// Does `action` until it succeeds, with waits of its own.
    pub(super) async fn retry<T, E, F, A>(&self, stop: &Stop, what: &str, action: F) -> Result<T, Halt>
    where
        E: Into<Error>,
        F: FnMut() -> A,
        A: Future<Output = Result<T, E>>,
    {
        let mut backoff = self.backoff();
        Retry { clock: self.clock.as_ref(), stop, patience: self.patience(), backoff: &mut backoff }
            .run(what, action)
            .await
    }

    /// Waits until one more `DescribeStream` call is allowed.
    pub(super) async fn listing_turn(&self) {
        let mut last = self.listing.lock().await;
        if let Some(last) = *last {
            let next = last.saturating_add(LISTING_INTERVAL);
            if let Some(wait) = next.checked_sub(self.clock.running()).filter(|wait| !wait.is_zero()) {
                self.clock.sleep(wait).await;
            }
        }
        *last = Some(self.clock.running());
    }
}

/// What a table's task and its timelines have done so far.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<TableReport>);

impl Tally {
    /// The numbers, to read or to change.
    pub(super) fn lock(&self) -> MutexGuard<'_, TableReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the parts of one timeline share.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) context: Arc<Context>,
    pub(super) stream: StreamArn,
    pub(super) tally: Arc<Tally>,
    /// Stops this timeline's shards.
    pub(super) stop: Stop,
    /// The first covered second, as `start.json` says.
    covered_from: AtomicU64,
    /// Until when the stream is known to have been the table's and switched on. Nothing later can be claimed to be covered.
    enabled_through: AtomicU64,
}

impl Line {
    pub(super) fn new(context: Arc<Context>, stream: StreamArn, tally: Arc<Tally>, stop: Stop) -> Self {
        let zero = || AtomicU64::new(0);
        Self { context, stream, tally, stop, covered_from: zero(), enabled_through: zero() }
    }

    pub(super) fn timeline(&self) -> &Timeline {
        self.stream.timeline()
    }

    pub(super) fn covered_from(&self) -> Second {
        Second::new(self.covered_from.load(Ordering::Relaxed)).unwrap_or(Second::MAX)
    }

    pub(super) fn set_covered_from(&self, second: Second) {
        self.covered_from.store(second.get(), Ordering::Relaxed);
    }

    pub(super) fn enabled_through(&self) -> Option<Second> {
        let seconds = self.enabled_through.load(Ordering::Relaxed);
        (seconds > 0).then(|| Second::new(seconds).unwrap_or(Second::MAX))
    }

    /// The stream was seen switched on at this second.
    pub(super) fn seen_enabled(&self, second: Second) {
        self.enabled_through.fetch_max(second.get(), Ordering::Relaxed);
    }
}
