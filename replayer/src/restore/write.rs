//! Writing items in the order of their keys: batches, retries, the pace, and how far all of them are in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use journal::error::{Error, Kind, Result};
use journal::model::{AttributeValue, Attributes};
use journal::source::attribute::write_dynamodb_json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::batch::{BatchBuilder, PutBatch};
use super::error::RestoreError;
use super::groups::GroupedDigest;
use super::read_back::plain_key;
use super::run_file::RunFile;
use super::service::{ServiceError, TableService};
use super::{Restore, Step, Survey};
use crate::key_schema::KeySchema;
use crate::state::{Flow, Item, visit_items};
use crate::table_write::{ATTEMPTS_MAX, SharedPace, back_off};

/// Batches that wait for a request to end.
const WAITING_MAX: usize = 4;
/// How often the run file says how far all items are in.
const CONFIRM_EVERY: Duration = Duration::from_secs(1);

/// What was written.
#[derive(Default)]
pub(super) struct Written {
    /// The state as the journal has it.
    pub(super) expected: GroupedDigest,
    /// Items written by this run.
    pub(super) items: u64,
    /// Write units that were taken.
    pub(super) units: u64,
    /// Write units that were turned away.
    pub(super) refused: u64,
}

/// A batch on its way.
struct Outgoing {
    /// The last key of it, as the journal has it.
    last_key: Vec<u8>,
    batch: PutBatch,
}

/// Makes batches of the items that are read.
struct Feeder {
    digest: GroupedDigest,
    schema: KeySchema,
    /// All items up to this key are in the table.
    confirmed: Option<Vec<u8>>,
    builder: BatchBuilder,
    last_key: Vec<u8>,
    json: Vec<u8>,
    sender: mpsc::Sender<Outgoing>,
}

impl Feeder {
    fn item(&mut self, item: &Item<'_>) -> Result<Flow> {
        let key = plain_key(&self.schema, &item.attributes)?;
        self.digest.add(&key, item.hash);
        if self.confirmed.as_deref().is_some_and(|confirmed| item.key <= confirmed) {
            return Ok(Flow::Continue);
        }
        self.json.clear();
        write_dynamodb_json(&item.attributes, &mut self.json)
            .map_err(|error| RestoreError::Spill { reason: error.to_string() })?;
        let full = self.builder.push(&key, capacity_units(item_bytes(&item.attributes)), &self.json);
        let last_key = std::mem::replace(&mut self.last_key, item.key.to_vec());
        let Some(batch) = full else { return Ok(Flow::Continue) };
        // The writer is gone only when it failed; its error is the one to tell.
        let sent = self.sender.blocking_send(Outgoing { last_key, batch });
        Ok(if sent.is_ok() { Flow::Continue } else { Flow::Enough })
    }

    /// Sends what is left; gives the state's digest.
    async fn finish(mut self) -> GroupedDigest {
        if let Some(batch) = self.builder.finish() {
            // As above.
            let _ = self.sender.send(Outgoing { last_key: self.last_key, batch }).await;
        }
        self.digest
    }
}

/// Reads the whole state, writes what is not confirmed yet, and gives the state's digest.
pub(super) async fn write(restore: &Restore<'_>, run: &mut RunFile, survey: Survey) -> Result<Written> {
    let Some(schema) = restore.plan.key.clone() else {
        return Ok(Written::default());
    };
    (restore.progress)(Step::Writing, survey.confirmed, Some(survey.items));
    let target = run.target().clone();
    let (sender, receiver) = mpsc::channel::<Outgoing>(WAITING_MAX);
    let feeder = Feeder {
        digest: GroupedDigest::default(),
        builder: BatchBuilder::new(target.clone(), schema.clone()),
        schema,
        confirmed: run.confirmed(),
        last_key: Vec::new(),
        json: Vec::new(),
        sender,
    };
    let visit = async {
        let (feeder, visited) = visit_items(
            Arc::clone(&restore.store),
            restore.plan,
            restore.selection.clone(),
            restore.options.merge.clone(),
            restore.interrupt,
            feeder,
            |feeder: &mut Feeder, item| feeder.item(&item),
        )
        .await?;
        // What is left of a visit that was cut short has a writer that failed.
        Ok::<_, Error>((feeder.finish().await, visited))
    };
    let writer = Writer { restore, run, survey, sent: 0, confirmed: BTreeMap::new(), next: 0, items: 0 };
    let (visited, written) = tokio::join!(visit, writer.drain(receiver));
    // A failed writer ends the visit, a failed visit the writer: the writer's error is the cause when it has one.
    let (items, (units, refused)) = written?;
    let (expected, _) = visited.map_err(|error| match error.kind() {
        Kind::Interrupted => RestoreError::Interrupted { doing: "writing to", table: target }.into(),
        _ => error,
    })?;
    Ok(Written { expected, items, units, refused })
}

