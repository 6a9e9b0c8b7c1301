//! The meaning of filters.
//!
//! Values of different types are unequal and have no order. An attribute that is not there is unequal to everything, so
//! only `<>`, `attribute_not_exists` and NOT hold for it. Numbers compare by value, in sets, lists and maps too.

use std::cmp::Ordering;

use journal::model::{AttributeValue, Attributes, Number};

use super::{Comparator, Condition, Operand, Step};

pub(super) fn holds(condition: &Condition, item: &Attributes) -> bool {
    match condition {
        Condition::And(all) => all.iter().all(|condition| holds(condition, item)),
        Condition::Or(all) => all.iter().any(|condition| holds(condition, item)),
        Condition::Not(inner) => !holds(inner, item),
        Condition::Compare(left, comparator, right) => match (value(left, item), value(right, item)) {
            (Some(left), Some(right)) => compare(left.get(), *comparator, right.get()),
            _ => *comparator == Comparator::NotEqual,
        },
        Condition::Between(operand, low, high) => match (value(operand, item), value(low, item), value(high, item)) {
            (Some(found), Some(low), Some(high)) => {
                compare(found.get(), Comparator::GreaterOrEqual, low.get())
                    && compare(found.get(), Comparator::LessOrEqual, high.get())
            }
            _ => false,
        },
        Condition::In(operand, values) => value(operand, item).is_some_and(|found| {
            values.iter().filter_map(|one| value(one, item)).any(|one| equal(found.get(), one.get()))
        }),
        Condition::Exists(path) => at(path, item).is_some(),
        Condition::NotExists(path) => at(path, item).is_none(),
        Condition::Type(path, name) => at(path, item).is_some_and(|found| found.type_name() == name),
        Condition::BeginsWith(operand, prefix) => match (value(operand, item), value(prefix, item)) {
            (Some(found), Some(prefix)) => match (found.get(), prefix.get()) {
                (AttributeValue::S(text), AttributeValue::S(prefix)) => text.starts_with(prefix.as_str()),
                (AttributeValue::B(bytes), AttributeValue::B(prefix)) => bytes.starts_with(prefix),
                _ => false,
            },
            _ => false,
        },
        Condition::Contains(operand, wanted) => match (value(operand, item), value(wanted, item)) {
            (Some(found), Some(wanted)) => contains(found.get(), wanted.get()),
            _ => false,
        },
    }
}

/// A value that lies in the item or in the filter, or was computed.
enum Found<'a> {
    Borrowed(&'a AttributeValue),
    Computed(AttributeValue),
}

impl Found<'_> {
    fn get(&self) -> &AttributeValue {
        match self {
            Self::Borrowed(value) => value,
            Self::Computed(value) => value,
        }
    }
}

fn value<'a>(operand: &'a Operand, item: &'a Attributes) -> Option<Found<'a>> {
    match operand {
        Operand::Path(path) => at(path, item).map(Found::Borrowed),
        Operand::Value(value) => Some(Found::Borrowed(value)),
        Operand::Size(path) => {
            let size = match at(path, item)? {
                // DynamoDB counts UTF-16 code units.
                AttributeValue::S(text) => text.encode_utf16().count(),
                AttributeValue::B(bytes) => bytes.len(),
                AttributeValue::Ss(set) => set.len(),
                AttributeValue::Ns(set) => set.len(),
                AttributeValue::Bs(set) => set.len(),
                AttributeValue::M(map) => map.len(),
                AttributeValue::L(list) => list.len(),
                AttributeValue::N(_) | AttributeValue::Null | AttributeValue::Bool(_) => return None,
            };
            Number::parse(size.to_string()).ok().map(|number| Found::Computed(AttributeValue::N(number)))
        }
    }
}

fn at<'a>(path: &[Step], item: &'a Attributes) -> Option<&'a AttributeValue> {
    let (first, rest) = path.split_first()?;
    let Step::Name(name) = first else { return None };
    rest.iter().try_fold(item.get(name)?, |value, step| match (value, step) {
        (AttributeValue::M(map), Step::Name(name)) => map.get(name),
        (AttributeValue::L(list), Step::Index(index)) => list.get(*index),
        _ => None,
    })
}

fn compare(left: &AttributeValue, comparator: Comparator, right: &AttributeValue) -> bool {
    let order = |wanted: fn(Ordering) -> bool| order(left, right).is_some_and(wanted);
    match comparator {
        Comparator::Equal => equal(left, right),
        Comparator::NotEqual => !equal(left, right),
        Comparator::Less => order(Ordering::is_lt),
        Comparator::LessOrEqual => order(Ordering::is_le),
        Comparator::Greater => order(Ordering::is_gt),
        Comparator::GreaterOrEqual => order(Ordering::is_ge),
    }
}

fn order(left: &AttributeValue, right: &AttributeValue) -> Option<Ordering> {
    match (left, right) {
        (AttributeValue::S(left), AttributeValue::S(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
        (AttributeValue::N(left), AttributeValue::N(right)) => Some(left.cmp_value(right)),
        (AttributeValue::B(left), AttributeValue::B(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

/// Equality as DynamoDB has it: by type and value, numbers by value at every depth.
pub(super) fn equal(left: &AttributeValue, right: &AttributeValue) -> bool {
    match (left, right) {
        (AttributeValue::N(left), AttributeValue::N(right)) => left.cmp_value(right).is_eq(),
        (AttributeValue::Ns(left), AttributeValue::Ns(right)) => {
            let within = |one: &Number, all: &std::collections::BTreeSet<Number>| {
                all.iter().any(|other| other.cmp_value(one).is_eq())
            };
            left == right || (left.iter().all(|one| within(one, right)) && right.iter().all(|one| within(one, left)))
        }
        (AttributeValue::L(left), AttributeValue::L(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (AttributeValue::M(left), AttributeValue::M(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|((a, left), (b, right))| a == b && equal(left, right))
        }
        _ => left == right,
    }
}

fn contains(found: &AttributeValue, wanted: &AttributeValue) -> bool {
    match (found, wanted) {
        (AttributeValue::S(text), AttributeValue::S(part)) => text.contains(part.as_str()),
        (AttributeValue::B(bytes), AttributeValue::B(part)) => {
            part.is_empty() || bytes.windows(part.len()).any(|window| window == part.as_slice())
        }
        (AttributeValue::Ss(set), AttributeValue::S(one)) => set.contains(one),
        (AttributeValue::Ns(set), AttributeValue::N(one)) => set.iter().any(|other| other.cmp_value(one).is_eq()),
        (AttributeValue::Bs(set), AttributeValue::B(one)) => set.contains(one),
        (AttributeValue::L(list), one) => list.iter().any(|other| equal(other, one)),
        _ => false,
    }
}
