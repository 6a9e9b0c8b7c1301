//! A service in memory that does to a restore what a real one does.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableInputBuilder;
use journal::interrupt::Interrupt;
use journal::model::{Attributes, TableName};
use journal::source::sdk::{item_from_sdk, item_to_sdk};
use journal::store::ReadStore as _;
use journal::store::memory::MemoryStore;
use journal::table::recreate::PointInTimeRecovery;

use super::*;
use crate::table_write::{VirtualClock, Write, Wrote, holds};

/// A service in memory that does to a restore what a real one does.
#[derive(Debug, Default)]
pub(crate) struct FakeService {
    state: Mutex<FakeState>,
}

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one way in which the service misbehaves")]
pub(crate) struct FakeState {
    pub(crate) table: Option<TargetTable>,
    pub(crate) items: BTreeMap<String, SdkItem>,
    pub(crate) made: u32,
    pub(crate) puts: u32,
    /// What it takes; without it, everything.
    pub(crate) bucket: Option<Bucket>,
    /// Answers to `put`, taken one after the other before any is given honestly.
    pub(crate) put_faults: Vec<Fault>,
    /// Stops the restore after so many puts.
    pub(crate) stop_after: Option<(u32, Interrupt)>,
    /// Keys that vanish when they are written.
    pub(crate) loses: HashSet<String>,
    pub(crate) settings: Vec<String>,
    pub(crate) refuses_settings: bool,
    /// How many settings find the table busy with another change, and who then asks the restore to stop.
    pub(crate) busy: u32,
    pub(crate) stops_when_busy: Option<Interrupt>,
    /// The setting that is never answered, and whether it is set all the same; who waits for that moment is told.
    pub(crate) hangs_at: Option<(String, bool)>,
    pub(crate) hung: Arc<tokio::sync::Notify>,
    pub(crate) describes_until_active: u32,
    /// Where objects for imports lie.
    pub(crate) imports_from: Option<Arc<MemoryStore>>,
    pub(crate) import_fails: bool,
    pub(crate) import: Option<super::import::Import>,
    /// Calls begun.
    pub(crate) calls: u32,
    /// The call at which everything ends, and whether it is still done.
    pub(crate) dies_at: Option<(u32, bool)>,
    pub(crate) dead: bool,
    /// Pages of scans given.
    pub(crate) scanned: u32,
    /// Items replaced on a condition.
    pub(crate) replaced: u32,
    /// The key of an item that somebody changes right before it is read alone.
    pub(crate) meddles_with: Option<String>,
    /// The key of an item that somebody adds an attribute to right before it is written next, unseen by any condition.
    pub(crate) sneaks_into: Option<String>,
    /// Whether the table has another key than the journal's.
    pub(crate) other_key: bool,
}

impl FakeState {
    /// A table that is there, with items.
    pub(crate) fn holding(table: TargetTable, items: Vec<SdkItem>) -> Self {
        let items = items.into_iter().map(|item| (key_of(&item), item)).collect();
        Self { table: Some(table), items, ..Self::default() }
    }

    /// Lives again.
    pub(crate) fn revive(&mut self) {
        (self.dies_at, self.dead) = (None, false);
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Unprocessed(usize),
    Throttled,
    Refused,
}

/// A table that takes `rate` units a second and saves up those of `burst` seconds, and answers a hundredth of a second after it was
/// asked. It counts and keeps nothing.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    clock: VirtualClock,
    rate: f64,
    burst: f64,
    units: f64,
    filled: Duration,
    taken: f64,
    pub(crate) requests: u64,
    /// Requests of which something was turned away.
    pub(crate) refused: u64,
}

impl PartialEq for Bucket {
    fn eq(&self, other: &Self) -> bool {
        (self.requests, self.refused, self.filled) == (other.requests, other.refused, other.filled)
    }
}

impl Bucket {
    const ANSWERS_AFTER: Duration = Duration::from_millis(10);

    pub(crate) fn new(clock: VirtualClock, rate: f64, burst: f64) -> Self {
        let (filled, taken, requests, refused) = (Duration::ZERO, 0.0, 0, 0);
        Self { clock, rate, burst, units: rate * burst, filled, taken, requests, refused }
    }

