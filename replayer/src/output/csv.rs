//! CSV: one row an item, the key's attributes first.
//!
//! A missing attribute is an empty field, an empty string is `""`, NULL is `null`. Nested values are plain JSON text. What
//! a spreadsheet makes of a text that begins with `=` is the spreadsheet's affair. Characters that a terminal would obey are written
//! as JSON escapes.

use std::collections::BTreeSet;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use journal::error::{Classify, Kind};
use journal::model::{AttributeValue, Attributes};
use thiserror::Error;

use super::json;
use crate::audit::inert_lines;
use crate::key_schema::KeySchema;

/// Most columns of an export.
pub const COLUMNS_MAX: usize = 10_000;

/// Too many columns.
#[derive(Debug, Error)]
#[error("the items have more than {COLUMNS_MAX} different attributes, too many for columns")]
pub struct TooManyColumnsError;

impl Classify for TooManyColumnsError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("export as --format json or dynamodb-json".to_owned())
    }
}

/// The columns of an export: the key's attributes, partition key first, then all others by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CsvColumns {
    key: Vec<String>,
    others: BTreeSet<String>,
}

impl CsvColumns {
    /// The columns of the key.
    #[must_use]
    pub fn of_key(schema: Option<&KeySchema>) -> Self {
        let key = schema.map(|schema| schema.in_order().iter().map(|attribute| attribute.name.clone()).collect());
        Self { key: key.unwrap_or_default(), others: BTreeSet::new() }
    }

    /// Adds the columns of an item.
    ///
    /// # Errors
    /// When there are more than [`COLUMNS_MAX`].
    pub fn see(&mut self, item: &Attributes) -> Result<(), TooManyColumnsError> {
        for name in item.keys() {
            if !self.key.contains(name) && !self.others.contains(name) {
                self.others.insert(name.clone());
            }
        }
        if self.key.len() + self.others.len() > COLUMNS_MAX { Err(TooManyColumnsError) } else { Ok(()) }
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.key.iter().chain(&self.others)
    }

    /// Writes the line of names.
    ///
    /// # Errors
    /// When `to` cannot be written.
    pub fn write_header(&self, to: &mut impl Write) -> io::Result<()> {
        for (at, name) in self.names().enumerate() {
            separate(at, to)?;
            field(name, to)?;
        }
        end(to)
    }

    /// Writes an item's row.
    ///
    /// # Errors
    /// When `to` cannot be written.
    pub fn write_row(&self, item: &Attributes, to: &mut impl Write) -> io::Result<()> {
        for (at, name) in self.names().enumerate() {
            separate(at, to)?;
            match item.get(name) {
                None => {}
                Some(AttributeValue::S(text)) => field(text, to)?,
                Some(AttributeValue::N(number)) => field(number.as_str(), to)?,
                Some(AttributeValue::B(bytes)) => field(&STANDARD.encode(bytes), to)?,
                Some(AttributeValue::Null) => to.write_all(b"null")?,
                Some(AttributeValue::Bool(value)) => write!(to, "{value}")?,
                Some(nested) => {
                    let mut text = Vec::new();
                    json::value(nested, &mut text)?;
                    field(&String::from_utf8_lossy(&text), to)?;
                }
            }
        }
        end(to)
    }
}

fn separate(at: usize, to: &mut impl Write) -> io::Result<()> {
    if at == 0 { Ok(()) } else { to.write_all(b",") }
}

/// RFC 4180 ends lines so.
fn end(to: &mut impl Write) -> io::Result<()> {
    to.write_all(b"\r\n")
}

/// A field, in quotes where RFC 4180 wants them and where it is empty, so that an empty string is not a missing value.
fn field(text: &str, to: &mut impl Write) -> io::Result<()> {
    let text = &*inert_lines(text);
    let quoted = text.is_empty() || text.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n'));
    if !quoted {
        return to.write_all(text.as_bytes());
    }
    to.write_all(b"\"")?;
    for (at, part) in text.split('"').enumerate() {
        if at > 0 {
            to.write_all(b"\"\"")?;
        }
        to.write_all(part.as_bytes())?;
    }
    to.write_all(b"\"")
}
