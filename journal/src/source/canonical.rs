//! DynamoDB JSON straight into canonical image bytes, without a tree.
//!
//! What enters are attribute values of any serde deserializer; what leaves is an [`EncodedItem`], whose attributes lie in a
//! buffer in the form that FORMAT.md, "Images", gives them, and are put in order when the image is taken. The rules are those of
//! `attribute`, with the same words for what breaks them; a test holds the two against each other. Knows nothing of records.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::attribute::{BytesText, NumberText, Set, Type, cut};
use crate::model::{AttributeValue, Attributes, IMAGE_BYTES_MAX, Image, ImageError, NESTING_MAX, Number};

/// Room for an item of a few hundred bytes, as most are.
const ITEM_BYTES: usize = 768;

/// One attribute in a buffer.
#[derive(Debug, Clone)]
struct Entry {
    /// The name's bytes.
    name: Range<usize>,
    /// Where its value ends; it begins where the name ends.
    end: usize,
    /// Where the name's length begins.
    start: usize,
}

impl Entry {
    fn name<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.name.clone()).unwrap_or_default()
    }

    fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.name.end..self.end).unwrap_or_default()
    }

    fn whole<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.start..self.end).unwrap_or_default()
    }
}

/// An item's attributes, each encoded, in the order of their names.
#[derive(Debug, Clone, Default)]
pub(super) struct EncodedItem {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl EncodedItem {
    /// Whether it has no attribute.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The image without the attributes of `keys`, one or two; `Err` names one that is missing or has another value.
    pub(super) fn image_without<'k>(&self, keys: &'k Attributes) -> Result<Result<Image, ImageError>, &'k str> {
        let (mut of_key, mut left) = ([usize::MAX; 2], self.bytes.len());
        for (number, (name, value)) in keys.iter().enumerate() {
            let at = self.entries.iter().position(|entry| entry.name(&self.bytes) == name.as_bytes());
            let entry = at.and_then(|at| self.entries.get(at));
            match (entry, at, of_key.get_mut(number)) {
                (Some(entry), Some(at), Some(place)) if is_key_value(entry.value(&self.bytes), value) => {
                    *place = at;
                    left -= entry.end - entry.start;
                }
                _ => return Err(name),
            }
        }
        // Exactly as much as is needed: bytes that are shared later need no other place for it then.
        let mut image = Vec::with_capacity(left + 1);
        put_int(&mut image, self.entries.len() - keys.len());
        for (at, entry) in self.entries.iter().enumerate() {
            if !of_key.contains(&at) {
                image.extend_from_slice(entry.whole(&self.bytes));
            }
        }
        if image.len() > IMAGE_BYTES_MAX {
            return Ok(Err(ImageError::Size { found: image.len() }));
        }
        Ok(Ok(Image::from_bytes(Bytes::from(image))))
    }
}

