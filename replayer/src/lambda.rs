//! The scheduled function of the read side: it verifies the journal.
//!
//! What enters are invocations: `{"task":"verify"}`, with `"tables":["name", …]` where only some are meant. What leaves are the metric `VerifyFailures` of each
//! table, log lines that name what is unsound, and the reports, without their lists, as the answer. It reads every byte of the tables it checks: where the time of one
//! invocation is not enough for all, each day's runs begin with another table, and what was not reached is said. Writes nothing.

use std::sync::Arc;

use journal::error::{Classify, Kind, Result};
use journal::interrupt::Interrupt;
use journal::lambda::{Deadline, Dimension, LambdaEvent, Measurements, Metric, Process, now, now_milliseconds};
use journal::model::TableName;
use serde_json::{Value, json};
use thiserror::Error;
use tracing::{error, info};

use crate::listing;
use crate::merge::MergeOptions;
use crate::verify::{TimelineReport, verify_table};

/// Why an invocation asks for nothing that can be done.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum TaskError {
    /// No such task.
    #[error("there is no task {task}")]
    Unknown {
        /// What the event has in its place.
        task: String,
    },
    /// The tables are not a list of names.
    #[error("the event's tables are not a list of table names: {reason}")]
    Tables {
        /// What is wrong.
        reason: String,
    },
}

impl Classify for TaskError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some(r#"invoke it with {"task":"verify"}, and "tables":["name"] where only some are meant"#.to_owned())
    }
}

/// The tables that an event names; none for all.
fn asked(event: &Value) -> Result<Option<Vec<TableName>>, TaskError> {
    if event.get("task").and_then(Value::as_str) != Some("verify") {
        let task = event.get("task").unwrap_or(event).to_string();
        return Err(TaskError::Unknown { task: task.chars().take(200).collect() });
    }
    let Some(tables) = event.get("tables").filter(|tables| !tables.is_null()) else { return Ok(None) };
    let refuse = |reason: String| TaskError::Tables { reason };
    let names = tables.as_array().ok_or_else(|| refuse("it is no list".to_owned()))?;
    let parse = |name: &Value| {
        let text = name.as_str().ok_or_else(|| refuse(format!("{name} is no text")))?;
        TableName::parse(text).map_err(|error| refuse(error.to_string()))
    };
    names.iter().map(parse).collect::<Result<Vec<_>, _>>().map(Some)
}

/// All tables, beginning with another one each day.
fn in_turn(mut tables: Vec<TableName>, day: u64) -> Vec<TableName> {
    if let Some(count) = u64::try_from(tables.len()).ok().filter(|count| *count > 0) {
        tables.rotate_left(usize::try_from(day % count).unwrap_or_default());
    }
    tables
}

/// Verifies the tables that an invocation asks for. What is unsound does not fail the invocation: its metric is the alarm, and the other tables are
/// checked all the same.
///
/// # Errors
/// When the event asks for nothing that can be done, or the journal cannot be read.
pub async fn handle(process: Arc<Process>, event: LambdaEvent<Value>) -> Result<Value> {
    let left = Deadline::new(event.context.deadline).left(now_milliseconds());
    let asked = asked(&event.payload)?;
    let Some(store) = process.existing_journal().await? else {
        info!("nothing lies where the journal is to be: there is nothing to verify yet");
        return Ok(json!({"reports": [], "unfinished": []}));
    };
    let store: Arc<dyn journal::store::ReadStore> = store.clone();
    let tables = match asked {
        Some(tables) => tables,
        None => in_turn(listing::tables(store.as_ref()).await?, now().get() / 86_400),
    };
    let interrupt = Interrupt::manual();
    let alarm = interrupt.clone();
    let timer = tokio::spawn(async move {
        tokio::time::sleep(left.mul_f64(0.9)).await;
        alarm.trigger();
    });
    let mut answers = Vec::new();
    let mut unfinished = Vec::new();
    for table in tables {
        let checked = if interrupt.requested() {
            None
        } else {
            tokio::select! {
                checked = verify_table(store.clone(), &table, MergeOptions::default(), &interrupt, |_| {}) => Some(checked),
                () = interrupt.wait() => None,
            }
        };
        match checked {
            None => unfinished.push(table),
            Some(Err(stopped)) if stopped.kind() == Kind::Interrupted => unfinished.push(table),
            Some(Err(failed)) => {
                error!(%table, hint = failed.hint(), "the table could not be verified: {failed}");
                measure(&table, 1);
                answers.push(json!({"table": table, "error": failed.to_string()}));
            }
            Some(Ok(reports)) => {
                measure(&table, reports.iter().filter(|report| report.verdict().is_some()).count());
                answers.extend(reports.iter().map(tell));
            }
        }
    }
    timer.abort();
    if !unfinished.is_empty() {
        let names: Vec<&str> = unfinished.iter().map(TableName::as_str).collect();
        error!(
            tables = names.join(","),
            hint = "raise the function's timeout and memory, or schedule each of them with \"tables\"",
            "the time was over before these tables were verified"
        );
    }
    Ok(json!({"reports": answers, "unfinished": unfinished}))
}

fn measure(table: &TableName, failures: usize) {
    let failures = u64::try_from(failures).unwrap_or(u64::MAX);
    Measurements::of(Dimension::Table(table.clone())).with(Metric::VerifyFailures, failures).emit();
}

/// Logs what a report found; its counts.
fn tell(report: &TimelineReport) -> Value {
    let (table, timeline) = (report.table.as_str(), report.timeline.as_str());
    for problem in report.problems.iter().take(20) {
        error!(table, timeline, object = problem.object, "unsound: {}", problem.problem);
    }
    for found in report.breaks.iter().filter(|found| found.stated.is_none()).take(20) {
        // Keys are items' contents: only where the records are is logged.
        error!(table, timeline, before = %found.before.sequence, "a change is missing before this record");
    }
    let verdict = match report.verdict() {
        None => "sound",
        Some(Kind::Corrupt) => "unsound",
        Some(_) => "changes missing",
    };
    info!(table, timeline, verdict, records = report.records, segments = report.segments, "verified");
    json!({
        "table": table, "timeline": timeline, "verdict": verdict, "segments": report.segments, "records": report.records,
        "bytes": report.bytes, "unsound": report.unsound, "contradictions": report.contradictions, "broken": report.broken,
        "gaps": report.gaps.len(), "quarantined": report.quarantined,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_verify_is_a_task_and_tables_are_names() {
        assert_eq!(asked(&json!({"task": "verify"})).unwrap(), None);
        let one = asked(&json!({"task": "verify", "tables": ["notes"]})).unwrap().unwrap();
        assert_eq!(one, [TableName::parse("notes").unwrap()]);
        for (bad, says) in [
            (json!({}), "no task"),
            (json!({"task": "guard"}), "guard"),
            (json!({"task": "verify", "tables": {}}), "no list"),
            (json!({"task": "verify", "tables": [1]}), "1 is no text"),
        ] {
            assert!(asked(&bad).unwrap_err().to_string().contains(says));
        }
    }

    #[test]
    fn every_table_is_the_first_one_some_day() {
        let tables: Vec<TableName> = ["aaa", "bbb", "ccc"].iter().map(|name| TableName::parse(name).unwrap()).collect();
        let first: std::collections::BTreeSet<TableName> =
            (0..3).map(|day| in_turn(tables.clone(), day)[0].clone()).collect();
        assert_eq!(first.len(), 3);
        assert!(in_turn(Vec::new(), 1).is_empty());
    }
}
