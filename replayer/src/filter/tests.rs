use std::collections::BTreeSet;

use journal::model::Number;
use proptest::prelude::*;

use super::*;

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn n(text: &str) -> AttributeValue {
    AttributeValue::N(Number::parse(text).unwrap())
}

/// A note as the notes table has them.
fn note() -> Attributes {
    let reply =
        AttributeValue::M(Attributes::from([("content".to_owned(), s("stay home")), ("likes".to_owned(), n("3"))]));
    Attributes::from([
        ("noteId".to_owned(), s("abc")),
        ("author".to_owned(), s("ada")),
        ("createdAt".to_owned(), n("1585476000")),
        ("score".to_owned(), n("1.50")),
        ("pinned".to_owned(), AttributeValue::Bool(true)),
        ("gone".to_owned(), AttributeValue::Null),
        ("replies".to_owned(), AttributeValue::L(vec![reply, s("x")])),
        ("tags".to_owned(), AttributeValue::Ss(BTreeSet::from(["a".to_owned(), "b".to_owned()]))),
        ("sizes".to_owned(), AttributeValue::Ns(["1.0", "20"].iter().map(|t| Number::parse(*t).unwrap()).collect())),
        ("a b.c".to_owned(), s("odd")),
        ("smile".to_owned(), s("😀")),
    ])
}

fn holds(text: &str) -> bool {
    Filter::parse(text).unwrap_or_else(|error| panic!("{error}")).accepts(&note())
}

#[test]
fn comparisons_are_those_of_dynamodb() {
    for text in [
        "author = 'ada'",
        "author = \"ada\"",
        "score = 1.5",
        "score = 15E-1",
        "score <> 2",
        "author < 'adb'",
        "author <= 'ada'",
        "createdAt > 1585475999",
        "createdAt >= 1585476000",
        "pinned = true",
        "gone = NULL",
        "author <> 5",
        "missing <> 1",
        "createdAt BETWEEN 1 AND 1585476000",
        "author IN ('x', 'ada')",
        "author in(author)",
        "replies[0].likes = 3",
        "replies[0].content = 'stay home'",
        "`a b.c` = 'odd'",
        "'ada' = author",
        "size(tags) = 2",
        "size(smile) = 2",
        "size(replies) > 1",
        "replies[1] = 'x'",
    ] {
        assert!(holds(text), "{text}");
    }
    for text in [
        "author = 5",
        "author = 'ADA'",
        "author < 5",
        "missing = 1",
        "missing < 1",
        "pinned = 'true'",
        "gone = false",
        "author IN ('x')",
        "author BETWEEN 'b' AND 'c'",
        "createdAt BETWEEN 2 AND 1",
        "replies[2] = 'x'",
        "replies.content = 'x'",
        "author[0] = 'a'",
        "size(createdAt) = 1",
        "missing IN (1)",
    ] {
        assert!(!holds(text), "{text}");
    }
}

#[test]
fn functions_are_those_of_dynamodb() {
    for text in [
        "attribute_exists(replies[0].content)",
        "attribute_not_exists(replies[0].nope)",
        "attribute_type(tags, 'SS')",
        "attribute_type(gone, 'NULL')",
        "begins_with(author, 'a')",
        "begins_with(author, '')",
        "contains(author, 'd')",
        "contains(tags, 'a')",
        "contains(sizes, 1)",
        "contains(sizes, 20.0)",
        "contains(replies, 'x')",
    ] {
        assert!(holds(text), "{text}");
    }
    for text in [
        "attribute_exists(nope)",
        "attribute_not_exists(author)",
        "attribute_type(author, 'N')",
        "begins_with(createdAt, '1')",
        "begins_with(nope, '')",
        "contains(tags, 'c')",
        "contains(createdAt, 1)",
    ] {
        assert!(!holds(text), "{text}");
    }
}

#[test]
fn not_binds_tighter_than_and_and_and_tighter_than_or() {
    assert!(holds("author = 'ada' OR author = 'x' AND author = 'y'"));
    assert!(!holds("(author = 'ada' OR author = 'x') AND author = 'y'"));
    assert!(holds("NOT author = 'x' AND author = 'ada'"));
    assert!(!holds("not (author = 'x' or author = 'ada')"));
    assert!(holds("NOT NOT author = 'ada'"));
    assert!(holds("createdAt BETWEEN 1 AND 1585476000 AND author = 'ada'"));
}

#[test]
fn a_quote_is_written_twice() {
    let item = Attributes::from([("a`b".to_owned(), s("it's"))]);
    assert!(Filter::parse("`a``b` = 'it''s'").unwrap().accepts(&item));
}

