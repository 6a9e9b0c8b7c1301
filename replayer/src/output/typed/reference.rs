//! Rows of decoded items: the long way, with which rows made from bytes are compared.

use std::borrow::Cow;
use std::collections::BTreeMap;

use journal::model::{AttributeValue, Attributes};
use journal::source::attribute::{ItemJson, ValueJson};

use super::cell::{Cell, decimal};
use super::layout::{ColumnKind, Layout};
use super::seen::{SeenAttribute, Types};
use crate::output::json;

/// A row: its cells in the order of the columns, and what they cannot say.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row<'a> {
    pub(super) cells: Vec<Cell<'a>>,
    pub(super) exact: Option<String>,
}

pub(super) fn row<'a>(layout: &Layout, item: &'a Attributes) -> Row<'a> {
    let mut cells = vec![Cell::None; layout.columns().len()];
    let mut exact = Attributes::new();
    for (name, value) in item {
        let column = layout.columns().iter().zip(&mut cells).find(|(column, _)| column.attribute == *name);
        let said = match column {
            Some((column, cell)) => {
                *cell = cell_of(value, column.kind);
                match value {
                    AttributeValue::Null => column.kind == ColumnKind::Mixed,
                    AttributeValue::M(_) | AttributeValue::L(_) if column.kind == ColumnKind::Document => {
                        document_is_exact(value)
                    }
                    _ => !matches!(cell, Cell::None),
                }
            }
            None => false,
        };
        if !said {
            exact.insert(name.clone(), value.clone());
        }
    }
    let exact = (!exact.is_empty()).then(|| serde_json::to_string(&ItemJson(&exact)).unwrap());
    Row { cells, exact }
}

fn cell_of(value: &AttributeValue, kind: ColumnKind) -> Cell<'_> {
    match (kind, value) {
        (ColumnKind::Mixed, value) => Cell::Text(Cow::Owned(serde_json::to_string(&ValueJson(value)).unwrap())),
        (ColumnKind::Text, AttributeValue::S(text)) => Cell::Text(Cow::Borrowed(text)),
        (ColumnKind::Integer, AttributeValue::N(number)) => {
            number.to_plain().as_str().parse().map_or(Cell::None, Cell::Integer)
        }
        (ColumnKind::Decimal(scale), AttributeValue::N(number)) => {
            decimal(number.to_plain().as_str(), scale).map_or(Cell::None, Cell::Decimal)
        }
        (ColumnKind::Digits, AttributeValue::N(number)) => {
            Cell::Text(Cow::Owned(number.to_plain().as_str().to_owned()))
        }
        (ColumnKind::Binary, AttributeValue::B(bytes)) => Cell::Binary(Cow::Borrowed(bytes)),
        (ColumnKind::Boolean, AttributeValue::Bool(value)) => Cell::Boolean(*value),
        (ColumnKind::StringSet, AttributeValue::Ss(_))
        | (ColumnKind::NumberSet, AttributeValue::Ns(_))
        | (ColumnKind::BinarySet, AttributeValue::Bs(_))
        | (ColumnKind::Document, AttributeValue::M(_) | AttributeValue::L(_)) => {
            let mut bytes = Vec::new();
            json::value(value, &mut bytes).unwrap();
            Cell::Text(Cow::Owned(String::from_utf8(bytes).unwrap()))
        }
        _ => Cell::None,
    }
}

/// Whether plain JSON says all of a map or list: it has no sets and no bytes.
fn document_is_exact(value: &AttributeValue) -> bool {
    match value {
        AttributeValue::S(_) | AttributeValue::N(_) | AttributeValue::Bool(_) | AttributeValue::Null => true,
        AttributeValue::M(map) => map.values().all(document_is_exact),
        AttributeValue::L(list) => list.iter().all(document_is_exact),
        AttributeValue::B(_) | AttributeValue::Ss(_) | AttributeValue::Ns(_) | AttributeValue::Bs(_) => false,
    }
}

/// What is seen of decoded items.
pub(super) fn seen(items: &[Attributes]) -> BTreeMap<String, SeenAttribute> {
    let mut all = BTreeMap::<String, SeenAttribute>::new();
    for (name, value) in items.iter().flatten() {
        let seen = all.entry(name.clone()).or_default();
        seen.items += 1;
        seen.types = seen.types.union(match value {
            AttributeValue::S(_) => Types::S,
            AttributeValue::N(_) => Types::N,
            AttributeValue::B(_) => Types::B,
            AttributeValue::Bool(_) => Types::BOOL,
            AttributeValue::Ss(_) => Types::SS,
            AttributeValue::Ns(_) => Types::NS,
            AttributeValue::Bs(_) => Types::BS,
            AttributeValue::M(_) => Types::M,
            AttributeValue::L(_) => Types::L,
            AttributeValue::Null => Types::default(),
        });
        if let AttributeValue::N(number) = value {
            seen.numbers.see(number.to_plain().as_str());
        }
    }
    all
}
