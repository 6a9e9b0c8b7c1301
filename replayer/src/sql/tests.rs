//! Paths, places, and what is pushed down; the answers themselves are tested with the programs.

use std::ops::Range;

use bytes::Bytes;
use datafusion::prelude::{Expr, col, lit};
use journal::model::{KeyAttribute, KeyAttributes, KeyType};

use super::error::Place;
use super::fields::Fields;
use super::functions::{Step, steps};
use super::pushdown::Asked;
use super::scan::halves;
use crate::key_schema::KeySchema;

fn names(list: &[(&str, KeyType)]) -> KeyAttributes {
    let list = list.iter().map(|(name, key_type)| KeyAttribute { name: (*name).to_owned(), key_type: *key_type });
    KeyAttributes::new(list.collect()).unwrap()
}

#[test]
fn a_path_is_read_step_by_step_and_a_wrong_one_says_where() {
    let name = |text: &str| Step::Name(text.to_owned());
    assert_eq!(steps("replies[2].author").unwrap(), [name("replies"), Step::Element(2), name("author")]);
    assert_eq!(steps(r#"["a name"].b["c\"]"]"#).unwrap(), [name("a name"), name("b"), name("c\"]")]);
    for (wrong, at) in [("", 1), ("a..b", 3), ("a[", 2), ("a[x]", 3), ("a[\"b", 2), ("[\"a\"", 5), (".a", 1)] {
        let error = steps(wrong).unwrap_err().to_string();
        assert!(error.contains(&format!("character {at};")), "{wrong}: {error}");
    }
}

#[test]
fn a_place_is_a_line_with_a_caret() {
    assert_eq!(Place::at("SELECT x\nFROM y", 2, 6).to_string(), "\n  FROM y\n       ^");
    assert_eq!(Place::of("SELECT x FROM x", "x").to_string(), "", "it could be either");
    assert_eq!(Place::at("a\u{1b}b", 1, 3).to_string(), "\n  a\\u001bb\n         ^");
    assert_eq!(Place::at("x", 9, 9).to_string(), "\n  x\n   ^");
}

#[test]
fn conditions_on_keys_become_ranges_that_hold_exactly_what_fits() {
    let key = names(&[("pk", KeyType::S), ("sk", KeyType::N)]);
    let (fields, schema) = (Fields::of_changes([&key]), KeySchema::unordered(key.clone()));
    let encoded = |pk: &str, sk: &str| schema.parse_key(&format!("pk={pk},sk={sk}")).unwrap();
    // A condition, and keys with whether each fits.
    let cases: Vec<(Expr, Vec<(&str, bool)>)> = vec![
        (col("pk").eq(lit("b")), vec![("a", false), ("b", true), ("ba", false), ("c", false)]),
        (col("pk").eq(lit("b")).or(col("pk").eq(lit("d"))), vec![("b", true), ("c", false), ("d", true)]),
        (col("pk").in_list(vec![lit("b"), lit("d")], false), vec![("b", true), ("c", false), ("d", true)]),
        (col("pk").like(lit("b%")), vec![("a", false), ("b", true), ("bz", true), ("c", false)]),
        (col("pk").gt(lit("b")), vec![("b", false), ("ba", true), ("c", true)]),
        (
            col("pk").gt_eq(lit("b")).and(col("pk").lt(lit("d"))),
            vec![("a", false), ("b", true), ("cz", true), ("d", false)],
        ),
    ];
    for (filter, keys) in cases {
        assert!(Asked::answers(&filter, &fields), "{filter}");
        let asked = Asked::of(std::slice::from_ref(&filter), &fields);
        let ranges = asked.ranges(&schema);
        for (pk, fits) in keys {
            let key = encoded(pk, "5");
            let in_range = ranges.iter().any(|range| {
                range.as_ref().is_none_or(|range| (range.start.as_ref()..range.end.as_ref()).contains(&key.as_bytes()))
            });
            let accepted = asked.accepts_key(&schema.decode(key.as_bytes()).unwrap());
            assert!(accepted == fits && (in_range || !fits), "{filter}: {pk} is in range: {in_range}");
        }
    }
    let both = [col("pk").eq(lit("b")), col("sk").eq(lit("5"))];
    let ranges = Asked::of(&both, &fields).ranges(&schema);
    assert_eq!(ranges.len(), 1);
    assert_eq!(ranges[0].as_ref().unwrap().start, encoded("b", "5").as_bytes());
}

#[test]
fn two_halves_have_every_key_of_the_ranges_once() {
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    let cases: Vec<Vec<Option<Range<Bytes>>>> = vec![
        vec![None],
        vec![Some(bytes("a")..bytes("z"))],
        vec![Some(bytes("a")..bytes("c")), Some(bytes("x")..bytes("z"))],
        vec![Some(bytes("a")..bytes("c"))],
        vec![Some(bytes("m")..bytes("z"))],
    ];
    for ranges in cases {
        let halves = halves(&ranges, Some(&bytes("m")));
        for key in ["a", "b", "lzz", "m", "m0", "x", "y", "z"] {
            let within = |ranges: &[Option<Range<Bytes>>]| {
                let has =
                    |range: &&Option<Range<Bytes>>| range.as_ref().is_none_or(|range| range.contains(&bytes(key)));
                ranges.iter().filter(has).count()
            };
            let found: usize = halves.iter().map(|half| within(half)).sum();
            assert_eq!(found, within(&ranges), "{key} of {ranges:?}");
        }
        assert!(halves.iter().all(|half| !half.is_empty()));
    }
    assert_eq!(halves(&[None], None), [[None]]);
}

#[test]
fn what_no_key_can_be_is_told_with_the_type_that_is_wanted() {
    let key = names(&[("pk", KeyType::S), ("sk", KeyType::N)]);
    let (fields, schema) = (Fields::of_changes([&key]), KeySchema::unordered(key.clone()));
    let misfits = |filter: Expr| Asked::of(&[filter], &fields).misfits(&schema);
    assert_eq!(misfits(col("sk").eq(lit("five"))), ["\"five\" is not a number, so no sk is it"]);
    assert_eq!(misfits(col("sk").in_list(vec![lit("5"), lit("six")], false)).len(), 1);
    assert!(misfits(col("sk").eq(lit("5.50")).and(col("pk").eq(lit("five")))).is_empty());
}

#[test]
fn what_is_not_understood_whole_is_left_to_the_engine() {
    let key = names(&[("noteId", KeyType::S)]);
    let fields = Fields::of_changes([&key]);
    let path = col(datafusion::common::Column::from_name("noteId"));
    for filter in [
        path.clone().eq(lit("a")).or(col("kind").eq(lit("INSERT"))),
        path.clone().not_eq(lit("a")),
        path.clone().like(lit("%a")),
        path.clone().like(lit("a_%")),
        path.clone().not_in_list_of_one(),
        col("new").eq(lit("{}")),
        col("actor").eq(lit("ttl")),
    ] {
        assert!(!Asked::answers(&filter, &fields), "{filter}");
    }
    assert!(Asked::answers(&path.eq(lit("a")), &fields));
}

trait Negated {
    fn not_in_list_of_one(self) -> Expr;
}

impl Negated for Expr {
    fn not_in_list_of_one(self) -> Expr {
        self.in_list(vec![lit("a")], true)
    }
}
