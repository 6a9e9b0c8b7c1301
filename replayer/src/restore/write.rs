//! Writing items in the order of their keys: batches, retries, a rate, and how far all of them are in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use journal::error::{Error, Kind, Result};
use journal::model::{AttributeValue, Attributes, TableName};
use journal::source::sdk::item_to_sdk;
use rand::RngExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::error::RestoreError;
use super::groups::GroupedDigest;
use super::read_back::plain_key;
use super::run_file::RunFile;
use super::service::{SdkItem, ServiceError, TableService};
use super::{Restore, Step};
use crate::state::{Flow, Selection, visit_items};

/// `BatchWriteItem` takes 25 puts and 16 MB (Amazon DynamoDB API reference); half of the bytes leave room for the
/// request's own JSON.
const BATCH_ITEMS_MAX: usize = 25;
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Attempts in a row in which the service takes no item of a batch.
const ATTEMPTS_MAX: u32 = 12;
const BACK_OFF_MAX: Duration = Duration::from_secs(20);
/// How often the run file says how far all items are in.
const CONFIRM_EVERY: Duration = Duration::from_secs(1);

/// Waits before the attempt after `attempt`: twice as long each time, a random part of it, so that many do not come back
/// together.
pub(super) async fn back_off(first: Duration, attempt: u32) {
    let longest = first.saturating_mul(1 << attempt.min(10)).min(BACK_OFF_MAX);
    let share = rand::rng().random_range(0.5..=1.0);
    tokio::time::sleep(longest.mul_f64(share)).await;
}

/// What was written.
pub(super) struct Written {
    /// The state as the journal has it.
    pub(super) expected: GroupedDigest,
    /// Items written by this run.
    pub(super) items: u64,
}

/// An item on its way.
struct Outgoing {
    key: Vec<u8>,
    item: SdkItem,
    bytes: usize,
}

/// Reads the whole state, writes what is not confirmed yet, and gives the state's digest.
pub(super) async fn write(restore: &Restore<'_>, run: &mut RunFile) -> Result<Written> {
    let Some(schema) = restore.plan.key.clone() else {
        return Ok(Written { expected: GroupedDigest::default(), items: 0 });
    };
    let confirmed = run.confirmed();
    let target = run.target().clone();
    let (sender, receiver) = mpsc::channel::<Outgoing>(BATCH_ITEMS_MAX * 4);
    let visit = visit_items(
        Arc::clone(&restore.store),
        restore.plan,
        Selection::default(),
        restore.options.merge.clone(),
        restore.interrupt,
        GroupedDigest::default(),
        move |digest: &mut GroupedDigest, item| {
            digest.add(&plain_key(&schema, &item.attributes)?, item.hash);
            if confirmed.as_deref().is_some_and(|confirmed| item.key <= confirmed) {
                return Ok(Flow::Continue);
            }
            let bytes = item_bytes(&item.attributes);
            let outgoing = Outgoing { key: item.key.to_vec(), item: item_to_sdk(&item.attributes), bytes };
            // The writer is gone only when it failed; its error is the one to tell.
            Ok(if sender.blocking_send(outgoing).is_ok() { Flow::Continue } else { Flow::Enough })
        },
    );
    let writer = Writer { restore, run, sent: 0, confirmed: BTreeMap::new(), next: 0, items: 0 };
    let (visited, written) = tokio::join!(visit, writer.drain(receiver));
    // A failed writer ends the visit, a failed visit the writer: the writer's error is the cause when it has one.
    let items = written?;
    let (expected, _) = visited.map_err(|error| match error.kind() {
        Kind::Interrupted => RestoreError::Interrupted { doing: "writing to", table: target }.into(),
        _ => error,
    })?;
    Ok(Written { expected, items })
}

struct Writer<'a> {
    restore: &'a Restore<'a>,
    run: &'a mut RunFile,
    /// Batches begun.
    sent: u64,
    /// Batches done after one that is not: number, last key, items.
    confirmed: BTreeMap<u64, Vec<u8>>,
    /// The first batch that is not done.
    next: u64,
    items: u64,
}

/// A batch that is in the table.
struct Done {
    number: u64,
    last_key: Vec<u8>,
    items: u64,
}

