//! Made-up traffic of a notes app, for benches: the same bytes from the same seed on every machine and in every year.
//!
//! What enters is a [`Profile`]; what leaves are [`Change`]s without end, each as a change record and as the JSON that
//! Lambda hands to a function. Keys are UUIDs, authors and words follow a Zipf law, replies are nested maps, times are
//! ISO dates. Knows nothing of segments. The generator is its own (a `SplitMix64`), because that of a crate may give
//! other numbers in its next version.

use std::error::Error;
use std::fmt::Write as _;

use journal::model::{
    AttributeValue, Attributes, ChangeKind, ChangeRecord, Image, ItemKey, KeyAttribute, KeyAttributes, KeyType, Second,
    SequenceNumber, StreamArn, UserIdentity,
};

/// The stream that all changes come from.
pub const STREAM: &str =
    "arn:aws:dynamodb:eu-west-1:000000000000:table/notes-table-bench/stream/2020-03-21T00:00:00.000";
const START_SECOND: u64 = 1_584_748_800;
const WORDS: u64 = 8_000;
const AUTHORS: u64 = 20_000;
const REPLIES_MAX: usize = 4;
const COUNTRIES: [&str; 12] = ["GB", "IT", "FR", "ES", "DE", "US", "IN", "BR", "NL", "SE", "PL", "JP"];
const CONSONANTS: &[u8] = b"nttrrsshhldcmfwgpbvk";
const VOWELS: &[u8] = b"eeeaaoiiu";

/// What the traffic is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Its name in tables.
    pub name: &'static str,
    /// Items that are there before the first change.
    pub items: usize,
    /// INSERTs, MODIFYs and REMOVEs in a hundred changes. Half of the REMOVEs are by TTL.
    pub percent: [u64; 3],
    /// Where the generator starts.
    pub seed: u64,
    /// Milliseconds between two changes lie below this.
    pub pause_milliseconds: u64,
}

impl Profile {
    /// A growing table: 60 INSERTs, 30 MODIFYs, 10 REMOVEs in a hundred, images of about 460 bytes as JSON.
    #[must_use]
    pub fn w1() -> Self {
        Self { name: "W1", items: 0, percent: [60, 30, 10], seed: 0x5EED_0001, pause_milliseconds: 40 }
    }

    /// The same traffic, `changes` of it over so many days.
    #[must_use]
    pub fn over_days(self, changes: u64, days: u64) -> Self {
        Self { pause_milliseconds: (2 * days * 86_400_000 / changes.max(1)).max(1), ..self }
    }

    /// A table of `items` items that is mostly updated: 15 INSERTs, 80 MODIFYs, 5 REMOVEs in a hundred.
    #[must_use]
    pub fn w2(items: usize) -> Self {
        Self { name: "W2", items, percent: [15, 80, 5], seed: 0x5EED_0002, pause_milliseconds: 40 }
    }
}

/// One text with who wrote it: a note or a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Text {
    words: Vec<u16>,
    author: u64,
    milliseconds: u64,
}

/// An item, kept small: words are numbers until somebody asks for the item.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Note {
    id: u128,
    text: Text,
    replies: Vec<Text>,
}

/// One change as the traffic made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    kind: ChangeKind,
    sequence: u64,
    second: u64,
    event: u128,
    by_ttl: bool,
    old: Option<Note>,
    new: Option<Note>,
}

/// Changes without end.
#[derive(Debug)]
pub struct Workload {
    profile: Profile,
    random: Random,
    words: Zipf,
    authors: Zipf,
    live: Vec<Note>,
    sequence: u64,
    milliseconds: u64,
}

impl Workload {
    /// The traffic of a profile from its beginning.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        let mut workload = Self {
            profile,
            random: Random(profile.seed),
            words: Zipf::new(WORDS),
            authors: Zipf::new(AUTHORS),
            live: Vec::new(),
            sequence: 0,
            milliseconds: START_SECOND * 1000,
        };
        for _ in 0..profile.items {
            workload.milliseconds += 1;
            let note = workload.note();
            workload.live.push(note);
        }
        workload
    }

    fn text(&mut self, words_least: u64, words_more: u64) -> Text {
        let count = words_least + self.random.below(words_more);
        let words = (0..count).map(|_| u16::try_from(self.words.pick(&mut self.random)).unwrap_or(0)).collect();
        let author = self.authors.pick(&mut self.random);
        Text { words, author, milliseconds: self.milliseconds }
    }

    fn note(&mut self) -> Note {
        let id = (u128::from(self.random.next()) << 64) | u128::from(self.random.next());
        Note { id, text: self.text(14, 44), replies: Vec::new() }
    }

    /// Three of five updates add a reply, while there is room for one; the others replace a word.
    fn modified(&mut self, note: &Note) -> Note {
        let mut note = note.clone();
        if note.replies.len() < REPLIES_MAX && self.random.below(5) < 3 {
            let reply = self.text(4, 12);
            note.replies.push(reply);
            return note;
        }
        let at = self.random.index(note.text.words.len());
        let word = u16::try_from(self.words.pick(&mut self.random)).unwrap_or(0);
        if let Some(place) = note.text.words.get_mut(at) {
            // A write that changes nothing makes no stream record.
            *place = if *place == word { word.wrapping_add(1) } else { word };
        }
        note
    }
}

