//! `--key` and `--prefix`: which items a command is about.

use std::ops::Range;

use base64::Engine as _;
use bytes::Bytes;
use journal::model::{AttributeValue, Attributes, ItemKey, KeyAttribute, KeyType, Number};

use super::{KeySchema, KeySchemaError};
use crate::plan::successor;

/// Longest text of a key that is looked at: DynamoDB's longest keys, base64 and JSON around them.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// The items that a command is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeySelection {
    /// A half-open range of encoded keys that has them all; none for all keys.
    pub range: Option<Range<Bytes>>,
    /// An attribute of the key and what its value must begin with, where the range cannot say it.
    pub begins_with: Option<(String, String)>,
}

impl KeySelection {
    /// Whether a decoded key in the range belongs to it.
    #[must_use]
    pub fn contains(&self, key: &Attributes) -> bool {
        self.begins_with.as_ref().is_none_or(|(name, prefix)| {
            matches!(key.get(name), Some(AttributeValue::S(text)) if text.starts_with(prefix.as_str()))
        })
    }

    /// Only the item of `key`.
    #[must_use]
    pub fn only(key: &ItemKey) -> Self {
        let mut end = key.as_bytes().to_vec();
        end.push(0);
        let start = Bytes::copy_from_slice(key.as_bytes());
        Self { range: Some(start..Bytes::from(end)), begins_with: None }
    }
}

impl KeySchema {
    /// Reads `--key`: `noteId=abc`, `pk=a,sk=5`, a bare `abc` when the key has one attribute, or DynamoDB JSON
    /// `{"noteId":{"S":"abc"}}`. Binary values are base64.
    ///
    /// # Errors
    /// When the text is none of these, or names or types are not those of the key.
    pub fn parse_key(&self, text: &str) -> Result<ItemKey, KeySchemaError> {
        let wrong = |reason: String| KeySchemaError::Key {
            text: text.chars().take(128).collect(),
            reason: format!("{reason}; the table's key is {self}"),
            example: self.example(),
        };
        if text.len() > TEXT_BYTES_MAX {
            return Err(wrong(format!("it has {} bytes", text.len())));
        }
        let values = if text.trim_start().starts_with('{') {
            parse_json(text).map_err(wrong)?
        } else {
            self.parse_plain(text).map_err(wrong)?
        };
        ItemKey::encode(self.attributes(), &values).map_err(|error| wrong(error.to_string()))
    }

    /// Reads `--prefix`: what the partition key, a string, must begin with.
    ///
    /// # Errors
    /// When the partition key is not a string.
    pub fn parse_prefix(&self, text: &str) -> Result<KeySelection, KeySchemaError> {
        let wrong = |reason: String| KeySchemaError::Prefix { text: text.chars().take(128).collect(), reason };
        let partition = self.partition().ok_or_else(|| wrong("the key has no attribute".to_owned()))?;
        if partition.key_type != KeyType::S {
            return Err(wrong(format!("the table's key is {self}, and only strings have prefixes")));
        }
        if self.attributes().as_slice().first() != Some(partition) {
            return Ok(KeySelection { range: None, begins_with: Some((partition.name.clone(), text.to_owned())) });
        }
        let start = ItemKey::encode_prefix(self.attributes(), &AttributeValue::S(text.to_owned()))
            .map_err(|error| wrong(error.to_string()))?;
        // An encoded prefix begins with the tag of its type, so there is always a byte string above it.
        let end = successor(&start).unwrap_or_else(|| Bytes::from_static(&[u8::MAX]));
        Ok(KeySelection { range: Some(start..end), begins_with: None })
    }

    fn example(&self) -> String {
        let parts: Vec<String> = self
            .in_order()
            .iter()
            .map(|attribute| {
                let value = match attribute.key_type {
                    KeyType::S => "TEXT",
                    KeyType::N => "NUMBER",
                    KeyType::B => "BASE64",
                };
                format!("{}={value}", attribute.name)
            })
            .collect();
        let json: Vec<String> = self
            .in_order()
            .iter()
            .map(|attribute| format!("\"{}\":{{\"{}\":\"…\"}}", attribute.name, attribute.key_type.as_str()))
            .collect();
        format!("--key '{}' or --key '{{{}}}'", parts.join(","), json.join(","))
    }

