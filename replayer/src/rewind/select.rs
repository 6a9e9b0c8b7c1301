//! `--only` and `--except`: which items a rewind is about, by key, by prefix or by condition.
//!
//! What enters are texts and the table's key; what leaves is yes or no for an item as it is and as it is wanted. A text is
//! a condition where it reads as one and is no key; a prefix where it ends in `*`; else a key. Pure.

use std::ops::Range;

use bytes::Bytes;
use journal::error::Result;
use journal::model::Attributes;

use crate::filter::Filter;
use crate::key_schema::{KeySchema, KeySelection};

/// One text, read.
#[derive(Debug, Clone)]
enum Chosen {
    Keys(KeySelection),
    Condition(Filter),
}

impl Chosen {
    fn parse(text: &str, schema: &KeySchema) -> Result<Self> {
        let is_key = text.trim_start().starts_with('{')
            || schema.attributes().as_slice().iter().any(|attribute| {
                // `noteId=5b1a` is a key, `noteId = '5b1a'` a condition.
                let value = text.strip_prefix(attribute.name.as_str()).and_then(|rest| rest.strip_prefix('='));
                value.is_some_and(|value| !value.starts_with([' ', '\'', '"']))
            });
        if is_key {
            return Ok(Self::Keys(KeySelection::only(&schema.parse_key(text)?)));
        }
        let filter = Filter::parse(text);
        match filter {
            Ok(filter) => Ok(Self::Condition(filter)),
            Err(error) if text.contains([' ', '\'', '"', '(', '<', '>', '=']) => Err(error.into()),
            Err(_) => match text.strip_suffix('*') {
                Some(prefix) => Ok(Self::Keys(schema.parse_prefix(prefix)?)),
                None => Ok(Self::Keys(KeySelection::only(&schema.parse_key(text)?))),
            },
        }
    }

    fn holds(&self, item: &Candidate<'_>) -> bool {
        match self {
            Self::Keys(keys) => {
                keys.range.as_ref().is_none_or(|range| *range.start <= *item.bytes && *item.bytes < *range.end)
                    && keys.contains(item.key)
            }
            // What an item is about may be told by either state: the one that is undone or the one that comes back.
            Self::Condition(filter) => [item.now, item.wanted].into_iter().flatten().any(|state| {
                let mut whole = state.clone();
                whole.extend(item.key.clone());
                filter.accepts(&whole)
            }),
        }
    }
}

/// An item that may be rewound.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// Its key's bytes.
    pub(super) bytes: &'a [u8],
    /// Its key.
    pub(super) key: &'a Attributes,
    /// As it is.
    pub(super) now: Option<&'a Attributes>,
    /// As it is wanted.
    pub(super) wanted: Option<&'a Attributes>,
}

/// Which items.
#[derive(Debug, Clone, Default)]
pub(super) struct Choice {
    only: Vec<Chosen>,
    except: Vec<Chosen>,
}

impl Choice {
    /// Reads the texts by the table's key.
    ///
    /// # Errors
    /// When one is neither a key of this table, nor a prefix, nor a condition.
    pub(super) fn parse(only: &[String], except: &[String], schema: &KeySchema) -> Result<Self> {
        let all = |texts: &[String]| texts.iter().map(|text| Chosen::parse(text, schema)).collect::<Result<Vec<_>>>();
        Ok(Self { only: all(only)?, except: all(except)? })
    }

    /// A range of keys that has all of them, where one is known.
    pub(super) fn range(&self) -> Option<Range<Bytes>> {
        match self.only.as_slice() {
            [Chosen::Keys(keys)] => keys.range.clone(),
            _ => None,
        }
    }

