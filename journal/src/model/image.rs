//! The canonical image: an item's attributes, its key left out, as bytes. The one module that knows bincode.
//!
//! The encoding is spelled out in FORMAT.md, "Images", so that it can be read without the crate; a test reads the same
//! bytes with another one. Equal items are equal bytes: names and sets are sorted, number text is kept. To everything
//! but the code that shows or restores items an image is opaque.

use std::collections::{BTreeMap, BTreeSet};

use bincode::de::{Decode, Decoder};
use bincode::enc::{Encode, Encoder};
use bincode::error::{DecodeError, EncodeError};
use bytes::Bytes;
use thiserror::Error;

use super::{AttributeValue, Attributes, Number};

/// Levels of nesting that DynamoDB allows ("Quotas in Amazon DynamoDB": nested attribute depth 32). A scalar attribute
/// is at level 1.
pub const NESTING_MAX: usize = 32;
/// Most bytes of one image. DynamoDB's items have at most 400 KB; the room is for the encoding's own bytes and for
/// services that allow more.
pub const IMAGE_BYTES_MAX: usize = 4 << 20;
/// What decoding may claim in memory for one image: the smallest attribute takes two bytes there and about 60 here.
const DECODE_LIMIT: usize = 64 * IMAGE_BYTES_MAX;

/// Why bytes are not an image, or an item cannot be one.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ImageError {
    /// More than 32 levels.
    #[error("item is nested deeper than {NESTING_MAX} levels")]
    Nesting,
    /// More than `IMAGE_BYTES_MAX` bytes.
    #[error("image has {found} bytes, at most {IMAGE_BYTES_MAX} are allowed")]
    Size {
        /// Bytes found.
        found: usize,
    },
    /// The bytes are not the encoding of any item.
    #[error("image bytes are malformed: {reason}")]
    Malformed {
        /// What is wrong with them.
        reason: String,
    },
}

/// The canonical bytes of an item's attributes without its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Image(Bytes);

impl Image {
    /// Encodes attributes.
    ///
    /// # Errors
    /// When they are nested deeper than 32 levels or make more than `IMAGE_BYTES_MAX` bytes.
    pub fn encode(attributes: &Attributes) -> Result<Self, ImageError> {
        if attributes.values().any(|value| deeper_than(value, NESTING_MAX)) {
            return Err(ImageError::Nesting);
        }
        let bytes = bincode::encode_to_vec(attributes, bincode::config::standard())
            .map_err(|error| ImageError::Malformed { reason: error.to_string() })?;
        if bytes.len() > IMAGE_BYTES_MAX {
            return Err(ImageError::Size { found: bytes.len() });
        }
        Ok(Self(Bytes::from(bytes)))
    }

    /// Takes bytes that were checked before, as by a segment's checksum; `decode` still checks every length.
    #[must_use]
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Decodes the attributes.
    ///
    /// # Errors
    /// When the bytes are not exactly one canonical image: cut, followed by others, names or sets not in order, numbers
    /// that are none, nested too deep.
    pub fn decode(&self) -> Result<Attributes, ImageError> {
        Self::decode_slice(&self.0)
    }

    /// Decodes the attributes from borrowed bytes.
    ///
    /// # Errors
    /// As `decode`.
    pub fn decode_slice(bytes: &[u8]) -> Result<Attributes, ImageError> {
        if bytes.len() > IMAGE_BYTES_MAX {
            return Err(ImageError::Size { found: bytes.len() });
        }
        let config = bincode::config::standard().with_limit::<DECODE_LIMIT>();
        let (item, taken): (Item, usize) = bincode::decode_from_slice_with_context(bytes, config, Depth(0))
            .map_err(|error| ImageError::Malformed { reason: error.to_string() })?;
        if taken != bytes.len() {
            return Err(ImageError::Malformed { reason: format!("{} bytes follow its end", bytes.len() - taken) });
        }
        Ok(item.0)
    }
}

fn deeper_than(value: &AttributeValue, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else { return true };
    match value {
        AttributeValue::M(map) => map.values().any(|v| deeper_than(v, below)),
        AttributeValue::L(list) => list.iter().any(|v| deeper_than(v, below)),
        _ => false,
    }
}

impl Encode for Number {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.as_str().encode(encoder)
    }
}

impl Encode for AttributeValue {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let tag: u32 = match self {
            Self::S(_) => 0,
            Self::N(_) => 1,
            Self::B(_) => 2,
            Self::Ss(_) => 3,
            Self::Ns(_) => 4,
            Self::Bs(_) => 5,
            Self::M(_) => 6,
            Self::L(_) => 7,
            Self::Null => 8,
            Self::Bool(_) => 9,
        };
        tag.encode(encoder)?;
        match self {
            Self::S(text) => text.encode(encoder),
            Self::N(number) => number.encode(encoder),
            Self::B(bytes) => bytes.encode(encoder),
            Self::Ss(set) => set.encode(encoder),
            Self::Ns(set) => set.encode(encoder),
            Self::Bs(set) => set.encode(encoder),
            Self::M(map) => map.encode(encoder),
            Self::L(list) => list.encode(encoder),
            Self::Null => Ok(()),
            Self::Bool(value) => value.encode(encoder),
        }
    }
}

