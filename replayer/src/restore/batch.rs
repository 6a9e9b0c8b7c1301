//! Puts on their way: up to 25 items as the text of one `BatchWriteItem` request.
//!
//! What enters are items as DynamoDB JSON, each written into the body where it is to stand; what leaves is a request's body, and
//! after a partial answer the batch of what is left. What is sent again is always the text that was sent before: a service names
//! items, its copies are not written. Knows nothing of connections.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ops::Range;

use bytes::Bytes;
use journal::model::{Attributes, TableName};

use super::service::ServiceError;
use crate::key_schema::KeySchema;

/// `BatchWriteItem` takes 25 puts (Amazon DynamoDB API reference).
pub const BATCH_ITEMS_MAX: usize = 25;
/// Bytes of a request's body, unless one item alone has more: `BatchWriteItem` takes 16 MB, and an item of 400 KB can have
/// 2.4 MB as JSON.
const BATCH_BYTES_MAX: usize = 12 << 20;

const BEFORE_ITEM: &[u8] = br#"{"PutRequest":{"Item":"#;
const AFTER_ITEM: &[u8] = b"}}";
const END: &[u8] = b"]}}";

/// One put.
#[derive(Debug, Clone)]
struct Put {
    /// Where its key's bytes are, numbers plain.
    key: Range<usize>,
    /// Where its item is in the body.
    item: Range<usize>,
    /// Write units that it takes.
    units: u32,
}

/// Puts into one table, as the body of one request. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PutBatch {
    table: TableName,
    schema: KeySchema,
    body: Bytes,
    keys: Bytes,
    puts: Vec<Put>,
}

impl PutBatch {
    /// The body of its `BatchWriteItem` request.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &TableName {
        &self.table
    }

    /// How many puts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.puts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty()
    }

    /// Write units of all.
    #[must_use]
    pub fn units(&self) -> u32 {
        self.puts.iter().map(|put| put.units).fold(0, u32::saturating_add)
    }

    /// The items as DynamoDB JSON.
    pub fn items(&self) -> impl Iterator<Item = &[u8]> {
        self.puts.iter().map(|put| self.body.get(put.item.clone()).unwrap_or_default())
    }

    /// Which puts a service means that gives these items back: positions, in order. Items are told by their keys, however
    /// the service orders attributes or spells numbers.
    ///
    /// # Errors
    /// When an item is none of this batch, or is there twice: what such an answer says of the others cannot be trusted.
    pub fn positions(&self, items: impl IntoIterator<Item = Attributes>) -> Result<Vec<usize>, ServiceError> {
        let mut left = BTreeSet::new();
        for item in items {
            let strange = |reason: &str| ServiceError::Answer {
                reason: format!("BatchWriteItem gives back an item {reason}; what it has written is not known"),
            };
            let key = self.schema.plain_key(&item).map_err(|_| strange("without this table's key"))?;
            let is_it = |put: &Put| self.keys.get(put.key.clone()) == Some(key.as_slice());
            let position = self.puts.iter().position(is_it).ok_or_else(|| strange("that was not in the request"))?;
            if !left.insert(position) {
                return Err(strange("twice"));
            }
        }
        Ok(left.into_iter().collect())
    }

    /// The batch of those at `positions` alone, which are in order.
    #[must_use]
    pub fn only(&self, positions: &[usize]) -> Self {
        if positions.len() == self.puts.len() {
            return self.clone();
        }
        let mut builder = BatchBuilder::new(self.table.clone(), self.schema.clone());
        for put in positions.iter().filter_map(|position| self.puts.get(*position)) {
            let part = |bytes: &Bytes, range: &Range<usize>| bytes.slice(range.clone());
            let (key, item) = (part(&self.keys, &put.key), part(&self.body, &put.item));
            builder
                .append(|body| {
                    body.extend_from_slice(&item);
                    Ok::<_, Infallible>((key, put.units))
                })
                .unwrap_or_else(|never| match never {});
        }
        builder.batch()
    }
}

/// Makes batches.
#[derive(Debug)]
pub struct BatchBuilder {
    table: TableName,
    schema: KeySchema,
    body: Vec<u8>,
    keys: Vec<u8>,
    puts: Vec<Put>,
}

