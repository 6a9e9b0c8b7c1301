//! The world as a [`StreamService`], with everything that a real one does to those who assume otherwise.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::Chance;
use super::clock::{BEGINNING, VirtualClock};
use super::world::{SimShard, SimStream, World};
use crate::documents::{KeySchemaElement, TableDocument};
use crate::model::{Second, SequenceNumber, StreamArn, TableName};
use crate::source::follow::Clock;
use crate::source::stream::{
    Position, RecordsPage, Shard, ShardId, ShardIterator, StreamError, StreamPage, StreamService, StreamSight,
    StreamStatus, TableSight,
};

/// How unkind the service is.
#[derive(Debug, Clone)]
pub(in super::super) struct Unkindness {
    /// Failures of a thousand calls.
    pub(in super::super) failures: u32,
    /// Empty pages of a thousand that would not have been empty; never more than two in a row.
    pub(in super::super) empties: u32,
    /// How long an iterator lives, in milliseconds.
    pub(in super::super) iterator_life: u64,
    /// How long a new shard or stream may not be seen, in milliseconds.
    pub(in super::super) delay: u64,
    /// Most shards of a page of a description, and most records of a page.
    pub(in super::super) page: usize,
    /// A disabled stream's last shards have no end and go on giving iterators, and so does the stream's table vanish with it.
    pub(in super::super) never_closes: bool,
}

impl Default for Unkindness {
    fn default() -> Self {
        Self { failures: 0, empties: 0, iterator_life: 5_000, delay: 0, page: 100, never_closes: false }
    }
}

/// The service.
#[derive(Debug)]
pub(in super::super) struct SimService {
    pub(in super::super) world: Arc<Mutex<World>>,
    clock: VirtualClock,
    chance: Chance,
    unkindness: Unkindness,
    pub(in super::super) calls: Mutex<std::collections::BTreeMap<&'static str, u64>>,
    /// Tables that may not be read.
    pub(in super::super) denied: Mutex<std::collections::BTreeSet<TableName>>,
}

impl SimService {
    pub(in super::super) fn new(
        world: Arc<Mutex<World>>,
        clock: VirtualClock,
        seed: u64,
        unkindness: Unkindness,
    ) -> Self {
        Self { world, clock, chance: Chance::new(seed), unkindness, calls: Mutex::default(), denied: Mutex::default() }
    }

    /// Time passes, and some calls fail: before they did anything, which is all the same for a read.
    async fn call(&self, action: &'static str, object: &str) -> Result<(), StreamError> {
        *self.calls.lock().unwrap().entry(action).or_default() += 1;
        self.clock.sleep(Duration::from_millis(1 + self.chance.below(20))).await;
        let object = object.to_owned();
        let reason = "simulated".to_owned();
        if self.chance.permille(self.unkindness.failures) {
            return Err(match self.chance.below(3) {
                0 => StreamError::Throttled { action, object, reason },
                1 => StreamError::Internal { action, object, reason },
                _ => StreamError::Unavailable { action, object, reason },
            });
        }
        Ok(())
    }

    fn is_seen(&self, born: u64) -> bool {
        self.clock.elapsed() >= born + self.unkindness.delay
    }

    fn stream<'a>(
        &self,
        world: &'a World,
        arn: &StreamArn,
        action: &'static str,
    ) -> Result<&'a SimStream, StreamError> {
        world
            .streams
            .get(arn)
            .filter(|stream| world.is_readable(stream) && self.is_seen(stream.born))
            .ok_or_else(|| StreamError::NotFound { action, object: arn.to_string() })
    }

    fn sight(world: &World, table: &TableName) -> Option<TableSight> {
        let found = world.tables.get(table)?;
        let stream = found.stream.as_ref().map(|arn| StreamSight {
            arn: arn.clone(),
            enabled: world.streams[arn].disabled.is_none(),
            view_type: Some(found.view_type.clone()),
        });
        Some(TableSight {
            status: "ACTIVE".to_owned(),
            table_id: Some(found.id.clone()),
            created_milliseconds: Some(BEGINNING + found.created),
            stream,
        })
    }
}

#[async_trait]
impl StreamService for SimService {
    async fn find_table(&self, table: &TableName) -> Result<Option<TableSight>, StreamError> {
        self.call("DescribeTable", table.as_str()).await?;
        if self.denied.lock().unwrap().contains(table) {
            let (object, reason) = (table.to_string(), "simulated".to_owned());
            return Err(StreamError::Denied { action: "DescribeTable", object, reason });
        }
        Ok(Self::sight(&self.world.lock().unwrap(), table))
    }

    async fn describe_table(&self, table: &TableName, now: Second) -> Result<Option<TableDocument>, StreamError> {
        self.call("DescribeTable", table.as_str()).await?;
        let world = self.world.lock().unwrap();
        let Some(sight) = Self::sight(&world, table) else { return Ok(None) };
        let Some(stream) = sight.stream else { return Ok(None) };
        let key = KeySchemaElement { name: "id".to_owned(), role: "HASH".to_owned(), key_type: "S".to_owned() };
        Ok(Some(TableDocument {
            table: table.clone(),
            stream_arn: stream.arn,
            table_id: sight.table_id,
            key_schema: vec![key],
            stream_view_type: stream.view_type.unwrap(),
            created_milliseconds: sight.created_milliseconds,
            described_at: now,
            description: serde_json::Value::Null,
            time_to_live: None,
            tags: None,
            point_in_time_recovery: None,
            not_read: Vec::new(),
        }))
    }

