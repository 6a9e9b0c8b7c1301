//! Conditions on an item: that it still is what somebody knows it to be, as a condition expression of bounded size.
//!
//! What enters are the item as it is expected and the names that must not have appeared; what leaves is an expression with its
//! names and values, and whether it covers the whole item. Pure. A condition cannot name attributes that nobody knows of: who
//! writes compares the old item that comes back with the write.
//!
//! Source: "Condition expressions" and "Service, account, and table quotas" (expression parameters) in the Amazon DynamoDB
//! Developer Guide.

use journal::model::{AttributeValue, Attributes, Number};

/// Most bytes of an expression with its names and values.
pub const CONDITION_BYTES_MAX: usize = 4096;
/// Most parts joined by AND: an expression has at most 300 operators.
const PARTS_MAX: usize = 100;

/// A condition expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The expression.
    pub expression: String,
    /// Attribute names by placeholder.
    pub names: Vec<(String, String)>,
    /// Values by placeholder.
    pub values: Vec<(String, AttributeValue)>,
    /// Whether every attribute of the expected item is compared.
    pub whole: bool,
}

/// One part of a condition.
enum Test<'a> {
    Equal(&'a str, &'a AttributeValue),
    Size(&'a str, Number),
    There(&'a str),
    Absent(&'a str),
}

#[derive(Default)]
struct Builder {
    parts: Vec<String>,
    names: Vec<(String, String)>,
    values: Vec<(String, AttributeValue)>,
    bytes: usize,
}

impl Builder {
    /// Adds a test if there is room for it.
    fn add(&mut self, test: &Test<'_>) -> bool {
        let (name, value) = match test {
            Test::Equal(name, value) => (*name, Some((*value).clone())),
            Test::Size(name, size) => (*name, Some(AttributeValue::N(size.clone()))),
            Test::There(name) | Test::Absent(name) => (*name, None),
        };
        let at = self.parts.len();
        let part = match test {
            Test::Equal(..) => format!("#n{at} = :v{at}"),
            Test::Size(..) => format!("size(#n{at}) = :v{at}"),
            Test::There(_) => format!("attribute_exists(#n{at})"),
            Test::Absent(_) => format!("attribute_not_exists(#n{at})"),
        };
        // AND between two, and the placeholders, which count once more beside what they stand for.
        let bytes = part.len() + 5 + 2 * 5 + name.len() + value.as_ref().map_or(0, value_bytes);
        if at == PARTS_MAX || self.bytes + bytes > CONDITION_BYTES_MAX {
            return false;
        }
        self.bytes += bytes;
        self.parts.push(part);
        self.names.push((format!("#n{at}"), name.to_owned()));
        if let Some(value) = value {
            self.values.push((format!(":v{at}"), value));
        }
        true
    }

    fn done(self, whole: bool) -> Condition {
        Condition { expression: self.parts.join(" AND "), names: self.names, values: self.values, whole }
    }
}

/// A condition that the item is still `expected` (without its key), and has none of the attributes of `other` beside it.
/// `key_name` is an attribute of the key, which every item has. When not all fits, the attributes in which the two differ
/// come first, small ones before large ones, and of what does not fit the size is compared where services agree on it.
#[must_use]
pub fn condition(key_name: &str, expected: Option<&Attributes>, other: Option<&Attributes>) -> Condition {
    let mut builder = Builder::default();
    let Some(expected) = expected else {
        builder.add(&Test::Absent(key_name));
        return builder.done(true);
    };
    builder.add(&Test::There(key_name));
    let differs = |name: &String, value: &AttributeValue| other.and_then(|other| other.get(name)) != Some(value);
    let mut known: Vec<(&String, &AttributeValue)> = expected.iter().collect();
    known.sort_by_key(|(name, value)| (!differs(name, value), value_bytes(value), *name));
    let mut whole = true;
    for name in other.into_iter().flat_map(Attributes::keys).filter(|name| !expected.contains_key(*name)) {
        whole &= builder.add(&Test::Absent(name));
    }
    for (name, value) in known {
        if !builder.add(&Test::Equal(name, value)) {
            whole = false;
            builder.add(&size(value).map_or(Test::There(name), |size| Test::Size(name, size)));
        }
    }
    builder.done(whole)
}

/// What `size` gives for a value, where it is beyond doubt: how a service counts other characters than ASCII differs.
fn size(value: &AttributeValue) -> Option<Number> {
    let size = match value {
        AttributeValue::S(text) if text.is_ascii() => text.len(),
        AttributeValue::B(bytes) => bytes.len(),
        AttributeValue::Ss(set) => set.len(),
        AttributeValue::Ns(set) => set.len(),
        AttributeValue::Bs(set) => set.len(),
        AttributeValue::L(list) => list.len(),
        AttributeValue::M(map) => map.len(),
        _ => return None,
    };
    Number::parse(size.to_string()).ok()
}

/// About how many bytes DynamoDB counts for an item ("DynamoDB item sizes and formats", Developer Guide).
#[must_use]
pub fn item_bytes(item: &Attributes) -> usize {
    item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

fn value_bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(number) => number.as_str().len(),
        AttributeValue::B(bytes) => bytes.len(),
        AttributeValue::Ss(set) => set.iter().map(String::len).sum(),
        AttributeValue::Ns(set) => set.iter().map(|number| number.as_str().len()).sum(),
        AttributeValue::Bs(set) => set.iter().map(Vec::len).sum(),
        AttributeValue::M(map) => 3 + item_bytes(map) + map.len(),
        AttributeValue::L(list) => 3 + list.iter().map(|value| 1 + value_bytes(value)).sum::<usize>(),
        AttributeValue::Null | AttributeValue::Bool(_) => 1,
    }
}

/// Whether a condition of the kinds that this crate builds holds.
#[cfg(test)]
pub(crate) fn holds(condition: &Condition, item: Option<&Attributes>) -> bool {
    let name = |placeholder: &str| &condition.names.iter().find(|(known, _)| known == placeholder).unwrap().1;
    let value = |placeholder: &str| &condition.values.iter().find(|(known, _)| known == placeholder).unwrap().1;
    condition.expression.split(" AND ").all(|part| {
        let inside = |function: &str| part.strip_prefix(function).and_then(|rest| rest.split(')').next());
        if let Some(placeholder) = inside("attribute_not_exists(") {
            return item.is_none_or(|item| !item.contains_key(name(placeholder)));
        }
        let Some(item) = item else { return false };
        if let Some(placeholder) = inside("attribute_exists(") {
            return item.contains_key(name(placeholder));
        }
        let (left, right) = part.split_once(" = ").unwrap();
        if let Some(placeholder) = inside("size(") {
            let size = match &item[name(placeholder)] {
                AttributeValue::S(text) => text.len(),
                AttributeValue::L(list) => list.len(),
                other => panic!("{other:?}"),
            };
            return matches!(value(right), AttributeValue::N(number) if number.as_str() == size.to_string());
        }
        item.get(name(left)) == Some(value(right))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: &str) -> AttributeValue {
        AttributeValue::S(value.to_owned())
    }

    #[test]
    fn an_item_that_must_not_be_there_is_asked_for_by_its_key() {
        let found = condition("noteId", None, Some(&Attributes::from([("a".to_owned(), text("1"))])));
        assert_eq!(found.expression, "attribute_not_exists(#n0)");
        assert_eq!(found.names, [("#n0".to_owned(), "noteId".to_owned())]);
        assert!(found.whole);
    }

    #[test]
    fn a_small_item_is_compared_as_a_whole_and_must_have_nothing_that_comes_back() {
        let expected = Attributes::from([("content".to_owned(), text("bad")), ("n".to_owned(), text("1"))]);
        let other = Attributes::from([("content".to_owned(), text("good")), ("gone".to_owned(), text("1"))]);
        let found = condition("noteId", Some(&expected), Some(&other));
        assert!(found.whole);
        assert_eq!(found.expression, "attribute_exists(#n0) AND attribute_not_exists(#n1) AND #n2 = :v2 AND #n3 = :v3");
        assert_eq!(found.names[1].1, "gone");
    }

    #[test]
    fn a_large_item_is_compared_in_part_and_says_so() {
        let expected = Attributes::from([("blob".to_owned(), text(&"x".repeat(5000))), ("n".to_owned(), text("1"))]);
        let found = condition("noteId", Some(&expected), None);
        assert!(!found.whole);
        assert!(found.expression.contains("size("), "{}", found.expression);
        let many: Attributes = (0..200).map(|at| (format!("a{at}"), text("1"))).collect();
        let found = condition("noteId", Some(&many), None);
        assert!(!found.whole && found.names.len() <= PARTS_MAX);
    }

    #[test]
    fn what_is_to_be_changed_is_compared_before_anything_else() {
        let mut expected: Attributes = (0..200).map(|at| (format!("a{at}"), text("1"))).collect();
        let mut other = expected.clone();
        expected.insert("changed".to_owned(), text("longer than the others"));
        other.insert("changed".to_owned(), text("shorter"));
        let found = condition("noteId", Some(&expected), Some(&other));
        assert!(!found.whole && found.names[1].1 == "changed", "{:?}", found.names[1]);
        assert_eq!(found.values[0].1, text("longer than the others"));
    }

    #[test]
    fn of_what_does_not_fit_the_size_is_compared_where_services_agree_on_it() {
        let of = |value: AttributeValue| {
            let found = condition("noteId", Some(&Attributes::from([("blob".to_owned(), value)])), None);
            let part = found.expression.strip_prefix("attribute_exists(#n0) AND ").unwrap().to_owned();
            (part, found.values.into_iter().next().map(|(_, value)| value))
        };
        let size = |size: &str| ("size(#n1) = :v1".to_owned(), Some(AttributeValue::N(Number::parse(size).unwrap())));
        assert_eq!(of(text(&"x".repeat(5000))), size("5000"));
        assert_eq!(of(AttributeValue::B(vec![7; 6000])), size("6000"));
        assert_eq!(of(AttributeValue::L(vec![text(&"x".repeat(5000)); 2])), size("2"));
        assert_eq!(of(text(&"é".repeat(5000))), ("attribute_exists(#n1)".to_owned(), None));
    }

    proptest! {
        #[test]
        fn no_condition_is_larger_than_allowed(sizes in proptest::collection::vec(0usize..3000, 0..40)) {
            let item: Attributes = sizes.iter().enumerate().map(|(at, size)| (format!("name-{at}"), text(&"é".repeat(*size)))).collect();
            let found = condition("noteId", Some(&item), None);
            let names: usize = found.names.iter().map(|(a, b)| a.len() + b.len()).sum();
            let values: usize = found.values.iter().map(|(a, b)| a.len() + value_bytes(b)).sum();
            prop_assert!(found.expression.len() + names + values <= CONDITION_BYTES_MAX);
            let equal = found.expression.matches(" = :v").count() - found.expression.matches("size(").count();
            prop_assert_eq!(found.whole, equal == item.len());
        }
    }
}
