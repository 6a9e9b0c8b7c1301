//! Reads one shard: from its checkpoint to its end, batch by batch, each durable before the checkpoint moves.
//!
//! What enters is a checkpoint; what leaves is the checkpoint moved, and why the reading ended. Every answer of the service
//! has its rule here: an expired iterator is renewed after the last record read, so is one after a failure inside the service
//! (DynamoDB Local answers a stale iterator so); trimmed records are a gap, stated before the first record behind it is made
//! durable; a shard that is not there is left to the timeline, which knows whether it should be. Which shard may be
//! read when is not known here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::{debug, info, warn};

use super::backoff::{Backoff, Halt, Patience, sleep_or_stop};
use super::batch::Gathering;
use super::birth;
use super::checkpoint::Checkpoint;
use super::context::{Context, Line};
use super::gap::{self, OpenGap};
use crate::append::QuarantinedRecord;
use crate::error::Classify;
use crate::model::{Second, SequenceNumber, StreamRecord};
use crate::source::stream::{Position, ShardId, ShardIterator, StreamError};

/// A new iterator may have a longer way to the next record than one that was there already: so many times the usual empty
/// reads.
const NEW_ITERATOR_PATIENCE: usize = 3;
/// The wait between reads in a run that ends by itself: it need not wait for new records.
const POLL_ONCE_MAX: Duration = Duration::from_millis(200);
/// A closed shard that answers with so many times the usual empty reads is taken as read in a run that ends by itself.
const CLOSED_PATIENCE: usize = 10;

/// Why the reading of a shard ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShardEnd {
    /// It is closed, and durable to its end.
    Closed,
    /// Nothing more was found, in a run that ends by itself.
    CaughtUp,
    /// The service does not know it (any more).
    Gone,
    /// A stop was wished; what had been read is durable, or will be read again.
    Stopped,
}

/// What the timeline knows of a shard's end; it may learn it while the shard is read.
#[derive(Debug, Default)]
pub(super) struct ShardFate {
    /// Its range of sequence numbers has an end.
    pub(super) closed: AtomicBool,
    /// Its stream is disabled although its range has no end, as some services leave it: it is over when it is empty.
    pub(super) abandoned: AtomicBool,
}

/// The reader of one shard.
#[derive(Debug)]
pub(super) struct ShardReader {
    line: Arc<Line>,
    shard: ShardId,
    fate: Arc<ShardFate>,
    checkpoint: Checkpoint,
    earliest: Option<Second>,
    position: Position,
    iterator: Option<ShardIterator>,
    gathering: Gathering,
    /// When the reads in a row that found nothing were asked, as many as are needed.
    empties: VecDeque<Second>,
    /// Reads in a row that found nothing.
    empty_reads: usize,
    /// Whether this iterator has been at the end of what there is.
    at_tip: bool,
    /// Whether the current row of empty reads began after the shard was known to be abandoned.
    abandoned: bool,
    open_gap: Option<OpenGap>,
    older_than_stream: u64,
    backoff: Backoff,
}

/// What is left when the reading of a shard has ended.
#[derive(Debug)]
pub(super) struct ShardOutcome {
    /// How far it was read.
    pub(super) checkpoint: Checkpoint,
    /// A gap behind which no record was found in this shard: its end lies in the shard's children.
    pub(super) open_gap: Option<OpenGap>,
    /// Why it ended.
    pub(super) end: Result<ShardEnd, Halt>,
}

enum Step {
    Go,
    End(ShardEnd),
}

impl ShardReader {
    pub(super) fn new(line: Arc<Line>, shard: ShardId, fate: Arc<ShardFate>, checkpoint: Checkpoint) -> Self {
        let last = checkpoint.document().last_sequence;
        Self {
            earliest: birth::earliest(&line.timeline().label),
            backoff: line.context.backoff(),
            line,
            shard,
            fate,
            checkpoint,
            position: last.map_or(Position::TrimHorizon, Position::After),
            iterator: None,
            gathering: Gathering::default(),
            empties: VecDeque::new(),
            empty_reads: 0,
            at_tip: false,
            abandoned: false,
            open_gap: None,
            older_than_stream: 0,
        }
    }

