//! Writers that know exactly what they wrote: each owns its keys, so the order of its writes of a key is the order of the
//! key's records in the stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{Delete, DeleteRequest, Put, PutRequest, TransactWriteItem, Update, WriteRequest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tokio::sync::watch;

use super::item::{Item, Items, KeyText, PARTITION_KEY, SORT_KEY, canonical, key, key_text, to_table, value_to_table};

/// Keys of one writer.
const KEYS: u32 = 120;

/// Every acknowledged change, by key, in order; none stands for a delete.
pub(crate) type Log = BTreeMap<KeyText, Vec<Option<Item>>>;

/// How many changes are acknowledged, for whoever waits for some number of them.
#[derive(Debug, Clone)]
pub(crate) struct Progress(Arc<watch::Sender<u64>>);

impl Progress {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    pub(crate) fn get(&self) -> u64 {
        *self.0.borrow()
    }

    fn add(&self, more: usize) {
        self.0.send_modify(|count| *count += u64::try_from(more).unwrap());
    }

    /// Waits until so many changes are acknowledged.
    pub(crate) async fn reaches(&self, count: u64) {
        self.0.subscribe().wait_for(|reached| *reached >= count).await.unwrap();
    }
}

/// Until when writers write.
#[derive(Debug, Clone)]
pub(crate) enum Until {
    /// Exactly so many changes of each.
    Changes(usize),
    /// Until this is true; so many changes of each at most.
    Told(watch::Receiver<bool>, usize),
}

/// One write, that surely changes something, so that it makes a record.
enum Change {
    Put(Item),
    Delete,
    /// With the item as it must be after.
    Update {
        expression: &'static str,
        values: BTreeMap<&'static str, serde_json::Value>,
        after: Item,
    },
}

impl Change {
    fn after(&self) -> Option<Item> {
        match self {
            Self::Put(item) | Self::Update { after: item, .. } => Some(item.clone()),
            Self::Delete => None,
        }
    }
}

/// Runs a writer for each owner on `table` and gives what they wrote.
pub(crate) async fn write(
    client: &Client,
    table: &str,
    owners: &[&str],
    until: Until,
    progress: &Progress,
    random: &mut StdRng,
) -> Log {
    let mut writers = tokio::task::JoinSet::new();
    for owner in owners {
        let writer = Writer {
            client: client.clone(),
            table: table.to_owned(),
            owner: (*owner).to_owned(),
            random: StdRng::seed_from_u64(random.random()),
            items: Items::new(),
            revision: 0,
            log: Log::new(),
            written: 0,
            progress: progress.clone(),
        };
        writers.spawn(writer.run(until.clone()));
    }
    // Each has its own keys.
    writers.join_all().await.into_iter().flatten().collect()
}

struct Writer {
    client: Client,
    table: String,
    owner: String,
    random: StdRng,
    items: Items,
    revision: u64,
    log: Log,
    written: usize,
    progress: Progress,
}

impl Writer {
    async fn run(mut self, until: Until) -> Log {
        loop {
            let left = match &until {
                Until::Changes(count) => count - self.written,
                Until::Told(told, most) => {
                    if *told.borrow() {
                        0
                    } else {
                        most - self.written
                    }
                }
            };
            if left == 0 {
                return self.log;
            }
            self.step(left).await;
        }
    }

    /// One request of at most `left` changes.
    async fn step(&mut self, left: usize) {
        match self.random.random_range(0..20) {
            0..6 => {
                let key = self.any_key();
                let change = Change::Put(self.filled(&key));
                self.one(key, change).await;
            }
            6..13 => {
                let key = self.any_key();
                let change = self.update(&key);
                self.one(key, change).await;
            }
            13..15 => {
                if let Some(key) = self.live_key() {
                    self.one(key, Change::Delete).await;
                }
            }
            15..18 => self.batch(left.min(25)).await,
            _ => self.transact(left.min(12)).await,
        }
    }

    fn any_key(&mut self) -> Item {
        key(&self.owner, self.random.random_range(0..KEYS))
    }

    fn live_key(&mut self) -> Option<Item> {
        let mut key = self.items.values().choose(&mut self.random)?.clone();
        key.retain(|name, _| [PARTITION_KEY, SORT_KEY].contains(&name.as_str()));
        Some(key)
    }

    /// Different keys.
    fn keys(&mut self, most: usize) -> Vec<Item> {
        let count = self.random.random_range(1..=most);
        let numbers: BTreeSet<u32> = (0..count).map(|_| self.random.random_range(0..KEYS)).collect();
        numbers.into_iter().map(|number| key(&self.owner, number)).collect()
    }

    fn text(&mut self) -> String {
        let most = if self.random.random_ratio(1, 40) { 6000 } else { 120 };
        let length = self.random.random_range(0..most);
        (0..length).map(|_| char::from(self.random.random_range(b' '..=b'~'))).collect()
    }

    /// The revision makes every write a change.
    fn next_revision(&mut self) -> serde_json::Value {
        self.revision += 1;
        json!({ "N": self.revision.to_string() })
    }

