//! What a first look at the items tells of each attribute.

use std::collections::BTreeMap;

use journal::model::{AttributeValue, Attributes};

/// Most attributes that are told apart. Names first seen after so many stand in the column of what is left.
const NAMES_MAX: usize = 100_000;

/// The types that an attribute has had, as bits, and what is needed to choose a number's column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    attributes: BTreeMap<String, SeenAttribute>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SeenAttribute {
    /// Items that have it, NULL or not.
    pub(super) items: u64,
    pub(super) types: Types,
    pub(super) numbers: SeenNumbers,
}

/// A set of DynamoDB's types; NULL is not among them, for any column can have none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Types(u16);

impl Types {
    pub(super) const S: Self = Self(1);
    pub(super) const N: Self = Self(2);
    pub(super) const B: Self = Self(4);
    pub(super) const BOOL: Self = Self(8);
    pub(super) const SS: Self = Self(16);
    pub(super) const NS: Self = Self(32);
    pub(super) const BS: Self = Self(64);
    pub(super) const M: Self = Self(128);
    pub(super) const L: Self = Self(256);

    fn of(value: &AttributeValue) -> Self {
        match value {
            AttributeValue::S(_) => Self::S,
            AttributeValue::N(_) => Self::N,
            AttributeValue::B(_) => Self::B,
            AttributeValue::Bool(_) => Self::BOOL,
            AttributeValue::Ss(_) => Self::SS,
            AttributeValue::Ns(_) => Self::NS,
            AttributeValue::Bs(_) => Self::BS,
            AttributeValue::M(_) => Self::M,
            AttributeValue::L(_) => Self::L,
            AttributeValue::Null => Self(0),
        }
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether nothing else is in the set.
    pub(super) fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

/// What the numbers of an attribute need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SeenNumbers {
    /// Most digits before the point.
    pub(super) whole_digits: usize,
    /// Most digits after it.
    pub(super) scale: usize,
    /// Whether one does not fit 64 bits.
    pub(super) large: bool,
}

impl SeenNumbers {
    fn see(&mut self, plain: &str) {
        let digits = plain.strip_prefix('-').unwrap_or(plain);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        self.whole_digits = self.whole_digits.max(whole.trim_start_matches('0').len());
        self.scale = self.scale.max(fraction.len());
        self.large |= fraction.is_empty() && plain.parse::<i64>().is_err();
    }
}

impl Seen {
    /// Looks at an item.
    pub fn see(&mut self, item: &Attributes) {
        for (name, value) in item {
            let known = self.attributes.len();
            let seen = match self.attributes.get_mut(name) {
                Some(seen) => seen,
                None if known < NAMES_MAX => self.attributes.entry(name.clone()).or_default(),
                None => continue,
            };
            seen.items += 1;
            seen.types = seen.types.union(Types::of(value));
            if let AttributeValue::N(number) = value {
                seen.numbers.see(number.to_plain().as_str());
            }
        }
    }

    pub(super) fn attributes(&self) -> impl Iterator<Item = (&String, &SeenAttribute)> {
        self.attributes.iter()
    }

    pub(super) fn get(&self, name: &str) -> Option<&SeenAttribute> {
        self.attributes.get(name)
    }
}