    /// How many of so many puts of one unit it takes.
    fn take(&mut self, puts: usize) -> usize {
        let now = self.clock.elapsed();
        let room = (self.rate * self.burst).max(25.0);
        self.units = (self.units + now.saturating_sub(self.filled).as_secs_f64() * self.rate).min(room);
        self.filled = now;
        let taken = (1..=puts).take_while(|put| f64::from(u32::try_from(*put).unwrap()) <= self.units).count();
        let units = f64::from(u32::try_from(taken).unwrap());
        self.units -= units;
        self.taken += units;
        self.requests += 1;
        self.refused += u64::from(taken < puts);
        taken
    }

    /// How much of its rate was used until the last request, its savings counted as if there were none.
    pub(crate) fn used(&self) -> f64 {
        self.taken / (self.rate * self.filled.as_secs_f64())
    }
}

fn key_of(item: &SdkItem) -> String {
    item["noteId"].as_s().unwrap().clone()
}

impl FakeService {
    pub(crate) fn with(state: FakeState) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(state) })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, FakeState> {
        self.state.lock().unwrap()
    }

    /// A call begins: an error when this is the end, or after it.
    fn begins(&self) -> Result<(), ServiceError> {
        let mut state = self.lock();
        state.calls += 1;
        state.dead |= state.dies_at.is_some_and(|(call, after)| !after && state.calls >= call);
        if state.dead { Err(gone()) } else { Ok(()) }
    }

    /// A call was done: an error when its answer is lost.
    fn ends<T>(&self, answer: T) -> Result<T, ServiceError> {
        let mut state = self.lock();
        state.dead |= state.dies_at.is_some_and(|(call, _)| state.calls >= call);
        if state.dead { Err(gone()) } else { Ok(answer) }
    }
}

fn gone() -> ServiceError {
    ServiceError::Unavailable { reason: "it is gone".to_owned() }
}

#[async_trait]
impl TableService for FakeService {
    async fn describe(&self, _: &TableName) -> Result<Option<TargetTable>, ServiceError> {
        self.begins()?;
        let mut state = self.lock();
        if let Some(left) = state.describes_until_active.checked_sub(1) {
            state.describes_until_active = left;
        } else if let Some(table) = &mut state.table {
            table.status = "ACTIVE".to_owned();
        }
        let table = state.table.clone();
        drop(state);
        self.ends(table)
    }

    async fn create(&self, input: CreateTableInputBuilder) -> Result<TargetTable, ServiceError> {
        self.begins()?;
        let mut state = self.lock();
        if state.table.is_some() {
            return Err(ServiceError::InUse);
        }
        state.made += 1;
        let table = TargetTable {
            arn: input.get_table_name().clone(),
            id: Some(format!("id-{}", state.made)),
            created_milliseconds: Some(i64::from(state.made)),
            status: "CREATING".to_owned(),
            indexes_active: true,
        };
        state.table = Some(table.clone());
        drop(state);
        self.ends(table)
    }

    async fn put(&self, batch: &PutBatch) -> Result<Vec<usize>, ServiceError> {
        assert!(batch.len() <= 25);
        self.begins()?;
        let took = self.lock().bucket.as_mut().map(|bucket| (bucket.take(batch.len()), bucket.clock.clone()));
        if let Some((taken, clock)) = took {
            clock.sleep_until(clock.elapsed() + Bucket::ANSWERS_AFTER).await;
            let throttled = taken == 0;
            let answer = (taken..batch.len()).collect();
            return if throttled { Err(ServiceError::Throttled { reason: "too fast".to_owned() }) } else { Ok(answer) };
        }
        let mut state = self.lock();
        state.puts += 1;
        if let Some((puts, interrupt)) = &state.stop_after
            && state.puts >= *puts
        {
            interrupt.trigger();
        }
        let fault = if state.put_faults.is_empty() { None } else { Some(state.put_faults.remove(0)) };
        let taken = match fault {
            Some(Fault::Throttled) => return Err(ServiceError::Throttled { reason: "too fast".to_owned() }),
            Some(Fault::Refused) => return Err(ServiceError::Refused { reason: "no".to_owned() }),
            Some(Fault::Unprocessed(left)) => batch.len().saturating_sub(left),
            None => batch.len(),
        };
        for item in batch.items().take(taken) {
            let item = item_to_sdk(&journal::source::attribute::parse_item(item).unwrap());
            if !state.loses.contains(&key_of(&item)) {
                state.items.insert(key_of(&item), item);
            }
        }
        drop(state);
        self.ends((taken..batch.len()).collect())
    }