    /// A new item under `key`.
    fn filled(&mut self, key: &Item) -> Item {
        let mut item = key.clone();
        item.insert("revision".to_owned(), self.next_revision());
        item.insert("content".to_owned(), json!({ "S": self.text() }));
        if self.random.random() {
            let tags: BTreeSet<String> = (0..self.random.random_range(1..5))
                .map(|_| format!("tag-{}", self.random.random_range(0..9)))
                .collect();
            item.insert("tags".to_owned(), json!({ "SS": tags }));
        }
        if self.random.random() {
            item.insert("replies".to_owned(), json!({ "L": [self.reply()] }));
        }
        if self.random.random_ratio(1, 4) {
            let bytes: Vec<u8> = (0..self.random.random_range(0..40)).map(|_| self.random.random()).collect();
            item.insert("raw".to_owned(), json!({ "B": STANDARD.encode(bytes) }));
            item.insert("draft".to_owned(), json!({ "BOOL": self.random.random::<bool>() }));
            item.insert("country".to_owned(), json!({ "NULL": true }));
        }
        item.into_iter().map(|(name, value)| (name, canonical(value))).collect()
    }

    fn reply(&mut self) -> serde_json::Value {
        json!({ "M": { "content": { "S": self.text() }, "createdAt": { "N": self.revision.to_string() } } })
    }

    fn update(&mut self, key: &Item) -> Change {
        let mut after = self.items.get(&key_text(key)).cloned().unwrap_or_else(|| key.clone());
        let revision = self.next_revision();
        after.insert("revision".to_owned(), revision.clone());
        let mut values = BTreeMap::from([(":revision", revision)]);
        let has_replies = after.contains_key("replies");
        let expression = match self.random.random_range(0..3) {
            0 if has_replies => {
                let reply = self.reply();
                values.insert(":more", json!({ "L": [reply] }));
                let replies = after.get_mut("replies").unwrap()["L"].as_array_mut().unwrap();
                replies.push(canonical(reply));
                "SET revision = :revision, replies = list_append(replies, :more)"
            }
            1 if has_replies => {
                after.remove("replies");
                "SET revision = :revision REMOVE replies"
            }
            _ => {
                let content = json!({ "S": self.text() });
                values.insert(":content", content.clone());
                after.insert("content".to_owned(), content);
                "SET revision = :revision, content = :content"
            }
        };
        Change::Update { expression, values, after }
    }

    fn acknowledged(&mut self, changes: impl IntoIterator<Item = (Item, Option<Item>)>) {
        let mut count = 0;
        for (key, after) in changes {
            let key = key_text(&key);
            match &after {
                Some(item) => self.items.insert(key.clone(), item.clone()),
                None => self.items.remove(&key),
            };
            self.log.entry(key).or_default().push(after);
            count += 1;
        }
        self.written += count;
        self.progress.add(count);
    }

    async fn one(&mut self, key: Item, change: Change) {
        match &change {
            Change::Put(item) => {
                self.client.put_item().table_name(&self.table).set_item(Some(to_table(item))).send().await.unwrap();
            }
            Change::Delete => {
                self.client.delete_item().table_name(&self.table).set_key(Some(to_table(&key))).send().await.unwrap();
            }
            Change::Update { expression, values, .. } => {
                let mut request = self.client.update_item().table_name(&self.table).set_key(Some(to_table(&key)));
                for (name, value) in values {
                    request = request.expression_attribute_values(*name, value_to_table(value));
                }
                request.update_expression(*expression).send().await.unwrap();
            }
        }
        self.acknowledged([(key, change.after())]);
    }

    async fn batch(&mut self, most: usize) {
        let mut changes = Vec::new();
        let mut requests = Vec::new();
        for key in self.keys(most) {
            let delete = self.items.contains_key(&key_text(&key)) && self.random.random_ratio(1, 4);
            let request = if delete {
                changes.push((key.clone(), None));
                let delete = DeleteRequest::builder().set_key(Some(to_table(&key))).build().unwrap();
                WriteRequest::builder().delete_request(delete).build()
            } else {
                let item = self.filled(&key);
                let put = PutRequest::builder().set_item(Some(to_table(&item))).build().unwrap();
                changes.push((key, Some(item)));
                WriteRequest::builder().put_request(put).build()
            };
            requests.push(request);
        }
        let mut left = Some(std::collections::HashMap::from([(self.table.clone(), requests)]));
        while let Some(requests) = left.filter(|requests| !requests.is_empty()) {
            let answer = self.client.batch_write_item().set_request_items(Some(requests)).send().await.unwrap();
            left = answer.unprocessed_items;
        }
        self.acknowledged(changes);
    }

    async fn transact(&mut self, most: usize) {
        let mut changes = Vec::new();
        let mut request = self.client.transact_write_items();
        for key in self.keys(most) {
            let live = self.items.contains_key(&key_text(&key));
            let change = match self.random.random_range(0..4) {
                0 if live => Change::Delete,
                1 | 2 => self.update(&key),
                _ => Change::Put(self.filled(&key)),
            };
            let item = TransactWriteItem::builder();
            let item = match &change {
                Change::Put(new) => {
                    let put = Put::builder().table_name(&self.table).set_item(Some(to_table(new)));
                    item.put(put.build().unwrap())
                }
                Change::Delete => {
                    let delete = Delete::builder().table_name(&self.table).set_key(Some(to_table(&key)));
                    item.delete(delete.build().unwrap())
                }
                Change::Update { expression, values, .. } => {
                    let mut update = Update::builder().table_name(&self.table).set_key(Some(to_table(&key)));
                    for (name, value) in values {
                        update = update.expression_attribute_values(*name, value_to_table(value));
                    }
                    item.update(update.update_expression(*expression).build().unwrap())
                }
            };
            request = request.transact_items(item.build());
            changes.push((key, change.after()));
        }
        request.send().await.unwrap();
        self.acknowledged(changes);
    }
}
