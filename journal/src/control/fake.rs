//! A small cloud in memory: tables, their streams' switches, mappings and metrics, with faults at chosen calls.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;

use super::{ControlError, ControlPlane, Mapping, MappingSettings, MappingState, WriteActivity};
use crate::documents::{KeySchemaElement, TableDocument};
use crate::model::{Second, StreamArn, TableName};
use crate::source::VIEW_NEEDED;
use crate::source::follow::Clock;
use crate::source::stream::{
    Position, RecordsPage, ShardId, ShardIterator, StreamError, StreamPage, StreamService, StreamSight, TableSight,
};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is done.
    Before,
    /// It is done, and the answer is lost.
    After,
    /// It is turned away.
    Throttle,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FakeTable {
    pub(crate) id: u64,
    pub(crate) stream: Option<(u64, bool, String)>,
    pub(crate) tags: BTreeMap<String, String>,
    /// Looks until it is ACTIVE.
    pub(crate) updating: u32,
    pub(crate) billing: String,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) tables: BTreeMap<TableName, FakeTable>,
    pub(crate) mappings: Vec<Mapping>,
    /// Looks until a mapping that changes is enabled, by id.
    changing: BTreeMap<String, u32>,
    pub(crate) activity: Option<Second>,
    /// Metrics cannot be read.
    pub(crate) blind: bool,
    faults: BTreeMap<u64, Fault>,
    /// From this call on everything fails.
    dead_from: Option<u64>,
    pub(crate) calls: u64,
    /// Calls that changed something, in order.
    pub(crate) changes: Vec<String>,
    next: u64,
}

/// The cloud.
#[derive(Debug, Default)]
pub(crate) struct FakeCloud(Mutex<State>);

pub(crate) fn name(text: &str) -> TableName {
    TableName::parse(text).unwrap()
}

fn arn(table: &TableName, label: u64) -> StreamArn {
    StreamArn::parse(&format!("arn:aws:dynamodb:x:0:table/{table}/stream/{label}")).unwrap()
}

impl FakeCloud {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Makes a table; `view` is its stream's.
    pub(crate) fn make_table(&self, table: &str, view: Option<&str>) {
        let mut state = self.state();
        state.next += 1;
        let number = 1000 + state.next;
        let made = FakeTable {
            id: number,
            stream: view.map(|view| (number, true, view.to_owned())),
            tags: BTreeMap::new(),
            updating: 0,
            billing: "PAY_PER_REQUEST".to_owned(),
        };
        state.tables.insert(name(table), made);
    }

    pub(crate) fn delete_table(&self, table: &str) {
        self.state().tables.remove(&name(table));
    }

    pub(crate) fn fail(&self, call: u64, fault: Fault) {
        self.state().faults.insert(call, fault);
    }

    /// From this call on nothing is answered; `done` says that this one is still done.
    pub(crate) fn die_at(&self, call: u64, done: bool) {
        let mut state = self.state();
        state.dead_from = Some(call + 1);
        state.faults.insert(call, if done { Fault::After } else { Fault::Before });
    }

    pub(crate) fn revive(&self) {
        let mut state = self.state();
        state.dead_from = None;
        state.faults.clear();
    }

    fn call<T>(
        &self,
        action: &'static str,
        change: impl FnOnce(&mut State) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        let mut state = self.state();
        state.calls += 1;
        let calls = state.calls;
        let lost = || ControlError::Unavailable { action, object: "it".to_owned(), reason: "planned".to_owned() };
        if state.dead_from.is_some_and(|from| calls >= from) {
            return Err(lost());
        }
        match state.faults.remove(&calls) {
            Some(Fault::Before) => Err(lost()),
            Some(Fault::Throttle) => {
                Err(ControlError::Throttled { action, object: "it".to_owned(), reason: "planned".to_owned() })
            }
            Some(Fault::After) => change(&mut state).and_then(|_| Err(lost())),
            None => change(&mut state),
        }
    }
}

fn stream_error(error: &ControlError) -> StreamError {
    StreamError::Unavailable { action: "DescribeTable", object: "it".to_owned(), reason: error.to_string() }
}

#[async_trait]
impl ControlPlane for FakeCloud {
    async fn list_tables(&self) -> Result<Vec<TableName>, ControlError> {
        self.call("ListTables", |state| Ok(state.tables.keys().cloned().collect()))
    }

