//! The scheduled function of the write side: guard, and upkeep (compaction and snapshots), one task an invocation.
//!
//! What enters are invocations: `{"task":"guard"}`, `{"task":"upkeep"}`, each with `"tables":["name", …]` where only some are meant, or the event that a
//! rule on an audit trail's table calls hands over, which runs the guard for that table at once. What leaves are metrics (`GuardFailures`, `GuardRepairs`,
//! `GuardHeartbeat`), log lines, and the report as the answer. A table that is not protected as it ought to be does not fail the invocation: its metric is
//! the alarm, so that the other tables are looked after all the same. Upkeep of which a table fails does fail the invocation, after the others: Lambda's
//! count of errors is that alarm. One that runs out of time says so and is no failure: the next run goes on.
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
//! | `JOURNAL_SNAPSHOT_MIB` | a snapshot is made where a replay from the last would read more segments than this, in MiB | 256 |
//! | `JOURNAL_GRACE_HOURS` | how long segments stay after they were merged, and what a dead snapshot left: longer than any replay takes | 24 |
//!
//! # Permissions
//!
//! For the guard `dynamodb:ListTables`, `ListStreams`, `DescribeTable`, `DescribeTimeToLive`, `DescribeContinuousBackups`, `ListTagsOfResource`, `DescribeStream`,
//! `GetShardIterator`, `GetRecords` (and `UpdateTable` where it may switch streams on), `lambda:ListEventSourceMappings`, `CreateEventSourceMapping`,
//! `UpdateEventSourceMapping`, `cloudwatch:GetMetricData`; of the journal it writes segments of level 0, quarantine, `start.json`, `end.json`, `table.json`, checkpoints, gaps and
//! events. Upkeep reads the journal, writes segments, `compactions/` and `snapshots/`, and sets delete markers there. `infra/template.yaml` has both as roles.

mod settings;
mod task;

use std::sync::Arc;
use std::time::Duration;

use lambda_runtime::LambdaEvent;
use serde_json::{Value, json};
use tracing::{error, info, warn};

pub use settings::{GuardVariables, VariableError, upkeep_from_environment};
pub use task::{Task, TaskError};

use crate::error::Result;
use crate::guard::{GuardEdges, GuardReport, Level, guard, record_call};
use crate::interrupt::Interrupt;
use crate::lambda::{Deadline, Dimension, Measurements, Metric, Process, now, now_milliseconds};
use crate::model::TableName;
use crate::protect::Patience;
use crate::upkeep::upkeep;

/// Does the task of one invocation.
///
/// # Errors
/// When the event names no task, the settings are not enough, or the task as a whole fails.
pub async fn handle(process: Arc<Process>, event: LambdaEvent<Value>) -> Result<Value> {
    let left = Deadline::new(event.context.deadline).left(now_milliseconds());
    match Task::parse(&event.payload)? {
        Task::Guard { tables, call } => {
            let variables = GuardVariables::from_environment()?;
            let edges = GuardEdges::of_aws(process.aws(), Arc::clone(process.journal().await?));
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
        Task::Upkeep { tables } => look_after(&process, tables, left).await,
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

/// Compacts tables and makes snapshots until nothing is due or the time is over. What is stopped in between does no harm, and the next run goes on.
async fn look_after(process: &Process, tables: Option<Vec<TableName>>, left: Duration) -> Result<Value> {
    let Some(store) = process.existing_journal().await? else {
        info!("nothing lies where the journal is to be: there is nothing to look after yet");
        return Ok(json!({"finished": true}));
    };
    let mut options = upkeep_from_environment()?;
    options.budget = Some(budget(left));
    let report = upkeep(Arc::clone(store), tables.as_deref(), now(), &options, &Interrupt::never()).await?;
    for failed in &report.failed {
        error!(table = %failed.table, hint = failed.hint, "upkeep failed: {}", failed.reason);
    }
    for segment in &report.snapshot.undated {
        let (timeline, object) = (&segment.timeline, &segment.object);
        warn!(%timeline, object, count = segment.count, "no snapshot can be made: records have no second");
    }
    if !report.finished {
        warn!(tables = report.tables, "the time was over before all that is due was done; the next run goes on");
    }
    match report.failed.first() {
        Some(first) => Err(TaskError::Failed {
            count: report.failed.len(),
            first: first.table.clone(),
            reason: first.reason.clone(),
            kind: first.kind,
        }
        .into()),
        None => Ok(serde_json::to_value(&report).unwrap_or(Value::Null)),
    }
}

/// How long a run may work that has `left` until Lambda ends it: a step that is under way finishes, and the rest of the time is for it.
fn budget(left: Duration) -> Duration {
    left.saturating_sub(Duration::from_secs(30)).max(left / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_leaves_time_for_the_step_that_is_under_way() {
        assert_eq!(budget(Duration::from_mins(15)), Duration::from_secs(870));
        assert_eq!(budget(Duration::from_secs(40)), Duration::from_secs(20));
        assert_eq!(budget(Duration::ZERO), Duration::ZERO);
    }
}
