//! What is: tables, streams, shards, records, and what has been lost.

use std::collections::{BTreeMap, BTreeSet};

use super::clock::{BEGINNING, VirtualClock};
use crate::model::{
    AttributeValue, ChangeKind, ChangeRecord, Image, ItemKey, KeyAttribute, KeyAttributes, KeyType, Second,
    SequenceNumber, StreamArn, StreamRecord, TableName,
};
use crate::source::stream::ShardId;

/// Items that are written to.
pub(in super::super) const ITEMS: u64 = 40;
const HASHES: u64 = 1 << 16;

/// One shard.
#[derive(Debug, Clone)]
pub(in super::super) struct SimShard {
    pub(in super::super) id: ShardId,
    pub(in super::super) parent: Option<ShardId>,
    /// Hashes of the items whose changes it gets.
    pub(in super::super) hashes: std::ops::Range<u64>,
    pub(in super::super) born: u64,
    pub(in super::super) closed: Option<u64>,
    pub(in super::super) records: Vec<(u64, StreamRecord)>,
    /// How many of its records have been trimmed.
    pub(in super::super) trimmed: usize,
    /// No longer listed nor readable.
    pub(in super::super) vanished: bool,
}

/// One stream.
#[derive(Debug, Clone)]
pub(in super::super) struct SimStream {
    pub(in super::super) arn: StreamArn,
    pub(in super::super) born: u64,
    pub(in super::super) disabled: Option<u64>,
    pub(in super::super) shards: Vec<SimShard>,
    /// How the stream ended, as its end must say.
    pub(in super::super) table_deleted: bool,
    /// Records that the service shows although they belong to an earlier table.
    pub(in super::super) foreign: BTreeSet<SequenceNumber>,
}

/// One table.
#[derive(Debug, Clone)]
pub(in super::super) struct SimTable {
    pub(in super::super) id: String,
    pub(in super::super) created: u64,
    pub(in super::super) stream: Option<StreamArn>,
    pub(in super::super) view_type: String,
}

/// Everything there is.
#[derive(Debug)]
pub(in super::super) struct World {
    pub(in super::super) clock: VirtualClock,
    /// How long records stay, in milliseconds.
    pub(in super::super) retention: u64,
    pub(in super::super) tables: BTreeMap<TableName, SimTable>,
    pub(in super::super) streams: BTreeMap<StreamArn, SimStream>,
    sequence: u128,
    count: u64,
    numeric_labels: bool,
}

impl World {
    pub(in super::super) fn new(clock: VirtualClock, retention: u64, numeric_labels: bool) -> Self {
        Self {
            clock,
            retention,
            tables: BTreeMap::new(),
            streams: BTreeMap::new(),
            sequence: 100_000_000_000_000_000_000_000,
            count: 0,
            numeric_labels,
        }
    }

    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Makes a table with a stream.
    pub(in super::super) fn create_table(&mut self, name: &TableName, shards: u64) {
        let id = format!("table-{}", self.next());
        let table =
            SimTable { id, created: self.clock.elapsed(), stream: None, view_type: "NEW_AND_OLD_IMAGES".to_owned() };
        self.tables.insert(name.clone(), table);
        self.enable_stream(name, shards);
    }

    /// Switches a table's stream on.
    pub(in super::super) fn enable_stream(&mut self, name: &TableName, shards: u64) {
        let born = self.clock.elapsed();
        let milliseconds = BEGINNING + born;
        let label = if self.numeric_labels {
            milliseconds.to_string()
        } else {
            let second = Second::new(milliseconds / 1000).unwrap().to_string();
            format!("{}.{:03}", second.trim_end_matches('Z'), milliseconds % 1000)
        };
        let arn = StreamArn::parse(&format!("arn:aws:dynamodb:eu-west-1:000000000000:table/{name}/stream/{label}"));
        let arn = arn.unwrap();
        let width = HASHES / shards;
        let roots = (0..shards)
            .map(|at| {
                let end = if at + 1 == shards { HASHES } else { (at + 1) * width };
                self.shard(None, at * width..end)
            })
            .collect();
        let stream = SimStream {
            arn: arn.clone(),
            born,
            disabled: None,
            shards: roots,
            table_deleted: false,
            foreign: BTreeSet::new(),
        };
        self.streams.insert(arn.clone(), stream);
        self.tables.get_mut(name).unwrap().stream = Some(arn);
    }

    fn shard(&mut self, parent: Option<ShardId>, hashes: std::ops::Range<u64>) -> SimShard {
        let born = self.clock.elapsed();
        // Names do not sort by age, as they do not have to.
        let count = self.next();
        let id = ShardId::parse(&format!("shardId-{:04}-{count:05}", count.wrapping_mul(7919) % 10_000)).unwrap();
        SimShard { id, parent, hashes, born, closed: None, records: Vec::new(), trimmed: 0, vanished: false }
    }

