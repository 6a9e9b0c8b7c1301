//! Differences carried out: each item read, compared once more, and written on the condition that it stayed so.

use std::io::{BufRead as _, BufReader};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use journal::error::Result;
use journal::model::TableName;
use journal::source::sdk::item_to_sdk;

use super::super::error::RestoreError;
use super::super::read_back::{fingerprint, show};
use super::super::service::ServiceError;
use super::super::write::{capacity_units, item_bytes};
use super::super::{Restore, Step};
use super::compare::{Change, PlannedChanges};
use super::service::ItemService;
use crate::key_schema::{KeySchema, KeySchemaError};
use crate::table_write::{ATTEMPTS_MAX, SharedPace, back_off};

/// Conflicts that a report shows.
const CONFLICTS_SHOWN: usize = 100;

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) written: u64,
    pub(super) partly: u64,
    pub(super) conflicts: Vec<String>,
    pub(super) conflict_count: u64,
}

enum Outcome {
    Written { whole: bool },
    Conflict(String),
}

/// Carries all changes out, several at once.
pub(super) async fn apply(
    restore: &Restore<'_>,
    service: &dyn ItemService,
    table: &TableName,
    pace: &SharedPace,
    planned: PlannedChanges,
) -> Result<Applied> {
    let schema = restore.plan.key.clone().ok_or_else(|| KeySchemaError::Unknown { table: table.to_string() })?;
    let schema = Arc::new(schema);
    let total = planned.changes();
    let lines = BufReader::new(planned.list).lines();
    let one = |line: std::io::Result<String>| {
        let schema = Arc::clone(&schema);
        async move {
            if restore.interrupt.requested() {
                return Err(RestoreError::Interrupted { doing: "writing to", table: table.clone() }.into());
            }
            let line = line.map_err(|error| RestoreError::Spill { reason: error.to_string() })?;
            let change = Change::parse(&line)?;
            let options = restore.options;
            Item { service, table, schema: &schema, pace, pause: options.pause }.write(&change).await
        }
    };
    let mut outcomes = futures::stream::iter(lines).map(one).buffer_unordered(restore.options.concurrency.max(1));
    let mut applied = Applied::default();
    let mut done = 0;
    while let Some(outcome) = outcomes.next().await {
        match outcome? {
            Outcome::Written { whole } => {
                applied.written += 1;
                applied.partly += u64::from(!whole);
            }
            Outcome::Conflict(key) => {
                applied.conflict_count += 1;
                if applied.conflicts.len() < CONFLICTS_SHOWN {
                    applied.conflicts.push(key);
                }
            }
        }
        done += 1;
        (restore.progress)(Step::Writing, done, Some(total));
    }
    Ok(applied)
}

struct Item<'a> {
    service: &'a dyn ItemService,
    table: &'a TableName,
    schema: &'a KeySchema,
    pace: &'a SharedPace,
    pause: Duration,
}

impl Item<'_> {
    async fn write(&self, change: &Change) -> Result<Outcome> {
        let key = item_to_sdk(&change.key);
        let wanted = change.wanted.as_ref().map(item_to_sdk);
        let hash = |item: &super::super::SdkItem| fingerprint(self.schema, item).map(|(_, hash)| hash);
        let wanted_hash = wanted.as_ref().map(hash).transpose()?;
        let units = change.wanted.as_ref().map_or(1, |item| capacity_units(item_bytes(item)));
        let failed = |source| RestoreError::Service { action: "writing to", table: self.table.clone(), source };
        let mut attempt = 0;
        loop {
            attempt += 1;
            let last = attempt >= ATTEMPTS_MAX;
            let now = match self.service.get(self.table, &key).await {
                Ok(now) => now,
                Err(error) if error.is_transient() && !last => {
                    back_off(self.pause, attempt).await;
                    continue;
                }
                Err(error) => return Err(failed(error).into()),
            };
            let now_hash = now.as_ref().map(hash).transpose()?;
            // An answer may have been lost: then it is there already.
            if now_hash == wanted_hash {
                return Ok(Outcome::Written { whole: true });
            }
            if now_hash != change.found {
                return Ok(Outcome::Conflict(self.shown(change)));
            }
            self.pace.wait(units).await;
            match self.service.replace(self.table, &key, now.as_ref(), wanted.as_ref()).await {
                Ok(Some(whole)) => {
                    self.pace.answered(units, 0);
                    return Ok(Outcome::Written { whole });
                }
                Ok(None) => {
                    self.pace.answered(units, 0);
                    return Ok(Outcome::Conflict(self.shown(change)));
                }
                Err(error) if error.is_transient() && !last => {
                    if matches!(error, ServiceError::Throttled { .. }) {
                        self.pace.answered(0, units);
                    }
                    back_off(self.pause, attempt).await;
                }
                Err(error) => return Err(failed(error).into()),
            }
        }
    }

    fn shown(&self, change: &Change) -> String {
        let key = journal::model::ItemKey::encode(self.schema.attributes(), &change.key);
        key.map_or_else(|_| "a key that cannot be shown".to_owned(), |key| show(self.schema, key.as_bytes()))
    }
}
