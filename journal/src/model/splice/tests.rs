use super::*;
use crate::model::test_strategies::any_attributes;
use crate::model::{AttributeValue, Attributes, Image, ItemKey, KeyAttribute, KeyType, Number, item_bytes};
use crate::source::attribute::write_dynamodb_json;
use proptest::prelude::*;

fn keys(types: &[(&str, KeyType)]) -> KeyAttributes {
    let attribute = |(name, key_type): &(&str, KeyType)| KeyAttribute { name: (*name).to_owned(), key_type: *key_type };
    KeyAttributes::new(types.iter().map(attribute).collect()).unwrap()
}

/// Decoding and writing, the long way.
fn decoded(names: &KeyAttributes, key: &[u8], image: &[u8]) -> Option<Vec<u8>> {
    let mut item = Image::decode_slice(image).ok()?;
    item.extend(ItemKey::decode_slice(key, names).ok()?);
    let mut json = Vec::new();
    write_dynamodb_json(&item, &mut json).unwrap();
    Some(json)
}

fn spliced(names: &KeyAttributes, key: &[u8], image: &[u8]) -> Option<Vec<u8>> {
    let mut out = b"before ".to_vec();
    let done = Splicer::new(names, Spelling::DynamoDb).splice(key, image, &mut out);
    assert_eq!(done.is_err(), out == b"before ", "what failed leaves nothing");
    done.ok().map(|_| out.split_off(7))
}

fn key_values() -> impl Strategy<Value = (KeyAttributes, Attributes)> {
    // Some of these names are also attributes' names, some escape, some sort first, some last.
    let name = prop_oneof!["[a-z]", Just("é\"\\".to_owned()), Just("~".to_owned()), Just("A".to_owned())];
    let number =
        "-?[0-9]{1,9}([.][0-9]{1,3})?(E[0-9])?".prop_map(|text| AttributeValue::N(Number::parse(text).unwrap()));
    let value = prop_oneof![
        "[\\x00-\\x20a\"é]{0,8}".prop_map(AttributeValue::S),
        proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255)], 0..6).prop_map(AttributeValue::B),
        number,
    ];
    proptest::collection::btree_map(name, value, 1..3).prop_map(|values| (KeyAttributes::of(&values).unwrap(), values))
}

