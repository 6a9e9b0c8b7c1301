//! The AWS SDK's types taken with the same strictness as JSON, and made again from the model.
//!
//! What enters are attribute values of the table client and, with the feature `streams`, records of the streams client;
//! what leaves are the model's types, and the way back for writers. Knows nothing of requests.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue as TableValue;
use thiserror::Error;

use crate::error::{Classify, Kind};
use crate::model::{AttributeValue, Attributes, NESTING_MAX, Number, NumberError};

/// Why an attribute value of the SDK is none of the model.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum SdkValueError {
    /// More than 32 levels.
    #[error("attributes are nested deeper than {NESTING_MAX} levels")]
    Nesting,
    /// A type that this software does not know.
    #[error("an attribute value has a type that this software does not know")]
    Type,
    /// A NULL that is not true.
    #[error("an attribute value of type NULL is not true")]
    Null,
    /// A set without members.
    #[error("a set is empty")]
    EmptySet,
    /// A set with a member twice.
    #[error("a set has a member twice")]
    Twice,
    /// A number that is none.
    #[error(transparent)]
    Number(#[from] NumberError),
}

impl Classify for SdkValueError {
    fn kind(&self) -> Kind {
        match self {
            Self::Type => Kind::Unsupported,
            _ => Kind::Invalid,
        }
    }
}

/// A set with every member once.
fn set<T: Ord>(members: impl IntoIterator<Item = Result<T, SdkValueError>>) -> Result<BTreeSet<T>, SdkValueError> {
    let mut set = BTreeSet::new();
    for member in members {
        if !set.insert(member?) {
            return Err(SdkValueError::Twice);
        }
    }
    if set.is_empty() { Err(SdkValueError::EmptySet) } else { Ok(set) }
}

/// The two clients have one type each of the same shape, so the way in is written once for both.
macro_rules! from_sdk {
    ($value:ident, $item:ident, $sdk:ty, $($path:tt)+) => {
        fn $item(values: &HashMap<String, $sdk>, levels: usize) -> Result<Attributes, SdkValueError> {
            values.iter().map(|(name, value)| Ok((name.clone(), $value(value, levels)?))).collect()
        }

        fn $value(value: &$sdk, levels: usize) -> Result<AttributeValue, SdkValueError> {
            let below = levels.checked_sub(1).ok_or(SdkValueError::Nesting)?;
            let number = |text: &String| Number::parse(text.as_str()).map_err(SdkValueError::from);
            Ok(match value {
                $($path)+::S(text) => AttributeValue::S(text.clone()),
                $($path)+::N(text) => AttributeValue::N(number(text)?),
                $($path)+::B(blob) => AttributeValue::B(blob.as_ref().to_vec()),
                $($path)+::Ss(members) => AttributeValue::Ss(set(members.iter().map(|text| Ok(text.clone())))?),
                $($path)+::Ns(members) => AttributeValue::Ns(set(members.iter().map(number))?),
                $($path)+::Bs(members) => AttributeValue::Bs(set(members.iter().map(|b| Ok(b.as_ref().to_vec())))?),
                $($path)+::M(map) => AttributeValue::M($item(map, below)?),
                $($path)+::L(list) => {
                    AttributeValue::L(list.iter().map(|value| $value(value, below)).collect::<Result<_, _>>()?)
                }
                $($path)+::Null(true) => AttributeValue::Null,
                $($path)+::Null(false) => return Err(SdkValueError::Null),
                $($path)+::Bool(value) => AttributeValue::Bool(*value),
                _ => return Err(SdkValueError::Type),
            })
        }
    };
}

from_sdk!(table_value, table_item, TableValue, TableValue);

#[cfg(feature = "streams")]
mod streams;
#[cfg(feature = "streams")]
pub use streams::{raw_record, stream_record};

/// An attribute value of the table client.
///
/// # Errors
/// When it is nested too deep, of an unknown type, an empty set, or a number that is none.
pub fn from_sdk(value: &TableValue) -> Result<AttributeValue, SdkValueError> {
    table_value(value, NESTING_MAX)
}

/// An item of the table client.
///
/// # Errors
/// As [`from_sdk()`].
pub fn item_from_sdk<S: std::hash::BuildHasher>(
    item: &HashMap<String, TableValue, S>,
) -> Result<Attributes, SdkValueError> {
    item.iter().map(|(name, value)| Ok((name.clone(), from_sdk(value)?))).collect()
}

/// An attribute value for the table client.
#[must_use]
pub fn to_sdk(value: &AttributeValue) -> TableValue {
    match value {
        AttributeValue::S(text) => TableValue::S(text.clone()),
        AttributeValue::N(number) => TableValue::N(number.as_str().to_owned()),
        AttributeValue::B(bytes) => TableValue::B(Blob::new(bytes.clone())),
        AttributeValue::Ss(set) => TableValue::Ss(set.iter().cloned().collect()),
        AttributeValue::Ns(set) => TableValue::Ns(set.iter().map(|number| number.as_str().to_owned()).collect()),
        AttributeValue::Bs(set) => TableValue::Bs(set.iter().map(|bytes| Blob::new(bytes.clone())).collect()),
        AttributeValue::M(map) => TableValue::M(item_to_sdk(map)),
        AttributeValue::L(list) => TableValue::L(list.iter().map(to_sdk).collect()),
        AttributeValue::Null => TableValue::Null(true),
        AttributeValue::Bool(value) => TableValue::Bool(*value),
    }
}

/// An item for the table client.
#[must_use]
pub fn item_to_sdk(item: &Attributes) -> HashMap<String, TableValue> {
    item.iter().map(|(name, value)| (name.clone(), to_sdk(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_item_goes_to_the_client_and_back(item in crate::model::test_strategies::any_attributes()) {
            prop_assert_eq!(item_from_sdk(&item_to_sdk(&item)).unwrap(), item);
        }
    }
}
