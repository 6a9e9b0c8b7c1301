//! Table names.

use std::fmt;

use thiserror::Error;

/// Why a text is not a table name.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum TableNameError {
    /// Wrong length or characters.
    #[error("table name {text:?} is not 3 to 255 characters of a-z, A-Z, 0-9, '_', '-' and '.'")]
    Syntax {
        /// The text, cut to 64 characters.
        text: String,
    },
}

/// A table's name: 3 to 255 of `a-zA-Z0-9_.-` (`TableName`, Amazon DynamoDB API reference), so it is safe as one part
/// of an object key or path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct TableName(String);

impl TableName {
    /// Checks `text`.
    ///
    /// # Errors
    /// When the length or a character is not allowed.
    pub fn parse(text: &str) -> Result<Self, TableNameError> {
        let sound = (3..=255).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
            && text.bytes().any(|b| b != b'.');
        if !sound {
            return Err(TableNameError::Syntax { text: text.chars().take(64).collect() });
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for TableName {
    type Err = TableNameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl<'de> serde::Deserialize<'de> for TableName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
