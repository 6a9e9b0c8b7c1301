//! Run files: what a restore must know to be continued after it was stopped or killed.
//!
//! A small JSON document on this machine, replaced atomically. It is written before the table is made and says how it
//! will be known again: by the id that the service gave it, or by the time of its making where it gives none.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use journal::model::{Second, SequenceNumber, TableName, TimelineLabel};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use super::error::RestoreError;
use super::service::TargetTable;
use crate::cut::{Cut, Position};

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum RunState {
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
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Contents {
    run: String,
    journal: String,
    table: TableName,
    timeline: TimelineLabel,
    second: Option<Second>,
    sequence: Option<SequenceNumber>,
    inclusive: bool,
    allow_partial: bool,
    partition_key: Option<String>,
    #[serde(default)]
    only: Option<String>,
    #[serde(default)]
    import_place: Option<String>,
    #[serde(default)]
    import_gzip: bool,
    target: TableName,
    state: RunState,
}

/// A run and the file that it is kept in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFile {
    path: PathBuf,
    contents: Contents,
}

/// A run's name: when it began, and four random letters.
#[must_use]
pub fn new_run_id(now: Second) -> String {
    let time: String = now.to_rfc3339().chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{}-{:04x}", time.to_ascii_lowercase(), rand::rng().random::<u16>())
}

/// Where run files are kept: the user's folder for the state of programs (`XDG_STATE_HOME`, or `.local/state` in the home
/// folder); the current folder where there is neither.
#[must_use]
pub fn default_folder() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_STATE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local").join("state")))
        .unwrap_or_default()
        .join("dynamodb-event-journal")
        .join("restores")
}

impl RunFile {
    /// A new run, not yet stored.
    #[must_use]
    pub fn new(
        path: PathBuf,
        run: String,
        journal: String,
        (table, timeline): (TableName, TimelineLabel),
        cut: Cut,
        target: TableName,
    ) -> Self {
        let (second, sequence) = match cut.position {
            Position::Second(second) => (Some(second), None),
            Position::Sequence(sequence) => (None, Some(sequence)),
        };
        let contents = Contents {
            run,
            journal,
            table,
            timeline,
            second,
            sequence,
            inclusive: cut.inclusive,
            allow_partial: false,
            partition_key: None,
            only: None,
            import_place: None,
            import_gzip: false,
            target,
            state: RunState::Creating,
        };
        Self { path, contents }
    }

    /// Keeps what else is needed to plan the same restore again.
    #[must_use]
    pub fn with_choices(mut self, allow_partial: bool, partition_key: Option<String>, only: Option<String>) -> Self {
        self.contents.allow_partial = allow_partial;
        self.contents.partition_key = partition_key;
        self.contents.only = only;
        self
    }

    /// Reads a run.
    ///
    /// # Errors
    /// When there is no such file, or it is not a run file.
    pub fn load(path: &Path) -> Result<Self, RestoreError> {
        let failed = |reason: String| RestoreError::RunFile { action: "reading", path: path.to_owned(), reason };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(RestoreError::NoRun { path: path.to_owned() });
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        let contents: Contents = serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
        if contents.second.is_some() == contents.sequence.is_some() {
            return Err(failed("it names no cut, or two".to_owned()));
        }
        Ok(Self { path: path.to_owned(), contents })
    }

    /// Stores the run, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self) -> Result<(), RestoreError> {
        let failed = |reason: String| RestoreError::RunFile { action: "writing", path: self.path.clone(), reason };
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
        let bytes = serde_json::to_vec_pretty(&self.contents).map_err(|error| failed(error.to_string()))?;
        let stored = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.as_file().sync_all()?;
            file.persist(&self.path).map_err(|error| error.error)
        });
        stored.map(drop).map_err(|error| failed(error.to_string()))
    }

    /// Removes the file: the restore is proven.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn finish(&self) -> Result<(), RestoreError> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(RestoreError::RunFile { action: "removing", path: self.path.clone(), reason: error.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// Where it is kept.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's name.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.contents.run
    }

    /// The journal's location.
    #[must_use]
    pub fn journal(&self) -> &str {
        &self.contents.journal
    }

    /// The table that is restored.
    #[must_use]
    pub fn table(&self) -> &TableName {
        &self.contents.table
    }

    /// Its timeline.
    #[must_use]
    pub fn timeline(&self) -> &TimelineLabel {
        &self.contents.timeline
    }

    /// The cut.
    #[must_use]
    pub fn cut(&self) -> Cut {
        let position = match (self.contents.sequence, self.contents.second) {
            (Some(sequence), _) => Position::Sequence(sequence),
            (None, second) => Position::Second(second.unwrap_or(Second::MIN)),
        };
        Cut { position, inclusive: self.contents.inclusive }
    }

    /// Whether the user allowed a partial result.
    #[must_use]
    pub fn allow_partial(&self) -> bool {
        self.contents.allow_partial
    }

    /// The partition key that the user named.
    #[must_use]
    pub fn partition_key(&self) -> Option<&str> {
        self.contents.partition_key.as_deref()
    }

    /// Which items the user chose.
    #[must_use]
    pub fn only(&self) -> Option<&str> {
        self.contents.only.as_deref()
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

    /// Keeps where objects for an import go, and how they are compressed.
    #[must_use]
    pub fn with_import(mut self, place: Option<String>, gzip: bool) -> Self {
        self.contents.import_place = place;
        self.contents.import_gzip = gzip;
        self
    }

    /// Where objects for an import go, for a run that imports, and whether they are compressed with gzip.
    #[must_use]
    pub fn import_place(&self) -> Option<(&str, bool)> {
        self.contents.import_place.as_deref().map(|place| (place, self.contents.import_gzip))
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
