//! For each attribute of an item the change that last set it.

use std::collections::BTreeMap;

use journal::model::{AttributeValue, Attributes};

use super::difference::member;

/// Who set a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// Where the value is: `replies[2].author`.
    pub path: String,
    /// The value.
    pub value: AttributeValue,
    /// The change that set it, as an index into the history that was given; none when it was there before the first.
    pub change: Option<usize>,
    /// What was there before that change; none when nothing was.
    pub before: Option<AttributeValue>,
}

/// For each value of the item as the last of `changes` leaves it, nested ones too, the change that last set it. `changes` are
/// the images before and after each change of one item, oldest first. Empty when the item was removed.
#[must_use]
pub fn blame(changes: &[(Attributes, Attributes)]) -> Vec<Origin> {
    let mut origins: BTreeMap<String, Origin> = BTreeMap::new();
    for (number, (before, after)) in changes.iter().enumerate() {
        let (before, after) = (leaves(before), leaves(after));
        let mut next = BTreeMap::new();
        for (path, value) in after {
            let old = before.get(&path);
            let origin = match origins.remove(&path) {
                Some(origin) if old == Some(&value) && origin.value == value => origin,
                // Not told by the change before, so it was there before the first one, or a change is missing.
                None if old == Some(&value) => Origin { path: path.clone(), value, change: None, before: None },
                _ => Origin { path: path.clone(), value, change: Some(number), before: old.cloned() },
            };
            next.insert(path, origin);
        }
        origins = next;
    }
    origins.into_values().collect()
}

/// Every value that holds no others, by its path; empty maps and lists too.
fn leaves(item: &Attributes) -> BTreeMap<String, AttributeValue> {
    let mut found = BTreeMap::new();
    for (name, value) in item {
        descend(member("", name), value, &mut found);
    }
    found
}

fn descend(path: String, value: &AttributeValue, found: &mut BTreeMap<String, AttributeValue>) {
    match value {
        AttributeValue::M(map) if !map.is_empty() => {
            for (name, value) in map {
                descend(member(&path, name), value, found);
            }
        }
        AttributeValue::L(list) if !list.is_empty() => {
            for (at, value) in list.iter().enumerate() {
                descend(format!("{path}[{at}]"), value, found);
            }
        }
        _ => {
            found.insert(path, value.clone());
        }
    }
}
