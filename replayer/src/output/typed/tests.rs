use std::collections::BTreeSet;

use journal::model::{AttributeValue, Attributes, Image, ItemKey, KeyAttribute, KeyAttributes, KeyType, Number};
use journal::source::attribute::parse_item;
use proptest::prelude::*;

use super::reference::{self, Row};
use super::*;
use crate::digest::to_plain;
use crate::key_schema::KeySchema;
use crate::state::{EncodedItem, ReadError};

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

/// An item as the journal keeps it: with its key, and without attributes of its key's name in its image.
fn encoded(item: &Attributes) -> (Vec<u8>, Vec<u8>) {
    let (mut key, rest): (Attributes, Attributes) = item.clone().into_iter().partition(|(name, _)| name == "noteId");
    key.entry("noteId".to_owned()).or_insert_with(|| s("0"));
    let key = ItemKey::encode(schema().attributes(), &key).unwrap();
    (key.as_bytes().to_vec(), Image::encode(&rest).unwrap().as_bytes().to_vec())
}

fn with_key(item: &Attributes) -> Attributes {
    let mut whole = item.clone();
    whole.entry("noteId".to_owned()).or_insert_with(|| s("0"));
    whole
}

fn seen(items: &[Attributes]) -> Seen {
    let mut seen = Seen::default();
    for item in items {
        let (key, image) = encoded(item);
        seen.begin();
        let see = |name: &str, value: &mut journal::model::WalkedValue<'_, '_>| {
            seen.see(name, value);
            Ok(())
        };
        EncodedItem::of(&key, &image, &schema()).attributes(see).unwrap();
    }
    seen
}

fn layout(items: &[Attributes]) -> Layout {
    Layout::new(&seen(items), Some(&schema()))
}

fn owned(cell: Cell<'_>) -> Cell<'static> {
    match cell {
        Cell::Text(text) => Cell::Text(text.into_owned().into()),
        Cell::Binary(bytes) => Cell::Binary(bytes.into_owned().into()),
        Cell::Integer(number) => Cell::Integer(number),
        Cell::Decimal(number) => Cell::Decimal(number),
        Cell::Boolean(value) => Cell::Boolean(value),
        Cell::None => Cell::None,
    }
}

/// The row of an item, and whether all its numbers are said to be plain.
fn row(rows: &mut Rows, (key, image): (&[u8], &[u8])) -> Result<(Row<'static>, bool), ReadError> {
    let columns = rows.layout().columns().len();
    let mut cells = vec![Cell::None; columns + 1];
    let put = |column: usize, cell: Cell<'_>| {
        cells[column] = owned(cell);
        Ok(())
    };
    let schema = schema();
    let item = EncodedItem::of(key, image, &schema);
    let plain_numbers = rows.item(&item, None, put).map_err(ReadError::Reader)?;
    let exact = match cells.pop() {
        Some(Cell::Text(text)) => Some(text.into_owned()),
        _ => None,
    };
    Ok((Row { cells, exact }, plain_numbers))
}

fn row_of(layout: &Layout, item: &Attributes) -> Row<'static> {
    let (key, image) = encoded(item);
    row(&mut Rows::new(layout.clone()), (&key, &image)).unwrap().0
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
    item.extend(row.exact.map(|exact| parse_item(exact.as_bytes()).unwrap()).unwrap_or_default());
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
    assert_eq!(back(&layout, row_of(&layout, &item)), item);
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
    let exact = row_of(&layout, last).exact.map(|exact| parse_item(exact.as_bytes()).unwrap());
    assert_eq!(exact.as_ref(), Some(last));
}