    async fn scan(
        &self,
        _: &TableName,
        segment: i32,
        total: i32,
        start: Option<SdkItem>,
    ) -> Result<ScanPage, ServiceError> {
        self.begins()?;
        let mut state = self.lock();
        state.scanned += 1;
        let after = start.map(|start| key_of(&start));
        let of_segment = |key: &String| {
            key.bytes().map(i32::from).sum::<i32>() % total == segment && after.as_ref().is_none_or(|after| key > after)
        };
        let items: Vec<SdkItem> =
            state.items.iter().filter(|(key, _)| of_segment(key)).take(7).map(|(_, item)| item.clone()).collect();
        let next = if items.len() == 7 { items.last().cloned() } else { None };
        drop(state);
        self.ends(ScanPage { items, next })
    }

    async fn set_time_to_live(&self, _: &TableName, attribute: &str) -> Result<(), ServiceError> {
        self.set(format!("ttl {attribute}")).await
    }

    async fn tag(&self, _: &str, tags: &[(String, String)]) -> Result<(), ServiceError> {
        self.set(format!("{} tags", tags.len())).await
    }

    async fn set_recovery(&self, _: &TableName, _: PointInTimeRecovery) -> Result<(), ServiceError> {
        self.set("recovery".to_owned()).await
    }

    async fn protect(&self, _: &TableName) -> Result<(), ServiceError> {
        self.set("protection".to_owned()).await
    }
}

#[async_trait]
impl ItemService for FakeService {
    async fn key(&self, _: &TableName) -> Result<Vec<KeyElement>, ServiceError> {
        self.begins()?;
        let (name, key_type) = if self.lock().other_key { ("id", "N") } else { ("noteId", "S") };
        self.ends(vec![KeyElement { name: name.to_owned(), key_type: key_type.to_owned() }])
    }

    async fn get(&self, _: &TableName, key: &Attributes) -> Result<Option<Attributes>, ServiceError> {
        self.begins()?;
        let mut state = self.lock();
        let key = key_of(&item_to_sdk(key));
        if state.meddles_with.as_ref() == Some(&key) {
            let meddled = aws_sdk_dynamodb::types::AttributeValue::S("meddled".to_owned());
            state.items.get_mut(&key).unwrap().insert("content".to_owned(), meddled);
        }
        let item = state.items.get(&key).map(|item| item_from_sdk(item).unwrap());
        drop(state);
        self.ends(item)
    }

    async fn get_many(
        &self,
        _: &TableName,
        mut keys: Vec<SdkItem>,
    ) -> Result<(Vec<SdkItem>, Vec<SdkItem>), ServiceError> {
        self.begins()?;
        // A service may leave keys for another request.
        let left = keys.split_off(keys.len().div_ceil(2));
        let state = self.lock();
        let found = keys.iter().filter_map(|key| state.items.get(&key_of(key)).cloned()).collect();
        drop(state);
        self.ends((found, left))
    }

    async fn write(&self, _: &TableName, write: Write<'_>) -> Result<Wrote, ServiceError> {
        self.begins()?;
        let mut state = self.lock();
        let key = key_of(&item_to_sdk(write.key));
        if state.sneaks_into.take_if(|sneaked| *sneaked == key).is_some() {
            let sneaked = aws_sdk_dynamodb::types::AttributeValue::Bool(true);
            state.items.get_mut(&key).unwrap().insert("sneaked".to_owned(), sneaked);
        }
        let found = state.items.get(&key).map(|item| item_from_sdk(item).unwrap());
        if !holds(write.condition, found.as_ref()) {
            drop(state);
            return self.ends(Wrote::Refused(found));
        }
        state.replaced += 1;
        match write.item {
            Some(item) => {
                let mut whole = item.clone();
                whole.extend(write.key.clone());
                state.items.insert(key, item_to_sdk(&whole));
            }
            None => drop(state.items.remove(&key)),
        }
        drop(state);
        self.ends(Wrote::Done(found))
    }
}

