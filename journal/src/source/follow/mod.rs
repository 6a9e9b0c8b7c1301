//! Follows the streams of live tables into the journal.
//!
//! What enters are tables' names, a [`StreamService`] and a store; what leaves are segments, checkpoints and stated gaps, and
//! a [`FollowReport`]. One task a table looks for its streams; one task a timeline walks the tree of its shards, parents
//! first; one task a shard reads it, batch by batch: append, then checkpoint. Only those two orders carry the promise that
//! nothing is lost: *durable, then acknowledged* and *finished, then its children*. Everything else may be killed at any moment
//! and done again. Bytes of segments are not known here.
//!
//! Requests are retried here and nowhere below, so that throttling is seen; time comes from a [`Clock`]; memory is
//! bounded by [`FollowOptions::memory_pages`] over all shards.

mod backoff;
mod batch;
mod birth;
mod checkpoint;
mod clock;
mod context;
mod end;
mod gap;
mod known;
mod listing;
mod options;
mod report;
mod shard;
#[cfg(test)]
mod simulator;
mod stop;
mod switched;
mod table;
#[cfg(test)]
mod tests;
mod timeline;
mod tree;

use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::error;

pub use clock::{Clock, SystemClock};
pub use context::{Durable, StoreAppend};
pub use options::FollowOptions;
pub use report::{FollowError, FollowReport, TableReport};
pub use stop::Stop;

use context::{Context, Tally};
use table::TableFollower;

use super::stream::StreamService;
use crate::error::Error;
use crate::model::TableName;
use crate::store::WriteStore;

/// The edges of a follower: where records come from and where they go.
#[derive(Debug, Clone)]
pub struct Edges {
    /// Tables and their streams.
    pub service: Arc<dyn StreamService>,
    /// The journal, for its documents.
    pub store: Arc<dyn WriteStore>,
    /// The journal, for batches.
    pub durable: Arc<dyn Durable>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Follows tables until `stop` is requested, or, where the options say so, there is nothing left to read. One table that
/// fails does not stop the others; its error is in the report. Dropping the future is a kill: nothing that was not durable
/// is acknowledged.
pub async fn follow(edges: Edges, tables: Vec<TableName>, options: FollowOptions, stop: Stop) -> FollowReport {
    let Edges { service, store, durable, clock } = edges;
    let context = Arc::new(Context::new(service, store, durable, clock, options));
    let mut tasks = JoinSet::new();
    let mut tallies = Vec::new();
    for (at, table) in tables.into_iter().enumerate() {
        let tally = Arc::new(Tally::default());
        let follower = TableFollower::new(Arc::clone(&context), table.clone(), Arc::clone(&tally), stop.clone());
        tallies.push((table, tally, None));
        tasks.spawn(async move { (at, follower.follow().await) });
    }
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok((_, Ok(()))) => {}
            Ok((at, Err(failed))) => {
                if let Some((table, _, failure)) = tallies.get_mut(at) {
                    error!(%table, hint = failed.hint().unwrap_or_default(), "following the table ended: {failed}");
                    *failure = Some(failed);
                }
            }
            Err(died) => {
                let ended = FollowError::Ended { what: "a table".to_owned(), reason: died.to_string() };
                error!("{ended}");
                if let Some((_, _, failure)) = tallies.iter_mut().find(|(_, _, failure)| failure.is_none()) {
                    *failure = Some(Error::from(ended));
                }
            }
        }
    }
    let tables = tallies.into_iter().map(|(table, tally, failure)| (table, *tally.lock(), failure)).collect();
    FollowReport { tables }
}
