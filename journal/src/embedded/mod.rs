//! Embedded DynamoDB for the local commands: a whole endpoint in this process, its data in one folder.
//!
//! Owns the server's life: the folder's lock, the port, the start and the stop. The engine is dynoxide on one database file
//! (`database` says what is added to the file and why); a front before it answers the Streams API itself
//! (`streams`), because the engine forgets a deleted table's stream. What enters are a folder and a port; what leaves is
//! an endpoint for any AWS SDK or the AWS CLI, with any credentials. Knows nothing of the journal.
//!
//! Limits, against AWS: streams have one shard that never splits, iterators do not expire, records are kept without
//! end, and there is no IAM, backup, export or import.

mod client;
mod database;
mod error;
mod fault;
mod front;
mod reader;
mod server;
mod streams;
mod watch;

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;

pub use client::{ACCESS_KEY, REGION, dynamodb_client, environment, settings, streams_client};
pub use error::EmbeddedError;
pub use watch::{Endpoints, TableWatch};

use front::Gate;
use server::{Listeners, Server};

/// The file that a running endpoint keeps locked.
const LOCK: &str = "dynamodb.lock";

/// A running endpoint. Dropped, it stops by itself; [`EmbeddedDynamoDb::stop`] also waits for the end.
#[derive(Debug)]
pub struct EmbeddedDynamoDb {
    endpoints: Endpoints,
    port: u16,
    gate: Arc<Gate>,
    server: Server,
}

impl EmbeddedDynamoDb {
    /// Starts on 127.0.0.1 with the data in `folder`, which is made where it is missing. Without a port it takes a free
    /// one. When this returns, the endpoint answers.
    ///
    /// # Errors
    /// When the port is taken, the folder cannot be written or is in use, or the database cannot be used.
    pub async fn start(folder: &Path, port: Option<u16>) -> Result<Self, EmbeddedError> {
        Self::open(folder, port, |_| None).await
    }

    /// Starts as [`EmbeddedDynamoDb::start`] does, with a watch on its tables from the first request on.
    ///
    /// # Errors
    /// As [`EmbeddedDynamoDb::start`].
    pub async fn start_watched(
        folder: &Path,
        port: Option<u16>,
        watch: impl FnOnce(&Endpoints) -> Arc<dyn TableWatch> + Send + 'static,
    ) -> Result<Self, EmbeddedError> {
        Self::open(folder, port, |endpoints| Some(watch(endpoints))).await
    }

    async fn open(
        folder: &Path,
        port: Option<u16>,
        watch: impl FnOnce(&Endpoints) -> Option<Arc<dyn TableWatch>> + Send + 'static,
    ) -> Result<Self, EmbeddedError> {
        let folder = folder.to_owned();
        let start = move || {
            let listeners = Listeners::bind(port.unwrap_or(0))?;
            let (port, endpoints) = (listeners.port()?, listeners.endpoints()?);
            let lock = lock(&folder)?;
            let opened = database::open(&folder)?;
            let gate = Arc::new(Gate::new(watch(&endpoints)));
            let server = Server::start(listeners, opened, Arc::clone(&gate), lock)?;
            Ok(Self { endpoints, port, gate, server })
        };
        tokio::task::spawn_blocking(start).await.map_err(|error| EmbeddedError::Server { reason: error.to_string() })?
    }

    /// The endpoint's URL: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoints.public
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Refuses all but operations on streams and descriptions of tables from now on, so that what follows the streams can come to their end.
    /// Returns when the other requests under way are answered.
    pub async fn close_to_clients(&self) {
        self.gate.close().await;
    }

    /// Finishes the requests under way, closes the database and frees port and folder.
    ///
    /// # Errors
    /// When the server had failed before.
    pub async fn stop(self) -> Result<(), EmbeddedError> {
        self.server.stop().await
    }
}

fn lock(folder: &Path) -> Result<File, EmbeddedError> {
    let in_folder = |path: &Path| {
        let path = path.to_owned();
        move |source| EmbeddedError::Folder { path, source }
    };
    std::fs::create_dir_all(folder).map_err(in_folder(folder))?;
    let path = folder.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(in_folder(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EmbeddedError::FolderInUse { path: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(EmbeddedError::Folder { path, source }),
    }
}

#[cfg(test)]
mod tests;