#[async_trait]
impl ImportService for FakeService {
    async fn import(&self, import: &super::import::Import) -> Result<String, ServiceError> {
        self.begins()?;
        let running = self.lock().import.clone();
        if let Some(running) = running {
            return if running.token == import.token {
                self.ends("import".to_owned())
            } else {
                Err(ServiceError::InUse)
            };
        }
        if self.lock().table.is_some() {
            return Err(ServiceError::InUse);
        }
        let store = self.lock().imports_from.clone().unwrap();
        let mut state = FakeState::default();
        for object in store.list_all(&import.prefix).await.unwrap() {
            let bytes = store.get(&object.key).await.unwrap();
            let mut text = Vec::new();
            if object.key.strip_suffix(".gz").is_some() {
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*bytes), &mut text).unwrap();
            } else {
                text = zstd::decode_all(&*bytes).unwrap();
            }
            for line in String::from_utf8(text).unwrap().lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let item = journal::source::attribute::parse_item(line["Item"].to_string().as_bytes()).unwrap();
                let item = journal::source::sdk::item_to_sdk(&item);
                assert!(state.items.insert(key_of(&item), item).is_none(), "an item is there twice");
            }
        }
        let mut mine = self.lock();
        mine.made += 1;
        mine.items = state.items;
        mine.import = Some(import.clone());
        mine.table = Some(TargetTable {
            arn: import.input.get_table_name().clone(),
            id: Some("imported".to_owned()),
            created_milliseconds: Some(1),
            status: "CREATING".to_owned(),
            indexes_active: true,
        });
        drop(mine);
        self.ends("import".to_owned())
    }

    async fn import_status(&self, arn: &str) -> Result<ImportStatus, ServiceError> {
        self.begins()?;
        assert_eq!(arn, "import");
        self.ends(if self.lock().import_fails {
            ImportStatus::Failed { code: "ItemValidationError".to_owned(), reason: "one line".to_owned() }
        } else {
            ImportStatus::Completed
        })
    }

    async fn find_import(&self, _: Option<&str>, prefix: &str) -> Result<Option<String>, ServiceError> {
        self.begins()?;
        let found = self.lock().import.as_ref().is_some_and(|import| import.prefix == prefix);
        self.ends(found.then(|| "import".to_owned()))
    }

    async fn set_stream(
        &self,
        _: &TableName,
        _: aws_sdk_dynamodb::types::StreamSpecification,
    ) -> Result<(), ServiceError> {
        self.set("stream".to_owned()).await
    }

    async fn set_class(&self, _: &TableName, _: aws_sdk_dynamodb::types::TableClass) -> Result<(), ServiceError> {
        self.set("class".to_owned()).await
    }
}

impl FakeService {
    async fn set(&self, setting: String) -> Result<(), ServiceError> {
        self.begins()?;
        let hangs = self.lock().hangs_at.take_if(|(at, _)| *at == setting);
        if let Some((_, false)) = hangs {
            self.hang().await;
        }
        self.set_now(setting)?;
        if hangs.is_some() {
            self.hang().await;
        }
        self.ends(())
    }

    fn set_now(&self, setting: String) -> Result<(), ServiceError> {
        let mut state = self.lock();
        if state.refuses_settings {
            return Err(ServiceError::Denied { reason: "not you".to_owned() });
        }
        if let Some(left) = state.busy.checked_sub(1) {
            state.busy = left;
            if let Some(interrupt) = state.stops_when_busy.take() {
                interrupt.trigger();
            }
            return Err(ServiceError::InUse);
        }
        state.settings.push(setting);
        Ok(())
    }

    async fn hang(&self) {
        let hung = Arc::clone(&self.lock().hung);
        hung.notify_one();
        std::future::pending::<()>().await;
    }
}
