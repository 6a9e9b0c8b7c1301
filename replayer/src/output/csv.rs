//! CSV: one row an item, the key's attributes first.
//!
//! A missing attribute is an empty field, an empty string is `""`, NULL is `null`. Nested values are plain JSON text. What
//! a spreadsheet makes of a text that begins with `=` is the spreadsheet's affair. Characters that a terminal would obey are written
//! as JSON escapes.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use journal::error::{Classify, Kind, Result};
use journal::model::{AttributeValue, Attributes, Spelling, WalkedValue};
use thiserror::Error;

use super::columned::{RowSink, See};
use super::destination::{Destination, OutputError};
use super::names::Names;
use super::{About, Visited, json};
use crate::audit::inert_lines;
use crate::key_schema::KeySchema;
use crate::state::{EncodedItem, ReadError};

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

    fn add(&mut self, name: &str) -> Result<(), TooManyColumnsError> {
        if !self.key.iter().any(|key| key == name) {
            self.others.insert(name.to_owned());
        }
        if self.key.len() + self.others.len() > COLUMNS_MAX { Err(TooManyColumnsError) } else { Ok(()) }
    }

    /// Adds the columns of an item.
    ///
    /// # Errors
    /// When there are more than [`COLUMNS_MAX`].
    pub fn see(&mut self, item: &Attributes) -> Result<(), TooManyColumnsError> {
        item.keys().try_for_each(|name| self.add(name))
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

/// The columns of an export, as its items show them.
#[derive(Debug)]
pub(super) struct CsvLook {
    columns: CsvColumns,
    names: Names,
}

impl CsvLook {
    pub(super) fn of_key(schema: Option<&KeySchema>) -> Self {
        Self { columns: CsvColumns::of_key(schema), names: Names::default() }
    }

    /// The attributes of another item follow.
    pub(super) fn begin(&mut self) {
        self.names.begin();
    }

    /// Looks at an item's next attribute.
    pub(super) fn see(&mut self, name: &str) -> Result<(), TooManyColumnsError> {
        if self.names.find(name).is_some() {
            return Ok(());
        }
        self.names.add(name);
        self.columns.add(name)
    }

    pub(super) fn into_columns(self) -> CsvColumns {
        self.columns
    }
}

/// A CSV that is being written.
pub(super) struct CsvSink {
    /// The columns. Their numbers say in which order they stand.
    names: Names,
    /// The fields of an item, as they are found.
    fields: Vec<u8>,
    /// Where the field of each column is.
    places: Vec<Range<usize>>,
    json: Vec<u8>,
    destination: Box<Destination>,
}

impl CsvSink {
    pub(super) fn begin(columns: &CsvColumns, mut destination: Box<Destination>) -> Result<Self, OutputError> {
        columns.write_header(&mut destination).map_err(|error| destination.failed(error))?;
        let mut names = Names::default();
        for name in columns.names() {
            names.add(name);
        }
        let places = vec![0..0; names.len()];
        Ok(Self { names, fields: Vec::new(), places, json: Vec::new(), destination })
    }

    fn attribute(&mut self, name: &str, value: &mut WalkedValue<'_, '_>) -> Result<(), ReadError> {
        let Some(place) = self.names.find(name).and_then(|number| self.places.get_mut(number)) else { return Ok(()) };
        let (start, to) = (self.fields.len(), &mut self.fields);
        // Writing to memory does not fail.
        drop(match value {
            WalkedValue::S(text) => field(text, to),
            WalkedValue::N(number) => field(number.as_written(), to),
            WalkedValue::B(bytes) => field(&STANDARD.encode(bytes), to),
            WalkedValue::Null => to.write_all(b"null"),
            WalkedValue::Bool(value) => write!(to, "{value}"),
            WalkedValue::Nested(nested) => {
                self.json.clear();
                nested.json(Spelling::Plain, &mut self.json)?;
                field(&String::from_utf8_lossy(&self.json), to)
            }
        });
        *place = start..self.fields.len();
        Ok(())
    }
}

impl RowSink for CsvSink {
    fn item(&mut self, item: &EncodedItem<'_>, mut see: See<'_>) -> Result<bool> {
        self.names.begin();
        self.fields.clear();
        self.places.fill(0..0);
        let plain_numbers = item.attributes(|name, value| {
            if let Some(see) = &mut see {
                see(name, value)?;
            }
            self.attribute(name, value)
        })?;
        let Self { fields, places, destination, .. } = self;
        let mut write = || {
            for (at, place) in places.iter().enumerate() {
                separate(at, destination)?;
                destination.write_all(fields.get(place.clone()).unwrap_or_default())?;
            }
            end(destination)
        };
        write().map_err(|error| self.destination.failed(error))?;
        Ok(plain_numbers)
    }

    fn finish(self: Box<Self>, _: &About, _: &Visited) -> Result<u64, OutputError> {
        self.destination.finish()
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
