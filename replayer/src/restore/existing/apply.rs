//! Differences carried out: each item read, compared once more, and written on the condition that it stayed so.

use std::io::{BufRead as _, BufReader};

use async_trait::async_trait;
use futures::StreamExt as _;
use journal::error::Result;
use journal::model::{Attributes, TableName, item_bytes};

use super::super::error::RestoreError;
use super::super::read_back::{fingerprint_of, show};
use super::super::service::ServiceError;
use super::super::write::capacity_units;
use super::super::{Restore, Step};
use super::compare::{Change, PlannedChanges};
use super::service::ItemService;
use crate::key_schema::{KeySchema, KeySchemaError};
use crate::table_write::{Became, Failed, ItemTable, ItemWriter, SharedPace, Wanted, Write, Wrote, tried};

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
    let one_table = OneTable { service, table };
    let writer = ItemWriter {
        table: &one_table,
        key_name: schema.attributes().as_slice().first().map_or("", |first| first.name.as_str()),
        pace,
        pause: restore.options.pause,
        overwrite: false,
    };
    let (schema, writer) = (&schema, &writer);
    let total = planned.changes();
    let lines = BufReader::new(planned.list).lines();
    let one = |line: std::io::Result<String>| async move {
        if restore.interrupt.requested() {
            return Err(RestoreError::Interrupted { doing: "writing to", table: table.clone() }.into());
        }
        let line = line.map_err(|error| RestoreError::Spill { reason: error.to_string() })?;
        let change = Change::parse(&line)?;
        write(writer, (table, schema), &change).await
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

/// One table of a service.
struct OneTable<'a> {
    service: &'a dyn ItemService,
    table: &'a TableName,
}

#[async_trait]
impl ItemTable for OneTable<'_> {
    async fn get(&self, key: &Attributes) -> Result<Option<Attributes>, ServiceError> {
        self.service.get(self.table, key).await
    }

    async fn write(&self, write: Write<'_>) -> Result<Wrote, ServiceError> {
        self.service.write(self.table, write).await
    }
}

/// Reads the item, which only its hash is known of, and writes it if it is what was compared.
async fn write(writer: &ItemWriter<'_>, (table, schema): (&TableName, &KeySchema), change: &Change) -> Result<Outcome> {
    let failed = |Failed { action, source }| RestoreError::Service { action, table: table.clone(), source };
    let hash = |item: &Attributes| fingerprint_of(schema, item).map(|(_, hash)| hash);
    let now = tried(writer.pause, || writer.table.get(&change.key)).await;
    let now = now.map_err(|source| failed(Failed { action: "reading an item of", source }))?;
    let now_hash = now.as_ref().map(hash).transpose()?;
    if now_hash == change.wanted.as_ref().map(hash).transpose()? {
        return Ok(Outcome::Written { whole: true });
    }
    let conflict = || {
        let key = journal::model::ItemKey::encode(schema.attributes(), &change.key);
        let shown = key.map_or_else(|_| "a key that cannot be shown".to_owned(), |key| show(schema, key.as_bytes()));
        Ok(Outcome::Conflict(shown))
    };
    if now_hash != change.found {
        return conflict();
    }
    let without_key = |item: &Attributes| -> Attributes {
        let rest = item.iter().filter(|(name, _)| !change.key.contains_key(*name));
        rest.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let (now, then) = (now.as_ref().map(without_key), change.wanted.as_ref().map(without_key));
    let units = change.wanted.as_ref().map_or(1, |item| capacity_units(item_bytes(item)));
    let wanted = Wanted { key: &change.key, now: now.as_ref(), then: then.as_ref() };
    let written = writer.write(wanted, units).await.map_err(failed)?;
    match written.became {
        Became::Written | Became::Already | Became::Overwritten => Ok(Outcome::Written { whole: written.whole }),
        Became::Conflict => conflict(),
    }
}
