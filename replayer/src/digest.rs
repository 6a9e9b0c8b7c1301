//! The state digest: one number for a table's state, whatever the order of its items.
//!
//! Defined in SEMANTICS.md, "State digest": the sum, modulo 2^256, of one SHA-256 for each item, over its key's and its
//! image's bytes, each after its length. Two states with the same digest and count are the same state, but for a chance
//! that nobody can find. Numbers count in their plain form, for DynamoDB gives them back so: `1E2` and `100` are one.

use std::fmt;

use journal::error::Result;
use journal::model::{AttributeValue, Attributes, Image, ItemKey, KeyAttributes};
use sha2::{Digest as _, Sha256};

/// Bytes of an item's hash.
pub(crate) const HASH_BYTES: usize = 32;

/// The hash of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemHash([u8; HASH_BYTES]);

impl ItemHash {
    /// The hash's bytes.
    pub(crate) fn to_bytes(self) -> [u8; HASH_BYTES] {
        self.0
    }

    /// The hash of these bytes, as [`ItemHash::to_bytes`] gave them.
    pub(crate) fn from_bytes(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }

    /// The hash in hexadecimal digits.
    pub(crate) fn to_hex(self) -> String {
        crate::state::to_hex(&self.0)
    }

    /// The hash that [`ItemHash::to_hex`] wrote.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes().chunks(2);
        let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        Some(Self(bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()?))
    }

    /// Hashes an item from the bytes of its key and of its image, numbers being plain in both.
    #[must_use]
    pub fn of_bytes(key: &[u8], image: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        for part in [key, image] {
            hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// Hashes an item whose numbers may be written in any form. `key` and `image` are its bytes, `key_values` and
    /// `attributes` what they say.
    ///
    /// # Errors
    /// When the plain form cannot be encoded, which only foreign bytes can bring about.
    pub fn of(
        names: &KeyAttributes,
        (key, key_values): (&[u8], &Attributes),
        (image, attributes): (&[u8], &Attributes),
    ) -> Result<Self> {
        let plain_key =
            if has_odd_number(key_values) { Some(ItemKey::encode(names, &to_plain(key_values))?) } else { None };
        let plain_image = if has_odd_number(attributes) { Some(Image::encode(&to_plain(attributes))?) } else { None };
        Ok(Self::of_bytes(
            plain_key.as_ref().map_or(key, ItemKey::as_bytes),
            plain_image.as_ref().map_or(image, Image::as_bytes),
        ))
    }

    /// Which of 65,536 groups an item of this key falls into. Groups only narrow a search: a checksum spreads keys well enough.
    #[must_use]
    pub fn group(key: &[u8]) -> u16 {
        let [_, _, a, b] = crc32fast::hash(key).to_be_bytes();
        u16::from_be_bytes([a, b])
    }
}

fn has_odd_number(attributes: &Attributes) -> bool {
    attributes.values().any(is_odd)
}

fn is_odd(value: &AttributeValue) -> bool {
    match value {
        AttributeValue::N(number) => number.to_plain() != *number,
        AttributeValue::Ns(set) => set.iter().any(|number| number.to_plain() != *number),
        AttributeValue::M(map) => has_odd_number(map),
        AttributeValue::L(list) => list.iter().any(is_odd),
        _ => false,
    }
}

/// The same attributes with every number in its plain form.
#[must_use]
pub fn to_plain(attributes: &Attributes) -> Attributes {
    attributes.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
}

fn plain(value: &AttributeValue) -> AttributeValue {
    match value {
        AttributeValue::N(number) => AttributeValue::N(number.to_plain()),
        AttributeValue::Ns(set) => AttributeValue::Ns(set.iter().map(journal::model::Number::to_plain).collect()),
        AttributeValue::M(map) => AttributeValue::M(to_plain(map)),
        AttributeValue::L(list) => AttributeValue::L(list.iter().map(plain).collect()),
        other => other.clone(),
    }
}

/// The digest of a set of items, with their count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateDigest {
    /// Little-endian words of the sum.
    words: [u64; 4],
    items: u64,
}

impl StateDigest {
    /// Adds an item.
    #[inline]
    pub fn add(&mut self, hash: ItemHash) {
        let mut carry = false;
        // The hash's bytes are one big-endian number; its last eight are the lowest word.
        let mut addends = hash.0.as_chunks().0.iter().rev();
        for word in &mut self.words {
            let addend = addends.next().map_or(0, |bytes| u64::from_be_bytes(*bytes));
            (*word, carry) = word.carrying_add(addend, carry);
        }
        self.items += 1;
    }