    async fn tags(&self, table: &TableName) -> Result<Option<BTreeMap<String, String>>, ControlError> {
        self.call("ListTagsOfResource", |state| Ok(state.tables.get(table).map(|table| table.tags.clone())))
    }

    async fn switch_stream(&self, table: &TableName, on: bool) -> Result<(), ControlError> {
        self.call("UpdateTable", |state| {
            let refuse = |reason: &str| ControlError::Refused {
                action: "UpdateTable",
                object: table.to_string(),
                reason: reason.to_owned(),
            };
            state.next += 1;
            let next = 1000 + state.next;
            let found = state.tables.get_mut(table).ok_or_else(|| refuse("no table"))?;
            if found.updating > 0 {
                let reason = "updating".to_owned();
                return Err(ControlError::Busy { action: "UpdateTable", object: table.to_string(), reason });
            }
            let enabled = found.stream.as_ref().is_some_and(|stream| stream.1);
            match (&mut found.stream, on, enabled) {
                (_, true, true) => return Err(refuse("Table already has an enabled stream")),
                (_, false, false) => return Err(refuse("Table already has a disabled stream")),
                (Some(stream), false, _) => stream.1 = false,
                (stream, true, _) => *stream = Some((next, true, VIEW_NEEDED.to_owned())),
                (None, false, _) => {}
            }
            found.updating = 2;
            state.changes.push(format!("stream {}", if on { "on" } else { "off" }));
            Ok(())
        })
    }

    async fn mappings_of_function(&self, function: &str) -> Result<Vec<Mapping>, ControlError> {
        self.call("ListEventSourceMappings", |state| {
            for mapping in &mut state.mappings {
                if let Some(left) = state.changing.get_mut(&mapping.id) {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        mapping.state = MappingState::Enabled;
                        state.changing.remove(&mapping.id);
                    }
                }
            }
            Ok(state.mappings.iter().filter(|mapping| mapping.function == function).cloned().collect())
        })
    }

    async fn mappings_of_stream(&self, stream: &StreamArn) -> Result<Vec<Mapping>, ControlError> {
        self.call("ListEventSourceMappings", |state| {
            Ok(state.mappings.iter().filter(|mapping| mapping.source == stream.as_str()).cloned().collect())
        })
    }

    async fn make_mapping(
        &self,
        function: &str,
        stream: &StreamArn,
        settings: &MappingSettings,
    ) -> Result<Mapping, ControlError> {
        self.call("CreateEventSourceMapping", |state| {
            let same = |mapping: &Mapping| mapping.function == function && mapping.source == stream.as_str();
            if state.mappings.iter().any(same) {
                let (action, reason) = ("CreateEventSourceMapping", "it exists".to_owned());
                return Err(ControlError::Busy { action, object: stream.to_string(), reason });
            }
            state.next += 1;
            let made = Mapping {
                id: format!("mapping-{}", state.next),
                source: stream.to_string(),
                function: function.to_owned(),
                state: MappingState::Changing,
                reason: None,
                last_result: None,
                modified: None,
                starting_position: Some("TRIM_HORIZON".to_owned()),
                bisect: false,
                retries_max: -1,
                record_age_max: -1,
                filters: 0,
                settings: settings.clone(),
            };
            state.changing.insert(made.id.clone(), 2);
            state.mappings.push(made.clone());
            state.changes.push("mapping made".to_owned());
            Ok(made)
        })
    }

    async fn update_mapping(&self, id: &str, settings: Option<&MappingSettings>) -> Result<(), ControlError> {
        self.call("UpdateEventSourceMapping", |state| {
            if let Some(mapping) = state.mappings.iter_mut().find(|mapping| mapping.id == id) {
                match settings {
                    Some(settings) => {
                        mapping.settings = settings.clone();
                        (mapping.retries_max, mapping.record_age_max) = (-1, -1);
                        mapping.state = MappingState::Changing;
                        state.changing.insert(id.to_owned(), 2);
                    }
                    None => mapping.state = MappingState::Disabled,
                }
            }
            state.changes.push("mapping updated".to_owned());
            Ok(())
        })
    }

    async fn delete_mapping(&self, id: &str) -> Result<(), ControlError> {
        self.call("DeleteEventSourceMapping", |state| {
            state.mappings.retain(|mapping| mapping.id != id);
            state.changes.push("mapping deleted".to_owned());
            Ok(())
        })
    }

    async fn write_activity(&self, table: &TableName, _: Second, _: Second) -> Result<WriteActivity, ControlError> {
        self.call("GetMetricData", |state| {
            if state.blind {
                let (action, reason) = ("GetMetricData", "not allowed".to_owned());
                return Err(ControlError::Denied { action, object: table.to_string(), reason });
            }
            Ok(WriteActivity { last: state.activity, units: 1.0 })
        })
    }
}