    /// Whether an item belongs.
    pub(super) fn has(&self, item: &Candidate<'_>) -> bool {
        (self.only.is_empty() || self.only.iter().any(|chosen| chosen.holds(item)))
            && !self.except.iter().any(|chosen| chosen.holds(item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_schema::tests::schema as schema_of;
    use journal::model::{AttributeValue, ItemKey, KeyAttribute, KeyAttributes, KeyType};

    fn schema() -> KeySchema {
        let names = vec![KeyAttribute { name: "noteId".to_owned(), key_type: KeyType::S }];
        KeySchema::unordered(KeyAttributes::new(names).unwrap())
    }

    fn text(value: &str) -> AttributeValue {
        AttributeValue::S(value.to_owned())
    }

    fn chosen(only: &[&str], except: &[&str], id: &str, now: Option<&str>, wanted: Option<&str>) -> bool {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let choice = Choice::parse(&own(only), &own(except), &schema()).unwrap();
        let key = Attributes::from([("noteId".to_owned(), text(id))]);
        let bytes = ItemKey::encode(schema().attributes(), &key).unwrap();
        let state = |author: Option<&str>| author.map(|a| Attributes::from([("author".to_owned(), text(a))]));
        let (now, wanted) = (state(now), state(wanted));
        choice.has(&Candidate { bytes: bytes.as_bytes(), key: &key, now: now.as_ref(), wanted: wanted.as_ref() })
    }

    #[test]
    fn a_text_is_a_key_a_prefix_or_a_condition() {
        assert!(chosen(&["noteId=5b1a"], &[], "5b1a", None, None));
        assert!(chosen(&["5b1a"], &[], "5b1a", None, None));
        assert!(chosen(&["{\"noteId\":{\"S\":\"5b1a\"}}"], &[], "5b1a", None, None));
        assert!(!chosen(&["5b1a"], &[], "5b1ab", None, None));
        assert!(chosen(&["5b*"], &[], "5b1a", None, None));
        assert!(chosen(&["author = 'ada'"], &[], "x", Some("ada"), None));
        assert!(chosen(&["noteId = '5b1a'"], &[], "5b1a", Some("ada"), None));
        assert!(chosen(&["noteId='5b1a'"], &[], "5b1a", Some("ada"), None));
    }

    #[test]
    fn either_state_can_choose_an_item_and_either_can_leave_it_out() {
        assert!(chosen(&["author = 'ada'"], &[], "x", Some("bot"), Some("ada")));
        assert!(!chosen(&["author = 'ada'"], &[], "x", Some("bot"), None));
        assert!(!chosen(&[], &["author = 'ada'"], "x", Some("bot"), Some("ada")));
        assert!(!chosen(&["5b*"], &["5b1a"], "5b1a", None, None));
        assert!(chosen(&["7*", "5b*"], &["5b1a"], "5b1b", None, None));
    }

    #[test]
    fn a_prefix_and_a_key_end_before_the_next_one_and_each_exception_counts() {
        for id in ["5b", "5b\0", "5b\u{10ffff}"] {
            assert!(chosen(&["5b*"], &[], id, None, None), "{id:?}");
        }
        for id in ["5c", "5a\u{10ffff}"] {
            assert!(!chosen(&["5b*"], &[], id, None, None), "{id:?}");
        }
        assert!(!chosen(&["5b1a"], &[], "5b1a\0", None, None));
        let left_out = ["5b1a", "7c2d", "9e3f"].map(|id| !chosen(&[], &["5b1a", "7c2d"], id, None, None));
        assert_eq!(left_out, [true, true, false]);
    }

    #[test]
    fn a_prefix_of_a_partition_key_that_is_not_the_first_by_name_is_looked_for_in_each_key() {
        let schema = schema_of(&[("pk", "HASH", "S"), ("at", "RANGE", "S")]);
        let choice = Choice::parse(&["5b*".to_owned()], &[], &schema).unwrap();
        let has = |pk: &str| {
            let key = Attributes::from([("at".to_owned(), text("5b")), ("pk".to_owned(), text(pk))]);
            let bytes = ItemKey::encode(schema.attributes(), &key).unwrap();
            choice.has(&Candidate { bytes: bytes.as_bytes(), key: &key, now: None, wanted: None })
        };
        assert_eq!(["5b1a", "5c"].map(has), [true, false]);
    }

    #[test]
    fn all_that_is_chosen_lies_in_the_range_that_is_read() {
        let range = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|text| (*text).to_owned()).collect();
            Choice::parse(&only, &[], &schema()).unwrap().range()
        };
        assert!(range(&["5b*"]).is_some() && range(&["5b1a"]).is_some());
        for several in [&["5b*", "7*"][..], &["5b1a", "author = 'ada'"], &["author = 'ada'"], &[]] {
            assert_eq!(range(several), None, "{several:?}");
        }
    }

    #[test]
    fn an_expression_that_does_not_parse_shows_the_place() {
        let error = Choice::parse(&["author == 'ada'".to_owned()], &[], &schema()).unwrap_err();
        assert!(error.to_string().contains("\n  author == 'ada'\n"), "{error}");
        assert!(error.to_string().contains('^'), "{error}");
    }
}
