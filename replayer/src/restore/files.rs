//! Restores of several tables at one cut into the files of a folder: what is kept of such a run, to go on with it.
//!
//! What enters are tables and the names of their files; what leaves is a document that says which files are whole. A file gets
//! its name when it is whole, so what was under way when a run ended has left nothing.

use std::path::{Path, PathBuf};

use journal::model::{TableName, TimelineLabel};
use serde::{Deserialize, Serialize};

use super::document::{Source, read, remove, write};
use super::error::RestoreError;
use crate::output::Format;

/// One table's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFile {
    /// The table.
    pub table: TableName,
    /// Its timeline.
    pub timeline: TimelineLabel,
    /// The file's name in the folder.
    pub name: String,
    /// Whether the run has begun to write it.
    #[serde(default)]
    pub begun: bool,
    /// What was reported when it was whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<serde_json::Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Contents {
    #[serde(flatten)]
    source: Source,
    folder: PathBuf,
    format: Format,
    force: bool,
    files: Vec<TableFile>,
}

/// A run of files and the file that it is kept in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesRun {
    path: PathBuf,
    contents: Contents,
}

impl FilesRun {
    /// A new run, not yet stored.
    #[must_use]
    pub fn new(
        path: PathBuf,
        source: Source,
        (folder, format, force): (PathBuf, Format, bool),
        files: Vec<TableFile>,
    ) -> Self {
        Self { path, contents: Contents { source, folder, format, force, files } }
    }

    /// Whether the document at `path` is of such a run.
    ///
    /// # Errors
    /// When there is no such file, or it is not a run file.
    pub fn is_at(path: &Path) -> Result<bool, RestoreError> {
        let document: serde_json::Value = read(path)?;
        Ok(document.get("folder").is_some())
    }

    /// Reads a run.
    ///
    /// # Errors
    /// When there is no such file, or it is not a run file.
    pub fn load(path: &Path) -> Result<Self, RestoreError> {
        let contents: Contents = read(path)?;
        contents.source.check(path)?;
        Ok(Self { path: path.to_owned(), contents })
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

    /// The folder that gets the files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.contents.folder
    }

    /// The files' format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.contents.format
    }

    /// Whether files that were there before may be replaced.
    #[must_use]
    pub fn force(&self) -> bool {
        self.contents.force
    }

    /// The files, in the run's order.
    #[must_use]
    pub fn files(&self) -> &[TableFile] {
        &self.contents.files
    }

    /// Stores the run, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self) -> Result<(), RestoreError> {
        write(&self.path, &self.contents)
    }

    /// Notes that a table's file is about to be written, and stores that.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn begin(&mut self, table: &TableName) -> Result<(), RestoreError> {
        self.change(table, |file| file.begun = true)
    }

    /// Notes that a table's file is whole, and stores that.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(&mut self, table: &TableName, report: serde_json::Value) -> Result<(), RestoreError> {
        self.change(table, |file| file.report = Some(report))
    }

    /// Removes the document: all files are whole.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn end(&self) -> Result<(), RestoreError> {
        remove(&self.path)
    }

    fn change(&mut self, table: &TableName, change: impl FnOnce(&mut TableFile)) -> Result<(), RestoreError> {
        if let Some(file) = self.contents.files.iter_mut().find(|file| file.table == *table) {
            change(file);
        }
        self.save()
    }
}
