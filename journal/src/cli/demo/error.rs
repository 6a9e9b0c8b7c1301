//! What can fail in the demo.

use std::path::PathBuf;

use thiserror::Error;

use crate::error::{Classify, Kind};

/// Why the demo did not reach its end.
#[derive(Debug, Error)]
pub(super) enum DemoError {
    #[error("cannot make the demo's folder {}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("folder {} is not empty", path.display())]
    NotEmpty { path: PathBuf },
    #[error("the program `replay` is not beside this one, at {}", path.display())]
    NoReplay { path: PathBuf },
    #[error("cannot run {}", path.display())]
    Run { path: PathBuf, source: std::io::Error },
    #[error("`{command}` failed with {status}: {printed}")]
    Replay { command: String, status: std::process::ExitStatus, printed: String },
    #[error("item {id} of table {table} is not a note: {reason}")]
    NotANote { table: String, id: String, reason: &'static str },
    #[error("the journal did not reach the end of the deleted table's stream within {seconds} seconds")]
    NotDrained { seconds: u64 },
    #[error("`replay restore` did not prove what it restored")]
    NotProven,
    #[error("restored table {table} is not what the app wrote: {difference}")]
    Differs { table: String, difference: String },
}

impl Classify for DemoError {
    fn kind(&self) -> Kind {
        match self {
            Self::Folder { .. } | Self::NotEmpty { .. } | Self::NoReplay { .. } => Kind::Invalid,
            Self::Run { .. } | Self::NotDrained { .. } => Kind::Unavailable,
            Self::Replay { .. } | Self::NotProven | Self::NotANote { .. } | Self::Differs { .. } => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Folder { .. } => Some("give a folder that you may write to with --folder".to_owned()),
            Self::NotEmpty { .. } => Some("give a new or an empty folder with --folder".to_owned()),
            Self::NoReplay { .. } => Some("build both programs: cargo build --release --workspace".to_owned()),
            Self::NotDrained { .. } => Some("run the demo again; with -v it says what the follower does".to_owned()),
            _ => None,
        }
    }
}