#[async_trait]
impl StreamService for FakeCloud {
    async fn find_table(&self, table: &TableName) -> Result<Option<TableSight>, StreamError> {
        let found = self.call("DescribeTable", |state| {
            Ok(state.tables.get_mut(table).map(|found| {
                let status = if found.updating > 0 { "UPDATING" } else { "ACTIVE" };
                found.updating = found.updating.saturating_sub(1);
                TableSight {
                    status: status.to_owned(),
                    table_id: Some(found.id.to_string()),
                    created_milliseconds: Some(found.id * 1000),
                    stream: found.stream.as_ref().map(|(label, enabled, view)| StreamSight {
                        arn: arn(table, *label),
                        enabled: *enabled,
                        view_type: enabled.then(|| view.clone()),
                    }),
                }
            }))
        });
        found.map_err(|error| stream_error(&error))
    }

    async fn describe_table(&self, table: &TableName, now: Second) -> Result<Option<TableDocument>, StreamError> {
        let found = self.call("DescribeTable", |state| {
            let found = state.tables.get(table);
            Ok(found.and_then(|found| {
                let (label, ..) = found.stream.as_ref().filter(|stream| stream.1 && stream.2 == VIEW_NEEDED)?;
                Some(TableDocument {
                    table: table.clone(),
                    stream_arn: arn(table, *label),
                    table_id: Some(found.id.to_string()),
                    key_schema: vec![KeySchemaElement {
                        name: "id".to_owned(),
                        role: "HASH".to_owned(),
                        key_type: "S".to_owned(),
                    }],
                    stream_view_type: VIEW_NEEDED.to_owned(),
                    created_milliseconds: Some(found.id * 1000),
                    described_at: now,
                    description: json!({"BillingModeSummary": {"BillingMode": found.billing}}),
                    time_to_live: None,
                    tags: Some(found.tags.clone()),
                    point_in_time_recovery: None,
                    not_read: Vec::new(),
                })
            }))
        });
        found.map_err(|error| stream_error(&error))
    }

    async fn list_streams(&self, _: &TableName) -> Result<Vec<StreamArn>, StreamError> {
        Ok(Vec::new())
    }

    async fn describe_stream(&self, stream: &StreamArn, _: Option<&ShardId>) -> Result<StreamPage, StreamError> {
        Err(StreamError::NotFound { action: "DescribeStream", object: stream.to_string() })
    }

    async fn get_shard_iterator(
        &self,
        stream: &StreamArn,
        _: &ShardId,
        _: Position,
    ) -> Result<ShardIterator, StreamError> {
        Err(StreamError::NotFound { action: "GetShardIterator", object: stream.to_string() })
    }

    async fn get_records(&self, stream: &StreamArn, _: &ShardIterator) -> Result<RecordsPage, StreamError> {
        Err(StreamError::NotFound { action: "GetRecords", object: stream.to_string() })
    }
}

/// A clock that moves when somebody waits.
#[derive(Debug)]
pub(crate) struct FakeClock(AtomicU64);

impl FakeClock {
    /// At `second`.
    pub(crate) fn at(second: u64) -> Self {
        Self(AtomicU64::new(second * 1000))
    }
}

#[async_trait]
impl Clock for FakeClock {
    fn now_milliseconds(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn running(&self) -> Duration {
        Duration::from_millis(self.now_milliseconds())
    }

    async fn sleep(&self, duration: Duration) {
        self.0.fetch_add(u64::try_from(duration.as_millis()).unwrap(), Ordering::Relaxed);
    }
}