    /// Adds all items of another set.
    pub fn merge(&mut self, other: &Self) {
        let mut carry = false;
        for (word, addend) in self.words.iter_mut().zip(other.words) {
            (*word, carry) = word.carrying_add(addend, carry);
        }
        self.items += other.items;
    }

    /// How many items were added.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.items
    }
}

impl fmt::Display for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.words.iter().rev().try_for_each(|word| write!(f, "{word:016x}"))
    }
}

impl serde::Serialize for StateDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::model::{KeyAttribute, KeyType, Number};
    use proptest::prelude::*;

    fn digest(items: &[(Vec<u8>, Vec<u8>)]) -> StateDigest {
        let mut digest = StateDigest::default();
        for (key, image) in items {
            digest.add(ItemHash::of_bytes(key, image));
        }
        digest
    }

    #[test]
    fn the_digest_of_no_item_is_zero_and_of_one_item_its_sha_256() {
        assert_eq!(StateDigest::default().to_string(), "0".repeat(64));
        // printf '\0\0\0\0\0\0\0\1a\0\0\0\0\0\0\0\2bc' | sha256sum
        assert_eq!(
            digest(&[(b"a".to_vec(), b"bc".to_vec())]).to_string(),
            "3fafa1cf2f19a7c1129beb20cf0983f73a489a221fc0dd2f16d1be292d089205"
        );
    }

    #[test]
    fn the_sum_carries_over_all_words() {
        let mut digest = StateDigest::default();
        digest.add(ItemHash([255; 32]));
        let mut one = [0; 32];
        one[31] = 2;
        digest.add(ItemHash(one));
        assert_eq!(digest.to_string(), format!("{}1", "0".repeat(63)));
        assert_eq!(digest.items(), 2);
    }

    #[test]
    fn bytes_cannot_move_between_key_and_image() {
        assert_ne!(ItemHash::of_bytes(b"ab", b"c"), ItemHash::of_bytes(b"a", b"bc"));
    }

    #[test]
    fn numbers_count_by_value() {
        let names = KeyAttributes::new(vec![KeyAttribute { name: "k".to_owned(), key_type: KeyType::N }]).unwrap();
        let number = |text: &str| AttributeValue::N(Number::parse(text).unwrap());
        let hash = |key: &str, value: &str| {
            let key = Attributes::from([("k".to_owned(), number(key))]);
            let list = AttributeValue::L(vec![AttributeValue::M(Attributes::from([("x".to_owned(), number(value))]))]);
            let attributes = Attributes::from([("a".to_owned(), list)]);
            let (bytes, image) = (ItemKey::encode(&names, &key).unwrap(), Image::encode(&attributes).unwrap());
            ItemHash::of(&names, (bytes.as_bytes(), &key), (image.as_bytes(), &attributes)).unwrap()
        };
        assert_eq!(hash("100", "1.5"), hash("1E2", "1.50"));
        assert_ne!(hash("100", "1.5"), hash("100", "1.51"));
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_every_difference_does(
            mut items in proptest::collection::btree_map(
                proptest::collection::vec(any::<u8>(), 0..4), proptest::collection::vec(any::<u8>(), 0..4), 1..20),
            at in any::<proptest::sample::Index>(), split in any::<proptest::sample::Index>(),
        ) {
            let sorted: Vec<_> = items.clone().into_iter().collect();
            let mut turned = sorted.clone();
            turned.reverse();
            prop_assert_eq!(digest(&sorted), digest(&turned));
            let (a, b) = sorted.split_at(split.index(sorted.len()));
            let mut merged = digest(a);
            merged.merge(&digest(b));
            prop_assert_eq!(merged, digest(&sorted));
            let key = sorted[at.index(sorted.len())].0.clone();
            let removed = items.remove(&key).unwrap();
            prop_assert_ne!(digest(&items.clone().into_iter().collect::<Vec<_>>()), digest(&sorted));
            items.insert(key, [removed, vec![0]].concat());
            prop_assert_ne!(digest(&items.into_iter().collect::<Vec<_>>()), digest(&sorted));
        }
    }
}
