//! One value in one column, and back.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use journal::error::{Classify, Kind};
use journal::model::{AttributeValue, Number};
use journal::source::attribute::parse_item;
use serde_json::Value;
use thiserror::Error;

use super::layout::ColumnKind;

/// A value as a column holds it.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// Nothing.
    None,
    /// Text, digits or JSON.
    Text(Cow<'a, str>),
    /// A whole number.
    Integer(i64),
    /// A number as an integer of `10^-scale`.
    Decimal(i128),
    /// Bytes.
    Binary(Cow<'a, [u8]>),
    /// A boolean.
    Boolean(bool),
}

/// A cell that no item of ours has.
#[derive(Debug, Error)]
#[error("a cell of kind {kind} cannot be read: {reason}")]
pub struct CellError {
    kind: &'static str,
    reason: String,
}

impl Classify for CellError {
    fn kind(&self) -> Kind {
        Kind::Corrupt
    }
}

impl Cell<'_> {
    /// The value that a cell of a column of `kind` holds; none when it holds nothing.
    ///
    /// # Errors
    /// When it is not what the column's kind says.
    pub fn value(self, kind: ColumnKind) -> Result<Option<AttributeValue>, CellError> {
        let wrong = |reason: String| CellError { kind: kind.name(), reason };
        Ok(Some(match (kind, self) {
            (_, Self::None) => return Ok(None),
            (ColumnKind::Text, Self::Text(text)) => AttributeValue::S(text.into_owned()),
            (ColumnKind::Integer | ColumnKind::Decimal(_) | ColumnKind::Digits, Self::Text(digits)) => {
                AttributeValue::N(Number::parse(digits.into_owned()).map_err(|error| wrong(error.to_string()))?)
            }
            (ColumnKind::Integer | ColumnKind::Decimal(_) | ColumnKind::Digits, Self::Integer(number)) => {
                AttributeValue::N(Number::parse(number.to_string()).map_err(|error| wrong(error.to_string()))?)
            }
            (ColumnKind::Decimal(scale), Self::Decimal(units)) => {
                let number = Number::parse(format!("{units}E-{scale}")).map_err(|error| wrong(error.to_string()))?;
                AttributeValue::N(number.to_plain())
            }
            (ColumnKind::Binary, Self::Binary(bytes)) => AttributeValue::B(bytes.into_owned()),
            (ColumnKind::Boolean, Self::Boolean(value)) => AttributeValue::Bool(value),
            (ColumnKind::Boolean, Self::Integer(value)) => AttributeValue::Bool(value != 0),
            (ColumnKind::Mixed, Self::Text(text)) => {
                let item = parse_item(format!("{{\"v\":{text}}}").as_bytes());
                let value = item.map_err(|error| wrong(error.to_string()))?.remove("v");
                value.ok_or_else(|| wrong("it holds no value".to_owned()))?
            }
            (_, Self::Text(text)) => {
                let json: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
                from_json(json, kind).ok_or_else(|| wrong(format!("{text:.100} is not of that kind")))?
            }
            (_, other) => return Err(wrong(format!("{other:?} is not of that kind"))),
        }))
    }
}

fn from_json(json: Value, kind: ColumnKind) -> Option<AttributeValue> {
    let members = |json: Value| match json {
        Value::Array(members) => Some(members),
        _ => None,
    };
    Some(match kind {
        ColumnKind::StringSet => {
            let texts = members(json)?.into_iter().map(|member| Some(member.as_str()?.to_owned()));
            AttributeValue::Ss(texts.collect::<Option<BTreeSet<_>>>()?)
        }
        ColumnKind::NumberSet => {
            let numbers = members(json)?.into_iter().map(|member| Number::parse(member.as_number()?.to_string()).ok());
            AttributeValue::Ns(numbers.collect::<Option<BTreeSet<_>>>()?)
        }
        ColumnKind::BinarySet => {
            let bytes = members(json)?.into_iter().map(|member| STANDARD.decode(member.as_str()?).ok());
            AttributeValue::Bs(bytes.collect::<Option<BTreeSet<_>>>()?)
        }
        _ => document(json)?,
    })
}

/// Plain JSON as a value: exact where there is neither a set nor a binary value in it.
fn document(json: Value) -> Option<AttributeValue> {
    Some(match json {
        Value::Null => AttributeValue::Null,
        Value::Bool(value) => AttributeValue::Bool(value),
        Value::Number(number) => AttributeValue::N(Number::parse(number.to_string()).ok()?),
        Value::String(text) => AttributeValue::S(text),
        Value::Array(members) => AttributeValue::L(members.into_iter().map(document).collect::<Option<_>>()?),
        Value::Object(members) => {
            let attributes = members.into_iter().map(|(name, member)| Some((name, document(member)?)));
            AttributeValue::M(attributes.collect::<Option<_>>()?)
        }
    })
}

/// A plain number as an integer of `10^-scale`.
pub(super) fn decimal(plain: &str, scale: u8) -> Option<i128> {
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    let scale = usize::from(scale);
    if fraction.len() > scale {
        return None;
    }
    let mut digits = Vec::with_capacity(whole.len() + scale);
    write!(digits, "{whole}{fraction:0<scale$}").ok()?;
    std::str::from_utf8(&digits).ok()?.parse().ok()
}