proptest! {
    #[test]
    fn splicing_gives_the_bytes_that_decoding_and_writing_gives((names, key) in key_values(), item in any_attributes()) {
        let (key, image) = (ItemKey::encode(&names, &key).unwrap(), Image::encode(&item).unwrap());
        let expected = decoded(&names, key.as_bytes(), image.as_bytes()).unwrap();
        let found = spliced(&names, key.as_bytes(), image.as_bytes()).unwrap();
        prop_assert_eq!(String::from_utf8(found).unwrap(), String::from_utf8(expected).unwrap());
    }

    #[test]
    fn what_is_told_of_an_item_is_what_decoding_tells((names, key) in key_values(), item in any_attributes()) {
        let (bytes, image) = (ItemKey::encode(&names, &key).unwrap(), Image::encode(&item).unwrap());
        let mut json = Vec::new();
        let told = Splicer::new(&names, Spelling::DynamoDb).splice(bytes.as_bytes(), image.as_bytes(), &mut json).unwrap();
        let shadows = item.keys().any(|name| key.contains_key(name));
        let mut whole = item;
        whole.extend(key);
        prop_assert_eq!(told.bytes, item_bytes(&whole));
        let printable = json.iter().all(|byte| (0x20..0x7F).contains(byte));
        // An attribute that the key's hides may be what is not printable.
        prop_assert!(told.printable == printable || shadows && printable);
    }

    #[test]
    fn texts_of_every_length_are_escaped_wherever_they_must_be(
        length in 0usize..100, at in any::<proptest::sample::Index>(), odd in any::<char>(), is_odd in any::<bool>(),
    ) {
        let mut text: Vec<char> = "abcdefghi ~!#[]".chars().cycle().take(length).collect();
        if is_odd {
            text.insert(at.index(length + 1), odd);
        }
        let text: String = text.into_iter().collect();
        let names = keys(&[("k", KeyType::S)]);
        let key = ItemKey::encode(&names, &Attributes::from([("k".to_owned(), AttributeValue::S("a".to_owned()))])).unwrap();
        let image = Image::encode(&Attributes::from([("t".to_owned(), AttributeValue::S(text))])).unwrap();
        prop_assert_eq!(spliced(&names, key.as_bytes(), image.as_bytes()), decoded(&names, key.as_bytes(), image.as_bytes()));
    }

    #[test]
    fn names_that_are_kept_of_other_items_change_nothing(
        (names, key) in key_values(), items in proptest::collection::vec(any_attributes(), 1..5),
        at in any::<proptest::sample::Index>(), bit in 0u8..8,
    ) {
        let key = ItemKey::encode(&names, &key).unwrap();
        for spelling in [Spelling::DynamoDb, Spelling::Plain] {
            let mut splicer = Splicer::new(&names, spelling);
            for item in items.iter().chain(&items) {
                let image = Image::encode(item).unwrap();
                let mut broken = image.as_bytes().to_vec();
                broken[at.index(image.as_bytes().len())] ^= 1 << bit;
                for image in [image.as_bytes(), broken.as_slice()] {
                    let (mut found, mut expected) = (Vec::new(), Vec::new());
                    let told = splicer.splice(key.as_bytes(), image, &mut found);
                    prop_assert_eq!(told, Splicer::new(&names, spelling).splice(key.as_bytes(), image, &mut expected));
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }

    #[test]
    fn what_decoding_refuses_is_refused_and_nothing_else(
        item in any_attributes(), at in any::<proptest::sample::Index>(), bit in 0u8..8, cut in any::<bool>(),
    ) {
        let names = keys(&[("k", KeyType::S)]);
        let mut bytes = [ItemKey::encode(&names, &Attributes::from([("k".to_owned(), AttributeValue::S("a\0b".to_owned()))]))
            .unwrap().as_bytes(), Image::encode(&item).unwrap().as_bytes()].concat();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
        let (key, image) = bytes.split_at_checked(7).unwrap_or((&bytes, &[]));
        prop_assert_eq!(spliced(&names, key, image), decoded(&names, key, image));
    }

    #[test]
    fn foreign_bytes_are_read_as_decoding_reads_them(key in proptest::collection::vec(0u8..6, 0..8), image in proptest::collection::vec(0u8..12, 0..24)) {
        for names in [keys(&[("a", KeyType::S)]), keys(&[("a", KeyType::N), ("b", KeyType::B)])] {
            prop_assert_eq!(spliced(&names, &key, &image), decoded(&names, &key, &image));
        }
    }
}

#[test]
fn an_attribute_that_the_keys_hides_takes_nothing_from_what_is_counted() {
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let names = keys(&[("a", KeyType::S), ("b", KeyType::S)]);
    let key = Attributes::from([("a".to_owned(), text("first")), ("b".to_owned(), text("second"))]);
    let item = |name: &str| Attributes::from([(name.to_owned(), text("hidden or not"))]);
    for item in [item("a"), item("b"), item("c")] {
        let (bytes, image) = (ItemKey::encode(&names, &key).unwrap(), Image::encode(&item).unwrap());
        let told = Splicer::new(&names, Spelling::DynamoDb).splice(bytes.as_bytes(), image.as_bytes(), &mut Vec::new());
        let mut whole = item;
        whole.extend(key.clone());
        assert_eq!(told.unwrap().bytes, item_bytes(&whole));
    }
}

#[test]
fn numbers_that_are_not_plain_are_told() {
    let number = |text: &str| AttributeValue::N(Number::parse(text).unwrap());
    let names = keys(&[("k", KeyType::N)]);
    let plain = |key: &str, value: AttributeValue, spelling| {
        let key = ItemKey::encode(&names, &Attributes::from([("k".to_owned(), number(key))])).unwrap();
        let image = Image::encode(&Attributes::from([("a".to_owned(), value)])).unwrap();
        Splicer::new(&names, spelling).splice(key.as_bytes(), image.as_bytes(), &mut Vec::new()).unwrap().plain_numbers
    };
    for spelling in [Spelling::DynamoDb, Spelling::Plain] {
        assert!(plain("100", number("-1.5"), spelling));
        assert!(!plain("1E2", number("1.5"), spelling));
        assert!(!plain("100", number("1.50"), spelling));
        assert!(!plain("100", AttributeValue::L(vec![number("+1")]), spelling));
        assert!(!plain("100", AttributeValue::Ns([Number::parse("01").unwrap()].into()), spelling));
    }
}

#[test]
fn thirty_three_levels_are_refused() {
    let names = keys(&[("k", KeyType::S)]);
    let key =
        ItemKey::encode(&names, &Attributes::from([("k".to_owned(), AttributeValue::S("a".to_owned()))])).unwrap();
    for levels in [32, 33, 100_000] {
        let mut image = vec![1, 1, b'a'];
        image.extend([7, 1].repeat(levels - 1));
        image.push(8);
        assert_eq!(spliced(&names, key.as_bytes(), &image).is_some(), levels == 32);
    }
}

#[test]
fn names_are_kept_while_there_is_room_for_them() {
    let names = keys(&[("k", KeyType::S)]);
    let key =
        ItemKey::encode(&names, &Attributes::from([("k".to_owned(), AttributeValue::S("a".to_owned()))])).unwrap();
    let item = |round: usize| {
        let map = |level: &str, value: &AttributeValue| -> Attributes {
            (0..100).map(|number| (format!("{level}{round}-{number}"), value.clone())).collect()
        };
        map("a", &AttributeValue::M(map("b", &AttributeValue::Null)))
    };
    let mut splicer = Splicer::new(&names, Spelling::DynamoDb);
    for round in 0..3 {
        let image = Image::encode(&item(round)).unwrap();
        let mut found = Vec::new();
        let _ = splicer.splice(key.as_bytes(), image.as_bytes(), &mut found).unwrap();
        assert_eq!(Some(found), decoded(&names, key.as_bytes(), image.as_bytes()));
    }
    assert_eq!(splicer.names.rooms(), (names::ROOM, names::ROOM));
    let inside = &splicer.names.get(0).unwrap().inside;
    assert_eq!(inside.rooms(), (names::ROOM / names::INSIDE, names::ROOM / names::INSIDE));
}
