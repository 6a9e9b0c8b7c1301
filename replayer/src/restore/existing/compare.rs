//! The comparison of a table with a state: which items are missing, different, or too many.
//!
//! What enters are a scan and the items of a plan; what leaves are counts and a list on disk, in the order of keys.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Seek as _, Write as _};
use std::sync::Arc;

use journal::error::Result;
use journal::model::{Attributes, TableName, item_bytes};
use journal::source::attribute::{ItemJson, parse_item};
use serde::{Deserialize, Serialize};

use super::super::error::RestoreError;
use super::super::read_back::{scan_items, show};
use super::super::write::capacity_units;
use super::super::{Restore, Step};
use super::sorted::{Sorted, Sorter};
use super::{IntoReport, SAMPLES_MAX, Sample};
use crate::digest::{ItemHash, StateDigest};
use crate::key_schema::{KeySchema, KeySchemaError};
use crate::state::{Flow, Item, Selection, visit_items};

/// How an item differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Differing {
    /// The journal has it, the table does not: it is put back.
    Missing,
    /// Its attributes differ: it is changed back.
    Different,
    /// The table has it, the journal does not: it is deleted.
    Unexpected,
}

/// All differences, the list of them on disk.
#[derive(Debug)]
pub(super) struct PlannedChanges {
    pub(super) list: File,
    counts: Counts,
    samples: Vec<Sample>,
    digest: StateDigest,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    same: u64,
    missing: u64,
    different: u64,
    unexpected: u64,
    units: u64,
}

/// One difference in the list.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    difference: Differing,
    /// The key, in DynamoDB JSON.
    key: Box<serde_json::value::RawValue>,
    /// The item as the journal has it.
    wanted: Option<Box<serde_json::value::RawValue>>,
    /// The hash of the item that was compared.
    found: Option<String>,
}

/// One difference, read back from the list.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) key: Attributes,
    /// The item as the journal has it, its key included.
    pub(crate) wanted: Option<Attributes>,
    pub(super) found: Option<ItemHash>,
}

impl Change {
    pub(super) fn parse(line: &str) -> Result<Self> {
        let wrong = |error: serde_json::Error| RestoreError::Encoding { reason: error.to_string() };
        let line: Line = serde_json::from_str(line).map_err(wrong)?;
        let wanted = line.wanted.map(|wanted| parse_item(wanted.get().as_bytes())).transpose()?;
        let found = line.found.as_deref().and_then(ItemHash::from_hex);
        Ok(Self { key: parse_item(line.key.get().as_bytes())?, wanted, found })
    }
}

impl PlannedChanges {
    pub(super) fn changes(&self) -> u64 {
        self.counts.missing + self.counts.different + self.counts.unexpected
    }

    pub(super) fn report(&self, table: &TableName) -> IntoReport {
        IntoReport {
            table: table.clone(),
            items: self.digest.items(),
            digest: self.digest,
            same: self.counts.same,
            missing: self.counts.missing,
            different: self.counts.different,
            unexpected: self.counts.unexpected,
            write_units: self.counts.units,
            samples: self.samples.clone(),
            applied: false,
            written: 0,
            partly_conditional: 0,
            conflicts: Vec::new(),
            conflict_count: 0,
            proven: self.changes() == 0,
        }
    }
}

/// How many of the chosen items are the same, and those that differ, in the order of keys.
pub(crate) async fn list_differences(
    restore: &Restore<'_>,
    table: &TableName,
) -> Result<(u64, impl Iterator<Item = Result<Change>>)> {
    let planned = compare(restore, table).await?;
    let lines = BufReader::new(planned.list).lines();
    let changes = lines.map(|line| {
        let line = line.map_err(|error| RestoreError::Spill { reason: error.to_string() })?;
        Change::parse(&line)
    });
    Ok((planned.counts.same, changes))
}