    /// Reads until the shard ends or a stop is wished.
    pub(super) async fn read(mut self, delay: Duration) -> ShardOutcome {
        if !delay.is_zero() {
            sleep_or_stop(self.context().clock.as_ref(), &self.line.stop, delay).await;
        }
        let end = self.read_to_end().await;
        ShardOutcome { checkpoint: self.checkpoint, open_gap: self.open_gap, end }
    }

    fn context(&self) -> &Context {
        &self.line.context
    }

    async fn read_to_end(&mut self) -> Result<ShardEnd, Halt> {
        self.suspect_silent_trim();
        let end = loop {
            if self.line.stop.requested() {
                break ShardEnd::Stopped;
            }
            match self.step().await {
                Ok(Step::Go) => {}
                Ok(Step::End(end)) => break end,
                Err(Halt::Stopped) => break ShardEnd::Stopped,
                Err(failed) => return Err(failed),
            }
        };
        match self.settle().await {
            Err(Halt::Stopped) => Ok(ShardEnd::Stopped),
            Err(failed) => Err(failed),
            Ok(()) => Ok(end),
        }
    }

    /// Makes durable what is in hand and writes the checkpoint.
    async fn settle(&mut self) -> Result<(), Halt> {
        self.flush().await?;
        self.checkpoint.save(&self.line.context, &self.line.stop, self.line.timeline()).await
    }

    /// A shard of which nothing was ever read begins at the oldest record that is left, and the service does not say how
    /// many are not. It can have lost some only if it may have had records longer ago than the service keeps them.
    fn suspect_silent_trim(&mut self) {
        let known = self.checkpoint.document().read_through.unwrap_or_else(|| self.line.covered_from());
        if self.position == Position::TrimHorizon && !self.is_within_retention(known) {
            self.open_gap = Some(OpenGap {
                after: None,
                from: known.before(),
                reason: "the shard was not read for longer than the service keeps records".to_owned(),
            });
        }
    }

    fn is_within_retention(&self, second: Second) -> bool {
        let age = self.context().clock.now().get().saturating_sub(second.get());
        age <= self.context().options.retention.as_secs()
    }

    async fn step(&mut self) -> Result<Step, Halt> {
        let running = self.context().clock.running();
        if self.gathering.due_in(&self.context().options, running).is_some_and(|wait| wait.is_zero()) {
            self.flush().await?;
        }
        let iterator = match self.iterator.take() {
            Some(iterator) => iterator,
            None => match self.renew().await {
                Some(Ok(iterator)) => {
                    // It begins right behind the last record, however far into an empty stretch the one before it had come.
                    self.restart_empties();
                    self.at_tip = false;
                    iterator
                }
                Some(Err(error)) => return self.failed(error, None).await,
                None => return Ok(Step::End(ShardEnd::Stopped)),
            },
        };
        let Some(page_permit) = self.page_permit().await? else { return Ok(Step::End(ShardEnd::Stopped)) };
        let asked = self.context().clock.now();
        let page = tokio::select! {
            biased;
            () = self.line.stop.wait() => return Ok(Step::End(ShardEnd::Stopped)),
            page = self.context().service.get_records(&self.line.stream, &iterator) => page,
        };
        let page = match page {
            Ok(page) => page,
            Err(error) => return self.failed(error, Some(iterator)).await,
        };
        self.backoff.reset();
        let found_nothing = page.records.is_empty();
        self.iterator = page.next;
        self.take(page.records).await?;
        self.gathering.hold(page_permit);
        if self.iterator.is_none() {
            return Ok(Step::End(ShardEnd::Closed));
        }
        if !found_nothing {
            self.restart_empties();
            return Ok(Step::Go);
        }
        if let Some(end) = self.found_nothing(asked).await? {
            return Ok(Step::End(end));
        }
        self.wait().await;
        Ok(Step::Go)
    }

    /// A new iterator behind the last record read; none when a stop was wished.
    async fn renew(&self) -> Option<Result<ShardIterator, StreamError>> {
        tokio::select! {
            biased;
            () = self.line.stop.wait() => None,
            iterator = self.context().service.get_shard_iterator(&self.line.stream, &self.shard, self.position) => {
                Some(iterator)
            }
        }
    }

