use std::collections::BTreeSet;

use journal::model::{AttributeValue, Attributes, KeyAttribute, KeyAttributes, KeyType, Number};
use proptest::prelude::*;

use super::*;
use crate::digest::to_plain;
use crate::key_schema::KeySchema;

fn schema() -> KeySchema {
    let key = KeyAttribute { name: "noteId".to_owned(), key_type: KeyType::S };
    KeySchema::unordered(KeyAttributes::new(vec![key]).unwrap())
}

fn n(text: &str) -> AttributeValue {
    AttributeValue::N(Number::parse(text).unwrap())
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn layout(items: &[Attributes]) -> Layout {
    let mut seen = Seen::default();
    for item in items {
        seen.see(item);
    }
    Layout::new(&seen, Some(&schema()))
}

fn kind_of(values: &[AttributeValue]) -> ColumnKind {
    let items: Vec<Attributes> =
        values.iter().map(|value| Attributes::from([("a".to_owned(), value.clone())])).collect();
    layout(&items).columns()[1].kind
}

/// A row as an item again, as a reader of the file puts it together.
fn back(layout: &Layout, row: Row<'_>) -> Attributes {
    let mut item = Attributes::new();
    for (column, cell) in layout.columns().iter().zip(row.cells) {
        if let Some(value) = cell.value(column.kind).unwrap() {
            item.insert(column.attribute.clone(), value);
        }
    }
    item.extend(row.exact.unwrap_or_default());
    item
}

#[test]
fn a_column_has_the_narrowest_type_that_holds_every_value() {
    assert_eq!(kind_of(&[s("x"), AttributeValue::Null]), ColumnKind::Text);
    assert_eq!(kind_of(&[n("1"), n("-9223372036854775808")]), ColumnKind::Integer);
    assert_eq!(kind_of(&[n("9223372036854775808")]), ColumnKind::Digits);
    assert_eq!(kind_of(&[n("1"), n("2.50"), n("0.125")]), ColumnKind::Decimal(3));
    assert_eq!(kind_of(&[n("1E37"), n("0.5")]), ColumnKind::Digits, "38 digits before the point and one after");
    assert_eq!(kind_of(&[n("1E-130")]), ColumnKind::Digits);
    assert_eq!(kind_of(&[AttributeValue::Bool(true)]), ColumnKind::Boolean);
    assert_eq!(kind_of(&[AttributeValue::L(vec![]), AttributeValue::M(Attributes::new())]), ColumnKind::Document);
    assert_eq!(kind_of(&[n("1"), s("1")]), ColumnKind::Mixed);
    assert_eq!(kind_of(&[AttributeValue::Null]), ColumnKind::Text);
}

#[test]
fn names_that_readers_would_take_for_one_become_two_columns() {
    let item = Attributes::from([
        ("noteId".to_owned(), s("1")),
        ("NoteID".to_owned(), s("2")),
        ("noteid_2".to_owned(), s("3")),
        (EXACT.to_owned(), s("4")),
        ("x\0y".to_owned(), s("5")),
    ]);
    let layout = layout(std::slice::from_ref(&item));
    let names: Vec<&str> = layout.columns().iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["noteId", "NoteID_2", "_dynamodb_2", "noteid_2_2"]);
    assert_eq!(back(&layout, layout.row(&item)), item);
}

#[test]
fn attributes_beyond_the_most_columns_are_kept_in_the_column_of_what_is_left() {
    let mut items: Vec<Attributes> =
        (0..TYPED_COLUMNS_MAX + 5).map(|at| Attributes::from([(format!("a{at:05}"), n("1"))])).collect();
    items.push(Attributes::from([("often".to_owned(), n("1"))]));
    items.push(Attributes::from([("often".to_owned(), n("2"))]));
    let layout = layout(&items);
    assert_eq!(layout.columns().len(), TYPED_COLUMNS_MAX);
    assert!(layout.columns().iter().any(|column| column.attribute == "often"), "what most items have comes first");
    let last = &items[TYPED_COLUMNS_MAX + 4];
    assert_eq!(layout.row(last).exact.as_ref(), Some(last));
}

fn values() -> impl Strategy<Value = AttributeValue> {
    let number = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (any::<i32>(), 0..130i32).prop_map(|(digits, exponent)| format!("{digits}E-{}", exponent / 2)),
        Just("12345678901234567890123456789012345678".to_owned()),
    ];
    let number = number.prop_filter_map("a number that DynamoDB stores", |text| Number::parse(text).ok()).boxed();
    let leaf = prop_oneof![
        ".{0,6}".prop_map(AttributeValue::S),
        number.clone().prop_map(AttributeValue::N),
        proptest::collection::vec(any::<u8>(), 0..4).prop_map(AttributeValue::B),
        any::<bool>().prop_map(AttributeValue::Bool),
        Just(AttributeValue::Null),
        proptest::collection::btree_set(".{0,3}", 1..3).prop_map(AttributeValue::Ss),
        proptest::collection::btree_set(number, 1..3).prop_map(AttributeValue::Ns),
        proptest::collection::btree_set(proptest::collection::vec(any::<u8>(), 0..3), 1..3)
            .prop_map(AttributeValue::Bs),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(AttributeValue::L),
            proptest::collection::btree_map("[a-c]", inner, 0..3).prop_map(AttributeValue::M),
        ]
    })
}

proptest! {
    #[test]
    fn a_row_says_all_of_its_item(
        items in proptest::collection::vec(proptest::collection::btree_map("[a-dA-D]", values(), 0..5), 1..6),
    ) {
        let layout = layout(&items);
        for item in &items {
            // Numbers count by value, and equal members of a set of numbers are one.
            let plain = to_plain(item);
            prop_assert_eq!(to_plain(&back(&layout, layout.row(item))), plain);
        }
        let names: BTreeSet<String> = layout.columns().iter().map(|column| column.name.to_lowercase()).collect();
        prop_assert_eq!(names.len(), layout.columns().len());
    }
}
