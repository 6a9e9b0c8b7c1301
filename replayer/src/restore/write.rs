//! Writing items in the order of their keys: batches, retries, the pace, and how far all of them are in.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use journal::error::{Error, Kind, Result};
use journal::model::{Spelling, Splicer};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::batch::{BatchBuilder, PutBatch};
use super::error::RestoreError;
use super::groups::GroupedDigest;
use super::run_file::RunFile;
use super::service::{ServiceError, TableService};
use super::{Restore, Step, Survey};
use crate::digest::ItemHash;
use crate::state::{EncodedItem, Flow, StateError, visit_encoded};
use crate::table_write::{ATTEMPTS_MAX, SharedPace};

/// Batches that are handed over at once: whoever reads items sleeps while the table takes them, and is not woken for each request.
const TOGETHER_MAX: usize = 8;
/// Bytes of these bodies, unless one batch alone has more.
const TOGETHER_BYTES: usize = 1 << 20;
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

/// Makes batches of the items that are read: each is spliced from its bytes into a request's body.
struct Feeder {
    digest: GroupedDigest,
    splicer: Splicer,
    /// All items up to this key are in the table.
    confirmed: Option<Vec<u8>>,
    builder: BatchBuilder,
    /// The key of the item before.
    last_key: Vec<u8>,
    /// What is not written lands here.
    passed_over: Vec<u8>,
    /// Full batches that are not handed over yet, and bytes of their bodies.
    together: (Vec<Outgoing>, usize),
    sender: mpsc::Sender<Vec<Outgoing>>,
}

impl Feeder {
    fn item(&mut self, item: &EncodedItem<'_>) -> Result<(Flow, ItemHash)> {
        if self.confirmed.as_deref().is_some_and(|confirmed| item.key <= confirmed) {
            self.passed_over.clear();
            let told = item.splice(&mut self.splicer, &mut self.passed_over)?;
            self.digest.add(&told.plain_key, told.hash);
            return Ok((Flow::Continue, told.hash));
        }
        let (splicer, digest) = (&mut self.splicer, &mut self.digest);
        let mut hash = None;
        let full = self.builder.push(|body| {
            let told = item.splice(splicer, body)?;
            digest.add(&told.plain_key, told.hash);
            hash = Some(told.hash);
            Ok::<_, Error>((told.plain_key, capacity_units(told.bytes)))
        })?;
        let hash = hash.ok_or(StateError::Lost)?;
        let sent = full.and_then(|batch| self.gather(batch)).map(|together| self.sender.blocking_send(together));
        // The writer is gone only when it failed; its error is the one to tell.
        let flow = if sent.is_none_or(|sent| sent.is_ok()) { Flow::Continue } else { Flow::Enough };
        self.last_key.clear();
        self.last_key.extend_from_slice(item.key);
        Ok((flow, hash))
    }

    /// Keeps a full batch; gives all that are kept when they are enough to be handed over.
    fn gather(&mut self, batch: PutBatch) -> Option<Vec<Outgoing>> {
        let (batches, bytes) = &mut self.together;
        *bytes += batch.body().len();
        batches.push(Outgoing { last_key: self.last_key.clone(), batch });
        (batches.len() >= TOGETHER_MAX || *bytes >= TOGETHER_BYTES).then(|| std::mem::take(&mut self.together).0)
    }

