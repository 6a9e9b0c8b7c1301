//! Item keys: names and types of the key's attributes, and their values as bytes that sort.
//!
//! The byte form is specified in FORMAT.md, "Keys". A stream record names the key's attributes but not which is the
//! partition key, so the order of the parts is that of the attributes' names: a rule that every writer can follow from
//! the record alone, without which one item could get two byte forms.

use std::borrow::Cow;
use std::ffi::CStr;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use super::number::{Decimal, other_plain_form};
use super::{AttributeValue, Attributes, Number, NumberError};

/// Most bytes of an encoded key. DynamoDB allows 2048 for the partition key and 1024 for the sort key; escaping may
/// double them. ("Quotas in Amazon DynamoDB")
const KEY_BYTES_MAX: usize = 8192;

const TAG_B: u8 = 1;
const TAG_N: u8 = 2;
const TAG_S: u8 = 3;

/// Why a key is not one.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum KeyError {
    /// A key has one or two attributes.
    #[error("a key has 1 or 2 attributes, found {found}")]
    Count {
        /// Attributes found.
        found: usize,
    },
    /// Only S, N and B can be keys.
    #[error("key attribute {name:?} has type {found}, only S, N and B can be keys")]
    Type {
        /// The attribute.
        name: String,
        /// Its type.
        found: String,
    },
    /// The value has another type than the table's key.
    #[error("key attribute {name:?} is of type {found}, the table's key wants {expected}")]
    Mismatch {
        /// The attribute.
        name: String,
        /// Type the table has.
        expected: &'static str,
        /// Type found.
        found: &'static str,
    },
    /// A key attribute is not there.
    #[error("key attribute {name:?} is missing")]
    Missing {
        /// The attribute.
        name: String,
    },
    /// There is an attribute that is not of the key.
    #[error("{name:?} is not an attribute of the key ({expected})")]
    Unknown {
        /// The attribute.
        name: String,
        /// The key's attributes.
        expected: String,
    },
    /// A number that is none.
    #[error("key attribute {name:?}: {source}")]
    Number {
        /// The attribute.
        name: String,
        /// What is wrong with it.
        source: NumberError,
    },
    /// Longer than DynamoDB's keys can be.
    #[error("key has {found} bytes, at most {KEY_BYTES_MAX} are allowed")]
    Size {
        /// Bytes found.
        found: usize,
    },
    /// The bytes are not an encoded key.
    #[error("key bytes are malformed")]
    Malformed,
}

/// The types a key attribute can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum KeyType {
    /// Bytes.
    B,
    /// A number.
    N,
    /// A string.
    S,
}

impl KeyType {
    /// DynamoDB's letter.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::B => "B",
            Self::N => "N",
            Self::S => "S",
        }
    }

    /// From DynamoDB's letter.
    #[must_use]
    pub fn from_letter(letter: &str) -> Option<Self> {
        match letter {
            "B" => Some(Self::B),
            "N" => Some(Self::N),
            "S" => Some(Self::S),
            _ => None,
        }
    }
}

/// One attribute of the key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct KeyAttribute {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub key_type: KeyType,
}

/// The key's attributes, one or two, in the order of their names.
///
/// A clone shares them: every record carries them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyAttributes(Arc<[KeyAttribute]>);

impl KeyAttributes {
    /// One or two attributes in any order.
    ///
    /// # Errors
    /// When there are none, more than two, or two of one name.
    pub fn new(mut attributes: Vec<KeyAttribute>) -> Result<Self, KeyError> {
        attributes.sort();
        attributes.dedup_by(|a, b| a.name == b.name);
        if !(1..=2).contains(&attributes.len()) {
            return Err(KeyError::Count { found: attributes.len() });
        }
        Ok(Self(attributes.into()))
    }

    /// Names and types as a record's `Keys` shows them.
    ///
    /// # Errors
    /// When there are not one or two, or one is not of type S, N or B.
    pub fn of(keys: &Attributes) -> Result<Self, KeyError> {
        if !(1..=2).contains(&keys.len()) {
            return Err(KeyError::Count { found: keys.len() });
        }
        let attributes = keys.iter().map(|(name, value)| {
            let key_type = KeyType::from_letter(value.type_name())
                .ok_or_else(|| KeyError::Type { name: name.clone(), found: value.type_name().to_owned() })?;
            Ok(KeyAttribute { name: name.clone(), key_type })
        });
        Self::new(attributes.collect::<Result<_, KeyError>>()?)
    }