/// Appends an integer as images have it.
fn put_int(out: &mut Vec<u8>, value: usize) {
    if let (Ok(byte), true) = (u8::try_from(value), value <= 250) {
        out.push(byte);
    } else if let Ok(value) = u16::try_from(value) {
        out.push(0xFB);
        out.extend_from_slice(&value.to_le_bytes());
    } else if let Ok(value) = u32::try_from(value) {
        out.push(0xFC);
        out.extend_from_slice(&value.to_le_bytes());
    } else {
        out.push(0xFD);
        out.extend_from_slice(&u64::try_from(value).unwrap_or(u64::MAX).to_le_bytes());
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_int(out, bytes.len());
    out.extend_from_slice(bytes);
}

const S: u8 = 0;
const N: u8 = 1;
const B: u8 = 2;
const SS: u8 = 3;
const NS: u8 = 4;
const BS: u8 = 5;
const M: u8 = 6;
const L: u8 = 7;
const NULL: u8 = 8;
const BOOL: u8 = 9;

/// Whether an encoded value is one that can be of a key; others equal nothing.
fn is_key_value(encoded: &[u8], value: &AttributeValue) -> bool {
    let (tag, bytes) = match value {
        AttributeValue::S(text) => (S, text.as_bytes()),
        AttributeValue::N(number) => (N, number.as_str().as_bytes()),
        AttributeValue::B(bytes) => (B, bytes.as_slice()),
        _ => return false,
    };
    match u8::try_from(bytes.len()) {
        Ok(length) if length <= 250 => encoded.strip_prefix(&[tag, length]) == Some(bytes),
        _ => {
            let mut expected = vec![tag];
            put_bytes(&mut expected, bytes);
            encoded == expected
        }
    }
}

/// Puts a count where one byte was kept for it.
fn set_count(out: &mut Vec<u8>, at: usize, count: usize) {
    let mut bytes = Vec::new();
    match (u8::try_from(count), out.get_mut(at)) {
        (Ok(byte), Some(place)) if byte <= 250 => *place = byte,
        _ => {
            put_int(&mut bytes, count);
            out.splice(at..=at, bytes);
        }
    }
}

/// Where things are written: the bytes, and the attributes of every map that is not ended yet.
#[derive(Default)]
struct Builder {
    out: Vec<u8>,
    entries: Vec<Entry>,
}

impl Builder {
    /// Reads the attributes of a map. Those it had are the last of `entries` then, in order, from the index that is given back.
    fn attributes<'de, A: MapAccess<'de>>(&mut self, map: &mut A, levels: usize) -> Result<usize, A::Error> {
        let first = self.entries.len();
        let mut sorted = true;
        loop {
            let start = self.out.len();
            let Some(name) = map.next_key_seed(Name(&mut self.out))? else { break };
            map.next_value_seed(Value { to: self, levels })?;
            let entry = Entry { name, end: self.out.len(), start };
            let before = self.entries.get(first..).and_then(<[Entry]>::last);
            sorted &= before.is_none_or(|before| before.name(&self.out) < entry.name(&self.out));
            self.entries.push(entry);
        }
        if !sorted && let Some(mine) = self.entries.get_mut(first..) {
            mine.sort_unstable_by(|a, b| a.name(&self.out).cmp(b.name(&self.out)));
            for pair in mine.windows(2) {
                if let [a, b] = pair
                    && a.name(&self.out) == b.name(&self.out)
                {
                    let name = String::from_utf8_lossy(a.name(&self.out));
                    return Err(A::Error::custom(format_args!("attribute name {:?} comes twice", cut(&name))));
                }
            }
        }
        Ok(first)
    }

    /// Reads a map that is a value, and puts it in order.
    fn map<'de, A: MapAccess<'de>>(&mut self, map: &mut A, levels: usize) -> Result<(), A::Error> {
        let count_at = self.out.len();
        self.out.push(0);
        let first = self.attributes(map, levels)?;
        let mine = self.entries.get(first..).unwrap_or_default();
        let body = count_at + 1;
        if mine.windows(2).any(|pair| matches!(pair, [a, b] if a.start > b.start)) {
            let copy = self.out.split_off(body);
            for entry in mine {
                self.out.extend_from_slice(copy.get(entry.start - body..entry.end - body).unwrap_or_default());
            }
        }
        let count = mine.len();
        self.entries.truncate(first);
        set_count(&mut self.out, count_at, count);
        Ok(())
    }
}

/// Reads an item's attributes at the top level.
pub(super) struct Item;

impl<'de> DeserializeSeed<'de> for Item {
    type Value = EncodedItem;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<EncodedItem, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Item {
    type Value = EncodedItem;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of attribute names and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EncodedItem, A::Error> {
        let mut builder = Builder { out: Vec::with_capacity(ITEM_BYTES), entries: Vec::with_capacity(16) };
        builder.attributes(&mut map, NESTING_MAX)?;
        Ok(EncodedItem { bytes: builder.out, entries: builder.entries })
    }
}

/// Writes a name; gives where its bytes lie.
struct Name<'b>(&'b mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Range<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Range<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Range<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<Range<usize>, E> {
        put_bytes(self.0, text.as_bytes());
        Ok(self.0.len() - text.len()..self.0.len())
    }
}

/// Writes a text with its length.
struct Text<'b>(&'b mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        put_bytes(self.0, text.as_bytes());
        Ok(())
    }
}

