//! One follower a table, begun before the table's first client hears of it.
//!
//! The embedded endpoint asks here before it answers `CreateTable` and before it lets `DeleteTable` through: a table's
//! timeline has then begun in the journal, so its follower knows the stream and drains it even when the table is gone
//! at once. Tables that were there before are found by listing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::types::{StreamSpecification, StreamViewType, TableDescription};
use tokio::task::JoinHandle;

use super::stack::{Listener, Notice};
use crate::documents::{self, EndDocument, SnapshotDocument, StartDocument};
use crate::embedded::{self, EmbeddedError, Endpoints, TableWatch, dynamodb_client};
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::layout;
use crate::model::{StreamArn, TableName, Timeline, TimelineLabel};
use crate::source::follow::{Edges, FollowError, FollowOptions, Stop, StoreAppend, SystemClock, follow};
use crate::source::stream_sdk::SdkStreams;
use crate::store::WriteStore;
use crate::table::{BaselineOptions, TableError, baseline};

/// How often tables are listed.
const LIST_EVERY: Duration = Duration::from_secs(1);
/// How often a waiting client's timeline is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a client waits for its table's timeline to begin.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);
/// How often an idle stream is read.
const POLL: Duration = Duration::from_millis(200);
/// How long a follower that failed rests.
const REST: Duration = Duration::from_secs(1);

/// The followers of all tables of one endpoint.
pub(super) struct Followers {
    /// Past the front: its hooks call back here.
    tables: aws_sdk_dynamodb::Client,
    edges: Edges,
    stop: Stop,
    leave_streams_alone: bool,
    listener: Listener,
    running: tokio::sync::Mutex<BTreeMap<TableName, JoinHandle<()>>>,
    /// Tables whose timeline began or was taken up, and of which nobody has looked yet whether they need a baseline.
    unchecked: Mutex<BTreeSet<TableName>>,
    /// Made when the stack stops: a baseline ends then, and is taken at the next start.
    interrupt: Interrupt,
    /// What was told of a table, by its id, and need not be again.
    told: Mutex<BTreeSet<(String, Notice)>>,
}

impl fmt::Debug for Followers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followers").field("edges", &self.edges).finish_non_exhaustive()
    }
}

impl Followers {
    pub(super) fn new(
        endpoints: &Endpoints,
        store: Arc<dyn WriteStore>,
        leave_streams_alone: bool,
        listener: Listener,
    ) -> Self {
        let tables = dynamodb_client(&endpoints.engine);
        let service = SdkStreams::new(&embedded::settings(&endpoints.public));
        let edges = Edges {
            service: Arc::new(service),
            durable: Arc::new(StoreAppend::new(Arc::clone(&store))),
            store,
            clock: Arc::new(SystemClock::new()),
        };
        Self {
            tables,
            edges,
            stop: Stop::new(),
            leave_streams_alone,
            listener,
            running: tokio::sync::Mutex::default(),
            unchecked: Mutex::default(),
            interrupt: Interrupt::manual(),
            told: Mutex::default(),
        }
    }

    /// Takes up every table that is there, and every one whose stream the journal has not to its end.
    pub(super) async fn take_up_all(self: &Arc<Self>) -> Result<()> {
        for table in self.unfinished().await? {
            self.run(&table).await;
        }
        for table in self.list().await? {
            self.take_up(&table).await?;
        }
        Ok(())
    }

    /// Takes up tables that appear, and gives a baseline to those that need one, until the stop.
    pub(super) async fn poll(self: Arc<Self>) {
        loop {
            if let Err(error) = self.take_up_new().await {
                self.tell(Notice::Failed { what: "looking for tables".to_owned(), reason: error.to_string() });
            }
            let unchecked = std::mem::take(&mut *self.unchecked.lock().unwrap_or_else(PoisonError::into_inner));
            for table in unchecked {
                if let Err(error) = self.complete(&table).await
                    && !self.stop.requested()
                {
                    let what = format!("reading table {table} into a baseline");
                    self.tell(Notice::Failed { what, reason: error.to_string() });
                    self.check_later(&table);
                }
            }
            tokio::select! {
                biased;
                () = self.stop.wait() => return,
                () = tokio::time::sleep(LIST_EVERY) => {}
            }
        }
    }

    fn check_later(&self, table: &TableName) {
        self.unchecked.lock().unwrap_or_else(PoisonError::into_inner).insert(table.clone());
    }