fn values() -> impl Strategy<Value = AttributeValue> {
    let number = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (any::<i32>(), 0..130i32).prop_map(|(digits, exponent)| format!("{digits}E-{}", exponent / 2)),
        proptest::sample::select(vec![
            "12345678901234567890123456789012345678",
            "-0.12345678901234567890123456789012345678",
            "+.50",
            "007",
            "1E2",
            "-0",
            "9.9999999999999999999999999999999999999E+125",
            "1E-130",
            "9223372036854775808",
        ])
        .prop_map(str::to_owned),
    ];
    let number = number.prop_filter_map("a number that DynamoDB stores", |text| Number::parse(text).ok()).boxed();
    let leaf = prop_oneof![
        ".{0,6}".prop_map(AttributeValue::S),
        "[\\x00-\\x7f]{0,40}".prop_map(AttributeValue::S),
        proptest::sample::select(vec![
            "",
            "\u{202e}abc\u{2069}",
            "\u{200f}",
            "\u{1b}[2J",
            "\"\\\u{7f}",
            "日本語 \u{1f600}"
        ])
        .prop_map(s),
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
            let plain = to_plain(&with_key(item));
            prop_assert_eq!(to_plain(&back(&layout, row_of(&layout, item))), plain);
        }
        let names: BTreeSet<String> = layout.columns().iter().map(|column| column.name.to_lowercase()).collect();
        prop_assert_eq!(names.len(), layout.columns().len());
    }

    #[test]
    fn rows_made_from_bytes_are_those_of_decoded_items(
        items in proptest::collection::vec(proptest::collection::btree_map(hostile_name(), values(), 0..6), 1..6),
        others in proptest::collection::vec(proptest::collection::btree_map(hostile_name(), values(), 0..6), 0..3),
    ) {
        let whole: Vec<Attributes> = items.iter().map(with_key).collect();
        let seen = seen(&items);
        let found: std::collections::BTreeMap<_, _> = seen.attributes().map(|(name, seen)| (name.clone(), *seen)).collect();
        prop_assert_eq!(found, reference::seen(&whole));
        let layout = Layout::new(&seen, Some(&schema()));
        let mut rows = Rows::new(layout.clone());
        // The columns may be those of other items: what they cannot say is said beside them.
        for item in items.iter().chain(&others) {
            let (key, image) = encoded(item);
            let (found, plain_numbers) = row(&mut rows, (&key, &image)).unwrap();
            let whole = with_key(item);
            prop_assert_eq!(found, reference::row(&layout, &whole));
            prop_assert_eq!(plain_numbers, to_plain(&whole) == whole);
        }
    }

    #[test]
    fn bytes_that_decoding_refuses_make_no_row(
        item in proptest::collection::btree_map("[a-c]", values(), 0..4), at in any::<proptest::sample::Index>(),
        bit in 0u8..8, cut in any::<bool>(),
    ) {
        let layout = layout(std::slice::from_ref(&item));
        let (key, mut image) = encoded(&item);
        let at = at.index(image.len());
        if cut { image.truncate(at) } else { image[at] ^= 1 << bit }
        let expected = Image::decode_slice(&image).ok().map(|mut item| {
            // The key's own value stands for an attribute of its name.
            item.insert("noteId".to_owned(), s("0"));
            reference_of(&layout, &item)
        });
        let found = row(&mut Rows::new(layout.clone()), (&key, &image)).ok().map(|(row, _)| row);
        prop_assert_eq!(found, expected);
    }
}

fn reference_of(layout: &Layout, item: &Attributes) -> Row<'static> {
    let Row { cells, exact } = reference::row(layout, item);
    Row { cells: cells.into_iter().map(owned).collect(), exact }
}

#[test]
fn an_attribute_of_the_key_s_name_in_an_image_is_the_key_s() {
    let item = Attributes::from([("noteId".to_owned(), n("7")), ("x".to_owned(), s("y"))]);
    let image = Image::encode(&item).unwrap();
    let (key, _) = encoded(&Attributes::from([("noteId".to_owned(), s("a"))]));
    let expected = Attributes::from([("noteId".to_owned(), s("a")), ("x".to_owned(), s("y"))]);
    let layout = layout(std::slice::from_ref(&expected));
    let (found, _) = row(&mut Rows::new(layout.clone()), (&key, image.as_bytes())).unwrap();
    assert_eq!(found, reference::row(&layout, &expected));
}

fn hostile_name() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => "[a-dA-D]",
        1 => proptest::sample::select(vec!["", "é\"\\", "\u{202e}x", "a\0b", "noteID", EXACT, "\n"]).prop_map(str::to_owned),
    ]
}