#[test]
fn an_error_shows_the_place() {
    let error = |text: &str| Filter::parse(text).unwrap_err().to_string();
    assert_eq!(
        error("author = 'ada' AND country == 'DE'"),
        "cannot read the condition: equality is written =\n  author = 'ada' AND country == 'DE'\n                             ^"
    );
    for (text, part, column) in [
        ("", "found the end", 0),
        ("author", "expected =, <>", 6),
        ("author = ", "found the end", 9),
        ("author = 'ada", "this ' is not closed", 9),
        ("(author = 1", "not closed", 0),
        ("author = 1)", "never opened", 10),
        ("author = 1 author", "expected AND", 11),
        ("author = :v", "no placeholders", 9),
        ("#a = 1", "no placeholders", 0),
        ("like(author, 'x')", "there is no function \"like\"", 0),
        ("author < true", "have an order", 9),
        ("attribute_type(author, 'X')", "expected a type", 23),
        ("attribute_exists('x')", "wants an attribute", 17),
        ("begins_with(author)", "expected ','", 18),
        ("author = 1.2.3", "not decimal text", 9),
        ("replies[x] = 1", "position in a list", 7),
        ("a.b. = 1", "name of an attribute", 4),
        ("and = 1", "found and", 0),
        ("author = contains(a, 'b')", "cannot stand here", 9),
        ("é = 'é' AND ?", "found '?'", 12),
    ] {
        let message = error(text);
        assert!(message.contains(part), "{text}: {message}");
        assert_eq!(message.lines().last().unwrap().len(), column + 3, "{message}");
    }
}

#[test]
fn depth_and_length_are_bounded() {
    let nested = |levels: usize| format!("{}a = 1{}", "(".repeat(levels), ")".repeat(levels));
    assert!(Filter::parse(&nested(NESTING_MAX)).is_ok());
    assert!(Filter::parse(&nested(NESTING_MAX + 1)).is_err());
    assert!(Filter::parse(&"NOT ".repeat(4000)).is_err());
    assert!(matches!(Filter::parse(&"(".repeat(20_000)), Err(FilterError::Length { .. })));
    assert!(Filter::parse(&format!("a{} = 1", "[0]".repeat(2000))).is_err());
    assert!(Filter::parse(&vec!["a = 1"; 1500].join(" OR ")).is_ok());
}

fn any_scalar() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        "[ab']{0,2}".prop_map(AttributeValue::S),
        "-?[0-9]{1,2}(\\.[0-9])?".prop_map(|text| n(&text)),
        any::<bool>().prop_map(AttributeValue::Bool),
        Just(AttributeValue::Null),
    ]
}

fn literal(value: &AttributeValue) -> String {
    match value {
        AttributeValue::S(text) => format!("'{}'", text.replace('\'', "''")),
        AttributeValue::N(number) => number.to_string(),
        AttributeValue::Bool(value) => value.to_string(),
        _ => "null".to_owned(),
    }
}

/// The comparison written down plainly, numbers as floats of few digits.
fn plainly(left: Option<&AttributeValue>, operator: &str, right: &AttributeValue) -> bool {
    let order = left.and_then(|left| match (left, right) {
        (AttributeValue::S(a), AttributeValue::S(b)) => Some(a.cmp(b)),
        (AttributeValue::N(a), AttributeValue::N(b)) => {
            let float = |number: &Number| number.as_str().parse::<f64>().unwrap();
            float(a).partial_cmp(&float(b))
        }
        _ => None,
    });
    let same = left.is_some_and(|left| match order {
        Some(order) => order.is_eq(),
        None => left == right,
    });
    match operator {
        "=" => same,
        "<>" => !same,
        "<" => order.is_some_and(std::cmp::Ordering::is_lt),
        "<=" => order.is_some_and(std::cmp::Ordering::is_le),
        ">" => order.is_some_and(std::cmp::Ordering::is_gt),
        _ => order.is_some_and(std::cmp::Ordering::is_ge),
    }
}

proptest! {
    #[test]
    fn comparisons_agree_with_a_plain_evaluator(
        found in proptest::option::of(any_scalar()), wanted in any_scalar(), at in 0usize..6, negate in any::<bool>(),
    ) {
        let operator = ["=", "<>", "<", "<=", ">", ">="][at];
        let item: Attributes = found.iter().map(|value| ("x".to_owned(), value.clone())).collect();
        let text = format!("{}x {operator} {}", if negate { "NOT " } else { "" }, literal(&wanted));
        match Filter::parse(&text) {
            Ok(filter) => prop_assert_eq!(filter.accepts(&item), plainly(found.as_ref(), operator, &wanted) != negate, "{}", text),
            Err(_) => prop_assert!(at > 1 && matches!(wanted, AttributeValue::Bool(_) | AttributeValue::Null), "{}", text),
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[ab0-9 ()'\"`.,\\[\\]=<>!:#é\n-]{0,40}|.{0,40}") {
        let _ = Filter::parse(&text).map(|filter| filter.accepts(&note()));
    }
}