/// Compares the chosen items.
pub(super) async fn compare(restore: &Restore<'_>, table: &TableName) -> Result<PlannedChanges> {
    let schema = restore.plan.key.clone().ok_or_else(|| KeySchemaError::Unknown { table: table.to_string() })?;
    let selection = restore.selection.clone();
    let spill = |error: io::Error| RestoreError::Spill { reason: error.to_string() };
    // What a condition says of an item counts for both sides: an item is chosen when either state of it is.
    let (chosen, names) = (selection.clone(), schema.clone());
    let parts = scan_items(restore, table, restore.progress, Sorter::default, move |sorter, key, hash, item| {
        if holds(&chosen, &names, &key, item) {
            sorter.add(key, hash).map_err(spill)?;
        }
        Ok(())
    });
    let live = Sorter::merge(parts.await?).map_err(spill)?;
    (restore.progress)(Step::Comparing, 0, None);
    let list = BufWriter::new(tempfile::tempfile().map_err(spill)?);
    let join = Join {
        schema,
        selection: selection.clone(),
        live,
        list,
        counts: Counts::default(),
        samples: Vec::new(),
        last: None,
        digest: StateDigest::default(),
    };
    // A condition cannot be left to the merge: an item that the table has otherwise may be chosen by what it is now.
    let wanted = Selection { filter: None, ..selection };
    let visit = visit_items(
        Arc::clone(&restore.store),
        restore.plan,
        wanted,
        restore.options.merge.clone(),
        restore.interrupt,
        join,
        |join: &mut Join, item| {
            join.item(&item)?;
            Ok(Flow::Continue)
        },
    );
    let (mut join, _) = visit.await?;
    join.rest()?;
    let mut list = join.list.into_inner().map_err(|error| spill(error.into_error()))?;
    list.rewind().map_err(spill)?;
    Ok(PlannedChanges { list, counts: join.counts, samples: join.samples, digest: join.digest })
}

/// Whether an item of the table is chosen.
fn holds(selection: &Selection, schema: &KeySchema, key: &[u8], item: &Attributes) -> bool {
    let in_range = selection.keys.range.as_ref().is_none_or(|range| *range.start <= *key && *key < *range.end);
    let key_values = || item.iter().filter(|(name, _)| schema.attributes().contains(name));
    let key_values = || key_values().map(|(name, value)| (name.clone(), value.clone())).collect();
    in_range
        && selection.keys.contains(&key_values())
        && selection.filter.as_ref().is_none_or(|filter| filter.accepts(item))
}

struct Join {
    schema: KeySchema,
    selection: Selection,
    live: Sorted,
    list: BufWriter<File>,
    counts: Counts,
    samples: Vec<Sample>,
    last: Option<Vec<u8>>,
    digest: StateDigest,
}

impl Join {
    fn item(&mut self, item: &Item<'_>) -> Result<()> {
        let key = self.schema.plain_key(&item.attributes)?;
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Err(RestoreError::KeyOrder { key: show(&self.schema, &key) }.into());
        }
        self.unexpected_before(Some(&key))?;
        let found = if self.live.peek() == Some(&key) { self.next_live()?.map(|(_, hash)| hash) } else { None };
        self.last = Some(key.clone());
        let chosen =
            found.is_some() || self.selection.filter.as_ref().is_none_or(|filter| filter.accepts(&item.attributes));
        if !chosen {
            return Ok(());
        }
        self.digest.add(item.hash);
        let difference = match found {
            Some(hash) if hash == item.hash => {
                self.counts.same += 1;
                return Ok(());
            }
            Some(_) => Differing::Different,
            None => Differing::Missing,
        };
        self.counts.units += u64::from(capacity_units(item_bytes(&item.attributes)));
        self.note(difference, &key, Some(&item.attributes), found)
    }

    fn next_live(&mut self) -> Result<Option<(Vec<u8>, ItemHash)>, RestoreError> {
        self.live.next().map_err(|error| RestoreError::Spill { reason: error.to_string() })
    }

    /// Items of the table that come before `key`, or all that are left.
    fn unexpected_before(&mut self, key: Option<&[u8]>) -> Result<()> {
        while self.live.peek().is_some_and(|live| key.is_none_or(|key| live < key)) {
            if let Some((key, hash)) = self.next_live()? {
                self.counts.units += 1;
                self.note(Differing::Unexpected, &key, None, Some(hash))?;
            }
        }
        Ok(())
    }

    fn rest(&mut self) -> Result<()> {
        self.unexpected_before(None)
    }

    fn note(
        &mut self,
        difference: Differing,
        key: &[u8],
        wanted: Option<&Attributes>,
        found: Option<ItemHash>,
    ) -> Result<()> {
        match difference {
            Differing::Missing => self.counts.missing += 1,
            Differing::Different => self.counts.different += 1,
            Differing::Unexpected => self.counts.unexpected += 1,
        }
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(Sample { key: show(&self.schema, key), difference });
        }
        let wrong = |error: serde_json::Error| RestoreError::Encoding { reason: error.to_string() };
        let raw = |item: &Attributes| serde_json::value::to_raw_value(&ItemJson(item)).map_err(wrong);
        let line = Line {
            difference,
            key: raw(&self.schema.decode(key)?)?,
            wanted: wanted.map(raw).transpose()?,
            found: found.map(ItemHash::to_hex),
        };
        let mut line = serde_json::to_vec(&line).map_err(wrong)?;
        line.push(b'\n');
        self.list.write_all(&line).map_err(|error| RestoreError::Spill { reason: error.to_string() })?;
        Ok(())
    }
}