/// Writes bytes that are spelled in base64.
struct Binary<'b>(&'b mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Binary<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Binary<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BytesText.expecting(f)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let bytes = STANDARD.decode(text);
        let bytes = bytes.map_err(|error| E::custom(format_args!("bytes are not base64: {error}")))?;
        put_bytes(self.0, &bytes);
        Ok(())
    }
}

/// Writes one typed value, itself being on the first of `levels` levels.
struct Value<'b> {
    to: &'b mut Builder,
    levels: usize,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // Refused before the parser enters the value: the stack is bounded whatever the parser does.
        if self.levels == 0 {
            return Err(D::Error::custom(format_args!("attributes are nested deeper than {NESTING_MAX} levels")));
        }
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an attribute value with its type, as in {\"S\":\"text\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let below = self.levels.saturating_sub(1);
        let Some(type_name) = map.next_key::<Type>()? else {
            return Err(A::Error::custom("an attribute value has no type"));
        };
        let to = self.to;
        let tag = match type_name {
            Type::S => S,
            Type::N => N,
            Type::B => B,
            Type::Ss => SS,
            Type::Ns => NS,
            Type::Bs => BS,
            Type::M => M,
            Type::L => L,
            Type::Null => NULL,
            Type::Bool => BOOL,
        };
        to.out.push(tag);
        match type_name {
            Type::S => map.next_value_seed(Text(&mut to.out))?,
            Type::N => put_bytes(&mut to.out, map.next_value_seed(NumberText)?.as_str().as_bytes()),
            Type::B => map.next_value_seed(Binary(&mut to.out))?,
            Type::Ss => {
                let set = map.next_value_seed(Set(|| std::marker::PhantomData::<String>))?;
                put_set(&mut to.out, &set, String::as_bytes);
            }
            Type::Ns => {
                put_set(&mut to.out, &map.next_value_seed(Set(|| NumberText))?, |number: &Number| {
                    number.as_str().as_bytes()
                });
            }
            Type::Bs => put_set(&mut to.out, &map.next_value_seed(Set(|| BytesText))?, Vec::as_slice),
            Type::M => map.next_value_seed(Map { to, levels: below })?,
            Type::L => map.next_value_seed(List { to, levels: below })?,
            Type::Null if map.next_value::<bool>()? => {}
            Type::Null => return Err(A::Error::custom("an attribute value of type NULL is not true")),
            Type::Bool => to.out.push(u8::from(map.next_value::<bool>()?)),
        }
        // The name is taken as text: a second type key may be one that is not known.
        if map.next_key::<std::borrow::Cow<'_, str>>()?.is_some() {
            return Err(A::Error::custom("an attribute value has more than one type"));
        }
        Ok(())
    }
}

fn put_set<T>(out: &mut Vec<u8>, set: &BTreeSet<T>, bytes: impl Fn(&T) -> &[u8]) {
    put_int(out, set.len());
    for member in set {
        put_bytes(out, bytes(member));
    }
}

struct Map<'b> {
    to: &'b mut Builder,
    levels: usize,
}

impl<'de> DeserializeSeed<'de> for Map<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Map<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of attribute names and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.to.map(&mut map, self.levels)
    }
}

