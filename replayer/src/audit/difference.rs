//! What differs between two images of an item, attribute by attribute, into maps, lists and sets.

use journal::model::{AttributeValue, Attributes};

/// What happened to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It was not there before.
    Added,
    /// It is there no more.
    Removed,
    /// It was another one.
    Changed,
    /// A member of a set that was not there before.
    MemberAdded,
    /// A member of a set that is there no more.
    MemberRemoved,
}

impl Operation {
    /// One word, for JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::MemberAdded => "member added",
            Self::MemberRemoved => "member removed",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where: `replies[2].author`, names that are no words in brackets: `["a b"]`.
    pub path: String,
    /// What happened there.
    pub operation: Operation,
    /// The value before, or the member that is there no more.
    pub before: Option<AttributeValue>,
    /// The value after, or the member that is new.
    pub after: Option<AttributeValue>,
}

/// The differences between two images, in the order of their paths. An image that is not there is an empty one.
#[must_use]
pub fn differences(before: &Attributes, after: &Attributes) -> Vec<Difference> {
    let mut found = Vec::new();
    maps("", before, after, &mut found);
    found
}

fn maps(path: &str, before: &Attributes, after: &Attributes, found: &mut Vec<Difference>) {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        values(&member(path, name), before.get(name), after.get(name), found);
    }
}

/// The path of a map's member.
pub(super) fn member(path: &str, name: &str) -> String {
    let is_word = !name.is_empty()
        && name.chars().all(|character| character.is_alphanumeric() || matches!(character, '_' | '-'))
        && !name.starts_with(|first: char| first.is_ascii_digit());
    match (is_word, path.is_empty()) {
        (true, true) => name.to_owned(),
        (true, false) => format!("{path}.{name}"),
        (false, _) => format!("{path}[{}]", super::inert(&serde_json::Value::from(name).to_string())),
    }
}

// Items nest to 32 levels at most, so the recursion is bounded.
fn values(path: &str, before: Option<&AttributeValue>, after: Option<&AttributeValue>, found: &mut Vec<Difference>) {
    use AttributeValue as V;
    let mut push = |operation, before: Option<V>, after: Option<V>| {
        found.push(Difference { path: path.to_owned(), operation, before, after });
    };
    match (before, after) {
        (None, None) => {}
        (Some(before), Some(after)) if before == after => {}
        (None, Some(after)) => push(Operation::Added, None, Some(after.clone())),
        (Some(before), None) => push(Operation::Removed, Some(before.clone()), None),
        (Some(V::M(before)), Some(V::M(after))) => maps(path, before, after, found),
        (Some(V::L(before)), Some(V::L(after))) => {
            for at in 0..before.len().max(after.len()) {
                values(&format!("{path}[{at}]"), before.get(at), after.get(at), found);
            }
        }
        (Some(V::Ss(before)), Some(V::Ss(after))) => sets(before, after, V::S, &mut push),
        (Some(V::Ns(before)), Some(V::Ns(after))) => sets(before, after, V::N, &mut push),
        (Some(V::Bs(before)), Some(V::Bs(after))) => sets(before, after, V::B, &mut push),
        (Some(before), Some(after)) => push(Operation::Changed, Some(before.clone()), Some(after.clone())),
    }
}

fn sets<T: Ord + Clone>(
    before: &std::collections::BTreeSet<T>,
    after: &std::collections::BTreeSet<T>,
    value: impl Fn(T) -> AttributeValue,
    push: &mut impl FnMut(Operation, Option<AttributeValue>, Option<AttributeValue>),
) {
    for gone in before.difference(after) {
        push(Operation::MemberRemoved, Some(value(gone.clone())), None);
    }
    for new in after.difference(before) {
        push(Operation::MemberAdded, None, Some(value(new.clone())));
    }
}
