//! Run files: what a restore must know to be continued after it was stopped or killed.
//!
//! A small JSON document on this machine, replaced atomically. It is written before the table is made and says how it
//! will be known again: by the id that the service gave it, or by the time of its making where it gives none. A run of
//! several tables is one document with all of them; they are made one after the other.

use std::path::{Path, PathBuf};

use journal::model::{TableName, TimelineLabel};
use serde::{Deserialize, Serialize};

use super::RestoreReport;
use super::document::{Source, read, remove, unreadable, write};
use super::error::RestoreError;
use super::service::TargetTable;

/// How far a run has come with a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum RunState {
    /// Nothing was done yet.
    Planned,
    /// The table may or may not have been made.
    Creating,
    /// The state is put as objects, and then imported.
    Importing {
        /// The import's ARN, when it has begun.
        import: Option<String>,
    },
    /// The table was made, and items are written in the order of their keys.
    Writing {
        /// How the table is known again.
        table: TargetTable,
        /// The key, in hexadecimal digits, up to which all items are in the table.
        confirmed: Option<String>,
    },
    /// The table was read back and is what the journal says; what it has beside its items is being set. It may lose items from now
    /// on, for time to live may delete some.
    Proven {
        /// How the table is known again.
        table: TargetTable,
        /// What will be reported.
        report: Box<RestoreReport>,
        /// Objects of an import, to be deleted, and their bytes.
        objects: Option<Objects>,
    },
}

/// The objects that an import was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objects {
    /// How many.
    pub count: usize,
    /// Their bytes, together.
    pub bytes: u64,
}

/// One table of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Contents {
    #[serde(flatten)]
    source: Source,
    table: TableName,
    timeline: TimelineLabel,
    partition_key: Option<String>,
    #[serde(default)]
    import_place: Option<String>,
    #[serde(default)]
    import_gzip: bool,
    target: TableName,
    state: RunState,
    /// Which table it is of a run of several, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<usize>,
    /// What was reported when the table was proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    report: Option<serde_json::Value>,
}

/// The document: a table, or several.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Document {
    Table(Box<Contents>),
    Tables(Vec<Contents>),
}

/// A run and the file that it is kept in. It stands at one of its tables, which all but a few of its methods are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFile {
    path: PathBuf,
    before: Vec<Contents>,
    contents: Contents,
    after: Vec<Contents>,
}

impl RunFile {
    /// A new run, not yet stored.
    #[must_use]
    pub fn new(
        path: PathBuf,
        source: Source,
        (table, timeline): (TableName, TimelineLabel),
        target: TableName,
    ) -> Self {
        let contents = Contents {
            source,
            table,
            timeline,
            partition_key: None,
            import_place: None,
            import_gzip: false,
            target,
            state: RunState::Planned,
            part: None,
            report: None,
        };
        Self { path, before: Vec::new(), contents, after: Vec::new() }
    }

    /// Keeps which attribute is the partition key.
    #[must_use]
    pub fn with_partition_key(mut self, partition_key: Option<String>) -> Self {
        self.contents.partition_key = partition_key;
        self
    }

    /// Keeps where objects for an import go, and how they are compressed.
    #[must_use]
    pub fn with_import(mut self, place: Option<String>, gzip: bool) -> Self {
        self.contents.import_place = place;
        self.contents.import_gzip = gzip;
        self
    }

    /// A run of several tables, kept in this run's file: this one first, then the others.
    #[must_use]
    pub fn with_more(mut self, others: Vec<Self>) -> Self {
        self.after.extend(others.into_iter().map(|other| other.contents));
        let all = std::iter::once(&mut self.contents).chain(&mut self.after);
        for (at, contents) in all.enumerate() {
            contents.part = Some(at + 1);
        }
        self
    }

    /// Reads a run. It stands at the first table that is not proven.
    ///
    /// # Errors
    /// When there is no such file, or it is not a run file.
    pub fn load(path: &Path) -> Result<Self, RestoreError> {
        let mut after = match read(path)? {
            Document::Table(contents) => vec![*contents],
            Document::Tables(several) => several,
        };
        after.iter().try_for_each(|contents| contents.source.check(path))?;
        let proven = after.iter().take_while(|contents| contents.report.is_some()).count();
        let before = after.drain(..proven).collect();
        if after.is_empty() {
            return Err(unreadable(path, &"it has no table that is not proven"));
        }
        let contents = after.remove(0);
        Ok(Self { path: path.to_owned(), before, contents, after })
    }

