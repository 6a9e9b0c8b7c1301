//! A table with values of every type, its made-up history in a journal, and what it was at each second.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use journal::append::{Batch, append};
use journal::documents::{StartDocument, to_bytes};
use journal::layout;
use journal::model::{
    AttributeValue, Attributes, ChangeKind, ChangeRecord, Image, ItemKey, KeyAttribute, KeyAttributes, KeyType, Number,
    Second, SequenceNumber, StreamArn, StreamRecord,
};
use journal::source::attribute::write_dynamodb_json;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use replayer::digest::{ItemHash, StateDigest, to_plain};

/// The table.
pub(crate) const TABLE: &str = "notes-table-dev";
const FIRST: u64 = 1_600_000_000;

/// Every image that an item has had, by second; none where it was removed.
type Images = BTreeMap<u64, Option<Attributes>>;
/// Keys with their images, by the keys' bytes.
type States = BTreeMap<Vec<u8>, (Attributes, Images)>;

/// A journal of one table, and the same history kept plainly.
pub(crate) struct History {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) url: String,
    pub(crate) seconds: std::ops::RangeInclusive<u64>,
    /// What it was made up from, and of how many items at most.
    pub(crate) seed: u64,
    pub(crate) items: u64,
    table: String,
    names: KeyAttributes,
    states: States,
}

fn value(random: &mut StdRng, depth: u32) -> AttributeValue {
    let text = |random: &mut StdRng| {
        let words = ["", "a", "été", "x,\"y\"\n", "'; --", "=1+1", "0", "null", "🙂"];
        words[random.random_range(0..words.len())].to_owned()
    };
    let number = |random: &mut StdRng| {
        let text = match random.random_range(0..5) {
            0 => random.random::<i64>().to_string(),
            1 => format!("{}.{}", random.random_range(-999..999), random.random_range(1..999)),
            2 => format!("{}E-{}", random.random_range(1..99_999), random.random_range(1..60)),
            3 => "12345678901234567890123456789012345678".to_owned(),
            _ => random.random_range(0..100).to_string(),
        };
        Number::parse(text).unwrap().to_plain()
    };
    let bytes = |random: &mut StdRng| (0..random.random_range(0..5)).map(|_| random.random()).collect::<Vec<u8>>();
    match random.random_range(0..if depth == 0 { 8 } else { 10 }) {
        0 => AttributeValue::S(text(random)),
        1 => AttributeValue::N(number(random)),
        2 => AttributeValue::B(bytes(random)),
        3 => AttributeValue::Bool(random.random()),
        4 => AttributeValue::Null,
        5 => AttributeValue::Ss((0..2).map(|_| format!("s{}", text(random))).collect::<BTreeSet<_>>()),
        6 => AttributeValue::Ns((0..3).map(|_| number(random)).collect()),
        7 => AttributeValue::Bs((0..2).map(|at| [bytes(random), vec![at]].concat()).collect()),
        8 => AttributeValue::L((0..random.random_range(0..3)).map(|_| value(random, depth - 1)).collect()),
        _ => AttributeValue::M(
            (0..random.random_range(0..3)).map(|at| (format!("m{at}"), value(random, depth - 1))).collect(),
        ),
    }
}

fn image(random: &mut StdRng) -> Attributes {
    let mut image = Attributes::from([
        ("content".to_owned(), AttributeValue::S(format!("note {}", random.random_range(0..1000)))),
        ("likes".to_owned(), AttributeValue::N(Number::parse(random.random_range(0..500).to_string()).unwrap())),
        ("price".to_owned(), AttributeValue::N(Number::parse(format!("{}.25", random.random_range(0..90))).unwrap())),
        ("Content".to_owned(), AttributeValue::Bool(random.random())),
    ]);
    let reply = Attributes::from([
        ("author".to_owned(), AttributeValue::S("ada".to_owned())),
        ("at".to_owned(), AttributeValue::N(Number::parse("1.5").unwrap())),
    ]);
    image.insert("replies".to_owned(), AttributeValue::L(vec![AttributeValue::M(reply)]));
    for at in 0..random.random_range(0..6) {
        image.insert(format!("any{at}"), value(random, 2));
    }
    image
}

impl History {
    /// `changes` changes of up to `items` items, from a seed.
    pub(crate) async fn new(seed: u64, items: u64, changes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = journal::store::file_url(&folder.path().join("journal")).unwrap();
        journal::store::init(&url).await.unwrap();
        Self::of(TABLE, folder, url, (seed, FIRST), items, changes).await
    }

