//! The second witness: the stream as this suite itself reads it, and the reference that it makes with what the writers
//! know. Of the stream only positions are taken; what the items were is told by the writers.

use std::collections::BTreeMap;

use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::types::{Record, ShardIteratorType};
use journal::model::SequenceNumber;

use super::item::{Item, Items, KeyText, key_text, of_stream};
use super::writers::Log;

/// Reads that may find nothing new before the stream counts as stuck.
const EMPTY_READS_MAX: usize = 200;

/// One change with its place in the stream.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) key: KeyText,
    pub(crate) sequence: SequenceNumber,
    /// Stream time, in seconds since 1970.
    pub(crate) second: u64,
    /// The item after it.
    pub(crate) after: Option<Item>,
}

/// A timeline as it must be: its label and its changes in the order of their sequence numbers.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) label: String,
    pub(crate) changes: Vec<Placed>,
}

/// Where a cut is made; what is at the position counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At {
    Second(u64),
    Sequence(SequenceNumber),
}

impl Expected {
    /// Reads the stream `arn` and places the writers' changes in it. Each key's records must be exactly its writer's
    /// changes, in their order.
    pub(crate) async fn place(client: &Client, arn: &str, log: &Log) -> Self {
        let count: usize = log.values().map(Vec::len).sum();
        let records = read(client, arn, count).await;
        let mut by_key: BTreeMap<KeyText, Vec<Placed>> = BTreeMap::new();
        for record in &records {
            let change = record.dynamodb().unwrap();
            let key = key_text(&of_stream(change.keys().unwrap()));
            by_key.entry(key.clone()).or_default().push(Placed {
                key,
                sequence: SequenceNumber::parse(change.sequence_number().unwrap()).unwrap(),
                second: u64::try_from(change.approximate_creation_date_time().unwrap().secs()).unwrap(),
                after: change.new_image().map(of_stream),
            });
        }
        for (key, placed) in &mut by_key {
            placed.sort_by_key(|change| change.sequence);
            let told = log.get(key).unwrap_or_else(|| panic!("nobody wrote {key}"));
            let seen: Vec<&Option<Item>> = placed.iter().map(|change| &change.after).collect();
            assert!(
                seen.iter().eq(told.iter().collect::<Vec<_>>().iter()),
                "{key}: the stream has\n{seen:?}\nits writer wrote\n{told:?}"
            );
        }
        assert!(log.keys().eq(by_key.keys()), "the stream lacks keys");
        let mut changes: Vec<Placed> = by_key.into_values().flatten().collect();
        changes.sort_by_key(|change| change.sequence);
        assert!(changes.windows(2).all(|pair| pair[0].sequence < pair[1].sequence), "a sequence number is there twice");
        let (_, label) = arn.rsplit_once('/').unwrap();
        Self { label: label.to_owned(), changes }
    }

    /// The items at a cut, those that nobody touched among them.
    pub(crate) fn items_at(&self, at: At, untouched: &Items) -> Items {
        let mut items = untouched.clone();
        for change in &self.changes {
            let has_happened = match at {
                At::Second(second) => change.second <= second,
                At::Sequence(sequence) => change.sequence.cmp_value(&sequence).is_le(),
            };
            if has_happened {
                match &change.after {
                    Some(item) => items.insert(change.key.clone(), item.clone()),
                    None => items.remove(&change.key),
                };
            }
        }
        items
    }
}

/// Every record of a stream, of which `count` are expected.
async fn read(client: &Client, arn: &str, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    let mut shards = Vec::new();
    let mut after = None;
    loop {
        let answer = client.describe_stream().stream_arn(arn).set_exclusive_start_shard_id(after).send().await.unwrap();
        let description = answer.stream_description.unwrap();
        shards.extend(description.shards.unwrap_or_default().into_iter().filter_map(|shard| shard.shard_id));
        after = description.last_evaluated_shard_id;
        if after.is_none() {
            break;
        }
    }
    for shard in shards {
        let request = client.get_shard_iterator().stream_arn(arn).shard_id(&shard);
        let answer = request.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
        let mut iterator = answer.shard_iterator;
        let mut empty_reads = 0;
        while let Some(at) = iterator {
            let answer = client.get_records().shard_iterator(at).send().await.unwrap();
            let page = answer.records.unwrap_or_default();
            iterator = answer.next_shard_iterator;
            empty_reads = if page.is_empty() { empty_reads + 1 } else { 0 };
            records.extend(page);
            // An open shard has no end: when all that was written is there, two looks more must find nothing.
            let enough = records.len() >= count && empty_reads >= 2;
            if enough {
                break;
            }
            assert!(empty_reads < EMPTY_READS_MAX, "{arn} shows {} records of {count}", records.len());
        }
    }
    assert_eq!(records.len(), count, "records of {arn}");
    records
}
