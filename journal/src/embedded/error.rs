//! What can go wrong with embedded DynamoDB.

use std::path::PathBuf;

use thiserror::Error;

use crate::error::{Classify, Kind};

/// Why embedded DynamoDB does not run.
#[derive(Debug, Error)]
pub enum EmbeddedError {
    /// Something else listens on the port.
    #[error("cannot start embedded DynamoDB: port {port} of 127.0.0.1 is taken")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// The port cannot be listened on.
    #[error("cannot start embedded DynamoDB: cannot listen on 127.0.0.1:{port}")]
    Listen {
        /// The port; 0 stands for any free one.
        port: u16,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The folder cannot be made or written to.
    #[error("cannot keep embedded DynamoDB's data in {}", path.display())]
    Folder {
        /// The folder, or the file in it that could not be written.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Another process has the folder.
    #[error("cannot start embedded DynamoDB: another process uses {}", path.display())]
    FolderInUse {
        /// The folder.
        path: PathBuf,
    },
    /// The database was written by a newer version.
    #[error("cannot open database {}: {reason}", path.display())]
    NewerDatabase {
        /// The file.
        path: PathBuf,
        /// What the database engine says.
        reason: String,
    },
    /// The database cannot be opened or is not one.
    #[error("cannot open database {}: {reason}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the database engine says.
        reason: String,
    },
    /// The database does not take what keeps its streams right.
    #[error("cannot {action} in database {}", path.display())]
    Database {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The database's reason.
        source: rusqlite::Error,
    },
    /// What keeps the streams right was applied, yet is not there.
    #[error("database {} does not use {object}, so its streams cannot be trusted", path.display())]
    NotPrepared {
        /// The file.
        path: PathBuf,
        /// The index or trigger.
        object: &'static str,
    },
    /// The server cannot be started.
    #[error("cannot start embedded DynamoDB's server")]
    Start {
        /// The system's reason.
        source: std::io::Error,
    },
    /// The server ended by itself.
    #[error("embedded DynamoDB stopped: {reason}")]
    Server {
        /// Why.
        reason: String,
    },
}

impl Classify for EmbeddedError {
    fn kind(&self) -> Kind {
        match self {
            Self::PortTaken { .. } | Self::FolderInUse { .. } => Kind::Conflict,
            Self::Listen { .. } | Self::Folder { .. } => Kind::Invalid,
            Self::NewerDatabase { .. } => Kind::Unsupported,
            Self::Open { .. } => Kind::Corrupt,
            Self::Database { .. } | Self::Start { .. } => Kind::Unavailable,
            Self::NotPrepared { .. } | Self::Server { .. } => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::PortTaken { port } => {
                Some(format!("stop what listens there, or give another port: --port {}", port.checked_add(1)?))
            }
            Self::Listen { .. } => Some("give another port with --port".to_owned()),
            Self::Folder { .. } => Some("give a folder that you may write to with --folder".to_owned()),
            Self::FolderInUse { .. } => Some("stop the other process, or give another folder with --folder".to_owned()),
            Self::NewerDatabase { .. } => {
                Some("use the release of this software that wrote it, or give another folder with --folder".to_owned())
            }
            Self::Open { path, .. } => Some(format!("move {} away to start with an empty database", path.display())),
            Self::Database { .. } | Self::Start { .. } | Self::NotPrepared { .. } | Self::Server { .. } => None,
        }
    }
}
