//! `table.json` of a timeline that is seen for the first time.
//!
//! What enters are the timelines of an event that is durable already; what leaves is `table.json` where there was none. The
//! description is never in the way of a record: whatever goes wrong with it is logged, the event succeeds, and a later
//! event tries again. How a table looks changes rarely, and keeping up with that is the guard's work: what lies there is
//! left as it is.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::documents;
use crate::error::Error;
use crate::lambda;
use crate::layout;
use crate::model::StreamArn;
use crate::store::{StoreError, WriteStore};
use crate::table::{self, TableError};

/// How long after a failure a process tries no more to describe a timeline.
const PAUSE_MILLISECONDS: u64 = 60_000;
/// What a first sight may take of an invocation.
const PATIENCE: Duration = Duration::from_secs(8);
/// Timelines that a process remembers; a function of more tables than that looks again now and then.
const TIMELINES_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// Its `table.json` lies in the journal, or nobody can ever write it.
    Settled,
    /// The last attempt failed; not again before this time, in milliseconds since 1970.
    NotBefore(u64),
}

/// What a process knows of the timelines that it has seen.
#[derive(Debug, Default)]
pub(super) struct Sights(Mutex<BTreeMap<StreamArn, Sight>>);

/// How one look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Stored,
    WasThere,
    /// The table is gone, or has another stream by now: this timeline's table can no longer be described.
    TooLate,
}

impl Sights {
    /// Whether a look at the timeline is due.
    fn is_due(&self, stream: &StreamArn, now_milliseconds: u64) -> bool {
        let sights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match sights.get(stream) {
            None => true,
            Some(Sight::Settled) => false,
            Some(Sight::NotBefore(then)) => now_milliseconds >= *then,
        }
    }

    fn set(&self, stream: &StreamArn, sight: Sight) {
        let mut sights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sights.len() >= TIMELINES_MAX && !sights.contains_key(stream) {
            sights.clear();
        }
        sights.insert(stream.clone(), sight);
    }

    /// Stores `table.json` of `stream` where a look is due and there is none, within `left`.
    pub(super) async fn see(
        &self,
        store: &dyn WriteStore,
        tables: &aws_sdk_dynamodb::Client,
        stream: &StreamArn,
        left: Duration,
    ) {
        let now = lambda::now_milliseconds();
        if !self.is_due(stream, now) {
            return;
        }
        let timeline = stream.timeline();
        let sight = match tokio::time::timeout(left.min(PATIENCE), look(store, tables, stream)).await {
            Ok(Ok(look)) => {
                match look {
                    Look::Stored => tracing::info!(%timeline, "first sight of the timeline: table.json is stored"),
                    Look::WasThere => tracing::debug!(%timeline, "table.json is there"),
                    Look::TooLate => tracing::warn!(
                        %timeline,
                        "the table is gone or has another stream by now, so there will be no table.json; the records are kept, \
                         and a restore takes key attributes from them"
                    ),
                }
                Sight::Settled
            }
            failed => {
                let reason = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "no time was left".to_owned(),
                };
                tracing::warn!(
                    %timeline,
                    "the table could not be described; its records are durable, and a later event tries again: {reason}"
                );
                Sight::NotBefore(now.saturating_add(PAUSE_MILLISECONDS))
            }
        };
        self.set(stream, sight);
    }
}

async fn look(store: &dyn WriteStore, tables: &aws_sdk_dynamodb::Client, stream: &StreamArn) -> Result<Look, Error> {
    let key = layout::table_document(stream.timeline());
    match store.get(&key).await {
        Ok(_) => return Ok(Look::WasThere),
        // Where the bucket may not be listed, S3 calls a missing object forbidden; the put below is create-only.
        Err(StoreError::NotFound { .. } | StoreError::Denied { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let document = match table::describe(tables, &stream.timeline().table, lambda::now()).await {
        Ok(document) if document.stream_arn.timeline() == stream.timeline() => document,
        Ok(_) => return Ok(Look::TooLate),
        Err(TableError::NotFound { .. } | TableError::NoStream { .. } | TableError::View { .. }) => {
            return Ok(Look::TooLate);
        }
        Err(error) => return Err(error.into()),
    };
    match store.put_new(&key, documents::to_bytes(&document)?).await {
        // Another process was first, a moment before or after a change of the table.
        Ok(_) | Err(StoreError::Differs { .. }) => Ok(Look::Stored),
        Err(error) => Err(error.into()),
    }
}
