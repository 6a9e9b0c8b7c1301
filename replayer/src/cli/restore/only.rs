//! `--only`: which items a restore is about, by key, by prefix or by condition.

use journal::error::Result;

use crate::filter::Filter;
use crate::key_schema::{KeySchema, KeySelection};
use crate::state::Selection;

/// Reads the text: a key in DynamoDB JSON or as `NAME=VALUE` of a key attribute; else a condition where it reads as one; else
/// a prefix of the partition key where it ends in `*`; else a bare key.
///
/// # Errors
/// When it is none of these, or does not fit the table's key.
pub(super) fn selection(text: Option<&str>, schema: &KeySchema) -> Result<Selection> {
    let Some(text) = text else { return Ok(Selection::default()) };
    let keys = |keys: KeySelection| Selection { keys, ..Selection::default() };
    let is_key = text.trim_start().starts_with('{')
        || schema.attributes().as_slice().iter().any(|attribute| {
            // `noteId=5b1a` is a key, `noteId = '5b1a'` a condition.
            let value = text.strip_prefix(attribute.name.as_str()).and_then(|rest| rest.strip_prefix('='));
            value.is_some_and(|value| !value.starts_with([' ', '\'', '"']))
        });
    if is_key {
        return Ok(keys(KeySelection::only(&schema.parse_key(text)?)));
    }
    match Filter::parse(text) {
        Ok(filter) => Ok(Selection { filter: Some(filter), ..Selection::default() }),
        Err(error) if text.contains([' ', '\'', '"', '(', '<', '>', '=']) => Err(error.into()),
        Err(_) => match text.strip_suffix('*') {
            Some(prefix) => Ok(keys(schema.parse_prefix(prefix)?)),
            None => Ok(keys(KeySelection::only(&schema.parse_key(text)?))),
        },
    }
}

#[cfg(test)]
mod tests {
    use journal::model::{KeyAttribute, KeyAttributes, KeyType};

    use super::*;

    #[test]
    fn keys_prefixes_and_conditions_are_told_apart() {
        let key = KeyAttribute { name: "noteId".to_owned(), key_type: KeyType::S };
        let schema = KeySchema::unordered(KeyAttributes::new(vec![key]).unwrap());
        let read = |text: &str| selection(Some(text), &schema).unwrap();
        let only = schema.parse_key("noteId=a").unwrap();
        for text in ["noteId=a", "a", "{\"noteId\":{\"S\":\"a\"}}"] {
            assert_eq!(read(text).keys, KeySelection::only(&only), "{text}");
        }
        assert_eq!(read("user#*").keys, schema.parse_prefix("user#").unwrap());
        for text in ["noteId = 'a'", "noteId='a'", "attribute_exists(author)", "size(content) > 5"] {
            assert!(read(text).filter.is_some(), "{text}");
        }
        let error = selection(Some("author == 'ada'"), &schema).unwrap_err().to_string();
        assert!(error.contains('^'), "{error}");
        assert_eq!(selection(None, &schema).unwrap().keys, KeySelection::default());
    }
}
