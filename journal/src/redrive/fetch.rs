//! Records of a shard, read again by their sequence numbers.
//!
//! What enters is a range; what leaves is a batch with every record of it that the stream still has, or that it has not.

use std::time::Duration;

use super::{RedriveError, ShardRange};
use crate::append::Batch;
use crate::error::Result;
use crate::source::stream::{Position, StreamError, StreamService};

/// Pages without a record of the range that are read before it counts as gone.
const EMPTY_PAGES_MAX: u32 = 100;
/// How often one request that was throttled or got no answer is made again.
const RETRIES_MAX: u32 = 6;
/// The first pause before it; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(200);

/// Reads `range`.
///
/// # Errors
/// [`RedriveError::Trimmed`] when the first of the records is gone, and when the service refuses or does not answer.
pub(super) async fn fetch(service: &dyn StreamService, range: &ShardRange) -> Result<Batch> {
    let trimmed = || RedriveError::Trimmed {
        stream: range.stream.clone(),
        shard: range.shard.to_string(),
        first: range.first.to_string(),
        last: range.last.to_string(),
    };
    let at = Position::At(range.first);
    let started = retry(|| service.get_shard_iterator(&range.stream, &range.shard, at)).await;
    let mut next = match started {
        Ok(iterator) => Some(iterator),
        Err(StreamError::Trimmed { .. } | StreamError::NotFound { .. }) => return Err(trimmed().into()),
        Err(error) => return Err(error.into()),
    };
    let mut batch = Batch::default();
    let mut empty = 0;
    while let Some(iterator) = next {
        let page = match retry(|| service.get_records(&range.stream, &iterator)).await {
            Ok(page) => page,
            Err(StreamError::Trimmed { .. }) => return Err(trimmed().into()),
            Err(error) => return Err(error.into()),
        };
        empty = if page.records.is_empty() { empty + 1 } else { 0 };
        for record in page.records {
            match record {
                Ok(record) if record.record.sequence.cmp_value(&range.last).is_gt() => return Ok(batch),
                Ok(record) => {
                    let last = record.record.sequence.cmp_value(&range.last).is_eq();
                    batch.records.push(record);
                    if last {
                        return Ok(batch);
                    }
                }
                // Where it stands cannot be told; kept once too often is better than not at all.
                Err(quarantined) => batch.quarantined.push(quarantined),
            }
        }
        if empty > EMPTY_PAGES_MAX {
            break;
        }
        next = page.next;
    }
    // The last record was not met: it is not there.
    Err(trimmed().into())
}

async fn retry<T, F>(attempt: impl Fn() -> F) -> Result<T, StreamError>
where
    F: Future<Output = Result<T, StreamError>>,
{
    let mut pause = PAUSE_FIRST;
    for _ in 0..RETRIES_MAX {
        match attempt().await {
            Err(
                error
                @ (StreamError::Throttled { .. } | StreamError::Internal { .. } | StreamError::Unavailable { .. }),
            ) => {
                tracing::debug!("{error}; trying again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            answered => return answered,
        }
    }
    attempt().await
}