    fn parse_plain(&self, text: &str) -> Result<Attributes, String> {
        match self.attributes().as_slice() {
            [only] => {
                let value = match text.strip_prefix(&format!("{}=", only.name)) {
                    Some(value) => value,
                    None => match text.split_once('=') {
                        Some((name, _)) if is_name(name) => {
                            return Err(format!(
                                "it has no attribute {name:?} (if the value itself has this text, write {}={text})",
                                only.name
                            ));
                        }
                        _ => text,
                    },
                };
                Ok(Attributes::from([(only.name.clone(), parse_value(only, value)?)]))
            }
            [a, b] => split_two(text, a, b).or_else(|reason| split_two(text, b, a).map_err(|_| reason)),
            _ => Err("the key has no attribute".to_owned()),
        }
    }
}

/// `first=…,second=…`. Values may hold commas; a text that could be split in two ways is refused.
fn split_two(text: &str, first: &KeyAttribute, second: &KeyAttribute) -> Result<Attributes, String> {
    let missing = || format!("it needs both {:?} and {:?}", first.name, second.name);
    let rest = text.strip_prefix(&format!("{}=", first.name)).ok_or_else(missing)?;
    let separator = format!(",{}=", second.name);
    let (one, two) = rest.split_once(&separator).ok_or_else(missing)?;
    if two.contains(&separator) {
        return Err(format!("{separator:?} stands in it twice, write it as DynamoDB JSON"));
    }
    Ok(Attributes::from([
        (first.name.clone(), parse_value(first, one)?),
        (second.name.clone(), parse_value(second, two)?),
    ]))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

fn parse_value(attribute: &KeyAttribute, text: &str) -> Result<AttributeValue, String> {
    let wrong = |what: &str| format!("{:?} is not {what}, which attribute {:?} wants", text, attribute.name);
    Ok(match attribute.key_type {
        KeyType::S => AttributeValue::S(text.to_owned()),
        // The service gives numbers in their plain form, so that is how the journal has them.
        KeyType::N => AttributeValue::N(Number::parse(text.trim()).map_err(|_| wrong("a number"))?.to_plain()),
        KeyType::B => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim());
            AttributeValue::B(bytes.map_err(|_| wrong("base64"))?)
        }
    })
}