/// Levels entered so far; decoding stops below the deepest allowed, so hostile bytes cannot exhaust the stack.
struct Depth(usize);

struct Item(Attributes);
struct Value(AttributeValue);

fn other(reason: &str) -> DecodeError {
    DecodeError::OtherString(reason.to_owned())
}

/// A container's length, refused before anything is reserved for it.
fn length<D: Decoder>(decoder: &mut D) -> Result<u64, DecodeError> {
    let length = u64::decode(decoder)?;
    if length > u64::try_from(IMAGE_BYTES_MAX).unwrap_or(u64::MAX) {
        return Err(other("a length is larger than any image"));
    }
    Ok(length)
}

fn map<D: Decoder<Context = Depth>>(decoder: &mut D) -> Result<Attributes, DecodeError> {
    let mut attributes: Attributes = BTreeMap::new();
    for _ in 0..length(decoder)? {
        let name = String::decode(decoder)?;
        if attributes.last_key_value().is_some_and(|(last, _)| *last >= name) {
            return Err(other("attribute names are not in order"));
        }
        let value = Value::decode(decoder)?.0;
        attributes.insert(name, value);
    }
    Ok(attributes)
}

fn set<D: Decoder, T: Ord>(
    decoder: &mut D,
    member: impl Fn(&mut D) -> Result<T, DecodeError>,
) -> Result<BTreeSet<T>, DecodeError> {
    let mut set = BTreeSet::new();
    for _ in 0..length(decoder)? {
        let value = member(decoder)?;
        if set.last().is_some_and(|last| *last >= value) {
            return Err(other("set members are not in order"));
        }
        set.insert(value);
    }
    if set.is_empty() {
        return Err(other("a set is empty"));
    }
    Ok(set)
}

fn number<D: Decoder>(decoder: &mut D) -> Result<Number, DecodeError> {
    Number::parse(String::decode(decoder)?).map_err(|error| DecodeError::OtherString(error.to_string()))
}

impl Decode<Depth> for Item {
    fn decode<D: Decoder<Context = Depth>>(decoder: &mut D) -> Result<Self, DecodeError> {
        map(decoder).map(Item)
    }
}

