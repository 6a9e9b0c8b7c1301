//! A table's key as a user names it: the attributes with their roles, and `--key` and `--prefix` read by them.
//!
//! What enters is text; what leaves are encoded keys and ranges of them. Knows nothing of runs.

mod select;

use journal::documents::TableDocument;
use journal::error::{Classify, Kind};
use journal::model::{Attributes, ItemKey, KeyAttribute, KeyAttributes, KeyError, KeyType};
use std::fmt;
use thiserror::Error;

use crate::digest::to_plain;

pub use select::KeySelection;
#[cfg(test)]
pub(crate) use select::tests;

/// What is wrong with a key or a key schema.
#[derive(Debug, Error)]
pub enum KeySchemaError {
    /// `table.json` has a key schema that no table can have.
    #[error("table.json describes a key that no table can have: {reason}")]
    Document {
        /// What is wrong.
        reason: String,
    },
    /// `--key` cannot be read.
    #[error("cannot read {text:?} as a key: {reason}")]
    Key {
        /// The text, cut.
        text: String,
        /// What is wrong.
        reason: String,
        /// How a key of this table is written.
        example: String,
    },
    /// `--prefix` cannot be used.
    #[error("cannot use the prefix {text:?}: {reason}")]
    Prefix {
        /// The text, cut.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// Nothing says what the key is.
    #[error("the journal has no record and no description of table {table}, so its key is not known")]
    Unknown {
        /// The table.
        table: String,
    },
}

impl Classify for KeySchemaError {
    fn kind(&self) -> Kind {
        match self {
            Self::Document { .. } => Kind::Corrupt,
            Self::Key { .. } | Self::Prefix { .. } | Self::Unknown { .. } => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Document { .. } => Some("an earlier version of table.json may be whole".to_owned()),
            Self::Key { example, .. } => Some(format!("write it as {example}")),
            Self::Prefix { .. } => Some("use --where with begins_with(NAME, 'text') on other attributes".to_owned()),
            Self::Unknown { .. } => None,
        }
    }
}

/// The key's attributes, with the partition key where it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySchema {
    attributes: KeyAttributes,
    partition: Option<String>,
}

impl KeySchema {
    /// The key of a described table.
    ///
    /// # Errors
    /// When the description's key schema is not one or two attributes of type S, N or B with one partition key.
    pub fn of_table(table: &TableDocument) -> Result<Self, KeySchemaError> {
        let wrong = |reason: String| KeySchemaError::Document { reason };
        let attributes = table.key_schema.iter().map(|element| {
            let key_type = KeyType::from_letter(&element.key_type)
                .ok_or_else(|| wrong(format!("attribute {:?} has type {:?}", element.name, element.key_type)))?;
            Ok(KeyAttribute { name: element.name.clone(), key_type })
        });
        let attributes = KeyAttributes::new(attributes.collect::<Result<_, KeySchemaError>>()?)
            .map_err(|error| wrong(error.to_string()))?;
        let partition = table.key_schema.iter().find(|element| element.role == "HASH");
        let partition = partition.ok_or_else(|| wrong("no attribute is the partition key".to_owned()))?.name.clone();
        Ok(Self { attributes, partition: Some(partition) })
    }

    /// A key of which only names and types are known, as records show them.
    #[must_use]
    pub fn unordered(attributes: KeyAttributes) -> Self {
        let partition = match attributes.as_slice() {
            [only] => Some(only.name.clone()),
            _ => None,
        };
        Self { attributes, partition }
    }

    /// Names and types.
    #[must_use]
    pub fn attributes(&self) -> &KeyAttributes {
        &self.attributes
    }

    /// The partition key's name; the first by name where the roles are not known.
    #[must_use]
    pub fn partition(&self) -> Option<&KeyAttribute> {
        let by_role = self.attributes.as_slice().iter().find(|a| self.partition.as_deref() == Some(a.name.as_str()));
        by_role.or(self.attributes.as_slice().first())
    }

    /// The attributes, partition key first.
    #[must_use]
    pub fn in_order(&self) -> Vec<&KeyAttribute> {
        let partition = self.partition();
        let rest = self.attributes.as_slice().iter().filter(|attribute| Some(*attribute) != partition);
        partition.into_iter().chain(rest).collect()
    }

    /// Reads an encoded key.
    ///
    /// # Errors
    /// When the bytes are not a key of these attributes.
    pub fn decode(&self, key: &[u8]) -> Result<Attributes, KeyError> {
        ItemKey::decode_slice(key, &self.attributes)
    }

    /// The key's bytes of a whole item, numbers plain: the same for whoever has the item, however it spells a number.
    ///
    /// # Errors
    /// When the item lacks an attribute of the key, or has one of another type.
    pub fn plain_key(&self, item: &Attributes) -> Result<Vec<u8>, KeyError> {
        let of_key = item.iter().filter(|(name, _)| self.attributes.contains(name));
        let values = of_key.map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(ItemKey::encode(&self.attributes, &to_plain(&values))?.as_bytes().to_vec())
    }
}

impl fmt::Display for KeySchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, attribute) in self.in_order().into_iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{} ({})", attribute.name, attribute.key_type.as_str())?;
        }
        Ok(())
    }
}
