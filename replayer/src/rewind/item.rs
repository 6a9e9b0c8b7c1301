//! One item of a plan: as it is and as it is wanted, and the line of JSON that it is kept as.
//!
//! Values are DynamoDB JSON, so nothing is lost and every JSON tool reads a plan. What enters and leaves are lines; knows
//! nothing of files.

use journal::model::Attributes;
use journal::source::attribute::{ItemJson, parse_item};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What a rewind does to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It is not there, and comes back.
    PutBack,
    /// It gets the attributes it had.
    ChangeBack,
    /// It was not there, and goes.
    Delete,
}

/// One item of a plan.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlanItem {
    /// Its key.
    pub key: Attributes,
    /// The item as it is, without its key; none when there is none.
    pub now: Option<Attributes>,
    /// The item as it is wanted.
    pub wanted: Option<Attributes>,
    /// Changes that this undoes.
    pub undoes: u64,
    /// Later changes that are kept.
    pub keeps: u64,
    /// Attributes that both changed.
    pub clashes: Vec<String>,
    /// Whether they clash over the item as a whole: one of them made or removed it.
    pub item_clash: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    key: ItemJson<'a>,
    now: Option<ItemJson<'a>>,
    wanted: Option<ItemJson<'a>>,
    undoes: u64,
    keeps: u64,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    clashes: &'a [String],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    item_clash: bool,
}

#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    key: &'a RawValue,
    #[serde(borrow)]
    now: Option<&'a RawValue>,
    #[serde(borrow)]
    wanted: Option<&'a RawValue>,
    undoes: u64,
    keeps: u64,
    #[serde(default)]
    clashes: Vec<String>,
    #[serde(default)]
    item_clash: bool,
}

impl PlanItem {
    /// What is done to it.
    #[must_use]
    pub fn effect(&self) -> Effect {
        match (&self.now, &self.wanted) {
            (None, _) => Effect::PutBack,
            (Some(_), None) => Effect::Delete,
            (Some(_), Some(_)) => Effect::ChangeBack,
        }
    }

    /// Whether undone and kept changes clash.
    #[must_use]
    pub fn clashes(&self) -> bool {
        self.item_clash || !self.clashes.is_empty()
    }

    /// Write units of the write, indexes aside: one for each KB begun of the larger of the two items ("Read and write
    /// operations", Developer Guide).
    #[must_use]
    pub fn write_units(&self) -> u64 {
        let state = |item: &Option<Attributes>| item.as_ref().map_or(0, crate::table_write::condition_item_bytes);
        let bytes = crate::table_write::condition_item_bytes(&self.key) + state(&self.now).max(state(&self.wanted));
        u64::try_from(bytes.div_ceil(1024).max(1)).unwrap_or(u64::MAX)
    }

    /// The line, without its end.
    ///
    /// # Errors
    /// Never for the model's values; the encoder's error is passed on.
    pub fn to_line(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Line {
            key: ItemJson(&self.key),
            now: self.now.as_ref().map(ItemJson),
            wanted: self.wanted.as_ref().map(ItemJson),
            undoes: self.undoes,
            keeps: self.keeps,
            clashes: &self.clashes,
            item_clash: self.item_clash,
        })
    }

    /// Reads a line.
    ///
    /// # Errors
    /// When it is not one, with the reason as text.
    pub fn from_line(line: &str) -> Result<Self, String> {
        let read: Read<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let item = |raw: &RawValue| parse_item(raw.get().as_bytes()).map_err(|error| error.to_string());
        Ok(Self {
            key: item(read.key)?,
            now: read.now.map(item).transpose()?,
            wanted: read.wanted.map(item).transpose()?,
            undoes: read.undoes,
            keeps: read.keeps,
            clashes: read.clashes,
            item_clash: read.item_clash,
        })
    }

    /// The key as text for messages, inert and short.
    #[must_use]
    pub fn key_text(&self) -> String {
        key_text(&self.key)
    }
}

/// A key as `name=value`, inert and short.
#[must_use]
pub fn key_text(key: &Attributes) -> String {
    use crate::audit::{inert, shown};
    let part = |(name, value): (&String, &journal::model::AttributeValue)| match value {
        journal::model::AttributeValue::S(text) if text.chars().count() <= 80 => {
            format!("{}={}", inert(name), inert(text))
        }
        value => format!("{}={}", inert(name), shown(value, 80)),
    };
    key.iter().map(part).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::model::{AttributeValue, Number};
    use std::collections::BTreeSet;

    #[test]
    fn a_line_reads_back_as_it_was() {
        let value = Attributes::from([
            ("a\nb".to_owned(), AttributeValue::S("x\u{1b}[31m\n".to_owned())),
            ("n".to_owned(), AttributeValue::N(Number::parse("123456789012345678901234567890.5").unwrap())),
            ("b".to_owned(), AttributeValue::B(vec![0, 255])),
            ("s".to_owned(), AttributeValue::Ss(BTreeSet::from(["x".to_owned()]))),
            ("m".to_owned(), AttributeValue::M(Attributes::from([("l".to_owned(), AttributeValue::L(vec![]))]))),
        ]);
        let key = Attributes::from([("id".to_owned(), AttributeValue::S("é".to_owned()))]);
        let states = [None, Some(Attributes::new()), Some(value)];
        for now in &states {
            for wanted in &states {
                let item = PlanItem {
                    key: key.clone(),
                    now: now.clone(),
                    wanted: wanted.clone(),
                    undoes: 3,
                    keeps: 1,
                    clashes: vec!["n".to_owned()],
                    item_clash: now.is_none(),
                };
                let line = item.to_line().unwrap();
                assert!(!line.contains('\n'));
                assert_eq!(PlanItem::from_line(&line).unwrap(), item);
            }
        }
    }

    #[test]
    fn a_write_costs_what_the_larger_item_does() {
        let big = Attributes::from([("blob".to_owned(), AttributeValue::S("x".repeat(3000)))]);
        let item = |now: Option<&Attributes>, wanted: Option<&Attributes>| PlanItem {
            now: now.cloned(),
            wanted: wanted.cloned(),
            ..PlanItem::default()
        };
        assert_eq!(item(Some(&big), None).write_units(), 3);
        assert_eq!(item(None, Some(&Attributes::new())).write_units(), 1);
    }
}