impl Decode<Depth> for Value {
    fn decode<D: Decoder<Context = Depth>>(decoder: &mut D) -> Result<Self, DecodeError> {
        decoder.context().0 += 1;
        if decoder.context().0 > NESTING_MAX {
            return Err(other("nested deeper than 32 levels"));
        }
        let value = match u32::decode(decoder)? {
            0 => AttributeValue::S(String::decode(decoder)?),
            1 => AttributeValue::N(number(decoder)?),
            2 => AttributeValue::B(Vec::<u8>::decode(decoder)?),
            3 => AttributeValue::Ss(set(decoder, String::decode)?),
            4 => AttributeValue::Ns(set(decoder, number)?),
            5 => AttributeValue::Bs(set(decoder, Vec::<u8>::decode)?),
            6 => AttributeValue::M(map(decoder)?),
            7 => {
                let mut list = Vec::new();
                for _ in 0..length(decoder)? {
                    list.push(Self::decode(decoder)?.0);
                }
                AttributeValue::L(list)
            }
            8 => AttributeValue::Null,
            9 => AttributeValue::Bool(bool::decode(decoder)?),
            _ => return Err(other("an attribute has an unknown type")),
        };
        decoder.context().0 -= 1;
        Ok(Self(value))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn any_value() -> impl Strategy<Value = AttributeValue> {
        let number = prop_oneof!["-?[0-9]{1,30}(\\.[0-9]{1,8})?", "[1-9]\\.[0-9]{1,36}[eE]-?[0-9]{1,2}",]
            .prop_filter_map("not a DynamoDB number", |text| Number::parse(text).ok());
        let number2 = "-?[0-9]{1,38}".prop_filter_map("not a DynamoDB number", |text| Number::parse(text).ok());
        let leaf = prop_oneof![
            ".{0,12}".prop_map(AttributeValue::S),
            number.prop_map(AttributeValue::N),
            proptest::collection::vec(any::<u8>(), 0..12).prop_map(AttributeValue::B),
            proptest::collection::btree_set(".{0,6}", 1..4).prop_map(AttributeValue::Ss),
            proptest::collection::btree_set(number2, 1..4).prop_map(AttributeValue::Ns),
            proptest::collection::btree_set(proptest::collection::vec(any::<u8>(), 0..5), 1..4)
                .prop_map(AttributeValue::Bs),
            Just(AttributeValue::Null),
            any::<bool>().prop_map(AttributeValue::Bool),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(AttributeValue::L),
                proptest::collection::btree_map(".{0,5}", inner, 0..5).prop_map(AttributeValue::M),
            ]
        })
    }

    pub(crate) fn any_attributes() -> impl Strategy<Value = Attributes> {
        proptest::collection::btree_map("[a-z]{1,6}", any_value(), 0..6)
    }

    fn nested(levels: usize) -> Attributes {
        let mut value = AttributeValue::Null;
        for _ in 1..levels {
            value = AttributeValue::L(vec![value]);
        }
        BTreeMap::from([("deep".to_owned(), value)])
    }

    #[test]
    fn thirty_two_levels_round_trip_and_thirty_three_are_refused() {
        let item = nested(32);
        assert_eq!(Image::encode(&item).unwrap().decode().unwrap(), item);
        assert_eq!(Image::encode(&nested(33)), Err(ImageError::Nesting));
    }

    #[test]
    fn a_bomb_of_nested_lists_is_an_error_and_not_an_exhausted_stack() {
        let mut bytes = vec![1, 1, b'a'];
        bytes.extend(std::iter::repeat_n([7, 1], 1_000_000).flatten());
        assert!(matches!(Image::decode_slice(&bytes), Err(ImageError::Malformed { .. })));
    }

    #[test]
    fn a_huge_length_is_refused_before_memory_is_reserved() {
        for tag in [0u8, 2, 3, 6, 7] {
            let bytes = [1, 1, b'a', tag, 253, 255, 255, 255, 255, 255, 255, 255, 127];
            assert!(Image::decode_slice(&bytes).is_err());
        }
    }

    #[test]
    fn four_hundred_kilobytes_round_trip() {
        let item = BTreeMap::from([
            ("text".to_owned(), AttributeValue::S("x".repeat(200_000))),
            ("bytes".to_owned(), AttributeValue::B(vec![0; 200_000])),
            ("empty".to_owned(), AttributeValue::S(String::new())),
            ("none".to_owned(), AttributeValue::B(Vec::new())),
        ]);
        assert_eq!(Image::encode(&item).unwrap().decode().unwrap(), item);
    }

    /// The way out of bincode: another crate's view of the same bytes.
    #[derive(wincode::SchemaRead)]
    enum Other {
        S(String),
        N(String),
        B(Vec<u8>),
        Ss(Vec<String>),
        Ns(Vec<String>),
        Bs(Vec<Vec<u8>>),
        M(Vec<(String, Other)>),
        L(Vec<Other>),
        Null,
        Bool(bool),
    }

    fn from_other(other: Other) -> AttributeValue {
        let number = |text| Number::parse(text).unwrap();
        match other {
            Other::S(text) => AttributeValue::S(text),
            Other::N(text) => AttributeValue::N(number(text)),
            Other::B(bytes) => AttributeValue::B(bytes),
            Other::Ss(set) => AttributeValue::Ss(set.into_iter().collect()),
            Other::Ns(set) => AttributeValue::Ns(set.into_iter().map(number).collect()),
            Other::Bs(set) => AttributeValue::Bs(set.into_iter().collect()),
            Other::M(map) => {
                AttributeValue::M(map.into_iter().map(|(name, value)| (name, from_other(value))).collect())
            }
            Other::L(list) => AttributeValue::L(list.into_iter().map(from_other).collect()),
            Other::Null => AttributeValue::Null,
            Other::Bool(value) => AttributeValue::Bool(value),
        }
    }

    proptest! {
        #[test]
        fn another_crate_reads_the_same_bytes(item in any_attributes()) {
            let config = wincode::config::Configuration::default().with_varint_encoding().with_tag_encoding::<u32>();
            let image = Image::encode(&item).unwrap();
            let read: Vec<(String, Other)> = wincode::config::deserialize_exact(image.as_bytes(), config).unwrap();
            let read: Attributes = read.into_iter().map(|(name, value)| (name, from_other(value))).collect();
            prop_assert_eq!(read, item);
        }

        #[test]
        fn every_item_round_trips(item in any_attributes()) {
            prop_assert_eq!(Image::encode(&item).unwrap().decode().unwrap(), item);
        }

        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(item in any_attributes(), at in any::<proptest::sample::Index>(), bit in 0u8..8) {
            let mut bytes = Image::encode(&item).unwrap().as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(other) = Image::decode_slice(&bytes) {
                // Varints and UTF-8 have one accepted form for the items we write, or the flip made another item.
                let again = Image::encode(&other).unwrap();
                prop_assert_eq!(again.decode().unwrap(), other);
            }
        }
    }
}