impl Writer<'_> {
    /// Writes all that comes, and gives the number of items.
    async fn drain(mut self, mut receiver: mpsc::Receiver<Outgoing>) -> Result<u64> {
        let rate = Arc::new(Rate::new(self.restore.options.write_rate));
        let mut tasks: JoinSet<Result<Done, RestoreError>> = JoinSet::new();
        let mut waiting: Vec<Outgoing> = Vec::with_capacity(BATCH_ITEMS_MAX);
        let mut bytes = 0usize;
        let mut last_saved = Instant::now();
        let mut last_key: Option<Vec<u8>> = None;
        let result: Result<(), Error> = loop {
            let item = tokio::select! {
                biased;
                Some(done) = tasks.join_next(), if !tasks.is_empty() => {
                    let table = self.run.target().clone();
                    let done = done.map_err(|_| RestoreError::Lost { doing: "writing to", table }).and_then(|done| done);
                    match done {
                        Ok(done) => last_key = self.note(done).or(last_key),
                        Err(error) => break Err(error.into()),
                    }
                    if last_saved.elapsed() >= CONFIRM_EVERY && let Some(key) = last_key.take() {
                        if let Err(error) = self.run.confirm(&key) {
                            break Err(error.into());
                        }
                        last_saved = Instant::now();
                    }
                    continue;
                }
                item = receiver.recv(), if tasks.len() < self.restore.options.concurrency => item,
            };
            let full = item.as_ref().is_none_or(|item| {
                waiting.len() == BATCH_ITEMS_MAX || bytes.saturating_add(item.bytes) > BATCH_BYTES_MAX
            });
            if full && !waiting.is_empty() {
                self.send(std::mem::take(&mut waiting), &rate, &mut tasks);
                bytes = 0;
            }
            match item {
                Some(item) => {
                    bytes = bytes.saturating_add(item.bytes);
                    waiting.push(item);
                }
                None => break Ok(()),
            }
        };
        // The visit must not wait for a writer that takes no more.
        drop(receiver);
        let mut result = result;
        while let Some(done) = tasks.join_next().await {
            let table = self.run.target().clone();
            match done.map_err(|_| RestoreError::Lost { doing: "writing to", table }).and_then(|done| done) {
                Ok(done) => last_key = self.note(done).or(last_key),
                Err(error) => result = result.and(Err(error.into())),
            }
        }
        if let Some(key) = last_key {
            self.run.confirm(&key)?;
        }
        result.map(|()| self.items)
    }

    fn send(&mut self, batch: Vec<Outgoing>, rate: &Arc<Rate>, tasks: &mut JoinSet<Result<Done, RestoreError>>) {
        let number = self.sent;
        self.sent += 1;
        let (service, table, rate) = (Arc::clone(&self.restore.service), self.run.target().clone(), Arc::clone(rate));
        let pause = self.restore.options.pause;
        tasks.spawn(async move {
            let last_key = batch.last().map(|item| item.key.clone()).unwrap_or_default();
            let items = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            let units = batch.iter().map(|item| capacity_units(item.bytes)).sum();
            rate.take(units).await;
            put_all(&*service, &table, pause, batch.into_iter().map(|item| item.item).collect()).await?;
            Ok(Done { number, last_key, items })
        });
    }

    /// Counts a batch; gives the key up to which all items are in the table when that has moved.
    fn note(&mut self, done: Done) -> Option<Vec<u8>> {
        self.items += done.items;
        (self.restore.progress)(Step::Writing, self.items);
        self.confirmed.insert(done.number, done.last_key);
        let mut moved = None;
        while let Some(key) = self.confirmed.remove(&self.next) {
            self.next += 1;
            moved = Some(key);
        }
        moved
    }
}

/// Puts a batch until all of it is in.
async fn put_all(
    service: &dyn TableService,
    table: &TableName,
    pause: Duration,
    mut items: Vec<SdkItem>,
) -> Result<(), RestoreError> {
    let mut attempt = 0;
    loop {
        let before = items.len();
        let reason = match service.put(table, items.clone()).await {
            Ok(left) if left.is_empty() => return Ok(()),
            Ok(left) => {
                items = left;
                "the service left them unprocessed".to_owned()
            }
            Err(error @ (ServiceError::Throttled { .. } | ServiceError::Unavailable { .. })) => error.to_string(),
            Err(source) => return Err(RestoreError::Service { action: "writing to", table: table.clone(), source }),
        };
        attempt = if items.len() < before { 1 } else { attempt + 1 };
        if attempt >= ATTEMPTS_MAX {
            return Err(RestoreError::Unprocessed {
                table: table.clone(),
                items: items.len(),
                attempts: attempt,
                reason,
            });
        }
        back_off(pause, attempt).await;
    }
}

/// A bound on write capacity units a second.
struct Rate {
    units_per_second: Option<f64>,
    free_at: Mutex<Instant>,
}

impl Rate {
    fn new(units_per_second: Option<u32>) -> Self {
        Self { units_per_second: units_per_second.map(f64::from), free_at: Mutex::new(Instant::now()) }
    }

    /// Waits until `units` may be used.
    async fn take(&self, units: u32) {
        if let Some(begin) = self.begin(Instant::now(), units) {
            tokio::time::sleep_until(begin).await;
        }
    }

    /// When `units` may be used that are asked for `now`; none without a bound.
    fn begin(&self, now: Instant, units: u32) -> Option<Instant> {
        let rate = self.units_per_second?;
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = (*free_at).max(now);
        *free_at = begin + Duration::from_secs_f64(f64::from(units) / rate.max(1.0));
        Some(begin)
    }
}

/// Write capacity units of a put: one for each KB begun.
fn capacity_units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024).max(1)).unwrap_or(u32::MAX)
}

/// About how many bytes DynamoDB counts for an item ("DynamoDB item sizes and formats", Developer Guide).
fn item_bytes(item: &Attributes) -> usize {
    item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

fn value_bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(number) => number.as_str().len() / 2 + 2,
        AttributeValue::B(bytes) => bytes.len(),
        AttributeValue::Ss(set) => set.iter().map(String::len).sum(),
        AttributeValue::Ns(set) => set.iter().map(|number| number.as_str().len() / 2 + 2).sum(),
        AttributeValue::Bs(set) => set.iter().map(Vec::len).sum(),
        AttributeValue::M(map) => 3 + item_bytes(map) + map.len(),
        AttributeValue::L(list) => 3 + list.iter().map(|value| 1 + value_bytes(value)).sum::<usize>(),
        AttributeValue::Null | AttributeValue::Bool(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_write_rate_is_kept_and_idle_time_is_not_saved_up() {
        let rate = Rate::new(Some(100));
        let start = Instant::now() + Duration::from_secs(1);
        let after =
            |asked: u64, units| (rate.begin(start + Duration::from_millis(asked), units).unwrap() - start).as_millis();
        assert_eq!((after(0, 25), after(0, 25), after(0, 50)), (0, 250, 500));
        assert_eq!((after(5000, 100), after(5000, 1)), (5000, 6000));
        assert_eq!(Rate::new(None).begin(start, 1), None);
    }

    #[test]
    fn each_kilobyte_begun_is_a_unit() {
        assert_eq!([0, 1, 1024, 1025, 400 << 10].map(capacity_units), [1, 1, 1, 2, 400]);
    }
}