    /// The table's live stream.
    pub(in super::super) fn live(&mut self, name: &TableName) -> Option<&mut SimStream> {
        let arn = self.tables.get(name)?.stream.clone()?;
        self.streams.get_mut(&arn).filter(|stream| stream.disabled.is_none())
    }

    /// Changes an item.
    pub(in super::super) fn write(&mut self, name: &TableName, item: u64) {
        let now = self.clock.elapsed();
        self.sequence += 1 + u128::from(now % 97);
        let sequence = SequenceNumber::parse(&self.sequence.to_string()).unwrap();
        let hash = item.wrapping_mul(2_654_435_761) % HASHES;
        let Some(stream) = self.live(name) else { return };
        let record = record(&stream.arn, item, sequence, Some((BEGINNING + now) / 1000));
        let shard = stream.shards.iter_mut().find(|shard| shard.closed.is_none() && shard.hashes.contains(&hash));
        shard.unwrap().records.push((now, record));
    }

    /// Shows an earlier table's record in the live stream.
    pub(in super::super) fn show_foreign(&mut self, name: &TableName, item: u64, seconds_before_birth: u64) {
        self.sequence += 1;
        let now = self.clock.elapsed();
        let sequence = SequenceNumber::parse(&self.sequence.to_string()).unwrap();
        let Some(stream) = self.live(name) else { return };
        let second = (BEGINNING + stream.born) / 1000 - seconds_before_birth;
        let record = record(&stream.arn, item, sequence, Some(second));
        stream.foreign.insert(sequence);
        stream.shards.iter_mut().find(|shard| shard.closed.is_none()).unwrap().records.push((now, record));
    }

    /// Closes an open shard of the live stream, and gives it one or two children.
    pub(in super::super) fn close_shard(&mut self, name: &TableName, at: usize, split: bool) {
        let now = self.clock.elapsed();
        let Some(stream) = self.live(name) else { return };
        let arn = stream.arn.clone();
        let open: Vec<usize> =
            stream.shards.iter().enumerate().filter(|(_, shard)| shard.closed.is_none()).map(|(at, _)| at).collect();
        let Some(at) = open.get(at % open.len().max(1)) else { return };
        let parent = &mut stream.shards[*at];
        parent.closed = Some(now);
        let (id, hashes) = (parent.id.clone(), parent.hashes.clone());
        let middle = hashes.start.midpoint(hashes.end);
        let ranges =
            if split && middle > hashes.start { vec![hashes.start..middle, middle..hashes.end] } else { vec![hashes] };
        let children: Vec<SimShard> = ranges.into_iter().map(|range| self.shard(Some(id.clone()), range)).collect();
        self.streams.get_mut(&arn).unwrap().shards.extend(children);
    }

    /// Switches the stream off; the table stays.
    pub(in super::super) fn disable_stream(&mut self, name: &TableName) {
        let now = self.clock.elapsed();
        if let Some(stream) = self.live(name) {
            stream.disabled = Some(now);
            for shard in &mut stream.shards {
                shard.closed.get_or_insert(now);
            }
        }
    }

    /// Deletes the table; its stream stays readable.
    pub(in super::super) fn delete_table(&mut self, name: &TableName) {
        self.disable_stream(name);
        if let Some(table) = self.tables.remove(name)
            && let Some(stream) = table.stream.and_then(|arn| self.streams.get_mut(&arn))
        {
            stream.table_deleted = true;
        }
    }

    /// Trims what is too old, and forgets shards and streams of which nothing is left.
    pub(in super::super) fn trim(&mut self) {
        let horizon = self.clock.elapsed().saturating_sub(self.retention);
        for stream in self.streams.values_mut() {
            for shard in &mut stream.shards {
                shard.trimmed = shard.records.iter().take_while(|(at, _)| *at < horizon).count();
                shard.vanished |= shard.closed.is_some_and(|closed| closed < horizon);
            }
        }
    }

    /// Whether the stream can still be described.
    pub(in super::super) fn is_readable(&self, stream: &SimStream) -> bool {
        stream.disabled.is_none_or(|disabled| disabled + self.retention > self.clock.elapsed())
    }
}

fn record(stream: &StreamArn, item: u64, sequence: SequenceNumber, second: Option<u64>) -> StreamRecord {
    let attribute = KeyAttribute { name: "id".to_owned(), key_type: KeyType::S };
    let key_attributes = KeyAttributes::new(vec![attribute]).unwrap();
    let key = BTreeMap::from([("id".to_owned(), AttributeValue::S(format!("item-{item}")))]);
    let image = BTreeMap::from([("at".to_owned(), AttributeValue::S(sequence.to_string()))]);
    StreamRecord {
        stream: stream.clone(),
        record: ChangeRecord {
            key: ItemKey::encode(&key_attributes, &key).unwrap(),
            sequence,
            second: second.map(|second| Second::new(second).unwrap()),
            kind: ChangeKind::Modify,
            old: None,
            new: Some(Image::encode(&image).unwrap()),
            user: None,
        },
        key_attributes,
    }
}
