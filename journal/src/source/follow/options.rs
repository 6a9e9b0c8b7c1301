//! How a follower is to follow: sizes, ages and intervals, each bounded.

use std::time::Duration;

/// How a follower reads and when it writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowOptions {
    /// A shard's batch is written when it has so many bytes.
    pub batch_bytes: usize,
    /// A shard's batch is written when it has so many records.
    pub batch_records: usize,
    /// A shard's batch is written when its first record was read so long ago.
    pub batch_age: Duration,
    /// How long to wait after a read that found nothing.
    pub poll: Duration,
    /// So many reads in a row must find nothing before a shard counts as read through, for one empty page proves nothing
    /// ("it might take multiple calls to get to a portion of the shard that contains stream records", `GetRecords`).
    pub empty_reads: usize,
    /// A shard's checkpoint is written at most so often, except at its end and when the follower stops. After a crash so much
    /// is read again, which does no harm.
    pub checkpoint_age: Duration,
    /// How often to look whether the table is still the same.
    pub table_poll: Duration,
    /// How often to look for new shards, besides when one ends.
    pub relist: Duration,
    /// How often to keep `table.json` up to date.
    pub describe_age: Duration,
    /// Records younger than this are not trimmed by the service: its 24 hours less a margin.
    pub retention: Duration,
    /// A stream that has been disabled for so long, or could not be found for so long and is not named by the table as its
    /// own, is over: a description may be behind by as much, and not show the last shards yet.
    pub end_grace: Duration,
    /// How long a closed shard waits for its children to be listed before it counts as finished without any.
    pub child_grace: Duration,
    /// Pages of records, about 1 MB each, that may be in memory at once, in all shards of all tables together.
    pub memory_pages: usize,
    /// Read what is there now, then stop.
    pub once: bool,
    /// Wait for a table that does not exist yet, or has no stream yet.
    pub wait: bool,
    /// Stop when every timeline has ended, rather than wait for the table to be made again.
    pub until_ended: bool,
    /// Seed of the jitter.
    pub seed: u64,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self {
            batch_bytes: 4 << 20,
            batch_records: 1000,
            batch_age: Duration::from_secs(1),
            poll: Duration::from_secs(1),
            empty_reads: 3,
            checkpoint_age: Duration::from_secs(15),
            table_poll: Duration::from_secs(5),
            relist: Duration::from_secs(30),
            describe_age: Duration::from_mins(15),
            retention: Duration::from_hours(23),
            end_grace: Duration::from_secs(10),
            child_grace: Duration::from_mins(5),
            memory_pages: 128,
            once: false,
            wait: false,
            until_ended: false,
            seed: 0,
        }
    }
}