impl Iterator for Workload {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        self.milliseconds += self.random.below(self.profile.pause_milliseconds);
        self.sequence += 1 + self.random.below(100);
        let event = (u128::from(self.random.next()) << 64) | u128::from(self.random.next());
        let [inserts, modifies, _] = self.profile.percent;
        let drawn = self.random.below(100);
        let mut change = Change {
            kind: ChangeKind::Insert,
            sequence: self.sequence,
            second: self.milliseconds / 1000,
            event,
            by_ttl: false,
            old: None,
            new: None,
        };
        if drawn < inserts || self.live.is_empty() {
            let note = self.note();
            self.live.push(note.clone());
            change.new = Some(note);
            return Some(change);
        }
        let at = self.random.index(self.live.len());
        if drawn < inserts + modifies {
            change.kind = ChangeKind::Modify;
            let old = self.live.get(at)?.clone();
            let new = self.modified(&old);
            if let Some(place) = self.live.get_mut(at) {
                place.clone_from(&new);
            }
            change.old = Some(old);
            change.new = Some(new);
        } else {
            change.kind = ChangeKind::Remove;
            change.by_ttl = self.random.below(2) == 0;
            change.old = Some(self.live.swap_remove(at));
        }
        Some(change)
    }
}

/// The stream that all changes come from.
///
/// # Errors
/// Never, as long as `STREAM` is an ARN.
pub fn stream() -> Result<StreamArn, Box<dyn Error>> {
    Ok(StreamArn::parse(STREAM)?)
}

/// The key's attributes: `noteId`, a string.
///
/// # Errors
/// Never: there is one.
pub fn key_attributes() -> Result<KeyAttributes, Box<dyn Error>> {
    Ok(KeyAttributes::new(vec![KeyAttribute { name: "noteId".to_owned(), key_type: KeyType::S }])?)
}

/// Changes as the JSON document that Lambda hands to a function.
#[must_use]
pub fn lambda_document(changes: &[Change]) -> String {
    let records: Vec<String> = changes.iter().map(Change::lambda_json).collect();
    format!("{{\"Records\":[{}]}}", records.join(","))
}

/// Changes as records in the order of a run: by (key, sequence number).
///
/// # Errors
/// As [`Change::record`].
pub fn sorted_records(changes: &[Change]) -> Result<Vec<ChangeRecord>, Box<dyn Error>> {
    let mut records = changes.iter().map(Change::record).collect::<Result<Vec<_>, _>>()?;
    records.sort_by(|a, b| (&a.key, a.sequence).cmp(&(&b.key, b.sequence)));
    Ok(records)
}

impl Change {
    fn id(&self) -> u128 {
        self.new.as_ref().or(self.old.as_ref()).map_or(0, |note| note.id)
    }

    /// 24 digits, as AWS gives them.
    fn sequence_text(&self) -> String {
        format!("1000000000{:014}", self.sequence)
    }

    /// The change as a source hands it on.
    ///
    /// # Errors
    /// Never, for notes that the generator makes.
    pub fn record(&self) -> Result<ChangeRecord, Box<dyn Error>> {
        let key = Attributes::from([("noteId".to_owned(), AttributeValue::S(uuid(self.id())))]);
        let image = |note: &Option<Note>| note.as_ref().map(|note| Image::encode(&note.attributes())).transpose();
        Ok(ChangeRecord {
            key: ItemKey::encode(&key_attributes()?, &key)?,
            sequence: SequenceNumber::parse(&self.sequence_text())?,
            second: Some(Second::new(self.second)?),
            kind: self.kind,
            old: image(&self.old)?,
            new: image(&self.new)?,
            user: self.by_ttl.then(UserIdentity::ttl),
        })
    }

    /// The item's id, as it stands in its key.
    #[must_use]
    pub fn id_text(&self) -> String {
        uuid(self.id())
    }

    /// The change's second.
    #[must_use]
    pub fn second(&self) -> u64 {
        self.second
    }