fn parse_json(text: &str) -> Result<Attributes, String> {
    let json: serde_json::Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON ({error})"))?;
    let object = json.as_object().ok_or("it is not a JSON object")?;
    let mut values = Attributes::new();
    for (name, value) in object {
        let typed = value.as_object().filter(|typed| typed.len() == 1).and_then(|typed| typed.iter().next());
        let (letter, text) = typed
            .and_then(|(letter, value)| Some((letter.as_str(), value.as_str()?)))
            .ok_or_else(|| format!("attribute {name:?} is not of the form {{\"S\":\"…\"}}"))?;
        let value = match KeyType::from_letter(letter) {
            Some(KeyType::S) => AttributeValue::S(text.to_owned()),
            Some(KeyType::N) => AttributeValue::N(Number::parse(text).map_err(|error| error.to_string())?),
            Some(KeyType::B) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text);
                AttributeValue::B(bytes.map_err(|_| format!("attribute {name:?} is not base64"))?)
            }
            None => return Err(format!("attribute {name:?} has type {letter:?}, only S, N and B can be keys")),
        };
        values.insert(name.clone(), value);
    }
    Ok(values)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use journal::Classify as _;
    use journal::documents::{KeySchemaElement, TableDocument};
    use journal::model::{KeyAttributes, Second, StreamArn, TableName};

    /// Of a table whose key attributes have these names, roles and types.
    pub(crate) fn schema(types: &[(&str, &str, &str)]) -> KeySchema {
        let document = TableDocument {
            table: TableName::parse("notes-table-dev").unwrap(),
            stream_arn: StreamArn::parse("arn:aws:dynamodb:us-east-1:0:table/notes-table-dev/stream/1").unwrap(),
            table_id: None,
            key_schema: types
                .iter()
                .map(|(name, role, key_type)| KeySchemaElement {
                    name: (*name).to_owned(),
                    role: (*role).to_owned(),
                    key_type: (*key_type).to_owned(),
                })
                .collect(),
            stream_view_type: "NEW_AND_OLD_IMAGES".to_owned(),
            created_milliseconds: None,
            described_at: Second::MIN,
            description: serde_json::Value::Null,
            time_to_live: None,
            tags: None,
            point_in_time_recovery: None,
            not_read: Vec::new(),
        };
        KeySchema::of_table(&document).unwrap()
    }

    fn notes() -> KeySchema {
        schema(&[("noteId", "HASH", "S")])
    }

    fn s(text: &str) -> AttributeValue {
        AttributeValue::S(text.to_owned())
    }

    fn decoded(schema: &KeySchema, text: &str) -> Attributes {
        schema.decode(schema.parse_key(text).unwrap().as_bytes()).unwrap()
    }

    #[test]
    fn all_forms_of_one_attribute_are_one_key() {
        for text in ["abc", "noteId=abc", r#"{"noteId":{"S":"abc"}}"#] {
            assert_eq!(decoded(&notes(), text)["noteId"], s("abc"), "{text}");
        }
        assert_eq!(decoded(&notes(), "noteId=id=1,2")["noteId"], s("id=1,2"));
        assert_eq!(decoded(&notes(), "a b=c")["noteId"], s("a b=c"));
    }

    #[test]
    fn two_attributes_come_in_any_order_and_with_commas_in_values() {
        let schema = schema(&[("pk", "HASH", "S"), ("at", "RANGE", "N")]);
        for text in ["pk=a,b,at=5.0", "at=5,pk=a,b", r#"{"pk":{"S":"a,b"},"at":{"N":"5"}}"#] {
            let key = decoded(&schema, text);
            assert_eq!((&key["pk"], key["at"].type_name()), (&s("a,b"), "N"), "{text}");
            assert_eq!(key["at"], AttributeValue::N(Number::parse("5").unwrap()));
        }
        assert!(schema.parse_key("pk=a,at=1,at=2").is_err());
    }

    #[test]
    fn a_wrong_name_or_type_is_refused_with_the_key_schema() {
        for text in [
            "id=abc",
            r#"{"noteId":{"N":"5"}}"#,
            r#"{"id":{"S":"a"}}"#,
            r#"{"noteId":"abc"}"#,
            "{",
            r#"{"noteId":{"SS":["a"]}}"#,
        ] {
            let error = notes().parse_key(text).unwrap_err();
            assert!(error.to_string().contains("the table's key is noteId (S)"), "{error}");
            assert!(error.hint().unwrap().contains("noteId=TEXT"));
        }
        let schema = schema(&[("pk", "HASH", "B"), ("at", "RANGE", "N")]);
        for text in ["abc", "pk=YQ==", "pk=YQ==,at=five", "pk=?,at=5"] {
            let error = schema.parse_key(text).unwrap_err();
            assert!(error.to_string().contains("the table's key is pk (B), at (N)"), "{error}");
        }
    }

    #[test]
    fn a_prefix_is_a_range_where_the_partition_key_comes_first_by_name() {
        let selection = notes().parse_prefix("ab").unwrap();
        let range = selection.range.unwrap();
        for (text, inside) in
            [("ab", true), ("abc", true), ("ab\u{10ffff}", true), ("a", false), ("ac", false), ("b", false)]
        {
            let key = notes().parse_key(&format!("noteId={text}")).unwrap();
            assert_eq!(range.contains(&Bytes::copy_from_slice(key.as_bytes())), inside, "{text}");
        }
        let schema = schema(&[("pk", "HASH", "S"), ("at", "RANGE", "S")]);
        let selection = schema.parse_prefix("ab").unwrap();
        assert_eq!(selection.range, None);
        assert!(selection.contains(&Attributes::from([("pk".to_owned(), s("abc")), ("at".to_owned(), s("x"))])));
        assert!(!selection.contains(&Attributes::from([("pk".to_owned(), s("x")), ("at".to_owned(), s("abc"))])));
        let numbers = KeySchema::unordered(
            KeyAttributes::new(vec![KeyAttribute { name: "n".to_owned(), key_type: KeyType::N }]).unwrap(),
        );
        assert!(numbers.parse_prefix("1").is_err());
    }

    #[test]
    fn a_single_key_is_a_range_of_one() {
        let key = notes().parse_key("abc").unwrap();
        let range = KeySelection::only(&key).range.unwrap();
        assert!(range.contains(&Bytes::copy_from_slice(key.as_bytes())));
        for other in ["abcd", "ab", "abc\0"] {
            let other = notes().parse_key(&format!("noteId={other}")).unwrap();
            assert!(!range.contains(&Bytes::copy_from_slice(other.as_bytes())));
        }
    }
}