    /// Another table in the same journal, whose history begins so many seconds later.
    pub(crate) async fn beside(&self, table: &str, later: u64, items: u64, changes: u64) -> Self {
        let (folder, url) = (tempfile::tempdir().unwrap(), self.url.clone());
        Self::of(table, folder, url, (later, FIRST + later), items, changes).await
    }

    async fn of(
        table: &str,
        folder: tempfile::TempDir,
        url: String,
        (seed, first): (u64, u64),
        items: u64,
        changes: u64,
    ) -> Self {
        let store = journal::store::open_write(&url).await.unwrap();
        let stream = format!("arn:aws:dynamodb:us-east-1:000000000000:table/{table}/stream/2020-09-13T00:00:00.000");
        let stream = StreamArn::parse(&stream).unwrap();
        let names = KeyAttributes::new(vec![
            KeyAttribute { name: "noteId".to_owned(), key_type: KeyType::S },
            KeyAttribute { name: "at".to_owned(), key_type: KeyType::N },
        ])
        .unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        let mut states = States::new();
        let mut records = Vec::new();
        for change in 0..changes {
            let second = first + change / 7;
            let number = random.random_range(0..items);
            let key = Attributes::from([
                ("noteId".to_owned(), AttributeValue::S(format!("note-{}", number / 3))),
                ("at".to_owned(), AttributeValue::N(Number::parse((number % 3).to_string()).unwrap())),
            ]);
            let bytes = ItemKey::encode(&names, &key).unwrap();
            let images = &mut states.entry(bytes.as_bytes().to_vec()).or_insert_with(|| (key, BTreeMap::new())).1;
            let old = images.last_key_value().and_then(|(_, image)| image.clone());
            let new = (old.is_none() || random.random_range(0..10) > 0).then(|| image(&mut random));
            let kind = match (&old, &new) {
                (None, _) => ChangeKind::Insert,
                (Some(_), Some(_)) => ChangeKind::Modify,
                (Some(_), None) => ChangeKind::Remove,
            };
            let encode = |image: &Attributes| Image::encode(image).unwrap();
            records.push(StreamRecord {
                stream: stream.clone(),
                key_attributes: names.clone(),
                record: ChangeRecord {
                    key: bytes,
                    sequence: SequenceNumber::parse(&(change + 1).to_string()).unwrap(),
                    second: Some(Second::new(second).unwrap()),
                    kind,
                    old: old.as_ref().map(encode),
                    new: new.as_ref().map(encode),
                    user: None,
                },
            });
            images.insert(second, new);
            if records.len() == 500 || change + 1 == changes {
                append(&*store, Batch { records: std::mem::take(&mut records), quarantined: Vec::new() })
                    .await
                    .unwrap();
            }
        }
        let start =
            StartDocument { covered_from: Second::new(first - 10).unwrap(), whole: true, reason: String::new() };
        store.replace(&layout::start_document(stream.timeline()), to_bytes(&start).unwrap()).await.unwrap();
        let seconds = first..=first + (changes - 1) / 7;
        Self { folder, url, seconds, seed, items, table: table.to_owned(), names, states }
    }

    /// All items at the end of a second, in the order of their keys, and their digest.
    pub(crate) fn at(&self, second: u64) -> (Vec<Attributes>, StateDigest) {
        let mut digest = StateDigest::default();
        let mut items = Vec::new();
        for (bytes, (key, images)) in &self.states {
            let Some((_, Some(image))) = images.range(..=second).next_back() else { continue };
            let encoded = Image::encode(&to_plain(image)).unwrap();
            assert_eq!(ItemKey::encode(&self.names, key).unwrap().as_bytes(), bytes);
            digest.add(ItemHash::of_bytes(bytes, encoded.as_bytes()));
            let mut whole = image.clone();
            whole.extend(key.clone());
            items.push(whole);
        }
        (items, digest)
    }

    /// The items of a second as lines of DynamoDB JSON in a file.
    pub(crate) fn reference(&self, second: u64) -> PathBuf {
        let path = self.folder.path().join(format!("reference-{}-{second}.jsonl", self.table));
        write_lines(&path, &self.at(second).0);
        path
    }
}

fn write_lines(path: &Path, items: &[Attributes]) {
    let mut text = Vec::new();
    for item in items {
        write_dynamodb_json(item, &mut text).unwrap();
        text.push(b'\n');
    }
    std::fs::write(path, text).unwrap();
}
