//! Items as the reference keeps them: DynamoDB JSON with sets sorted, apart from the code that is tested.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue as TableValue;
use aws_sdk_dynamodbstreams::types::AttributeValue as StreamValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Attributes by name, each as `{"S": "text"}`.
pub(crate) type Item = BTreeMap<String, Value>;

/// An item's key as text: the partition key, `/`, the sort key.
pub(crate) type KeyText = String;

/// Items by key.
pub(crate) type Items = BTreeMap<KeyText, Item>;

pub(crate) const PARTITION_KEY: &str = "owner";
pub(crate) const SORT_KEY: &str = "number";

/// The key's attributes.
pub(crate) fn key(owner: &str, number: u32) -> Item {
    Item::from([
        (PARTITION_KEY.to_owned(), json!({ "S": owner })),
        (SORT_KEY.to_owned(), json!({ "N": number.to_string() })),
    ])
}

/// The key of an item, or of key attributes.
pub(crate) fn key_text(item: &Item) -> KeyText {
    let part = |name: &str, letter: &str| item[name][letter].as_str().unwrap().to_owned();
    format!("{}/{}", part(PARTITION_KEY, "S"), part(SORT_KEY, "N"))
}

/// Items by key, none twice.
pub(crate) fn by_key(items: impl IntoIterator<Item = Item>) -> Items {
    let mut by_key = Items::new();
    for item in items {
        let key = key_text(&item);
        assert!(by_key.insert(key.clone(), item).is_none(), "{key} came twice");
    }
    by_key
}

/// Sets have no order: sorted ones can be compared.
pub(crate) fn canonical(value: Value) -> Value {
    let Value::Object(fields) = value else { panic!("{value} is no attribute") };
    let mut fields = fields.into_iter();
    let (Some((letter, value)), None) = (fields.next(), fields.next()) else { panic!("an attribute has one type") };
    let value = match (letter.as_str(), value) {
        ("SS" | "NS" | "BS", Value::Array(mut members)) => {
            members.sort_by_key(ToString::to_string);
            Value::Array(members)
        }
        ("L", Value::Array(members)) => members.into_iter().map(canonical).collect(),
        ("M", Value::Object(map)) => map.into_iter().map(|(name, value)| (name, canonical(value))).collect(),
        (_, value) => value,
    };
    json!({ letter: value })
}

/// Reads a line of an export.
pub(crate) fn of_export_line(line: &str) -> Item {
    let mut value: Value = serde_json::from_str(line).unwrap();
    let item: Item = serde_json::from_value(value["Item"].take()).unwrap();
    item.into_iter().map(|(name, value)| (name, canonical(value))).collect()
}

/// An item for the table client.
pub(crate) fn to_table(item: &Item) -> HashMap<String, TableValue> {
    item.iter().map(|(name, value)| (name.clone(), value_to_table(value))).collect()
}

/// An attribute for the table client.
pub(crate) fn value_to_table(value: &Value) -> TableValue {
    let (letter, value) = value.as_object().unwrap().iter().next().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let texts = |value: &Value| value.as_array().unwrap().iter().map(text).collect();
    match letter.as_str() {
        "S" => TableValue::S(text(value)),
        "N" => TableValue::N(text(value)),
        "B" => TableValue::B(STANDARD.decode(text(value)).unwrap().into()),
        "SS" => TableValue::Ss(texts(value)),
        "NS" => TableValue::Ns(texts(value)),
        "BOOL" => TableValue::Bool(value.as_bool().unwrap()),
        "NULL" => TableValue::Null(true),
        "L" => TableValue::L(value.as_array().unwrap().iter().map(value_to_table).collect()),
        "M" => TableValue::M(
            value.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value_to_table(value))).collect(),
        ),
        other => panic!("no writer writes {other}"),
    }
}

/// The two SDK clients have a type of their own each, with the same variants.
macro_rules! from_sdk {
    ($item:ident, $value:ident, $type:ident) => {
        pub(crate) fn $item(item: &HashMap<String, $type>) -> Item {
            item.iter().map(|(name, value)| (name.clone(), canonical($value(value)))).collect()
        }

        fn $value(value: &$type) -> Value {
            match value {
                $type::S(text) => json!({ "S": text }),
                $type::N(text) => json!({ "N": text }),
                $type::B(bytes) => json!({ "B": STANDARD.encode(bytes) }),
                $type::Ss(set) => json!({ "SS": set }),
                $type::Ns(set) => json!({ "NS": set }),
                $type::Bool(value) => json!({ "BOOL": value }),
                $type::Null(_) => json!({ "NULL": true }),
                $type::L(list) => json!({ "L": list.iter().map($value).collect::<Vec<_>>() }),
                $type::M(map) => {
                    let map: serde_json::Map<String, Value> =
                        map.iter().map(|(name, value)| (name.clone(), $value(value))).collect();
                    json!({ "M": map })
                }
                other => panic!("no writer wrote {other:?}"),
            }
        }
    };
}

from_sdk!(of_table, of_table_value, TableValue);
from_sdk!(of_stream, of_stream_value, StreamValue);