    /// The change as a line of plain JSON without type names and without what is the same in every record, for a rival's table:
    /// smaller than the service's own form, and so the harder rival.
    #[must_use]
    pub fn plain_json(&self) -> String {
        let image = |note: &Option<Note>| note.as_ref().map_or_else(|| "null".to_owned(), Note::plain_json);
        format!(
            "{{\"noteId\":\"{}\",\"seq\":\"{}\",\"second\":{},\"kind\":\"{}\",\"ttl\":{},\"new\":{},\"old\":{}}}",
            uuid(self.id()),
            self.sequence_text(),
            self.second,
            self.kind.as_str(),
            self.by_ttl,
            image(&self.new),
            image(&self.old)
        )
    }

    /// The change as one record of Lambda's JSON.
    #[must_use]
    pub fn lambda_json(&self) -> String {
        let id = uuid(self.id());
        let mut json = format!("{{\"eventID\":\"{:032x}\",\"eventName\":\"{}\",", self.event, self.kind.as_str());
        json.push_str("\"eventVersion\":\"1.1\",\"eventSource\":\"aws:dynamodb\",\"awsRegion\":\"eu-west-1\",");
        let _ = write!(
            json,
            "\"dynamodb\":{{\"ApproximateCreationDateTime\":{},\"Keys\":{{\"noteId\":{{\"S\":\"{id}\"}}}},",
            self.second
        );
        for (name, note) in [("NewImage", &self.new), ("OldImage", &self.old)] {
            if let Some(note) = note {
                let _ = write!(json, "\"{name}\":{},", note.json());
            }
        }
        let _ = write!(
            json,
            "\"SequenceNumber\":\"{}\",\"SizeBytes\":{},\"StreamViewType\":\"NEW_AND_OLD_IMAGES\"}},",
            self.sequence_text(),
            json.len()
        );
        if self.by_ttl {
            json.push_str("\"userIdentity\":{\"type\":\"Service\",\"principalId\":\"dynamodb.amazonaws.com\"},");
        }
        let _ = write!(json, "\"eventSourceARN\":\"{STREAM}\"}}");
        json
    }
}

impl Note {
    fn attributes(&self) -> Attributes {
        let mut attributes = self.text.attributes();
        let replies = self.replies.iter().map(|reply| AttributeValue::M(reply.attributes())).collect();
        attributes.insert("replies".to_owned(), AttributeValue::L(replies));
        attributes
    }

    fn plain_json(&self) -> String {
        let replies: Vec<String> = self.replies.iter().map(|reply| format!("{{{}}}", reply.plain_json())).collect();
        format!("{{{},\"replies\":[{}]}}", self.text.plain_json(), replies.join(","))
    }

    fn json(&self) -> String {
        let replies: Vec<String> = self.replies.iter().map(|reply| format!("{{\"M\":{{{}}}}}", reply.json())).collect();
        format!(
            "{{\"noteId\":{{\"S\":\"{}\"}},{},\"replies\":{{\"L\":[{}]}}}}",
            uuid(self.id),
            self.text.json(),
            replies.join(",")
        )
    }
}

impl Text {
    fn fields(&self) -> [(&'static str, String); 4] {
        let country = usize::try_from(self.author).ok().and_then(|at| COUNTRIES.get(at % COUNTRIES.len()));
        [
            ("content", prose(&self.words)),
            ("author", name(self.author)),
            ("country", country.map_or_else(String::new, |&country| country.to_owned())),
            ("createdAt", iso_time(self.milliseconds)),
        ]
    }

    fn attributes(&self) -> Attributes {
        self.fields().into_iter().map(|(name, value)| (name.to_owned(), AttributeValue::S(value))).collect()
    }

    fn plain_json(&self) -> String {
        let fields = self.fields().map(|(name, value)| format!("\"{name}\":\"{value}\""));
        fields.join(",")
    }

    fn json(&self) -> String {
        let fields = self.fields().map(|(name, value)| format!("\"{name}\":{{\"S\":\"{value}\"}}"));
        fields.join(",")
    }
}

fn uuid(id: u128) -> String {
    let hex = format!("{id:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    format!("{}-{}-4{}-a{}-{}", part(0..8), part(8..12), part(13..16), part(17..20), part(20..32))
}

fn iso_time(milliseconds: u64) -> String {
    let second = Second::new(milliseconds / 1000).map(Second::to_rfc3339).unwrap_or_default();
    format!("{}.{:03}Z", second.trim_end_matches('Z'), milliseconds % 1000)
}

/// The word of a number; frequent words, those of low numbers, are short.
fn word(number: u64) -> String {
    let mut random = Random(number);
    let length = 1 + (number + 2).ilog2() / 2 + u32::try_from(random.below(3)).unwrap_or(0);
    let mut text = String::new();
    let mut is_vowel = random.below(2) == 0;
    for _ in 0..length {
        let letters = if is_vowel { VOWELS } else { CONSONANTS };
        text.extend(letters.get(random.index(letters.len())).copied().map(char::from));
        // Two consonants may follow each other.
        is_vowel = !is_vowel && random.below(5) > 0;
    }
    text
}

fn prose(words: &[u16]) -> String {
    let mut text = String::with_capacity(words.len() * 6);
    for (at, number) in words.iter().enumerate() {
        if at > 0 {
            text.push_str(if at % 11 == 0 { ". " } else { " " });
        }
        text.push_str(&word(u64::from(*number)));
    }
    text
}

fn name(author: u64) -> String {
    let mut random = Random(author);
    format!("{}{}", word(40 + random.below(WORDS - 40)), author % 100)
}

/// `SplitMix64` (Steele, Lea, Flood 2014).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Evenly in `0..end`.
    fn below(&mut self, end: u64) -> u64 {
        u64::try_from((u128::from(self.next()) * u128::from(end)) >> 64).unwrap_or(0)
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(u64::try_from(length).unwrap_or(0))).unwrap_or(0)
    }
}

