//! The complete list of a stream's shards, put together from its pages.

use std::collections::BTreeSet;

use super::backoff::Halt;
use super::context::Line;
use super::stop::Stop;
use crate::source::stream::{Shard, StreamError, StreamStatus};

/// Most pages of one listing: a hundred shards each.
const PAGES_MAX: usize = 20_000;

/// A stream's shards at one time.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) status: StreamStatus,
    pub(super) view_type: Option<String>,
    pub(super) shards: Vec<Shard>,
    /// Whether it came in one page, so that it shows the stream as it was at one moment.
    pub(super) at_once: bool,
}

/// Lists all shards; none when there is no such stream. Nothing is decided by a listing that is not complete, for a parent
/// on another page would look as if it had been trimmed.
pub(super) async fn list(line: &Line, stop: &Stop) -> Result<Option<Listing>, Halt> {
    let what = format!("listing the shards of {}", line.timeline());
    let malformed = |reason: &str| StreamError::Malformed {
        action: "DescribeStream",
        object: line.stream.to_string(),
        reason: reason.to_owned(),
    };
    let context = &line.context;
    let mut shards = Vec::new();
    let mut seen = BTreeSet::new();
    let mut after = None;
    for number in 0..PAGES_MAX {
        let listed = context.retry(stop, &what, || async {
            context.listing_turn().await;
            match context.service.describe_stream(&line.stream, after.as_ref()).await {
                Ok(page) => Ok(Some(page)),
                Err(StreamError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        });
        let page = tokio::select! {
            biased;
            () = stop.wait() => return Err(Halt::Stopped),
            page = listed => page?,
        };
        let Some(page) = page else { return Ok(None) };
        shards.extend(page.shards.into_iter().filter(|shard| seen.insert(shard.id.clone())));
        match page.next {
            None => {
                return Ok(Some(Listing {
                    status: page.status,
                    view_type: page.view_type,
                    shards,
                    at_once: number == 0,
                }));
            }
            Some(next) if Some(&next) == after.as_ref() => return Err(malformed("its pages go in a circle").into()),
            Some(next) => after = Some(next),
        }
    }
    Err(malformed("it has too many pages").into())
}
