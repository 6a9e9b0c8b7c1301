//! Our restore, watched: how long its writing took, and what it cost this process.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableInputBuilder;
use journal::cut::Cut;
use journal::interrupt::Interrupt;
use journal::merge::MergeOptions;
use journal::model::{Second, TableName};
use journal::source::attribute::write_dynamodb_json;
use journal::store::ReadStore;
use journal::table::recreate::{PointInTimeRecovery, SettingsAfter};
use replayer::cut::CutRequest;
use replayer::digest::ItemHash;
use replayer::plan::{ReplayPlan, ReplayRequest, plan};
use replayer::restore::Source as RunSource;
use replayer::restore::{
    DynamoDb, PutBatch, Restore, RestoreOptions, RunFile, ScanPage, SdkItem, ServiceError, Step, TableService,
    TargetPlan, TargetTable,
};
use replayer::state::{EncodedItem, Flow, Selection, visit_encoded, visit_items};
use tokio::runtime::Runtime;

use crate::cases::replay::alone;
use crate::history;
use crate::measure::{Cost, processor_seconds};

/// Connections of every writer.
pub(super) const CONNECTIONS: usize = 16;

/// The state that is restored.
pub(super) struct Source {
    store: Arc<dyn ReadStore>,
    plan: ReplayPlan,
}

impl Source {
    pub(super) fn new(runtime: &Runtime, store: Arc<dyn ReadStore>, last: Second) -> Self {
        let request = ReplayRequest {
            table: history::table(),
            cut: CutRequest::Cut(Cut::at(last)),
            timeline: None,
            allow_partial: false,
        };
        let plan = runtime.block_on(plan(store.as_ref(), &request)).expect("a plan");
        Self { store, plan }
    }

    /// All items as DynamoDB JSON.
    pub(super) fn items(&self, runtime: &Runtime) -> Vec<String> {
        let (store, options, never) = (Arc::clone(&self.store), MergeOptions::default(), Interrupt::never());
        let visit = |items: &mut Vec<String>, item: replayer::state::Item<'_>| {
            let mut text = Vec::new();
            write_dynamodb_json(&item.attributes, &mut text).expect("memory can be written");
            items.push(String::from_utf8_lossy(&text).into_owned());
            Ok(Flow::Continue)
        };
        let visited = visit_items(store, &self.plan, Selection::default(), options, &never, Vec::new(), visit);
        runtime.block_on(visited).expect("a visit").0
    }

    /// Reads and hashes all items, and does nothing else with them: nothing is decoded.
    pub(super) fn count(&self, runtime: &Runtime) -> u64 {
        let (store, options, never) = (Arc::clone(&self.store), alone(), Interrupt::never());
        let count = |count: &mut u64, item: EncodedItem<'_>| {
            *count += 1;
            Ok((Flow::Continue, ItemHash::of_bytes(item.key, item.image)))
        };
        let visited = visit_encoded(store, &self.plan, Selection::default(), options, &never, 0, count);
        runtime.block_on(visited).expect("a visit").0
    }
}

/// What a restore took.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    /// From the first item that was read to the last that was written.
    pub(super) writing: Cost,
    /// Seconds of the whole restore; none when the table was not proven, as on a server that keeps nothing.
    pub(super) proven: Option<f64>,
    /// Items written.
    pub(super) items: u64,
}

/// Which way requests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// As a restore sends them.
    Straight,
    /// Each through all of the SDK's client, with the same body.
    Client,
}

/// A restore into a table that is made for it.
pub(super) struct Ours {
    service: Arc<dyn TableService>,
    table: TableName,
}

/// When something was, by both clocks.
#[derive(Clone, Copy)]
struct Mark(Instant, f64);

impl Mark {
    fn now() -> Self {
        Self(Instant::now(), processor_seconds())
    }
}

#[derive(Default)]
struct Marks {
    begin: Option<Mark>,
    end: Option<Mark>,
    items: u64,
}

impl Ours {
    pub(super) fn new(client: &Client, table: &str) -> Self {
        Self::through(client, table, Way::Straight)
    }

    /// Each batch's requests go this way.
    pub(super) fn through(client: &Client, table: &str, way: Way) -> Self {
        let table = TableName::parse(table).expect("a name");
        let inner = DynamoDb::new(client.clone());
        Self { service: Arc::new(Watched { client: client.clone(), inner, way, made: Mutex::new(None) }), table }
    }

