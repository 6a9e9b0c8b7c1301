//! The documents of runs on this machine: small, JSON, replaced whole; and what every one of them says.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use journal::model::{Second, SequenceNumber};
use rand::RngExt as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::RestoreError;
use crate::cut::{Cut, Position};

/// What a run restores from: a journal at a cut, and the choices that planning it again needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    run: String,
    journal: String,
    second: Option<Second>,
    sequence: Option<SequenceNumber>,
    inclusive: bool,
    allow_partial: bool,
    #[serde(default)]
    only: Option<String>,
}

impl Source {
    /// The run's name, the journal's location, the cut, whether a partial result was allowed, and which items were chosen.
    #[must_use]
    pub fn new(run: String, journal: String, cut: Cut, allow_partial: bool, only: Option<String>) -> Self {
        let (second, sequence) = match cut.position {
            Position::Second(second) => (Some(second), None),
            Position::Sequence(sequence) => (None, Some(sequence)),
        };
        Self { run, journal, second, sequence, inclusive: cut.inclusive, allow_partial, only }
    }

    /// The run's name.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The journal's location.
    #[must_use]
    pub fn journal(&self) -> &str {
        &self.journal
    }

    /// The cut.
    #[must_use]
    pub fn cut(&self) -> Cut {
        let position = match (self.sequence, self.second) {
            (Some(sequence), _) => Position::Sequence(sequence),
            (None, second) => Position::Second(second.unwrap_or(Second::MIN)),
        };
        Cut { position, inclusive: self.inclusive }
    }

    /// Whether the user allowed a partial result.
    #[must_use]
    pub fn allow_partial(&self) -> bool {
        self.allow_partial
    }

    /// Which items the user chose.
    #[must_use]
    pub fn only(&self) -> Option<&str> {
        self.only.as_deref()
    }

    /// Refuses a source that names no cut, or two.
    pub(super) fn check(&self, path: &Path) -> Result<(), RestoreError> {
        if self.second.is_some() == self.sequence.is_some() {
            return Err(unreadable(path, &"it names no cut, or two"));
        }
        Ok(())
    }
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

pub(super) fn unreadable(path: &Path, reason: &dyn std::fmt::Display) -> RestoreError {
    RestoreError::RunFile { action: "reading", path: path.to_owned(), reason: reason.to_string() }
}

/// Reads a document.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, RestoreError> {
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => RestoreError::NoRun { path: path.to_owned() },
        _ => unreadable(path, &error),
    })?;
    serde_json::from_slice(&bytes).map_err(|error| unreadable(path, &error))
}

/// Stores a document, whole or not at all.
pub(super) fn write(path: &Path, document: &impl Serialize) -> Result<(), RestoreError> {
    let failed = |reason: String| RestoreError::RunFile { action: "writing", path: path.to_owned(), reason };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
    let bytes = serde_json::to_vec_pretty(document).map_err(|error| failed(error.to_string()))?;
    let stored = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)
    });
    stored.map(drop).map_err(|error| failed(error.to_string()))
}

/// Removes a document; one that is not there is removed.
pub(super) fn remove(path: &Path) -> Result<(), RestoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(RestoreError::RunFile { action: "removing", path: path.to_owned(), reason: error.to_string() })
        }
        _ => Ok(()),
    }
}
