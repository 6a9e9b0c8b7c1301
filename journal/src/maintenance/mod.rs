//! The scheduled function of the write side: guard, compaction, snapshots, one task an invocation.
//!
//! What enters are invocations: `{"task":"guard"}`, `{"task":"compact"}`, each with `"tables":["name", …]` where only some are meant, or the event that a
//! rule on an audit trail's table calls hands over, which runs the guard for that table at once. What leaves are metrics (`GuardFailures`, `GuardRepairs`,
//! `GuardHeartbeat`), log lines, and the report as the answer. A table that is not protected as it ought to be does not fail the invocation: its metric is
//! the alarm, so that the other tables are looked after all the same.
//!
//! # Environment
//!
//! Besides what [`crate::lambda`] reads:
//!
//! | variable | meaning | without it |
//! |---|---|---|
//! | `JOURNAL_FUNCTION` | the function that streams trigger: name or ARN | the guard fails and says so |
//! | `JOURNAL_TABLES` | the tables that ought to be protected: names, prefixes (`notes-*`), tags (`tag:stage=prod`), `*`; commas in between | those that the journal knows |
//! | `JOURNAL_SWITCH_STREAMS` | `true`: the guard may switch streams on | it only says that one is off |
//! | `JOURNAL_READ_STREAMS` | `false`: the guard does not read streams beside the function | it does |
//! | `JOURNAL_FRESH_SECONDS` | so far the function may be behind before it is an alarm | 900 |
//! | `JOURNAL_BATCH_SIZE`, `JOURNAL_BATCH_WINDOW_SECONDS`, `JOURNAL_PARALLELIZATION`, `JOURNAL_ON_FAILURE` | how mappings read that the guard makes | 1000, 5, 1, no destination |
//!
//! # Permissions
//!
//! For the guard `dynamodb:ListTables`, `ListStreams`, `DescribeTable`, `DescribeTimeToLive`, `DescribeContinuousBackups`, `ListTagsOfResource`, `DescribeStream`,
//! `GetShardIterator`, `GetRecords` (and `UpdateTable` where it may switch streams on), `lambda:ListEventSourceMappings`, `CreateEventSourceMapping`,
//! `UpdateEventSourceMapping`, `cloudwatch:GetMetricData`; of the journal it writes segments of level 0, quarantine, `start.json`, `end.json`, `table.json`, checkpoints, gaps and
//! events.

mod settings;
mod task;

use std::sync::Arc;
use std::time::Duration;

use lambda_runtime::LambdaEvent;
use serde_json::{Value, json};
use tracing::{error, info, warn};

pub use settings::{GuardVariables, VariableError};
pub use task::{Task, TaskError};

use crate::compact::{CompactOptions, CompactReport, compact_table};
use crate::control::AwsControl;
use crate::error::{Kind, Result};
use crate::guard::{GuardEdges, GuardReport, Level, guard, record_call};
use crate::interrupt::Interrupt;
use crate::lambda::{Deadline, Dimension, Measurements, Metric, Process, now, now_milliseconds};
use crate::listing;
use crate::model::TableName;
use crate::protect::Patience;
use crate::source::follow::SystemClock;
use crate::source::stream_sdk::SdkStreams;

/// Does the task of one invocation.
///
/// # Errors
/// When the event names no task, the settings are not enough, or the task as a whole fails.
pub async fn handle(process: Arc<Process>, event: LambdaEvent<Value>) -> Result<Value> {
    let left = Deadline::new(event.context.deadline).left(now_milliseconds());
    match Task::parse(&event.payload)? {
        Task::Guard { tables, call } => {
            let variables = GuardVariables::from_environment()?;
            let edges = GuardEdges {
                service: Arc::new(SdkStreams::new(process.aws())),
                control: Arc::new(AwsControl::new(process.aws())),
                store: Arc::clone(process.journal().await?),
                clock: Arc::new(SystemClock::new()),
            };
            let mut settings = variables.guard();
            settings.only = tables.map(|tables| tables.into_iter().collect());
            settings.patience = Patience { whole: settings.patience.whole.min(left / 3), ..Patience::default() };
            settings.read_budget = left / 3;
            let report = guard(&edges, &settings).await?;
            if let Some(call) = call
                && !report.tables.is_empty()
            {
                record_call(&edges, &call).await?;
            }
            tell(&report);
            let function = process.settings().function.clone();
            Measurements::of(Dimension::Function(function)).with(Metric::GuardHeartbeat, 1).emit();
            Ok(serde_json::to_value(&report).unwrap_or(Value::Null))
        }
        Task::Compact { tables } => compact(&process, tables, left).await,
    }
}

/// Logs and measures what a guard found.
fn tell(report: &GuardReport) {
    for table in &report.tables {
        for finding in &table.findings {
            let (table, code, hint) = (table.table.as_str(), finding.code, finding.hint.as_deref());
            match finding.level {
                Level::Alarm => error!(table, code, hint, "{}", finding.text),
                Level::Notice => info!(table, code, hint, "{}", finding.text),
            }
        }
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Measurements::of(Dimension::Table(table.table.clone()))
            .with(Metric::GuardFailures, count(table.alarms()))
            .with(Metric::GuardRepairs, count(table.repairs.len()))
            .emit();
    }
}

/// Compacts tables until none is left or the time is over. What is stopped in between does no harm, and the next run goes on.
async fn compact(process: &Process, tables: Option<Vec<TableName>>, left: Duration) -> Result<Value> {
    let store = process.journal().await?;
    let tables = match tables {
        Some(tables) => tables,
        None => listing::tables(store.as_ref()).await?,
    };
    let interrupt = Interrupt::manual();
    let alarm = interrupt.clone();
    // A step that is under way finishes: the rest of the time is for it.
    let timer = tokio::spawn(async move {
        tokio::time::sleep(left.mul_f64(0.8)).await;
        alarm.trigger();
    });
    let mut report = CompactReport::default();
    let mut unfinished = Vec::new();
    let mut failure = None;
    for table in tables {
        if interrupt.requested() {
            unfinished.push(table);
            continue;
        }
        let options = CompactOptions::default();
        match compact_table(Arc::clone(store), &table, now(), &options, &interrupt, |_| {}).await {
            Ok(done) => report += done,
            Err(stopped) if stopped.kind() == Kind::Interrupted => unfinished.push(table),
            // The other tables are compacted all the same.
            Err(failed) => {
                error!(%table, hint = failed.hint(), "compaction failed: {failed}");
                failure.get_or_insert(failed);
            }
        }
    }
    timer.abort();
    if !unfinished.is_empty() {
        warn!(tables = unfinished.len(), "the time was over before every table was compacted; the next run goes on");
    }
    match failure {
        Some(failed) => Err(failed),
        None => Ok(json!({"report": report, "unfinished": unfinished})),
    }
}