    /// Room in memory for one page. When there is none, what this shard holds is written first, so that shards that wait
    /// hold nothing. None when a stop was wished.
    async fn page_permit(&mut self) -> Result<Option<tokio::sync::OwnedSemaphorePermit>, Halt> {
        if let Ok(permit) = Arc::clone(&self.context().pages).try_acquire_owned() {
            return Ok(Some(permit));
        }
        self.flush().await?;
        tokio::select! {
            biased;
            () = self.line.stop.wait() => Ok(None),
            permit = Arc::clone(&self.context().pages).acquire_owned() => Ok(permit.ok()),
        }
    }

    async fn take(&mut self, records: Vec<Result<StreamRecord, QuarantinedRecord>>) -> Result<(), Halt> {
        for record in records {
            let running = self.context().clock.running();
            match record {
                Ok(record) => {
                    let (sequence, second) = (record.record.sequence, record.record.second);
                    self.close_gap(Some((sequence, second))).await?;
                    self.position = Position::After(sequence);
                    if second.is_some_and(|second| self.earliest.is_some_and(|earliest| second < earliest)) {
                        self.leave_out(sequence, running);
                    } else {
                        self.gathering.push(record, running);
                    }
                }
                Err(record) => {
                    warn!(timeline = %self.line.timeline(), shard = %self.shard, "a record goes to quarantine: {}", record.reason);
                    self.gathering.push_quarantined(record, running);
                }
            }
            if self.gathering.is_full(&self.context().options) {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// A record of another table of the same name, which the service shows again: counted, and told once a shard.
    fn leave_out(&mut self, sequence: SequenceNumber, running: Duration) {
        if self.older_than_stream == 0 {
            warn!(
                timeline = %self.line.timeline(),
                shard = %self.shard,
                %sequence,
                "the stream shows records that are older than itself: they belong to an earlier table of this name and are left out"
            );
        }
        self.older_than_stream += 1;
        self.line.tally.lock().older_than_stream += 1;
        self.gathering.pass_over(sequence, running);
    }

    /// Makes everything in hand durable, then moves the checkpoint.
    async fn flush(&mut self) -> Result<(), Halt> {
        if self.gathering.is_empty() {
            return Ok(());
        }
        let taken = self.gathering.take();
        let records = taken.batch.records.len() + taken.batch.quarantined.len();
        if records > 0 {
            let line = Arc::clone(&self.line);
            let what = format!("appending {records} records of {} {}", line.timeline(), self.shard);
            let report =
                line.context.retry(&line.stop, &what, || line.context.durable.append(taken.batch.clone())).await?;
            debug!(
                timeline = %line.timeline(),
                shard = %self.shard,
                records,
                segments = report.segments_created,
                bytes = report.bytes,
                last = taken.last.map(tracing::field::display),
                "batch is durable"
            );
            let mut tally = line.tally.lock();
            tally.appended += report;
            tally.batches += 1;
        }
        if let Some(last) = taken.last {
            self.checkpoint.advance(last, taken.second);
        }
        self.save_if_due().await
    }

    async fn save_if_due(&mut self) -> Result<(), Halt> {
        let (running, age) = (self.context().clock.running(), self.context().options.checkpoint_age);
        if self.checkpoint.is_due(running, age) {
            self.checkpoint.save(&self.line.context, &self.line.stop, self.line.timeline()).await?;
        }
        Ok(())
    }

    /// States the gap that is open, if one is, before `first` or before now. The first record may prove that there is none.
    async fn close_gap(&mut self, first: Option<(SequenceNumber, Option<Second>)>) -> Result<(), Halt> {
        let Some(open) = self.open_gap.clone() else { return Ok(()) };
        let still_there =
            first.is_some_and(|(first, _)| open.after.is_some_and(|after| first.cmp_value(&after).is_le()));
        if !still_there {
            let now = self.context().clock.now();
            let closed = open.close(self.shard.as_str(), first, now);
            if closed.to > self.line.covered_from() {
                gap::state(&self.line, &self.line.stop, &closed).await?;
            }
        }
        self.open_gap = None;
        Ok(())
    }

    /// One more read found nothing; says whether that ends the reading.
    async fn found_nothing(&mut self, asked: Second) -> Result<Option<ShardEnd>, Halt> {
        if self.fate.abandoned.load(Ordering::Relaxed) && !self.abandoned {
            self.abandoned = true;
            self.restart_empties();
        }
        let needed = self.context().options.empty_reads.max(1);
        self.empties.push_back(asked);
        self.empty_reads = self.empty_reads.saturating_add(1);
        while self.empties.len() > needed {
            self.empties.pop_front();
        }
        let patience = if self.at_tip { 1 } else { NEW_ITERATOR_PATIENCE };
        if self.empty_reads < needed.saturating_mul(patience) {
            return Ok(None);
        }
        self.at_tip = true;
        self.flush().await?;
        if self.abandoned {
            return Ok(Some(ShardEnd::Closed));
        }
        let closed = self.fate.closed.load(Ordering::Relaxed);
        if let Some(through) = self.empties.front().copied().filter(|_| !closed) {
            self.close_gap(None).await?;
            // The stream may have been switched off since the table was last looked at.
            if let Some(enabled) = self.line.enabled_through() {
                self.checkpoint.read_through(through.min(enabled));
            }
        }
        if self.context().options.once && (!closed || self.empty_reads >= needed.saturating_mul(CLOSED_PATIENCE)) {
            return Ok(Some(ShardEnd::CaughtUp));
        }
        self.save_if_due().await?;
        Ok(None)
    }

    fn restart_empties(&mut self) {
        self.empties.clear();
        self.empty_reads = 0;
    }

    /// Waits before the next read, no longer than until the batch is due.
    async fn wait(&self) {
        let context = self.context();
        let poll = if context.options.once { context.options.poll.min(POLL_ONCE_MAX) } else { context.options.poll };
        let due = self.gathering.due_in(&context.options, context.clock.running());
        let wait = due.map_or(poll, |due| due.min(poll));
        sleep_or_stop(context.clock.as_ref(), &self.line.stop, wait).await;
    }

    /// What each error of the service means.
    async fn failed(&mut self, error: StreamError, iterator: Option<ShardIterator>) -> Result<Step, Halt> {
        // Whatever comes now may take long: what is in hand is made durable first.
        self.flush().await?;
        match error {
            StreamError::NotFound { .. } => return Ok(Step::End(ShardEnd::Gone)),
            StreamError::Trimmed { .. } => self.trimmed(),
            StreamError::ExpiredIterator { .. } => {
                debug!(timeline = %self.line.timeline(), shard = %self.shard, "the iterator expired, a new one is asked for");
            }
            // The iterator is still good.
            StreamError::Throttled { .. } | StreamError::Unavailable { .. } => self.iterator = iterator,
            // The iterator may be what the service stumbles over.
            StreamError::Internal { .. } | StreamError::Malformed { .. } => {}
            StreamError::Denied { .. } | StreamError::Refused { .. } => return Err(error.into()),
        }
        let wait = self.backoff.next();
        let tries = self.backoff.failures();
        if matches!(self.context().patience(), Patience::Bounded(most) if tries >= most) {
            return Err(error.into());
        }
        if tries > 1 || error.is_transient() && !matches!(error, StreamError::ExpiredIterator { .. }) {
            let hint = if tries > 3 { error.hint().unwrap_or_default() } else { String::new() };
            warn!(
                timeline = %self.line.timeline(),
                shard = %self.shard,
                failures = tries,
                wait_ms = wait.as_millis(),
                hint,
                "{error}; trying again"
            );
        }
        sleep_or_stop(self.context().clock.as_ref(), &self.line.stop, wait).await;
        Ok(Step::Go)
    }

    /// The records at the position are no longer there: go on at the oldest one that is, and state what lies between, unless
    /// only the last record itself has grown too old, and everything behind it was read not long ago.
    fn trimmed(&mut self) {
        self.position = Position::TrimHorizon;
        let document = self.checkpoint.document();
        let last_has_aged = document.last_sequence.is_some()
            && document.last_second.is_none_or(|second| !self.is_within_retention(second));
        if last_has_aged && document.read_through.is_some_and(|second| self.is_within_retention(second)) {
            info!(
                timeline = %self.line.timeline(),
                shard = %self.shard,
                "the last record was trimmed after everything behind it had been read; nothing is missing"
            );
            return;
        }
        let from = self.checkpoint.known_until().map_or_else(|| self.line.covered_from(), Second::before);
        self.open_gap.get_or_insert(OpenGap {
            after: document.last_sequence,
            from,
            reason: "records were trimmed before they were read".to_owned(),
        });
    }
}