    /// Whether these are exactly the names and types of a record's `Keys`.
    pub(crate) fn are_of(&self, keys: &Attributes) -> bool {
        // Both are in the order of the names.
        let same = |own: &KeyAttribute, (name, value): (&String, &AttributeValue)| {
            own.name == *name && own.key_type.as_str() == value.type_name()
        };
        self.0.len() == keys.len() && self.0.iter().zip(keys).all(|(own, key)| same(own, key))
    }

    /// The attributes, sorted by name.
    #[must_use]
    pub fn as_slice(&self) -> &[KeyAttribute] {
        &self.0
    }

    /// Whether `name` is of the key.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|a| a.name == name)
    }
}

impl fmt::Display for KeyAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, attribute) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{} ({})", attribute.name, attribute.key_type.as_str())?;
        }
        Ok(())
    }
}

impl serde::Serialize for KeyAttributes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

impl<'de> serde::Deserialize<'de> for KeyAttributes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let attributes = Vec::<KeyAttribute>::deserialize(deserializer)?;
        Self::new(attributes).map_err(serde::de::Error::custom)
    }
}

/// An item's key as bytes whose order is the order of the values: by the first attribute's value, then the second's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemKey(Bytes);

impl ItemKey {
    /// Encodes exactly the key's attributes.
    ///
    /// # Errors
    /// When one is missing, of another type or not of the key, or the key is longer than any of DynamoDB's.
    pub fn encode(names: &KeyAttributes, values: &Attributes) -> Result<Self, KeyError> {
        if let Some(name) = values.keys().find(|name| !names.contains(name)) {
            return Err(KeyError::Unknown { name: name.clone(), expected: names.to_string() });
        }
        let mut bytes = Vec::with_capacity(48);
        for attribute in names.as_slice() {
            let value =
                values.get(&attribute.name).ok_or_else(|| KeyError::Missing { name: attribute.name.clone() })?;
            encode_part(attribute, value, &mut bytes)?;
        }
        if bytes.len() > KEY_BYTES_MAX {
            return Err(KeyError::Size { found: bytes.len() });
        }
        Ok(Self(Bytes::from(bytes)))
    }

    /// The bytes that every key begins with whose first attribute (by name) is a string or byte string that begins with
    /// `prefix`.
    ///
    /// # Errors
    /// When that attribute is a number, or the prefix is of another type.
    pub fn encode_prefix(names: &KeyAttributes, prefix: &AttributeValue) -> Result<Bytes, KeyError> {
        let first = names.as_slice().first().ok_or(KeyError::Count { found: 0 })?;
        if first.key_type == KeyType::N {
            return Err(KeyError::Mismatch { name: first.name.clone(), expected: "S or B for a prefix", found: "N" });
        }
        let mut bytes = Vec::new();
        encode_part(first, prefix, &mut bytes)?;
        bytes.truncate(bytes.len().saturating_sub(2));
        Ok(Bytes::from(bytes))
    }

    /// Takes bytes that were checked before, as by a segment's checksum; `decode` still checks them.
    #[must_use]
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key's attributes with their values.
    ///
    /// # Errors
    /// When the bytes are not a key of these attributes.
    pub fn decode(&self, names: &KeyAttributes) -> Result<Attributes, KeyError> {
        Self::decode_slice(&self.0, names)
    }

    /// As `decode`, from borrowed bytes.
    ///
    /// # Errors
    /// As `decode`.
    pub fn decode_slice(bytes: &[u8], names: &KeyAttributes) -> Result<Attributes, KeyError> {
        let parts = KeyParts::of(bytes, names)?.0.into_iter().flatten();
        let values = names
            .as_slice()
            .iter()
            .zip(parts)
            .map(|(attribute, part)| Ok((attribute.name.clone(), part.into_value().ok_or(KeyError::Malformed)?)));
        values.collect()
    }
}

