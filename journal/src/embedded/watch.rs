//! What an embedder may know of its endpoint's tables.

use std::fmt;

use async_trait::async_trait;

use crate::model::TableName;

/// Where the watch itself sends requests: past its own hooks.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// The public endpoint: the Streams API is answered there alone.
    pub public: String,
    /// The engine's own endpoint, for changes that no hook is to hear of.
    pub engine: String,
}

/// Hears of tables. The hooks are called one at a time; each must end by itself within seconds, for a client waits.
#[async_trait]
pub trait TableWatch: Send + Sync + fmt::Debug {
    /// Whether a table that is to be made without a stream is made with one that shows both images. Switched on later, it
    /// would not have begun with the table.
    fn adds_streams(&self) -> bool;

    /// The table was made or changed; its client hears so when this returns. `stream_added` says that it was to be made
    /// without a stream and has one.
    async fn after_change(&self, table: &TableName, stream_added: bool);

    /// The table is about to be deleted.
    ///
    /// # Errors
    /// With the reason, when it must not be deleted now; the client gets an error that SDKs try again after.
    async fn before_delete(&self, table: &TableName) -> Result<(), String>;
}