    /// Takes a baseline of a table that is older than its stream and has none in the stream's timeline.
    async fn complete(&self, table: &TableName) -> Result<()> {
        let store = &self.edges.store;
        let stream = self.describe(table).await?.and_then(|table| table.latest_stream_arn);
        let Some(stream) = stream.map(|stream| StreamArn::parse(&stream)).transpose()? else { return Ok(()) };
        let start: Option<StartDocument> =
            documents::read(store.as_ref(), &layout::start_document(stream.timeline())).await?;
        if start.is_none_or(|start| start.whole) {
            return Ok(());
        }
        for name in store.list_folders(&layout::snapshots_folder(stream.timeline())).await? {
            let key = layout::snapshot_document(stream.timeline(), &name);
            if documents::read::<SnapshotDocument>(store.as_ref(), &key).await?.is_some() {
                return Ok(());
            }
        }
        let options = BaselineOptions::default();
        let report = baseline(&self.tables, Arc::clone(store), table, &options, &self.interrupt, |_| {}).await?;
        self.tell(Notice::Baseline { table: table.clone(), items: report.snapshot.items });
        Ok(())
    }

    /// Ends what is not bound to end by itself.
    pub(super) fn interrupt(&self) {
        self.stop.request();
        self.interrupt.trigger();
    }

    async fn take_up_new(self: &Arc<Self>) -> Result<()> {
        for table in self.list().await? {
            let runs = self.running.lock().await.get(&table).is_some_and(|follower| !follower.is_finished());
            if !runs {
                self.take_up(&table).await?;
            }
        }
        Ok(())
    }

    /// After the stop, and when nothing writes any more: ends all followers, then reads every stream to its end.
    pub(super) async fn drain(&self) -> Result<()> {
        for (_, follower) in std::mem::take(&mut *self.running.lock().await) {
            // Its errors were told when they happened.
            let _ = follower.await;
        }
        let tables = self.unfinished().await?;
        let options = FollowOptions { once: true, ..options() };
        let report = follow(self.edges.clone(), tables, options, Stop::new()).await;
        // A table whose stream is switched off or of another kind by now has nothing more to follow. What it had is drained
        // all the same, and a failure of that comes first.
        let failure = report.tables.into_iter().filter_map(|(_, _, failure)| failure).find(|failure| {
            let problem = failure.downcast_ref();
            !matches!(problem, Some(FollowError::NoStream { .. } | FollowError::ViewType { .. }))
        });
        failure.map_or(Ok(()), Err)
    }

    /// Sees to it that the table is followed, if it can be, and that its timeline has begun.
    async fn take_up(self: &Arc<Self>, table: &TableName) -> Result<()> {
        let Some(description) = self.describe(table).await? else { return Ok(()) };
        let id = description.table_id().unwrap_or_default().to_owned();
        let stream = description.stream_specification().filter(|stream| stream.stream_enabled());
        match stream.map(|stream| stream.stream_view_type()) {
            None if self.leave_streams_alone => {
                let reason = "it has no stream, and streams are left alone".to_owned();
                self.tell_once(&id, Notice::NotFollowed { table: table.clone(), reason });
                return Ok(());
            }
            None if self.was_told(&id, &Notice::Following(table.clone())) => {
                let reason = "its stream was switched off; switch it on, or start again".to_owned();
                self.tell_once(&id, Notice::NotFollowed { table: table.clone(), reason });
                return Ok(());
            }
            None => {
                self.switch_on(table).await?;
                self.tell_once(&id, Notice::StreamSwitchedOn(table.clone()));
            }
            Some(Some(StreamViewType::NewAndOldImages)) => {}
            Some(other) => {
                let view = other.map_or("unknown", StreamViewType::as_str);
                let reason = format!("its stream has view type {view}; NEW_AND_OLD_IMAGES is needed");
                self.tell_once(&id, Notice::NotFollowed { table: table.clone(), reason });
                return Ok(());
            }
        }
        self.begin(table, &id).await
    }