    async fn list_streams(&self, table: &TableName) -> Result<Vec<StreamArn>, StreamError> {
        self.call("ListStreams", table.as_str()).await?;
        let world = self.world.lock().unwrap();
        let readable = world.streams.values().filter(|stream| world.is_readable(stream) && self.is_seen(stream.born));
        Ok(readable.map(|stream| stream.arn.clone()).filter(|arn| arn.timeline().table == *table).collect())
    }

    async fn describe_stream(&self, arn: &StreamArn, after: Option<&ShardId>) -> Result<StreamPage, StreamError> {
        self.call("DescribeStream", arn.as_str()).await?;
        let mut world = self.world.lock().unwrap();
        world.trim();
        let stream = self.stream(&world, arn, "DescribeStream")?;
        let status = if stream.disabled.is_some() { StreamStatus::Disabled } else { StreamStatus::Enabled };
        let mut shards: Vec<&SimShard> =
            stream.shards.iter().filter(|shard| !shard.vanished && self.is_seen(shard.born)).collect();
        shards.sort_by(|a, b| a.id.cmp(&b.id));
        let mut shards = shards.into_iter().filter(|shard| after.is_none_or(|after| shard.id > *after));
        let described = |shard: &SimShard| {
            let open = shard.closed.is_none() || self.unkindness.never_closes && stream.disabled == shard.closed;
            let last = shard.records.last().map_or(SequenceNumber::MIN, |(_, record)| record.record.sequence);
            Shard { id: shard.id.clone(), parent: shard.parent.clone(), first: None, last: (!open).then_some(last) }
        };
        let page: Vec<Shard> = shards.by_ref().take(self.unkindness.page).map(described).collect();
        let next = shards.next().and_then(|_| page.last().map(|shard| shard.id.clone()));
        Ok(StreamPage { status, view_type: None, shards: page, next })
    }

    async fn get_shard_iterator(
        &self,
        arn: &StreamArn,
        id: &ShardId,
        position: Position,
    ) -> Result<ShardIterator, StreamError> {
        let action = "GetShardIterator";
        self.call(action, id.as_str()).await?;
        let mut world = self.world.lock().unwrap();
        world.trim();
        let stream = self.stream(&world, arn, action)?;
        let shard = stream.shards.iter().find(|shard| shard.id == *id && !shard.vanished && self.is_seen(shard.born));
        let shard = shard.ok_or_else(|| StreamError::NotFound { action, object: id.to_string() })?;
        let trimmed = || StreamError::Trimmed { action, object: id.to_string() };
        let at =
            |sequence: SequenceNumber| shard.records.partition_point(|(_, record)| record.record.sequence < sequence);
        let index = match position {
            Position::TrimHorizon => shard.trimmed,
            Position::At(sequence) => Some(at(sequence)).filter(|at| *at >= shard.trimmed).ok_or_else(trimmed)?,
            Position::After(sequence) => Some(at(sequence)).filter(|at| *at >= shard.trimmed).ok_or_else(trimmed)? + 1,
        };
        Ok(ShardIterator::new(format!("{id}|{index}|{}|0", self.clock.elapsed())))
    }

    async fn get_records(&self, arn: &StreamArn, iterator: &ShardIterator) -> Result<RecordsPage, StreamError> {
        let action = "GetRecords";
        self.call(action, arn.as_str()).await?;
        let (id, index, issued, empty_before) = {
            let mut parts = iterator.as_str().split('|');
            let id = ShardId::parse(parts.next().unwrap()).unwrap();
            let mut number = || parts.next().unwrap().parse::<u64>().unwrap();
            (id, usize::try_from(number()).unwrap(), number(), number())
        };
        let object = id.to_string();
        let page = {
            let mut world = self.world.lock().unwrap();
            world.trim();
            let now = self.clock.elapsed();
            if now > issued + self.unkindness.iterator_life {
                // As DynamoDB Local answers a stale iterator, and as AWS does.
                return Err(if self.chance.permille(500) {
                    StreamError::Internal { action, object, reason: "stale".to_owned() }
                } else {
                    StreamError::ExpiredIterator { action, object }
                });
            }
            let stream = self.stream(&world, arn, action)?;
            let shard = stream.shards.iter().find(|shard| shard.id == id && !shard.vanished);
            let shard = shard.ok_or_else(|| StreamError::NotFound { action, object: object.clone() })?;
            if index < shard.trimmed {
                return Err(StreamError::Trimmed { action, object });
            }
            if empty_before < 2 && self.chance.permille(self.unkindness.empties) {
                let next = ShardIterator::new(format!("{id}|{index}|{now}|{}", empty_before + 1));
                return Ok(RecordsPage { records: Vec::new(), next: Some(next) });
            }
            let records: Vec<_> = shard
                .records
                .iter()
                .skip(index)
                .take(self.unkindness.page)
                .map(|(_, record)| Ok(record.clone()))
                .collect();
            let after = index + records.len();
            let open = shard.closed.is_none() || self.unkindness.never_closes && stream.disabled == shard.closed;
            let next =
                (open || after < shard.records.len()).then(|| ShardIterator::new(format!("{id}|{after}|{now}|0")));
            RecordsPage { records, next }
        };
        // The answer travels, too: a kill may find it on its way.
        self.clock.sleep(Duration::from_millis(self.chance.below(10))).await;
        Ok(page)
    }
}