    /// Stores the run, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self) -> Result<(), RestoreError> {
        let all = self.before.iter().chain(std::iter::once(&self.contents)).chain(&self.after).cloned();
        let document = match self.contents.part {
            None => Document::Table(Box::new(self.contents.clone())),
            Some(_) => Document::Tables(all.collect()),
        };
        write(&self.path, &document)
    }

    /// Keeps the report of the table, which is proven; with the last table the file is removed.
    ///
    /// # Errors
    /// When the file cannot be written or removed.
    pub fn finish(&mut self, report: &impl Serialize) -> Result<(), RestoreError> {
        let report = serde_json::to_value(report).map_err(|error| RestoreError::RunFile {
            action: "writing",
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        self.contents.report = Some(report);
        if self.after.is_empty() { remove(&self.path) } else { self.save() }
    }

    /// Goes on to the next table; false when there is none.
    pub fn go_on(&mut self) -> bool {
        if self.after.is_empty() {
            return false;
        }
        self.before.push(std::mem::replace(&mut self.contents, self.after.remove(0)));
        true
    }

    /// What was reported of the tables that are proven, in the order of the run.
    #[must_use]
    pub fn reports(&self) -> Vec<serde_json::Value> {
        self.before.iter().chain([&self.contents]).filter_map(|contents| contents.report.clone()).collect()
    }

    /// Table, timeline and target of each table that is not proven, in order; the first is the one that the run stands at.
    #[must_use]
    pub fn remaining(&self) -> Vec<(TableName, TimelineLabel, TableName)> {
        let left = std::iter::once(&self.contents).chain(&self.after);
        left.map(|one| (one.table.clone(), one.timeline.clone(), one.target.clone())).collect()
    }

    /// The targets of which nothing was done yet.
    #[must_use]
    pub fn planned(&self) -> Vec<TableName> {
        let left = std::iter::once(&self.contents).chain(&self.after);
        left.filter(|one| one.state == RunState::Planned).map(|one| one.target.clone()).collect()
    }

    /// Whether it makes several tables.
    #[must_use]
    pub fn is_of_several(&self) -> bool {
        self.contents.part.is_some()
    }

    /// Where it is kept.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it restores from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.contents.source
    }

    /// The run's name.
    #[must_use]
    pub fn run(&self) -> &str {
        self.contents.source.run()
    }

    /// The run's name, with the number of the table in a run of several: what no two tables have.
    #[must_use]
    pub fn part_name(&self) -> String {
        match self.contents.part {
            None => self.run().to_owned(),
            Some(part) => format!("{}-{part}", self.run()),
        }
    }

    /// The partition key that the user named.
    #[must_use]
    pub fn partition_key(&self) -> Option<&str> {
        self.contents.partition_key.as_deref()
    }

    /// Where objects for an import go, for a run that imports, and whether they are compressed with gzip.
    #[must_use]
    pub fn import_place(&self) -> Option<(&str, bool)> {
        self.contents.import_place.as_deref().map(|place| (place, self.contents.import_gzip))
    }

    /// The table that is made.
    #[must_use]
    pub fn target(&self) -> &TableName {
        &self.contents.target
    }

    /// How far it has come.
    #[must_use]
    pub fn state(&self) -> &RunState {
        &self.contents.state
    }

    /// Notes that the table is about to be made, and stores that.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn creating(&mut self) -> Result<(), RestoreError> {
        self.contents.state = RunState::Creating;
        self.save()
    }

    /// Notes that the table was made, and stores that.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn created(&mut self, table: TargetTable) -> Result<(), RestoreError> {
        self.contents.state = RunState::Writing { table, confirmed: None };
        self.save()
    }

    /// Notes that objects are put, or that an import has begun, and stores that.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn importing(&mut self, import: Option<String>) -> Result<(), RestoreError> {
        self.contents.state = RunState::Importing { import };
        self.save()
    }

    /// Notes that the table is what the journal says, and stores that: from now on its settings alone are missing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn proven(
        &mut self,
        table: TargetTable,
        report: RestoreReport,
        objects: Option<Objects>,
    ) -> Result<(), RestoreError> {
        self.contents.state = RunState::Proven { table, report: Box::new(report), objects };
        self.save()
    }

    /// What will be reported of the table, where it was proven before.
    #[must_use]
    pub fn proof(&self) -> Option<RestoreReport> {
        let RunState::Proven { report, .. } = &self.contents.state else { return None };
        Some(RestoreReport::clone(report))
    }

    /// Notes that all items up to `key` are in the table, and stores that.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn confirm(&mut self, key: &[u8]) -> Result<(), RestoreError> {
        if let RunState::Writing { confirmed, .. } = &mut self.contents.state {
            *confirmed = Some(crate::state::to_hex(key));
        }
        self.save()
    }

    /// The key up to which all items are in the table.
    #[must_use]
    pub fn confirmed(&self) -> Option<Vec<u8>> {
        let RunState::Writing { confirmed: Some(text), .. } = &self.contents.state else { return None };
        text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
    }
}
