//! A table in memory that evaluates conditions as DynamoDB does, records its changes as a stream would, and fails where it
//! is told to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use journal::model::{AttributeValue, Attributes, KeyAttribute, KeyAttributes, KeyType};

use super::table::{DescribedTable, LiveTable};
use crate::restore::ServiceError;
use crate::table_write::{ItemTable, Write, Wrote, holds};

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing was done.
    Before,
    /// It was done, and the answer was lost.
    After,
    /// Turned away.
    Throttle,
}

/// A change as its stream has it: key, item before, item after.
pub(super) type Changed = (String, Option<Attributes>, Option<Attributes>);

#[derive(Debug, Default)]
pub(super) struct State {
    /// Items by key, with their key.
    pub(super) items: BTreeMap<String, Attributes>,
    pub(super) changes: Vec<Changed>,
    pub(super) reads: u64,
    pub(super) writes: u64,
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    /// After so many operations nothing is done any more, and nobody answers.
    stop_after: Option<u64>,
    /// Attributes that somebody gives an item right before its next writes, unseen by any read.
    pub(super) sneaks: BTreeMap<String, VecDeque<Attributes>>,
    /// What describes itself; the default table when none.
    pub(super) gone: bool,
    pub(super) id: Option<String>,
    /// Its key; [`names`] when none.
    pub(super) key: Option<KeyAttributes>,
    /// Whether a refused write tells what is there.
    pub(super) tells: bool,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct FakeTable(Mutex<State>);

pub(super) fn names() -> KeyAttributes {
    KeyAttributes::new(vec![KeyAttribute { name: "noteId".to_owned(), key_type: KeyType::S }]).unwrap()
}

pub(super) fn id_of(key: &Attributes) -> String {
    match &key["noteId"] {
        AttributeValue::S(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

pub(super) fn key_of(id: &str) -> Attributes {
    Attributes::from([("noteId".to_owned(), AttributeValue::S(id.to_owned()))])
}

impl FakeTable {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Somebody else's write.
    pub(super) fn put(&self, id: &str, item: Option<Attributes>) {
        self.lock().put(id, item);
    }

    /// Everything without keys.
    pub(super) fn items(&self) -> BTreeMap<String, Attributes> {
        let mut items = self.lock().items.clone();
        for item in items.values_mut() {
            item.retain(|name, _| name != "noteId");
        }
        items
    }

    /// Reads and writes that were done.
    pub(super) fn requests(&self) -> (u64, u64) {
        let state = self.lock();
        (state.reads, state.writes)
    }

    pub(super) fn stop_after(&self, operations: u64) {
        self.lock().stop_after = Some(operations);
    }

    pub(super) fn fault(&self, operation: u64, fault: Fault) {
        self.lock().faults.insert(operation, fault);
    }

    /// The process is started anew; the table is as it was.
    pub(super) fn restart(&self) {
        let mut state = self.lock();
        state.stop_after = None;
        state.faults.clear();
        state.operations = 0;
    }

    pub(super) fn operations(&self) -> u64 {
        self.lock().operations
    }
}

impl State {
    fn put(&mut self, id: &str, item: Option<Attributes>) {
        let before = match &item {
            Some(item) => {
                let mut whole = item.clone();
                whole.extend(key_of(id));
                self.items.insert(id.to_owned(), whole)
            }
            None => self.items.remove(id),
        };
        let strip = |item: Attributes| item.into_iter().filter(|(name, _)| name != "noteId").collect::<Attributes>();
        let (before, after) = (before.map(strip), item.map(strip));
        if before != after {
            self.changes.push((id.to_owned(), before, after));
        }
    }

    /// The fault of the next operation.
    fn next(&mut self) -> Result<Option<Fault>, ServiceError> {
        self.operations += 1;
        let dead = ServiceError::Denied { reason: "stopped for good".to_owned() };
        if self.stop_after.is_some_and(|last| self.operations > last) {
            return Err(dead);
        }
        match self.faults.get(&self.operations) {
            Some(Fault::Before) => Err(ServiceError::Unavailable { reason: "reset".to_owned() }),
            Some(Fault::Throttle) => Err(ServiceError::Throttled { reason: "slow down".to_owned() }),
            other => Ok(other.copied()),
        }
    }
}

#[async_trait]
impl DescribedTable for FakeTable {
    async fn describe(&self) -> Result<Option<LiveTable>, ServiceError> {
        let mut state = self.lock();
        state.next()?;
        Ok((!state.gone).then(|| LiveTable {
            id: state.id.clone(),
            stream_label: None,
            key: state.key.clone().unwrap_or_else(names),
            status: "ACTIVE".to_owned(),
            indexes: 0,
            write_units_per_second: None,
        }))
    }
}

#[async_trait]
impl ItemTable for FakeTable {
    async fn get(&self, key: &Attributes) -> Result<Option<Attributes>, ServiceError> {
        let mut state = self.lock();
        let fault = state.next()?;
        state.reads += 1;
        if fault == Some(Fault::After) {
            return Err(ServiceError::Unavailable { reason: "reset".to_owned() });
        }
        Ok(state.items.get(&id_of(key)).cloned())
    }

    async fn write(&self, write: Write<'_>) -> Result<Wrote, ServiceError> {
        // Others get their turn, as between two requests.
        tokio::task::yield_now().await;
        let mut state = self.lock();
        let fault = state.next()?;
        let id = id_of(write.key);
        if let Some(more) = state.sneaks.get_mut(&id).and_then(VecDeque::pop_front) {
            let mut item = state.items.get(&id).cloned().unwrap();
            item.extend(more);
            state.put(&id, Some(item));
        }
        let found = state.items.get(&id).cloned();
        let answer = if holds(write.condition, found.as_ref()) {
            state.writes += 1;
            state.put(&id, write.item.cloned());
            Wrote::Done(found)
        } else {
            Wrote::Refused(found.filter(|_| state.tells))
        };
        match fault {
            Some(Fault::After) => Err(ServiceError::Unavailable { reason: "reset".to_owned() }),
            _ => Ok(answer),
        }
    }
}