impl BatchBuilder {
    /// For a table with this key.
    #[must_use]
    pub fn new(table: TableName, schema: KeySchema) -> Self {
        Self { table, schema, body: Vec::new(), keys: Vec::new(), puts: Vec::with_capacity(BATCH_ITEMS_MAX) }
    }

    /// Adds an item: `write` appends it to the body as DynamoDB JSON, and gives its key's bytes, numbers plain, and the write units
    /// that it takes. Gives the batch before it when that has no room for it.
    ///
    /// # Errors
    /// Those of `write`; the batch is then as it was.
    pub fn push<K: AsRef<[u8]>, E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(K, u32), E>,
    ) -> Result<Option<PutBatch>, E> {
        let (body, keys) = (self.body.len(), self.keys.len());
        self.append(write)?;
        let items = self.puts.len();
        if items < 2 || (items <= BATCH_ITEMS_MAX && self.body.len() + END.len() <= BATCH_BYTES_MAX) {
            return Ok(None);
        }
        // Only now is it known how large the item is: it moves to the next.
        let Some(last) = self.puts.pop() else { return Ok(None) };
        let (item, key) = (self.body.get(last.item).map(<[u8]>::to_vec), self.keys.split_off(keys));
        self.body.truncate(body);
        let before = self.finish();
        self.append(|body| {
            body.extend_from_slice(&item.unwrap_or_default());
            Ok((key, last.units))
        })?;
        Ok(before)
    }

    /// The batch of what is left; none when there is nothing.
    pub fn finish(&mut self) -> Option<PutBatch> {
        (!self.puts.is_empty()).then(|| self.batch())
    }

    fn append<K: AsRef<[u8]>, E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(K, u32), E>) -> Result<(), E> {
        let start = self.body.len();
        if self.puts.is_empty() {
            // A table's name has nothing to escape.
            self.body.extend_from_slice(br#"{"RequestItems":{""#);
            self.body.extend_from_slice(self.table.as_str().as_bytes());
            self.body.extend_from_slice(br#"":["#);
        } else {
            self.body.push(b',');
        }
        self.body.extend_from_slice(BEFORE_ITEM);
        let (item_at, key_at) = (self.body.len(), self.keys.len());
        let (key, units) = write(&mut self.body).inspect_err(|_| self.body.truncate(start))?;
        self.keys.extend_from_slice(key.as_ref());
        self.puts.push(Put { key: key_at..self.keys.len(), item: item_at..self.body.len(), units });
        self.body.extend_from_slice(AFTER_ITEM);
        Ok(())
    }

    fn batch(&mut self) -> PutBatch {
        self.body.extend_from_slice(END);
        // The next is about as large.
        let (body_bytes, keys_bytes) = (self.body.len(), self.keys.len());
        let take = |bytes: &mut Vec<u8>, next: usize| std::mem::replace(bytes, Vec::with_capacity(next));
        PutBatch {
            table: self.table.clone(),
            schema: self.schema.clone(),
            body: take(&mut self.body, body_bytes).into(),
            keys: take(&mut self.keys, keys_bytes).into(),
            puts: std::mem::replace(&mut self.puts, Vec::with_capacity(BATCH_ITEMS_MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use journal::model::{AttributeValue, KeyAttribute, KeyAttributes, KeyType, Number};
    use journal::source::attribute::{parse_item, write_dynamodb_json};

    use super::*;

    fn schema() -> KeySchema {
        let key = |name: &str, key_type| KeyAttribute { name: name.to_owned(), key_type };
        KeySchema::unordered(KeyAttributes::new(vec![key("id", KeyType::S), key("n", KeyType::N)]).unwrap())
    }

    fn item(number: &str, text: &str) -> Attributes {
        Attributes::from([
            ("id".to_owned(), AttributeValue::S("a\"b".to_owned())),
            ("n".to_owned(), AttributeValue::N(Number::parse(number).unwrap())),
            ("text".to_owned(), AttributeValue::S(text.to_owned())),
        ])
    }

    fn json(item: &Attributes) -> Vec<u8> {
        let mut text = Vec::new();
        write_dynamodb_json(item, &mut text).unwrap();
        text
    }

    fn builder() -> BatchBuilder {
        BatchBuilder::new(TableName::parse("notes-table").unwrap(), schema())
    }

    fn push(builder: &mut BatchBuilder, item: &Attributes) -> Option<PutBatch> {
        let pushed = builder.push(|body| {
            body.extend_from_slice(&json(item));
            Ok::<_, Infallible>((schema().plain_key(item).unwrap(), 1))
        });
        pushed.unwrap()
    }

    fn batch(numbers: &[&str]) -> PutBatch {
        let mut builder = builder();
        for number in numbers {
            assert!(push(&mut builder, &item(number, "x")).is_none());
        }
        builder.finish().unwrap()
    }

    fn items_of(body: &[u8]) -> Vec<Attributes> {
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        let puts = body["RequestItems"]["notes-table"].as_array().unwrap();
        puts.iter().map(|put| parse_item(put["PutRequest"]["Item"].to_string().as_bytes()).unwrap()).collect()
    }

    #[test]
    fn a_body_is_one_request_with_every_item_and_a_part_of_it_too() {
        let batch = batch(&["1", "2", "3"]);
        assert_eq!(items_of(&batch.body()), ["1", "2", "3"].map(|number| item(number, "x")));
        let left = batch.only(&[0, 2]);
        assert_eq!(items_of(&left.body()), ["1", "3"].map(|number| item(number, "x")));
        assert_eq!((left.len(), left.units()), (2, 2));
        assert_eq!(left.items().collect::<Vec<_>>(), [json(&item("1", "x")), json(&item("3", "x"))]);
        assert_eq!(items_of(&left.only(&[1]).body()), [item("3", "x")]);
    }

    #[test]
    fn a_batch_has_at_most_25_items_and_no_more_bytes_than_a_request_may() {
        let mut small = builder();
        let full = (0..26).filter_map(|number| push(&mut small, &item(&number.to_string(), "x"))).collect::<Vec<_>>();
        assert_eq!((full.len(), full[0].len(), small.finish().unwrap().len()), (1, 25, 1));
        assert!(small.finish().is_none());
        // Each control character takes six bytes as JSON.
        let large = "\u{1}".repeat(399 << 10);
        let mut builder = builder();
        let mut batches: Vec<PutBatch> =
            (0..12).filter_map(|number| push(&mut builder, &item(&number.to_string(), &large))).collect();
        batches.extend(builder.finish());
        assert!(batches.iter().all(|batch| batch.body().len() < 16_000_000), "a request has 16 MB at most");
        assert_eq!(batches.iter().map(PutBatch::len).sum::<usize>(), 12);
        assert!(batches.len() < 12);
    }

    #[test]
    fn an_item_that_cannot_be_written_leaves_the_batch_as_it_was() {
        for before in [0, 1, 25] {
            let mut builder = builder();
            for number in 0..before {
                push(&mut builder, &item(&number.to_string(), "x"));
            }
            let failed = builder.push(|body| {
                body.extend_from_slice(b"{\"half");
                Err::<(Vec<u8>, u32), _>("no")
            });
            assert_eq!(failed.unwrap_err(), "no");
            let full = push(&mut builder, &item("99", "x"));
            assert_eq!(full.map(|full| full.len()), (before == 25).then_some(25));
            let last = builder.finish().unwrap();
            let kept = if before == 25 { 0 } else { before };
            let expected: Vec<Attributes> =
                (0..kept).chain([99]).map(|number| item(&number.to_string(), "x")).collect();
            assert_eq!(items_of(&last.body()), expected);
            assert_eq!(last.positions([item("99", "x")]).unwrap(), [last.len() - 1]);
        }
    }

    #[test]
    fn items_that_come_back_are_known_by_their_keys_alone() {
        let batch = batch(&["1", "20", "3"]);
        // Other attributes, another spelling of the number, another order.
        let left = batch.positions([item("3.0", "other"), item("2E1", "x")]).unwrap();
        assert_eq!(left, [1, 2]);
        assert_eq!(batch.positions([]).unwrap(), [0usize; 0]);
    }

    #[test]
    fn an_item_that_was_not_sent_or_comes_back_twice_makes_the_answer_worthless() {
        let batch = batch(&["1", "2"]);
        let mut keyless = item("1", "x");
        keyless.remove("n");
        for (items, said) in [
            (vec![item("1", "x"), item("9", "x")], "not in the request"),
            (vec![item("1", "x"), item("1.0", "y")], "twice"),
            (vec![keyless], "without this table's key"),
        ] {
            let error = batch.positions(items).unwrap_err();
            assert!(matches!(&error, ServiceError::Answer { reason } if reason.contains(said)), "{error}");
        }
    }
}
