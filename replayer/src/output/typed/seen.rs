//! What a look at the items tells of each attribute.

use journal::model::{NestedType, WalkedValue};

use crate::output::names::Names;

/// Most attributes that are told apart. Names first seen after so many stand in the column of what is left.
const NAMES_MAX: usize = 100_000;

/// The types that an attribute has had, as bits, and what is needed to choose a number's column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    names: Names,
    /// By the numbers of their names.
    attributes: Vec<SeenAttribute>,
    /// Whether something was seen that another choice of columns may follow from.
    changed: bool,
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

    fn of(value: &WalkedValue<'_, '_>) -> Self {
        match value {
            WalkedValue::S(_) => Self::S,
            WalkedValue::N(_) => Self::N,
            WalkedValue::B(_) => Self::B,
            WalkedValue::Bool(_) => Self::BOOL,
            WalkedValue::Null => Self(0),
            WalkedValue::Nested(nested) => match nested.nested_type() {
                NestedType::Ss => Self::SS,
                NestedType::Ns => Self::NS,
                NestedType::Bs => Self::BS,
                NestedType::M => Self::M,
                NestedType::L => Self::L,
            },
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
    pub(super) fn see(&mut self, plain: &str) {
        let digits = plain.strip_prefix('-').unwrap_or(plain);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        self.whole_digits = self.whole_digits.max(whole.trim_start_matches('0').len());
        self.scale = self.scale.max(fraction.len());
        self.large |= fraction.is_empty() && plain.parse::<i64>().is_err();
    }
}

impl Seen {
    /// The attributes of another item follow.
    pub(crate) fn begin(&mut self) {
        self.names.begin();
    }

    /// Looks at an item's next attribute.
    pub(crate) fn see(&mut self, name: &str, value: &WalkedValue<'_, '_>) {
        let number = match self.names.find(name) {
            Some(number) => number,
            None if self.names.len() < NAMES_MAX => {
                self.attributes.push(SeenAttribute::default());
                self.changed = true;
                self.names.add(name)
            }
            None => return,
        };
        let Some(seen) = self.attributes.get_mut(number) else { return };
        let (types, numbers) = (seen.types, seen.numbers);
        seen.items += 1;
        seen.types = types.union(Types::of(value));
        if let WalkedValue::N(number) = value {
            seen.numbers.see(number.to_plain());
        }
        self.changed |= seen.types != types || seen.numbers != numbers;
    }

    /// Whether, since this was last asked, something was seen that another choice of columns may follow from.
    pub(crate) fn has_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// How many attributes were seen.
    pub(crate) fn count(&self) -> usize {
        self.attributes.len()
    }

    pub(super) fn attributes(&self) -> impl Iterator<Item = (&String, &SeenAttribute)> {
        self.names.iter().filter_map(|(name, number)| Some((name, self.attributes.get(number)?)))
    }

    pub(super) fn get(&self, name: &str) -> Option<&SeenAttribute> {
        self.attributes.get(self.names.number(name)?)
    }
}
