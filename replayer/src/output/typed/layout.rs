//! Which column an attribute gets.

use std::collections::BTreeSet;

use journal::model::KeyType;

use super::seen::{Seen, SeenAttribute, Types};
use super::{EXACT, NAME_BYTES_MAX, TYPED_COLUMNS_MAX};
use crate::key_schema::KeySchema;

/// Most digits of a decimal column: those of Parquet's 128-bit decimals, and of DynamoDB's numbers.
const DECIMAL_DIGITS_MAX: usize = 38;

/// What a column holds. Every one may also hold nothing: the item lacks the attribute, or it is NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Strings.
    Text,
    /// Whole numbers of 64 bits.
    Integer,
    /// Numbers of up to 38 digits, so many of them after the point.
    Decimal(u8),
    /// Numbers that no other column can hold, by their digits.
    Digits,
    /// Bytes.
    Binary,
    /// Booleans.
    Boolean,
    /// Sets of strings, as JSON arrays.
    StringSet,
    /// Sets of numbers, as JSON arrays.
    NumberSet,
    /// Sets of bytes, as JSON arrays of base64 text.
    BinarySet,
    /// Maps and lists, as plain JSON.
    Document,
    /// Values of several types, each as DynamoDB JSON.
    Mixed,
}

impl ColumnKind {
    /// A word for the file's own description of its columns.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "S",
            Self::Integer | Self::Decimal(_) | Self::Digits => "N",
            Self::Binary => "B",
            Self::Boolean => "BOOL",
            Self::StringSet => "SS",
            Self::NumberSet => "NS",
            Self::BinarySet => "BS",
            Self::Document => "JSON",
            Self::Mixed => "DynamoDB JSON",
        }
    }

    /// The kind whose [`ColumnKind::name`] this is, as far as reading a cell needs it: every number is [`Self::Digits`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "S" => Self::Text,
            "N" => Self::Digits,
            "B" => Self::Binary,
            "BOOL" => Self::Boolean,
            "SS" => Self::StringSet,
            "NS" => Self::NumberSet,
            "BS" => Self::BinarySet,
            "JSON" => Self::Document,
            "DynamoDB JSON" => Self::Mixed,
            _ => return None,
        })
    }

    fn choose(seen: &SeenAttribute) -> Self {
        let numbers = seen.numbers;
        match seen.types {
            types if types.within(Types::S) => Self::Text,
            types if types.within(Types::N) => {
                if numbers.scale == 0 && !numbers.large {
                    Self::Integer
                } else if numbers.scale > 0 && numbers.whole_digits + numbers.scale <= DECIMAL_DIGITS_MAX {
                    u8::try_from(numbers.scale).map_or(Self::Digits, Self::Decimal)
                } else {
                    Self::Digits
                }
            }
            types if types.within(Types::B) => Self::Binary,
            types if types.within(Types::BOOL) => Self::Boolean,
            types if types.within(Types::SS) => Self::StringSet,
            types if types.within(Types::NS) => Self::NumberSet,
            types if types.within(Types::BS) => Self::BinarySet,
            types if types.within(Types::M.union(Types::L)) => Self::Document,
            _ => Self::Mixed,
        }
    }
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The attribute.
    pub attribute: String,
    /// The column's name: the attribute's, with a number behind it where another column has that name in other letters.
    pub name: String,
    /// What it holds.
    pub kind: ColumnKind,
}

/// All columns of a file but [`EXACT`], those of the key first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    columns: Vec<Column>,
    key: usize,
}

impl Layout {
    /// The columns for what was seen: the key's first, then the others by name. Where there are too many, those that most
    /// items have.
    #[must_use]
    pub fn new(seen: &Seen, schema: Option<&KeySchema>) -> Self {
        let key = schema.map(KeySchema::in_order).unwrap_or_default();
        let mut others: Vec<(&String, &SeenAttribute)> = seen
            .attributes()
            .filter(|(name, _)| key.iter().all(|attribute| attribute.name != **name) && can_be_a_name(name))
            .collect();
        others.sort_by(|(a, one), (b, other)| other.items.cmp(&one.items).then_with(|| a.cmp(b)));
        others.truncate(TYPED_COLUMNS_MAX.saturating_sub(key.len()));
        others.sort_by_key(|(name, _)| *name);

        let mut layout = Self { key: key.len(), ..Self::default() };
        let mut taken = BTreeSet::from([EXACT.to_owned()]);
        for attribute in key {
            let empty = match attribute.key_type {
                KeyType::S => ColumnKind::Text,
                KeyType::N => ColumnKind::Integer,
                KeyType::B => ColumnKind::Binary,
            };
            let kind = seen.get(&attribute.name).map_or(empty, ColumnKind::choose);
            layout.add(&attribute.name, kind, &mut taken);
        }
        for (name, seen) in others {
            layout.add(name, ColumnKind::choose(seen), &mut taken);
        }
        layout
    }

    fn add(&mut self, attribute: &str, kind: ColumnKind, taken: &mut BTreeSet<String>) {
        // SQLite and most readers of Parquet do not tell capital letters from small ones.
        let mut name = attribute.to_owned();
        let mut number = 2u32;
        while !taken.insert(name.to_lowercase()) {
            name = format!("{attribute}_{number}");
            number += 1;
        }
        self.columns.push(Column { attribute: attribute.to_owned(), name, kind });
    }

    /// The columns.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Those of the key.
    #[must_use]
    pub fn key_columns(&self) -> &[Column] {
        self.columns.get(..self.key).unwrap_or_default()
    }
}

fn can_be_a_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains('\0')
}