fn encode_part(attribute: &KeyAttribute, value: &AttributeValue, bytes: &mut Vec<u8>) -> Result<(), KeyError> {
    match (attribute.key_type, value) {
        (KeyType::S, AttributeValue::S(text)) => escape(TAG_S, text.as_bytes(), bytes),
        (KeyType::B, AttributeValue::B(value)) => escape(TAG_B, value, bytes),
        (KeyType::N, AttributeValue::N(number)) => {
            let decimal = Decimal::parse(number.as_str())
                .map_err(|source| KeyError::Number { name: attribute.name.clone(), source })?;
            bytes.push(TAG_N);
            bytes.extend_from_slice(&decimal.ordered());
            if decimal.to_plain() == number.as_str() {
                bytes.push(0);
            } else {
                bytes.push(1);
                bytes.extend_from_slice(number.as_str().as_bytes());
                bytes.push(0);
            }
        }
        (expected, found) => {
            return Err(KeyError::Mismatch {
                name: attribute.name.clone(),
                expected: expected.as_str(),
                found: found.type_name(),
            });
        }
    }
    Ok(())
}

fn escape(tag: u8, from: &[u8], bytes: &mut Vec<u8>) {
    bytes.push(tag);
    for (at, part) in from.split(|byte| *byte == 0).enumerate() {
        if at > 0 {
            bytes.extend_from_slice(&[0, 0xFF]);
        }
        bytes.extend_from_slice(part);
    }
    bytes.extend_from_slice(&[0, 1]);
}

/// The value of one attribute of an encoded key, borrowed where nothing had to be unescaped.
#[derive(Debug)]
pub(super) enum KeyPart<'a> {
    S(Cow<'a, str>),
    B(Cow<'a, [u8]>),
    /// A number, with its plain form where that is another text.
    N {
        written: Cow<'a, str>,
        plain: Option<String>,
    },
}

impl KeyPart<'_> {
    /// Whether it is no number that is written in another than its plain form.
    pub(super) fn is_plain(&self) -> bool {
        !matches!(self, Self::N { plain: Some(_), .. })
    }

    fn into_value(self) -> Option<AttributeValue> {
        Some(match self {
            Self::S(text) => AttributeValue::S(text.into_owned()),
            Self::B(bytes) => AttributeValue::B(bytes.into_owned()),
            Self::N { written, .. } => AttributeValue::N(Number::parse(written).ok()?),
        })
    }
}

/// The values of an encoded key, in the order of its attributes' names.
#[derive(Debug)]
pub(super) struct KeyParts<'a>([Option<KeyPart<'a>>; 2]);

impl<'a> KeyParts<'a> {
    /// Reads a whole key of these attributes.
    pub(super) fn of(bytes: &'a [u8], names: &KeyAttributes) -> Result<Self, KeyError> {
        let mut rest = bytes;
        let mut parts = [None, None];
        for (attribute, part) in names.as_slice().iter().zip(&mut parts) {
            let (value, after) = decode_part(attribute.key_type, rest).ok_or(KeyError::Malformed)?;
            *part = Some(value);
            rest = after;
        }
        if rest.is_empty() { Ok(Self(parts)) } else { Err(KeyError::Malformed) }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &KeyPart<'a>> {
        self.0.iter().flatten()
    }
}

fn decode_part(key_type: KeyType, bytes: &[u8]) -> Option<(KeyPart<'_>, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    match (key_type, tag) {
        (KeyType::S, TAG_S) => {
            let (text, rest) = unescape(rest)?;
            let text = match text {
                Cow::Borrowed(text) => Cow::Borrowed(std::str::from_utf8(text).ok()?),
                Cow::Owned(text) => Cow::Owned(String::from_utf8(text).ok()?),
            };
            Some((KeyPart::S(text), rest))
        }
        (KeyType::B, TAG_B) => {
            let (value, rest) = unescape(rest)?;
            Some((KeyPart::B(value), rest))
        }
        (KeyType::N, TAG_N) => {
            let (decimal, taken) = Decimal::from_ordered(rest)?;
            let (&spelled, rest) = rest.get(taken..)?.split_first()?;
            if spelled == 0 {
                let written = decimal.to_plain();
                other_plain_form(&written).ok()?;
                return Some((KeyPart::N { written: Cow::Owned(written), plain: None }, rest));
            }
            let end = rest.iter().position(|b| *b == 0)?;
            let (text, rest) = rest.split_at(end);
            let written = std::str::from_utf8(text).ok()?;
            let plain = other_plain_form(written).ok()?;
            Some((KeyPart::N { written: Cow::Borrowed(written), plain }, rest.get(1..)?))
        }
        _ => None,
    }
}

