//! How many bytes DynamoDB counts for an item, about: write units and limits follow from it.
//!
//! Source: "DynamoDB item sizes and formats" in the Amazon DynamoDB Developer Guide. A number's count is an estimate there too.

use super::{AttributeValue, Attributes};

/// What a map or list counts beside its members.
pub(super) const CONTAINER: usize = 3;
/// What each member of a map or list counts beside its name and value.
pub(super) const MEMBER: usize = 1;
/// NULL and truth values.
pub(super) const FLAG: usize = 1;

/// About how many bytes DynamoDB counts for an item.
#[must_use]
pub fn item_bytes(item: &Attributes) -> usize {
    item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

/// A number's text: two digits a byte, and what its sign and exponent take.
pub(super) fn number(written: &str) -> usize {
    written.len() / 2 + 2
}

fn value_bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(written) => number(written.as_str()),
        AttributeValue::B(bytes) => bytes.len(),
        AttributeValue::Ss(set) => set.iter().map(String::len).sum(),
        AttributeValue::Ns(set) => set.iter().map(|written| number(written.as_str())).sum(),
        AttributeValue::Bs(set) => set.iter().map(Vec::len).sum(),
        AttributeValue::M(map) => CONTAINER + item_bytes(map) + MEMBER * map.len(),
        AttributeValue::L(list) => CONTAINER + list.iter().map(|value| MEMBER + value_bytes(value)).sum::<usize>(),
        AttributeValue::Null | AttributeValue::Bool(_) => FLAG,
    }
}
