//! Which tables ought to be protected: by name, by prefix, by tag, or all.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::control::{ControlError, ControlPlane};
use crate::error::{Classify, Kind};
use crate::model::TableName;

/// Why a text does not select tables.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum SelectionError {
    /// Neither a name nor a prefix.
    #[error("{text:?} is neither a table name, nor a prefix with `*` at its end, nor `*`")]
    Name {
        /// The text.
        text: String,
    },
    /// Not `key=value`.
    #[error("tag {text:?} is not written as key=value")]
    Tag {
        /// The text.
        text: String,
    },
    /// Nothing was selected.
    #[error("no table is named")]
    Nothing,
}

impl Classify for SelectionError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Name { .. } => "table names have 3 to 255 characters of a-z, A-Z, 0-9, '_', '-' and '.'".to_owned(),
            Self::Tag { .. } => "write it as --tag stage=prod".to_owned(),
            Self::Nothing => "name tables, give --tag key=value, or --all".to_owned(),
        })
    }
}

/// A choice of tables. A table is chosen when any part of it says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Every table of the account and region.
    pub all: bool,
    /// Tables by name.
    pub names: BTreeSet<TableName>,
    /// Tables whose names begin so.
    pub prefixes: BTreeSet<String>,
    /// Tables that have any of these tags, key and value.
    pub tags: BTreeSet<(String, String)>,
    /// Tables that the journal has a timeline of.
    pub known: bool,
}

impl Selection {
    /// Adds `notes-table`, `notes-*` or `*`.
    ///
    /// # Errors
    /// When the text is none of them.
    pub fn add(&mut self, text: &str) -> Result<(), SelectionError> {
        let text = text.trim();
        if text == "*" {
            self.all = true;
            return Ok(());
        }
        let refuse = || SelectionError::Name { text: text.to_owned() };
        if let Some(prefix) = text.strip_suffix('*') {
            let sound = prefix.len() <= 255
                && prefix.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
            if !sound {
                return Err(refuse());
            }
            self.prefixes.insert(prefix.to_owned());
            return Ok(());
        }
        self.names.insert(TableName::parse(text).map_err(|_| refuse())?);
        Ok(())
    }

    /// Adds `key=value`.
    ///
    /// # Errors
    /// When the text has no `=` or no key.
    pub fn add_tag(&mut self, text: &str) -> Result<(), SelectionError> {
        let tag = text.trim().split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) = tag.ok_or_else(|| SelectionError::Tag { text: text.to_owned() })?;
        self.tags.insert((key.to_owned(), value.to_owned()));
        Ok(())
    }

    /// Reads a function's setting: names, prefixes (`notes-*`), tags (`tag:stage=prod`) and `*`, with commas between them. An empty text means the
    /// tables that the journal knows.
    ///
    /// # Errors
    /// When a part cannot be read.
    pub fn of_text(text: &str) -> Result<Self, SelectionError> {
        let mut selection = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.strip_prefix("tag:") {
                Some(tag) => selection.add_tag(tag)?,
                None => selection.add(part)?,
            }
        }
        selection.known = selection.is_empty();
        Ok(selection)
    }

    /// Whether nothing can be chosen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all && !self.known && self.names.is_empty() && self.prefixes.is_empty() && self.tags.is_empty()
    }

    /// Whether the name alone decides for the table.
    #[must_use]
    pub fn has_name(&self, table: &TableName) -> bool {
        self.all
            || self.names.contains(table)
            || self.prefixes.iter().any(|prefix| table.as_str().starts_with(prefix.as_str()))
    }

    /// Whether the tags decide for a table that has them.
    #[must_use]
    pub fn has_tags(&self, tags: &BTreeMap<String, String>) -> bool {
        self.tags.iter().any(|(key, value)| tags.get(key) == Some(value))
    }
}

/// The tables that are chosen and exist, and those that are chosen by name, whether they exist or not.
///
/// # Errors
/// When tables or tags cannot be read: a table whose tags are not known might be one of them.
pub async fn tables(control: &dyn ControlPlane, selection: &Selection) -> Result<BTreeSet<TableName>, ControlError> {
    let mut chosen = selection.names.clone();
    if !selection.all && selection.prefixes.is_empty() && selection.tags.is_empty() {
        return Ok(chosen);
    }
    for table in control.list_tables().await? {
        if selection.has_name(&table) {
            chosen.insert(table);
        } else if !selection.tags.is_empty()
            && let Some(tags) = control.tags(&table).await?
            && selection.has_tags(&tags)
        {
            chosen.insert(table);
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_prefixes_tags_and_all_are_read_and_nonsense_is_named() {
        let selection = Selection::of_text("notes, users-*,tag:stage=prod, tag:team=a=b,").unwrap();
        let name = |text: &str| TableName::parse(text).unwrap();
        assert!(selection.has_name(&name("notes")) && selection.has_name(&name("users-dev")));
        assert!(!selection.has_name(&name("notes2")) && !selection.all);
        let tags = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert!(selection.has_tags(&tags("team", "a=b")) && !selection.has_tags(&tags("stage", "dev")));
        assert!(Selection::of_text("*").unwrap().has_name(&name("anything")));
        assert!(Selection::of_text(" , ").unwrap().known && Selection::default().is_empty());
        assert_eq!(Selection::of_text("a/b").unwrap_err(), SelectionError::Name { text: "a/b".to_owned() });
        assert_eq!(Selection::of_text("tag:prod").unwrap_err(), SelectionError::Tag { text: "prod".to_owned() });
    }
}