fn unescape(bytes: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let mut value = Cow::Borrowed(&[][..]);
    let mut rest = bytes;
    loop {
        // It looks at more than a byte at a time.
        let plain = CStr::from_bytes_until_nul(rest).ok()?.to_bytes();
        let (&next, after) = rest.get(plain.len() + 1..)?.split_first()?;
        if next == 1 && value.is_empty() {
            return Some((Cow::Borrowed(plain), after));
        }
        let owned = value.to_mut();
        owned.extend_from_slice(plain);
        rest = after;
        match next {
            1 => return Some((value, rest)),
            0xFF => owned.push(0),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(types: &[(&str, KeyType)]) -> KeyAttributes {
        KeyAttributes::new(types.iter().map(|(n, t)| KeyAttribute { name: (*n).to_owned(), key_type: *t }).collect())
            .unwrap()
    }

    fn values(pairs: &[(&str, AttributeValue)]) -> Attributes {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect()
    }

    #[test]
    fn a_key_of_the_wrong_type_is_named() {
        let names = names(&[("noteId", KeyType::S)]);
        let error = ItemKey::encode(&names, &values(&[("noteId", AttributeValue::N(Number::parse("1").unwrap()))]))
            .unwrap_err();
        assert_eq!(error.to_string(), "key attribute \"noteId\" is of type N, the table's key wants S");
        assert!(matches!(ItemKey::encode(&names, &values(&[])), Err(KeyError::Missing { .. })));
    }

    #[test]
    fn number_keys_keep_their_text_and_sort_by_value() {
        let names = names(&[("n", KeyType::N)]);
        let key = |text: &str| {
            ItemKey::encode(&names, &values(&[("n", AttributeValue::N(Number::parse(text).unwrap()))])).unwrap()
        };
        for text in ["1E+2", "100", "-0.50", "-0.5", "0", "-0", "12345678901234567890123456789012345678"] {
            let back = key(text).decode(&names).unwrap();
            assert_eq!(back["n"], AttributeValue::N(Number::parse(text).unwrap()));
        }
        assert!(key("-10") < key("-9") && key("-9") < key("0") && key("9") < key("10") && key("99.5") < key("1E+2"));
    }

    proptest! {
        #[test]
        fn keys_round_trip_and_sort_as_their_values(
            a in proptest::collection::vec(0u8..3, 0..6), b in proptest::collection::vec(0u8..3, 0..6),
            c in ".{0,5}", d in ".{0,5}",
        ) {
            let names = names(&[("p", KeyType::B), ("s", KeyType::S)]);
            let key = |b: &Vec<u8>, s: &String| {
                ItemKey::encode(&names, &values(&[("p", AttributeValue::B(b.clone())), ("s", AttributeValue::S(s.clone()))])).unwrap()
            };
            let (one, two) = (key(&a, &c), key(&b, &d));
            prop_assert_eq!(one.cmp(&two), (&a, c.as_bytes()).cmp(&(&b, d.as_bytes())));
            let back = one.decode(&names).unwrap();
            prop_assert_eq!(&back["p"], &AttributeValue::B(a.clone()));
            let prefix = ItemKey::encode_prefix(&names, &AttributeValue::B(b.clone())).unwrap();
            prop_assert_eq!(one.as_bytes().starts_with(&prefix), a.starts_with(&b));
        }

        #[test]
        fn foreign_bytes_are_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            for key_type in [KeyType::B, KeyType::N, KeyType::S] {
                let _ = ItemKey::decode_slice(&bytes, &names(&[("k", key_type)]));
            }
        }
    }
}
