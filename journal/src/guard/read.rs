//! Reads streams beside the function that they trigger, in a bounded time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::GuardEdges;
use super::finding::Reading;
use super::present::AppendMissing;
use crate::model::TableName;
use crate::source::follow::{Edges, FollowError, FollowOptions, Stop, TableReport, follow};

/// How the reading of one table's streams went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// How it ended, and what was missing.
    pub reading: Reading,
    /// What the follower did.
    pub report: TableReport,
}

/// Reads the streams of tables as far as they go, or as long as `budget` lasts: what the journal lacks is appended, checkpoints and ends are written. A
/// record is late when it is older than `fresh_seconds` and the journal did not have it.
pub async fn read(
    edges: &GuardEdges,
    tables: Vec<TableName>,
    fresh_seconds: u64,
    budget: Duration,
) -> BTreeMap<TableName, Read> {
    if tables.is_empty() {
        return BTreeMap::new();
    }
    let durable = Arc::new(AppendMissing::new(Arc::clone(&edges.store), Arc::clone(&edges.clock), fresh_seconds));
    let follow_edges = Edges {
        service: Arc::clone(&edges.service),
        store: Arc::clone(&edges.store),
        durable: durable.clone(),
        clock: Arc::clone(&edges.clock),
    };
    let options = FollowOptions {
        once: true,
        poll: Duration::from_millis(250),
        seed: rand::random(),
        ..FollowOptions::default()
    };
    let stop = Stop::new();
    let following = follow(follow_edges, tables, options, stop.clone());
    tokio::pin!(following);
    let report = tokio::select! {
        report = &mut following => report,
        () = edges.clock.sleep(budget) => {
            stop.request();
            following.await
        }
    };
    let cut = stop.requested();
    let reads = report.tables.into_iter().map(|(table, report, failure)| {
        let late = durable.tally(&table);
        let reading = match failure {
            // What is wrong with its stream is said by whoever looks at the table.
            Some(error) if error.downcast_ref::<FollowError>().is_some_and(is_of_settings) => Reading::Done(late),
            Some(error) => Reading::Failed(error.to_string()),
            None if cut => Reading::Cut(late),
            None => Reading::Done(late),
        };
        (table, Read { reading, report })
    });
    reads.collect()
}

fn is_of_settings(error: &FollowError) -> bool {
    matches!(error, FollowError::NoTable { .. } | FollowError::NoStream { .. } | FollowError::ViewType { .. })
}
