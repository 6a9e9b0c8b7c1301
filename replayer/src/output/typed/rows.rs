//! Items as rows, straight from their bytes.

use std::borrow::Cow;

use journal::error::Result;
use journal::model::{NestedType, Spelling, WalkedValue, name_json};

use super::cell::{Cell, decimal};
use super::layout::{ColumnKind, Layout};
use crate::output::columned::See;
use crate::output::destination::OutputError;
use crate::output::names::Names;
use crate::state::{EncodedItem, ReadError};

/// Makes rows of the columns of a layout.
#[derive(Debug)]
pub(crate) struct Rows {
    layout: Layout,
    /// The columns' attributes. Their numbers are the columns'.
    names: Names,
    /// What no column can say, as members of an object.
    exact: Vec<u8>,
    /// A cell that is JSON.
    json: Vec<u8>,
}

impl Rows {
    pub(crate) fn new(layout: Layout) -> Self {
        let mut names = Names::default();
        for column in layout.columns() {
            names.add(&column.attribute);
        }
        Self { layout, names, exact: Vec::new(), json: Vec::new() }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Gives the cells of an item to `put`, each with the number of its column: columns that were not given hold nothing. Gives whether every
    /// number has its plain form.
    pub(crate) fn item(
        &mut self,
        item: &EncodedItem<'_>,
        mut see: See<'_>,
        mut put: impl FnMut(usize, Cell<'_>) -> Result<(), OutputError>,
    ) -> Result<bool> {
        self.begin();
        let plain_numbers = item.attributes(|name, value| {
            if let Some(see) = &mut see {
                see(name, value)?;
            }
            self.attribute(name, value, &mut put)
        })?;
        self.end(put)?;
        Ok(plain_numbers)
    }

    /// The attributes of another item follow.
    fn begin(&mut self) {
        self.names.begin();
        self.exact.clear();
    }

    /// Gives an item's next attribute to `put` as a cell with the number of its column, if a column holds it.
    fn attribute(
        &mut self,
        name: &str,
        value: &mut WalkedValue<'_, '_>,
        put: impl FnOnce(usize, Cell<'_>) -> Result<(), OutputError>,
    ) -> Result<(), ReadError> {
        let column = self.names.find(name);
        let kind = column.and_then(|number| Some((number, self.layout.columns().get(number)?.kind)));
        let said = match kind {
            Some((number, kind)) => self.cell(kind, value, |cell| put(number, cell))?,
            None => false,
        };
        if !said {
            if self.exact.is_empty() {
                self.exact.push(b'{');
            }
            name_json(name, &mut self.exact);
            value.json(Spelling::DynamoDb, &mut self.exact)?;
            self.exact.push(b',');
        }
        Ok(())
    }

    /// The item has no more attributes. What its columns cannot say is given to `put`, in the column after theirs; columns that were not
    /// given hold nothing.
    fn end(&mut self, put: impl FnOnce(usize, Cell<'_>) -> Result<(), OutputError>) -> Result<(), OutputError> {
        if let Some(last) = self.exact.last_mut() {
            *last = b'}';
            put(self.layout.columns().len(), Cell::Text(text(&self.exact)))?;
        }
        Ok(())
    }

    /// Gives a value as a cell of this kind, if there is one; whether the cell says all of it.
    fn cell(
        &mut self,
        kind: ColumnKind,
        value: &mut WalkedValue<'_, '_>,
        put: impl FnOnce(Cell<'_>) -> Result<(), OutputError>,
    ) -> Result<bool, ReadError> {
        let mut is_exact = true;
        let cell = match (kind, value) {
            (ColumnKind::Mixed, value) => {
                self.json.clear();
                value.json(Spelling::DynamoDb, &mut self.json)?;
                Cell::Text(text(&self.json))
            }
            (ColumnKind::Text, WalkedValue::S(text)) => Cell::Text(Cow::Borrowed(text)),
            (ColumnKind::Integer, WalkedValue::N(number)) => match number.to_plain().parse() {
                Ok(number) => Cell::Integer(number),
                Err(_) => return Ok(false),
            },
            (ColumnKind::Decimal(scale), WalkedValue::N(number)) => match decimal(number.to_plain(), scale) {
                Some(number) => Cell::Decimal(number),
                None => return Ok(false),
            },
            (ColumnKind::Digits, WalkedValue::N(number)) => Cell::Text(Cow::Borrowed(number.to_plain())),
            (ColumnKind::Binary, WalkedValue::B(bytes)) => Cell::Binary(Cow::Borrowed(bytes)),
            (ColumnKind::Boolean, WalkedValue::Bool(value)) => Cell::Boolean(*value),
            (kind, WalkedValue::Nested(nested)) if holds(kind, nested.nested_type()) => {
                self.json.clear();
                let has_types = !nested.json(Spelling::Plain, &mut self.json)?;
                is_exact = kind != ColumnKind::Document || !has_types;
                Cell::Text(text(&self.json))
            }
            _ => return Ok(false),
        };
        put(cell)?;
        Ok(is_exact)
    }
}

/// Whether a column of this kind holds such values as plain JSON.
fn holds(kind: ColumnKind, nested: NestedType) -> bool {
    match nested {
        NestedType::Ss => kind == ColumnKind::StringSet,
        NestedType::Ns => kind == ColumnKind::NumberSet,
        NestedType::Bs => kind == ColumnKind::BinarySet,
        NestedType::M | NestedType::L => kind == ColumnKind::Document,
    }
}

/// JSON is text.
fn text(json: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(json)
}