    /// Runs the follower until the timeline of the table's stream has begun.
    async fn begin(self: &Arc<Self>, table: &TableName, id: &str) -> Result<()> {
        let begun = async {
            loop {
                let Some(stream) = self.describe(table).await?.and_then(|table| table.latest_stream_arn) else {
                    return Ok(());
                };
                let key = layout::start_document(StreamArn::parse(&stream)?.timeline());
                self.run(table).await;
                if documents::read::<StartDocument>(self.edges.store.as_ref(), &key).await?.is_some() {
                    self.tell_once(id, Notice::Following(table.clone()));
                    self.check_later(table);
                    return Ok(());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(BEGIN_WITHIN, begun).await.unwrap_or_else(|_| {
            Err(FollowError::Ended {
                what: format!("table {table}"),
                reason: format!("its timeline did not begin within {} seconds", BEGIN_WITHIN.as_secs()),
            }
            .into())
        })
    }

    /// Starts the table's follower where it does not run.
    async fn run(self: &Arc<Self>, table: &TableName) {
        let mut running = self.running.lock().await;
        let runs = running.get(table).is_some_and(|follower| !follower.is_finished());
        if !runs && !self.stop.requested() {
            running.insert(table.clone(), tokio::spawn(Arc::clone(self).follow(table.clone())));
        }
    }

    /// Follows a table until its streams have ended or the stop; after a failure, again.
    async fn follow(self: Arc<Self>, table: TableName) {
        loop {
            let options = FollowOptions { wait: true, until_ended: true, ..options() };
            let report = follow(self.edges.clone(), vec![table.clone()], options, self.stop.clone()).await;
            let Some(failure) = report.tables.into_iter().find_map(|(_, _, failure)| failure) else { return };
            if self.stop.requested() {
                return;
            }
            self.tell(Notice::Failed { what: format!("following table {table}"), reason: failure.to_string() });
            tokio::select! {
                () = self.stop.wait() => return,
                () = tokio::time::sleep(REST) => {}
            }
        }
    }

    /// Tables with a timeline in the journal that has begun and not ended.
    async fn unfinished(&self) -> Result<Vec<TableName>> {
        let store = self.edges.store.as_ref();
        let mut unfinished = Vec::new();
        for folder in store.list_folders("").await? {
            let Ok(table) = TableName::parse(&folder) else { continue };
            for label in store.list_folders(&layout::table_folder(&table)).await? {
                let Ok(label) = TimelineLabel::parse(&label) else { continue };
                let timeline = Timeline { table: table.clone(), label };
                let begun: Option<StartDocument> = documents::read(store, &layout::start_document(&timeline)).await?;
                let ended: Option<EndDocument> = documents::read(store, &layout::end_document(&timeline)).await?;
                if begun.is_some() && ended.is_none() {
                    unfinished.push(table.clone());
                    break;
                }
            }
        }
        Ok(unfinished)
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        let mut pages = self.tables.list_tables().into_paginator().items().send();
        let mut tables = Vec::new();
        while let Some(table) = pages.next().await {
            let table = table.map_err(|error| EmbeddedError::Server {
                reason: format!("ListTables failed: {}", DisplayErrorContext(&error)),
            })?;
            tables.push(TableName::parse(&table)?);
        }
        Ok(tables)
    }

    async fn describe(&self, table: &TableName) -> Result<Option<TableDescription>> {
        match self.tables.describe_table().table_name(table.as_str()).send().await {
            Ok(answer) => Ok(answer.table),
            Err(error) => match TableError::of("DescribeTable", table, &error) {
                TableError::NotFound { .. } => Ok(None),
                error => Err(error.into()),
            },
        }
    }

    async fn switch_on(&self, table: &TableName) -> Result<()> {
        let action = "UpdateTable";
        let stream =
            StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewAndOldImages);
        let stream = stream.build().map_err(|error| TableError::Refused {
            action,
            table: table.clone(),
            reason: error.to_string(),
        })?;
        let request = self.tables.update_table().table_name(table.as_str()).stream_specification(stream);
        request.send().await.map_err(|error| TableError::of(action, table, &error))?;
        Ok(())
    }

    fn tell(&self, notice: Notice) {
        (self.listener)(notice);
    }

    /// Tells what was not told of this table before.
    fn tell_once(&self, id: &str, notice: Notice) {
        let is_new = self.told.lock().unwrap_or_else(PoisonError::into_inner).insert((id.to_owned(), notice.clone()));
        if is_new {
            self.tell(notice);
        }
    }

    fn was_told(&self, id: &str, notice: &Notice) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.contains(&(id.to_owned(), notice.clone()))
    }
}

fn options() -> FollowOptions {
    FollowOptions {
        poll: POLL,
        table_poll: POLL,
        batch_age: POLL,
        checkpoint_age: Duration::from_secs(1),
        relist: Duration::from_secs(1),
        // The embedded service is never behind with its descriptions.
        end_grace: Duration::ZERO,
        ..FollowOptions::default()
    }
}

#[async_trait]
impl TableWatch for Arc<Followers> {
    fn adds_streams(&self) -> bool {
        !self.leave_streams_alone
    }

    async fn after_change(&self, table: &TableName, stream_added: bool) {
        if stream_added && let Ok(Some(description)) = self.describe(table).await {
            let id = description.table_id().unwrap_or_default();
            self.tell_once(id, Notice::StreamSwitchedOn(table.clone()));
        }
        // Where this fails the poll tries again, and a delete waits.
        if let Err(error) = self.take_up(table).await {
            self.tell(Notice::Failed { what: format!("following table {table}"), reason: error.to_string() });
        }
    }

    async fn before_delete(&self, table: &TableName) -> std::result::Result<(), String> {
        self.take_up(table).await.map_err(|error| error.to_string())
    }
}