struct Writer<'a> {
    restore: &'a Restore<'a>,
    run: &'a mut RunFile,
    survey: Survey,
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
    /// Writes all that comes; gives the number of items, and the units taken and turned away.
    async fn drain(mut self, mut receiver: mpsc::Receiver<Outgoing>) -> Result<(u64, (u64, u64))> {
        let pace = Arc::new(SharedPace::new(self.restore.options.write_rate));
        let mut tasks: JoinSet<Result<Done, RestoreError>> = JoinSet::new();
        let mut last_saved = Instant::now();
        let mut last_key: Option<Vec<u8>> = None;
        let result: Result<(), Error> = loop {
            tokio::select! {
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
                }
                outgoing = receiver.recv(), if tasks.len() < self.restore.options.concurrency => match outgoing {
                    Some(outgoing) => self.send(outgoing, &pace, &mut tasks),
                    None => break Ok(()),
                },
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
        result.map(|()| (self.items, pace.counts()))
    }

    fn send(&mut self, outgoing: Outgoing, pace: &Arc<SharedPace>, tasks: &mut JoinSet<Result<Done, RestoreError>>) {
        let number = self.sent;
        self.sent += 1;
        let (service, pace) = (Arc::clone(&self.restore.service), Arc::clone(pace));
        let pause = self.restore.options.pause;
        tasks.spawn(async move {
            let Outgoing { last_key, batch } = outgoing;
            let items = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            put_all(&*service, pause, &pace, batch).await?;
            Ok(Done { number, last_key, items })
        });
    }

    /// Counts a batch; gives the key up to which all items are in the table when that has moved.
    fn note(&mut self, done: Done) -> Option<Vec<u8>> {
        self.items += done.items;
        (self.restore.progress)(Step::Writing, self.survey.confirmed + self.items, Some(self.survey.items));
        self.confirmed.insert(done.number, done.last_key);
        let mut moved = None;
        while let Some(key) = self.confirmed.remove(&self.next) {
            self.next += 1;
            moved = Some(key);
        }
        moved
    }
}

/// Puts a batch until all of it is in, at the pace that the table takes.
async fn put_all(
    service: &dyn TableService,
    pause: Duration,
    pace: &SharedPace,
    mut batch: PutBatch,
) -> Result<(), RestoreError> {
    let mut attempt = 0;
    loop {
        let before = batch.len();
        let units = batch.units();
        pace.wait(units).await;
        let reason = match service.put(&batch).await {
            Ok(left) => {
                batch = batch.only(&left);
                let refused = batch.units();
                pace.answered(units.saturating_sub(refused), refused);
                if batch.is_empty() {
                    return Ok(());
                }
                "the service left them unprocessed".to_owned()
            }
            Err(error @ ServiceError::Throttled { .. }) => {
                pace.answered(0, units);
                error.to_string()
            }
            Err(error @ ServiceError::Unavailable { .. }) => error.to_string(),
            Err(source) => {
                return Err(RestoreError::Service { action: "writing to", table: batch.table().clone(), source });
            }
        };
        attempt = if batch.len() < before { 1 } else { attempt + 1 };
        if attempt >= ATTEMPTS_MAX {
            return Err(RestoreError::Unprocessed {
                table: batch.table().clone(),
                items: batch.len(),
                attempts: attempt,
                reason,
            });
        }
        back_off(pause, attempt).await;
    }
}

/// Write capacity units of a put: one for each KB begun.
pub(super) fn capacity_units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024).max(1)).unwrap_or(u32::MAX)
}

/// About how many bytes DynamoDB counts for an item ("DynamoDB item sizes and formats", Developer Guide).
pub(super) fn item_bytes(item: &Attributes) -> usize {
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
    fn each_kilobyte_begun_is_a_unit() {
        assert_eq!([0, 1, 1024, 1025, 400 << 10].map(capacity_units), [1, 1, 1, 2, 400]);
    }
}