struct List<'b> {
    to: &'b mut Builder,
    levels: usize,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of attribute values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        let count_at = self.to.out.len();
        self.to.out.push(0);
        let mut count = 0;
        while sequence.next_element_seed(Value { to: &mut *self.to, levels: self.levels })?.is_some() {
            count += 1;
        }
        set_count(&mut self.to.out, count_at, count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::attribute::{parse_item, write_dynamodb_json};
    use proptest::prelude::*;

    fn encode(json: &[u8]) -> Result<Vec<u8>, String> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let item = Item.deserialize(&mut deserializer).and_then(|item| deserializer.end().map(|()| item));
        let item = item.map_err(|error| error.to_string())?;
        Ok(item.image_without(&Attributes::new()).unwrap().unwrap().as_bytes().to_vec())
    }

    fn by_a_tree(json: &[u8]) -> Result<Vec<u8>, String> {
        let item = parse_item(json).map_err(|error| error.reason)?;
        Ok(Image::encode(&item).unwrap().as_bytes().to_vec())
    }

    #[test]
    fn names_in_any_order_at_any_depth_give_the_same_bytes_as_a_tree() {
        let many: Vec<String> = (0..300).rev().map(|n| format!("\"n{n:03}\":{{\"N\":\"{n}\"}}")).collect();
        let list = vec![r#"{"S":"x"}"#; 300].join(",");
        for json in [
            r#"{"z":{"S":"1"},"a":{"M":{"y":{"L":[{"M":{"q":{"NULL":true},"b":{"BOOL":true}}}]},"x":{"B":"AP8="}}},"m":{"SS":["b","a"]}}"#.to_owned(),
            format!("{{\"b\":{{\"M\":{{{}}}}},\"a\":{{\"L\":[{list}]}}}}", many.join(",")),
            format!("{{{}}}", many.join(",")),
            format!("{{\"b\":{{\"S\":\"{}\"}},\"a\":{{\"S\":\"{}\"}}}}", "x".repeat(300), "y".repeat(70_000)),
            "{}".to_owned(),
        ] {
            assert_eq!(encode(json.as_bytes()).unwrap(), by_a_tree(json.as_bytes()).unwrap());
        }
    }

    #[test]
    fn what_a_tree_refuses_is_refused_in_the_same_words() {
        let deep = format!("{{\"a\":{}{{\"NULL\":true}}{}}}", "{\"L\":[".repeat(32), "]}".repeat(32));
        for json in [
            r#"{"a":{}}"#,
            r#"{"a":{"S":"x","N":"1"}}"#,
            r#"{"a":{"S":"x","Q":1}}"#,
            r#"{"a":{"X":"x"}}"#,
            r#"{"a":{"S":1}}"#,
            r#"{"a":{"N":1}}"#,
            r#"{"a":{"N":"one"}}"#,
            r#"{"a":{"B":"@@"}}"#,
            r#"{"a":{"SS":[]}}"#,
            r#"{"a":{"NS":["1","1"]}}"#,
            r#"{"a":{"NULL":false}}"#,
            r#"{"a":{"BOOL":"true"}}"#,
            r#"{"a":"x"}"#,
            "[]",
            deep.as_str(),
        ] {
            assert_eq!(encode(json.as_bytes()).unwrap_err(), by_a_tree(json.as_bytes()).unwrap_err(), "{json}");
        }
        for json in [r#"{"a":{"S":"1"},"b":{"S":"1"},"a":{"S":"1"}}"#, r#"{"c":{"M":{"a":{"S":"1"},"a":{"S":"2"}}}}"#] {
            assert!(encode(json.as_bytes()).unwrap_err().contains("attribute name \"a\" comes twice"));
        }
    }

    #[test]
    fn a_key_must_be_in_the_image_with_the_same_value_and_is_left_out() {
        let item = |json: &str| Item.deserialize(&mut serde_json::Deserializer::from_str(json)).unwrap();
        let keys = parse_item(br#"{"id":{"N":"1.0"}}"#).unwrap();
        let left = item(r#"{"x":{"S":"y"},"id":{"N":"1.0"}}"#).image_without(&keys).unwrap().unwrap();
        assert_eq!(left, Image::encode(&parse_item(br#"{"x":{"S":"y"}}"#).unwrap()).unwrap());
        for other in [r#"{"x":{"S":"y"}}"#, r#"{"id":{"N":"1"}}"#, r#"{"id":{"S":"1.0"}}"#] {
            assert_eq!(item(other).image_without(&keys), Err("id"));
        }
    }

    proptest! {
        #[test]
        fn every_item_gives_the_bytes_that_a_tree_gives(item in crate::model::test_strategies::any_attributes()) {
            let mut json = Vec::new();
            write_dynamodb_json(&item, &mut json).unwrap();
            prop_assert_eq!(encode(&json).unwrap(), by_a_tree(&json).unwrap());
        }
    }
}