    /// Sends what is left; gives the state's digest.
    async fn finish(mut self) -> GroupedDigest {
        let (mut batches, _) = self.together;
        batches.extend(self.builder.finish().map(|batch| Outgoing { last_key: self.last_key, batch }));
        if !batches.is_empty() {
            // As above.
            let _ = self.sender.send(batches).await;
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
    let (sender, receiver) = mpsc::channel(1);
    let feeder = Feeder {
        digest: GroupedDigest::default(),
        splicer: Splicer::new(schema.attributes(), Spelling::DynamoDb),
        builder: BatchBuilder::new(target.clone(), schema),
        confirmed: run.confirmed(),
        last_key: Vec::new(),
        passed_over: Vec::new(),
        together: Default::default(),
        sender,
    };
    let visit = async {
        let (feeder, visited) = visit_encoded(
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
    let pace = SharedPace::new(restore.options.write_rate);
    let (visited, written) = tokio::join!(visit, Writer::new(restore, run, survey).drain(receiver, &pace));
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

impl<'a> Writer<'a> {
    fn new(restore: &'a Restore<'a>, run: &'a mut RunFile, survey: Survey) -> Self {
        Self { restore, run, survey, sent: 0, confirmed: BTreeMap::new(), next: 0, items: 0 }
    }

    /// Writes all that comes; gives the number of items, and the units taken and turned away.
    async fn drain(
        mut self,
        mut receiver: mpsc::Receiver<Vec<Outgoing>>,
        pace: &SharedPace,
    ) -> Result<(u64, (u64, u64))> {
        let Restore { service, options, .. } = self.restore;
        // On this task alone: a request takes far less to make than to be answered, and no thread need be woken for it.
        let mut under_way = FuturesUnordered::new();
        let mut waiting = VecDeque::new();
        let mut last_saved = Instant::now();
        let mut last_key: Option<Vec<u8>> = None;
        let mut result: Result<()> = loop {
            while pace.has_room(under_way.len(), options.concurrency)
                && let Some(outgoing) = waiting.pop_front()
            {
                under_way.push(put_all(&**service, options.pause, pace, self.sent, outgoing));
                self.sent += 1;
            }
            tokio::select! {
                biased;
                Some(done) = under_way.next(), if !under_way.is_empty() => {
                    match done {
                        Ok(done) => last_key = self.note(done).or(last_key),
                        Err(error) => break Err(Error::from(error)),
                    }
                    if last_saved.elapsed() >= CONFIRM_EVERY && let Some(key) = last_key.take() {
                        if let Err(error) = self.run.confirm(&key) {
                            break Err(error.into());
                        }
                        last_saved = Instant::now();
                    }
                }
                together = receiver.recv(), if waiting.is_empty() => match together {
                    Some(together) => waiting.extend(together),
                    None => break Ok(()),
                },
            }
        };
        // The visit must not wait for a writer that takes no more.
        drop(receiver);
        while let Some(done) = under_way.next().await {
            match done {
                Ok(done) => last_key = self.note(done).or(last_key),
                Err(error) => result = result.and(Err(error.into())),
            }
        }
        drop(under_way);
        if let Some(key) = last_key {
            self.run.confirm(&key)?;
        }
        result.map(|()| (self.items, pace.counts()))
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
    number: u64,
    Outgoing { last_key, mut batch }: Outgoing,
) -> Result<Done, RestoreError> {
    let items = u64::try_from(batch.len()).unwrap_or(u64::MAX);
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
                    return Ok(Done { number, last_key, items });
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
        pace.back_off(pause, attempt).await;
    }
}

/// Write capacity units of a put: one for each KB begun.
pub(super) fn capacity_units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Bucket, FakeService, FakeState};
    use super::super::scene::{Scene, stream};
    use super::*;
    use crate::key_schema::KeySchema;
    use crate::restore::RestoreOptions;
    use crate::table_write::{Clock, VirtualClock};

    #[test]
    fn each_kilobyte_begun_is_a_unit() {
        assert_eq!([0, 1, 1024, 1025, 400 << 10].map(capacity_units), [1, 1, 1, 2, 400]);
    }

    /// Batches of items that take a unit each.
    fn batches(count: u32) -> mpsc::Receiver<Vec<Outgoing>> {
        let names = crate::restore::scene::names();
        let mut builder = BatchBuilder::new(stream().timeline().table.clone(), KeySchema::unordered(names));
        let (sender, receiver) = mpsc::channel(usize::try_from(count).unwrap());
        for item in 0..25 * count {
            let pushed = builder.push(|body| {
                body.extend_from_slice(b"{}");
                Ok::<_, Error>((item.to_be_bytes(), 1))
            });
            let full = pushed.unwrap().or_else(|| (item == 25 * count - 1).then(|| builder.finish()).flatten());
            if let Some(batch) = full {
                sender.try_send(vec![Outgoing { last_key: item.to_be_bytes().to_vec(), batch }]).ok().unwrap();
            }
        }
        receiver
    }

    #[test]
    fn batches_are_handed_over_by_eights_and_large_ones_at_once() {
        let table = stream().timeline().table.clone();
        let schema = || KeySchema::unordered(crate::restore::scene::names());
        let batch = |bytes: usize| {
            let mut builder = BatchBuilder::new(table.clone(), schema());
            let pushed = builder.push(|body| {
                body.resize(body.len() + bytes, b' ');
                Ok::<_, Error>(([0], 1))
            });
            assert!(pushed.unwrap().is_none());
            builder.finish().unwrap()
        };
        let mut feeder = Feeder {
            digest: GroupedDigest::default(),
            splicer: Splicer::new(schema().attributes(), Spelling::DynamoDb),
            confirmed: None,
            builder: BatchBuilder::new(table.clone(), schema()),
            last_key: Vec::new(),
            passed_over: Vec::new(),
            together: Default::default(),
            sender: mpsc::channel(1).0,
        };
        let mut handed = |bytes: usize| feeder.gather(batch(bytes)).map(|together| together.len());
        for _ in 0..2 {
            assert!((1..TOGETHER_MAX).all(|_| handed(1).is_none()));
            assert_eq!(handed(1), Some(TOGETHER_MAX));
        }
        assert_eq!((handed(1), handed(TOGETHER_BYTES), handed(1)), (None, Some(2), None));
    }

    /// Writes a minute's worth of items to a table of known rate: the table as it is then.
    fn write_for_a_minute(scene: &Scene, rate: u32, burst: f64) -> Bucket {
        let clock = VirtualClock::default();
        let bucket = Bucket::new(clock.clone(), f64::from(rate), burst);
        let service = FakeService::with(FakeState { bucket: Some(bucket), ..FakeState::default() });
        let options = RestoreOptions::default();
        let (restore, mut run) = (scene.restoring(&service, &options), scene.run());
        let pace = SharedPace::by(Clock::Virtual(clock.clone()), None);
        let written =
            clock.run(Writer::new(&restore, &mut run, Survey::default()).drain(batches(rate * 60 / 25), &pace));
        assert_eq!(written.unwrap().0, u64::from(rate) * 60);
        service.lock().bucket.take().unwrap()
    }

    /// The test that once ran by the clock against a stand-in, with virtual time: it cannot depend on how busy the machine is.
    #[test]
    fn a_table_of_unknown_rate_is_used_and_not_drowned() {
        // The runtime makes the scene and nothing else: in it, what is always ready is made to wait for the runtime now and then.
        let scene = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(Scene::new(1));
        for rate in [100, 400, 1000, 4000] {
            for burst in [1.0, 5.0] {
                let table = write_for_a_minute(&scene, rate, burst);
                let (refused, requests) = (table.refused, table.requests);
                assert!(
                    refused * 100 <= requests * 35,
                    "{rate}/s, burst {burst}: {refused} of {requests} requests refused"
                );
                let used = table.used();
                assert!(used >= 0.6, "{rate}/s, burst {burst}: {used} of what it takes was used");
                assert!(used <= 1.0 + burst / 60.0 + 0.01, "{rate}/s, burst {burst}: it took {used}, more than it can");
            }
        }
        // Waits between attempts are random, and the same ones in every thread of a test.
        let table = || std::thread::scope(|scope| scope.spawn(|| write_for_a_minute(&scene, 400, 1.0)).join().unwrap());
        assert_eq!(table(), table(), "a run is the same each time");
    }
}
