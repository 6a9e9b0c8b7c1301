//! The batch of one shard in the making: what has been read and is not durable yet.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use crate::append::{Batch, QuarantinedRecord};
use crate::model::{ChangeRecord, Second, SequenceNumber, StreamRecord};
use crate::source::follow::options::FollowOptions;

/// What a record costs in memory besides its key and images.
const RECORD_BYTES: usize = 256;
/// What one page, and so one permit, may hold.
const PAGE_BYTES: usize = 1 << 20;

/// A batch in the making, with the position behind its last record.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    batch: Batch,
    bytes: usize,
    /// When its first record was read, in the clock's running time.
    since: Option<Duration>,
    /// The last record read, those left out included, and the latest second of a record.
    last: Option<SequenceNumber>,
    second: Option<Second>,
    /// The memory it may take.
    pages: Option<OwnedSemaphorePermit>,
}

impl Gathering {
    /// Whether there is nothing to make durable, nor a position to move.
    pub(super) fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    /// Records in it.
    pub(super) fn records(&self) -> usize {
        self.batch.records.len() + self.batch.quarantined.len()
    }

    /// Adds a record.
    pub(super) fn push(&mut self, record: StreamRecord, now: Duration) {
        self.bytes = self.bytes.saturating_add(size(&record.record));
        self.second = self.second.max(record.record.second);
        self.pass_over(record.record.sequence, now);
        self.batch.records.push(record);
    }

    /// Adds what was not understood.
    pub(super) fn push_quarantined(&mut self, record: QuarantinedRecord, now: Duration) {
        self.bytes = self.bytes.saturating_add(record.raw.len() + RECORD_BYTES);
        self.since.get_or_insert(now);
        self.batch.quarantined.push(record);
    }

    /// Moves the position over a record that is left out.
    pub(super) fn pass_over(&mut self, sequence: SequenceNumber, now: Duration) {
        self.since.get_or_insert(now);
        self.last = Some(sequence);
    }

    /// Whether it is as large as a batch may be.
    pub(super) fn is_full(&self, options: &FollowOptions) -> bool {
        self.bytes >= options.batch_bytes || self.records() >= options.batch_records
    }

    /// How long until it is old enough to be written; none when it is empty.
    pub(super) fn due_in(&self, options: &FollowOptions, now: Duration) -> Option<Duration> {
        self.since.map(|since| options.batch_age.saturating_sub(now.saturating_sub(since)))
    }

    /// Keeps the permit under which its last page was read, and gives back what it does not need.
    pub(super) fn hold(&mut self, page: OwnedSemaphorePermit) {
        let needed = if self.is_empty() { 0 } else { 1 + self.bytes / PAGE_BYTES };
        let held = match self.pages.take() {
            Some(mut pages) => {
                pages.merge(page);
                pages
            }
            None => page,
        };
        self.pages = keep(held, needed);
    }

    /// The batch and the position behind it; the gathering is empty then, and its memory still counted until the permit
    /// that is part of the answer is dropped.
    pub(super) fn take(&mut self) -> Taken {
        let taken = std::mem::take(self);
        Taken { batch: taken.batch, last: taken.last, second: taken.second, _pages: taken.pages }
    }
}

fn keep(mut held: OwnedSemaphorePermit, needed: usize) -> Option<OwnedSemaphorePermit> {
    let excess = held.num_permits().saturating_sub(needed);
    drop(held.split(excess));
    (held.num_permits() > 0).then_some(held)
}

/// A batch on its way to the store.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) batch: Batch,
    pub(super) last: Option<SequenceNumber>,
    pub(super) second: Option<Second>,
    _pages: Option<OwnedSemaphorePermit>,
}

fn size(record: &ChangeRecord) -> usize {
    let image = |image: &Option<crate::model::Image>| image.as_ref().map_or(0, |image| image.as_bytes().len());
    RECORD_BYTES + record.key.as_bytes().len() + image(&record.old) + image(&record.new)
}