/// Numbers from 0, the n-th as likely as 1 / (n + 3).
#[derive(Debug)]
struct Zipf(Vec<u64>);

impl Zipf {
    fn new(count: u64) -> Self {
        let mut sum = 0;
        Self(
            (1..=count)
                .map(|rank| {
                    sum += 1_000_000_000 / (rank + 2);
                    sum
                })
                .collect(),
        )
    }

    fn pick(&self, random: &mut Random) -> u64 {
        let drawn = random.below(self.0.last().copied().unwrap_or(0));
        u64::try_from(self.0.partition_point(|sum| *sum <= drawn)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_seed_is_a_history_and_another_seed_another() {
        let take = |profile| -> Vec<Change> { Workload::new(profile).take(500).collect() };
        assert_eq!(take(Profile::w1()), take(Profile::w1()));
        assert_ne!(take(Profile::w1()), take(Profile { seed: 1, ..Profile::w1() }));
    }

    #[test]
    fn shares_and_sizes_are_those_of_the_profile() {
        for profile in [Profile::w1(), Profile::w2(2_000)] {
            let changes: Vec<Change> = Workload::new(profile).take(10_000).collect();
            for (kind, percent) in
                [ChangeKind::Insert, ChangeKind::Modify, ChangeKind::Remove].into_iter().zip(profile.percent)
            {
                let count = changes.iter().filter(|change| change.kind == kind).count();
                let expected = usize::try_from(percent).unwrap() * 100;
                assert!(count.abs_diff(expected) < 200, "{} {kind:?}: {count}", profile.name);
            }
        }
        let changes: Vec<Change> = Workload::new(Profile::w1()).take(10_000).collect();
        let images: Vec<usize> = changes
            .iter()
            .flat_map(|change| [&change.old, &change.new])
            .flatten()
            .map(|note| note.json().len())
            .collect();
        let mean = images.iter().sum::<usize>() / images.len();
        assert!((430..490).contains(&mean), "images have {mean} bytes on average");
    }

    /// Replies nest, sequence numbers rise, an item's old image is its last new one: as a stream gives them.
    #[test]
    fn changes_of_an_item_are_a_chain() {
        let mut state: BTreeMap<u128, Note> = BTreeMap::new();
        let mut last = 0;
        for change in Workload::new(Profile::w1()).take(5_000) {
            assert!(change.sequence > last);
            last = change.sequence;
            assert_eq!(state.get(&change.id()), change.old.as_ref());
            assert_ne!(change.old, change.new);
            match &change.new {
                Some(note) => state.insert(note.id, note.clone()),
                None => state.remove(&change.id()),
            };
        }
    }

    #[test]
    fn the_json_and_the_record_say_the_same() {
        for change in Workload::new(Profile::w1()).take(300) {
            let json: serde_json::Value = serde_json::from_str(&change.lambda_json()).unwrap();
            let record = change.record().unwrap();
            assert_eq!(json["dynamodb"]["SequenceNumber"], record.sequence.to_string());
            assert_eq!(json["dynamodb"]["OldImage"].is_object(), record.old.is_some());
            assert_eq!(json["userIdentity"].is_object(), record.user.is_some());
            if let Some(new) = &record.new {
                let AttributeValue::S(content) = &new.decode().unwrap()["content"] else { panic!() };
                assert_eq!(json["dynamodb"]["NewImage"]["content"]["S"], content.as_str());
            }
        }
    }
}
