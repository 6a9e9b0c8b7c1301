//! One event: grouped by timeline, made durable, measured, answered.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use futures::future::join_all;
use serde_json::{Value, json};

use super::error::TriggerError;
use super::event::StreamEvent;
use super::first_sight::Sights;
use crate::append::{self, AppendReport, Batch};
use crate::error::{Error, Result};
use crate::lambda::{self, Deadline, Dimension, LambdaEvent, Measurements, Metric, Process};
use crate::model::{Second, StreamArn, TableName};
use crate::store::WriteStore;

/// The trigger in one process.
#[derive(Debug, Default)]
pub struct Trigger {
    tables: OnceLock<aws_sdk_dynamodb::Client>,
    sights: Sights,
}

/// What an event has of one table; `None` where not even the table could be read.
type Groups = BTreeMap<Option<TableName>, Batch>;

impl Trigger {
    /// Makes everything of the event durable, then answers.
    ///
    /// # Errors
    /// When the payload is no event, or anything of it is not durable in time: then nothing is acknowledged, and Lambda gives
    /// the same records again.
    pub async fn handle(self: Arc<Self>, process: Arc<Process>, event: LambdaEvent<StreamEvent>) -> Result<Value> {
        let deadline = Deadline::new(event.context.deadline);
        let batch = event.payload.into_batch()?;
        let allowed = deadline.left(lambda::now_milliseconds());
        let records = batch.records.len() + batch.quarantined.len();
        let streams = streams(&batch);
        let durable = async {
            let store = process.journal().await?;
            append_all(store.as_ref(), batch, &process.settings().function).await?;
            Ok::<_, Error>(store)
        };
        let store = match tokio::time::timeout(allowed, durable).await {
            Ok(done) => done?,
            Err(_) => return Err(TriggerError::OutOfTime { records, allowed }.into()),
        };
        // Only after everything is durable: nothing below can fail the event.
        for stream in &streams {
            let tables = self.tables.get_or_init(|| aws_sdk_dynamodb::Client::new(process.aws()));
            let left = deadline.left(lambda::now_milliseconds());
            self.sights.see(store.as_ref(), tables, stream, left).await;
        }
        Ok(json!({"batchItemFailures": []}))
    }
}

/// The streams of an event, each once.
fn streams(batch: &Batch) -> Vec<StreamArn> {
    let mut streams: Vec<StreamArn> = Vec::new();
    for record in &batch.records {
        if !streams.contains(&record.stream) {
            streams.push(record.stream.clone());
        }
    }
    streams
}

/// Appends each table's part of the batch, and measures it. All parts are tried, so that a failure of one leaves less to do
/// when the event comes again.
async fn append_all(store: &dyn WriteStore, batch: Batch, function: &str) -> Result<()> {
    let parts = group(batch).into_iter().map(|(table, part)| async move {
        let dimension = match table {
            Some(table) => Dimension::Table(table),
            None => Dimension::Function(function.to_owned()),
        };
        append_part(store, dimension, part).await
    });
    let mut failed = None;
    for appended in join_all(parts).await {
        let Err(error) = appended else { continue };
        if failed.is_none() {
            failed = Some(error);
        } else {
            tracing::error!("another table of the event was not durable either: {error}");
        }
    }
    failed.map_or(Ok(()), Err)
}

fn group(batch: Batch) -> Groups {
    let mut groups = Groups::new();
    for record in batch.records {
        let table = record.stream.timeline().table.clone();
        groups.entry(Some(table)).or_default().records.push(record);
    }
    for record in batch.quarantined {
        let table = record.timeline.as_ref().map(|timeline| timeline.table.clone());
        groups.entry(table).or_default().quarantined.push(record);
    }
    groups
}

async fn append_part(store: &dyn WriteStore, dimension: Dimension, part: Batch) -> Result<()> {
    let given = Given::of(&part);
    let begun = Instant::now();
    let report = append::append(store, part).await?;
    let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(
        of = ?dimension,
        records = report.records,
        segments = report.segments_created,
        already_there = report.segments_already_there,
        bytes = report.bytes,
        quarantined = report.quarantined,
        milliseconds = took,
        "durable"
    );
    given.measure(dimension, &report, took, lambda::now()).emit();
    Ok(())
}

/// What is asked of a part before it is given away.
#[derive(Debug, Clone, Copy)]
struct Given {
    records: u64,
    quarantined: u64,
    oldest: Option<Second>,
}

impl Given {
    fn of(part: &Batch) -> Self {
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        Self {
            records: count(part.records.len()),
            quarantined: count(part.quarantined.len()),
            oldest: part.records.iter().filter_map(|record| record.record.second).min(),
        }
    }

    /// Copies within the event, and records whose segment was there already because the event came before.
    fn duplicates(&self, report: &AppendReport) -> u64 {
        let contradictions = report.quarantined.saturating_sub(self.quarantined);
        let understood = self.records.saturating_sub(contradictions);
        if report.segments_created == 0 { understood } else { understood.saturating_sub(report.records) }
    }

    fn measure(&self, dimension: Dimension, report: &AppendReport, took: u64, now: Second) -> Measurements {
        let measured = Measurements::of(dimension)
            .with(Metric::Records, report.records)
            .with(Metric::Bytes, report.bytes)
            .with(Metric::Segments, report.segments_created)
            .with(Metric::Duplicates, self.duplicates(report))
            .with(Metric::Quarantined, report.quarantined)
            .with(Metric::AppendMilliseconds, took);
        match self.oldest {
            Some(oldest) => measured.with(Metric::OldestRecordAgeSeconds, now.get().saturating_sub(oldest.get())),
            None => measured,
        }
    }
}

#[cfg(test)]
mod tests;