    pub(super) fn restore(&mut self, runtime: &Runtime, source: &Source) -> Result<State, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let timeline = &source.plan.timeline;
        let mut run = RunFile::new(
            folder.path().join("run.json"),
            RunSource::new("bench".to_owned(), "bench".to_owned(), source.plan.cut, false, None),
            (timeline.table.clone(), timeline.label.clone()),
            self.table.clone(),
        );
        let target = TargetPlan {
            name: self.table.clone(),
            input: super::peers::table_input(self.table.as_str()),
            settings: SettingsAfter::default(),
            notes: Vec::new(),
        };
        let marks = Mutex::new(Marks::default());
        let progress = |step: Step, items: u64, _: Option<u64>| {
            let mut marks = marks.lock().expect("a lock");
            match step {
                Step::Writing => {
                    marks.begin.get_or_insert_with(Mark::now);
                    marks.items = items;
                }
                Step::Reading => {
                    marks.end.get_or_insert_with(Mark::now);
                }
                _ => {}
            }
        };
        let options = RestoreOptions { concurrency: CONNECTIONS, merge: alone(), ..RestoreOptions::default() };
        let never = Interrupt::never();
        let restore = Restore {
            store: Arc::clone(&source.store),
            plan: &source.plan,
            selection: Selection::default(),
            service: Arc::clone(&self.service),
            options: &options,
            interrupt: &never,
            progress: &progress,
        };
        let begin = Instant::now();
        let done = runtime.block_on(restore.run(&target, &mut run));
        let whole = begin.elapsed().as_secs_f64();
        drop(restore);
        let marks = marks.into_inner().expect("a lock");
        let (Some(begin), Some(end)) = (marks.begin, marks.end) else {
            return Err(done.err().map_or_else(|| "nothing was written".to_owned(), |error| error.to_string()));
        };
        let writing = Cost { clock: (end.0 - begin.0).as_secs_f64(), processor: end.1 - begin.1 };
        Ok(State { writing, proven: done.is_ok_and(|report| report.proven).then_some(whole), items: marks.items })
    }
}

/// The service, but that a server which knows nothing of tables seems to make them.
#[derive(Debug)]
struct Watched {
    client: Client,
    inner: DynamoDb,
    way: Way,
    made: Mutex<Option<TargetTable>>,
}

impl Watched {
    fn made(&self) -> Option<TargetTable> {
        self.made.lock().expect("a lock").clone()
    }
}

#[async_trait]
impl TableService for Watched {
    async fn describe(&self, table: &TableName) -> Result<Option<TargetTable>, ServiceError> {
        match self.inner.describe(table).await {
            Err(ServiceError::Answer { .. }) => Ok(self.made()),
            other => other,
        }
    }

    async fn create(&self, input: CreateTableInputBuilder) -> Result<TargetTable, ServiceError> {
        match self.inner.create(input).await {
            Err(ServiceError::Answer { .. }) => {
                let table = TargetTable {
                    arn: None,
                    id: Some("made".to_owned()),
                    created_milliseconds: None,
                    status: "ACTIVE".to_owned(),
                    indexes_active: true,
                };
                *self.made.lock().expect("a lock") = Some(table.clone());
                Ok(table)
            }
            other => other,
        }
    }

    async fn put(&self, batch: &PutBatch) -> Result<Vec<usize>, ServiceError> {
        match self.way {
            Way::Straight => self.inner.put(batch).await,
            // A service that has sent nothing yet has only the client's way.
            Way::Client => DynamoDb::new(self.client.clone()).put(batch).await,
        }
    }

    async fn scan(
        &self,
        table: &TableName,
        segment: i32,
        total: i32,
        start: Option<SdkItem>,
    ) -> Result<ScanPage, ServiceError> {
        self.inner.scan(table, segment, total, start).await
    }

    async fn set_time_to_live(&self, table: &TableName, attribute: &str) -> Result<(), ServiceError> {
        self.inner.set_time_to_live(table, attribute).await
    }

    async fn tag(&self, arn: &str, tags: &[(String, String)]) -> Result<(), ServiceError> {
        self.inner.tag(arn, tags).await
    }

    async fn set_recovery(&self, table: &TableName, recovery: PointInTimeRecovery) -> Result<(), ServiceError> {
        self.inner.set_recovery(table, recovery).await
    }

    async fn protect(&self, table: &TableName) -> Result<(), ServiceError> {
        self.inner.protect(table).await
    }
}
