//! Plain JSON: types left out, numbers exact.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use journal::model::{AttributeValue, Attributes};

/// Writes an item as one compact JSON object: strings as strings, numbers as JSON numbers with all their digits, binary
/// values as base64 text, sets and lists as arrays, maps as objects, NULL as null.
///
/// # Errors
/// When `to` cannot be written.
pub fn write_plain_json(item: &Attributes, to: &mut impl Write) -> io::Result<()> {
    object(item, to)
}

fn object(attributes: &Attributes, to: &mut impl Write) -> io::Result<()> {
    let mut first = true;
    to.write_all(b"{")?;
    for (name, one) in attributes {
        separate(&mut first, to)?;
        text(name, to)?;
        to.write_all(b":")?;
        value(one, to)?;
    }
    to.write_all(b"}")
}

fn array<'a, T: 'a, W: Write>(
    members: impl IntoIterator<Item = &'a T>,
    to: &mut W,
    write: impl Fn(&T, &mut W) -> io::Result<()>,
) -> io::Result<()> {
    let mut first = true;
    to.write_all(b"[")?;
    for member in members {
        separate(&mut first, to)?;
        write(member, to)?;
    }
    to.write_all(b"]")
}

fn separate(first: &mut bool, to: &mut impl Write) -> io::Result<()> {
    if std::mem::take(first) { Ok(()) } else { to.write_all(b",") }
}

fn text(text: &str, to: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(to, text).map_err(io::Error::from)
}

/// A value of any type. An item nests to 32 levels at most, so the recursion is bounded.
pub(crate) fn value<W: Write>(value_: &AttributeValue, to: &mut W) -> io::Result<()> {
    match value_ {
        AttributeValue::S(one) => text(one, to),
        // The plain form is always a JSON number; `+5`, `.5` and `007`, which DynamoDB also reads, are not.
        AttributeValue::N(number) => to.write_all(number.to_plain().as_str().as_bytes()),
        AttributeValue::B(bytes) => text(&STANDARD.encode(bytes), to),
        AttributeValue::Ss(set) => array(set, to, |one: &String, to| text(one, to)),
        AttributeValue::Ns(set) => {
            array(set, to, |one: &journal::model::Number, to| to.write_all(one.to_plain().as_str().as_bytes()))
        }
        AttributeValue::Bs(set) => array(set, to, |one: &Vec<u8>, to| text(&STANDARD.encode(one), to)),
        AttributeValue::M(map) => object(map, to),
        AttributeValue::L(list) => array(list, to, |one: &AttributeValue, to| value(one, to)),
        AttributeValue::Null => to.write_all(b"null"),
        AttributeValue::Bool(true) => to.write_all(b"true"),
        AttributeValue::Bool(false) => to.write_all(b"false"),
    }
}
