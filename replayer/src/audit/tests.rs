//! Differences, blame and inert text.

use std::collections::BTreeSet;

use journal::model::{AttributeValue as V, Attributes, Number};

use super::*;

fn s(text: &str) -> V {
    V::S(text.to_owned())
}

fn map<const N: usize>(members: [(&str, V); N]) -> Attributes {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn set(members: &[&str]) -> V {
    V::Ss(members.iter().map(|member| (*member).to_owned()).collect::<BTreeSet<_>>())
}

fn told(before: &Attributes, after: &Attributes) -> Vec<(String, &'static str)> {
    differences(before, after).into_iter().map(|found| (found.path, found.operation.as_str())).collect()
}

#[test]
fn differences_reach_into_maps_lists_and_sets() {
    let reply = |author| V::M(map([("author", s(author)), ("likes", V::N(Number::parse("1").unwrap()))]));
    let before = map([
        ("content", s("a")),
        ("gone", V::Null),
        ("replies", V::L(vec![reply("x"), reply("y")])),
        ("tags", set(&["a", "b"])),
        ("type", s("5")),
    ]);
    let after = map([
        ("a name", V::Bool(true)),
        ("content", s("b")),
        ("replies", V::L(vec![reply("x"), reply("z"), reply("new")])),
        ("tags", set(&["b", "c"])),
        ("type", V::N(Number::parse("5").unwrap())),
    ]);
    let expected = [
        (r#"["a name"]"#, "added"),
        ("content", "changed"),
        ("gone", "removed"),
        ("replies[1].author", "changed"),
        ("replies[2]", "added"),
        ("tags", "member removed"),
        ("tags", "member added"),
        ("type", "changed"),
    ];
    assert_eq!(told(&before, &after), expected.map(|(path, operation)| (path.to_owned(), operation)));
    assert_eq!(told(&after, &after), []);
}

#[test]
fn blame_names_the_change_that_last_set_each_value() {
    let first = map([("kept", s("k")), ("m", V::M(map([("x", s("1")), ("y", s("1"))])))]);
    let second = map([("kept", s("k")), ("m", V::M(map([("x", s("2")), ("y", s("1"))])))]);
    let third = map([("kept", s("k")), ("m", V::M(map([("x", s("2")), ("y", s("1"))]))), ("new", V::L(vec![]))]);
    let none = Attributes::new();
    let of = |changes: &[(Attributes, Attributes)]| -> Vec<(String, Option<usize>, Option<V>)> {
        blame(changes).into_iter().map(|origin| (origin.path, origin.change, origin.before)).collect()
    };
    let whole = [(none.clone(), first.clone()), (first.clone(), second.clone()), (second.clone(), third.clone())];
    assert_eq!(
        of(&whole),
        [
            ("kept".to_owned(), Some(0), None),
            ("m.x".to_owned(), Some(1), Some(s("1"))),
            ("m.y".to_owned(), Some(0), None),
            ("new".to_owned(), Some(2), None),
        ]
    );
    let late = &whole[2..];
    assert_eq!(of(late).iter().map(|found| found.1).collect::<Vec<_>>(), [None, None, None, Some(0)]);
    assert_eq!(of(&[whole[0].clone(), (first.clone(), none.clone())]), [], "a removed item has no attributes");
    // Removed and made again: what was there before its removal is not what set the value.
    let again = [whole[0].clone(), (first.clone(), none.clone()), (none, first)];
    assert!(of(&again).iter().all(|found| found.1 == Some(2) && found.2.is_none()));
}

#[test]
fn hostile_values_are_shown_inert_and_short() {
    let hostile = "\u{1b}[2J\u{7}\u{9b}31m\u{202e}evil\u{2066}\u{200f}\r\n\u{7f}";
    for value in [
        s(hostile),
        set(&[hostile]),
        V::L(vec![s(hostile)]),
        V::M(map([(hostile, s(hostile))])),
        V::B(hostile.as_bytes().to_vec()),
    ] {
        let text = shown(&value, 1000);
        assert!(text.chars().all(|c| !c.is_control() && !('\u{200b}'..='\u{206f}').contains(&c)), "{text:?}");
    }
    assert_eq!(inert("plain é 漢字 🙂"), "plain é 漢字 🙂");
    let parsed: String = serde_json::from_str(&shown(&s(hostile), 1000)).unwrap();
    assert_eq!(parsed, hostile, "escaped as JSON escapes");
    let mut exported = Vec::new();
    let item = map([(hostile, V::L(vec![s(hostile), s("é 漢字 🙂")]))]);
    crate::output::write_plain_json(&item, &mut InertJson(&mut exported)).unwrap();
    let exported = String::from_utf8(exported).unwrap();
    assert_eq!(exported, inert(&exported), "nothing active is left");
    let parsed: serde_json::Value = serde_json::from_str(&exported).unwrap();
    assert_eq!(parsed, serde_json::json!({ hostile: [hostile, "é 漢字 🙂"] }));
    let lines = "two\r\nlines\twith \u{200c} and \u{200d}\n";
    assert_eq!(inert_lines(lines), lines);
    assert_eq!(inert_lines("a\rb\u{1b}[2J\u{202e}"), "a\\u000db\\u001b[2J\\u202e");
    let long = shown(&s(&"x".repeat(400_000)), 120);
    assert!(long.chars().count() < 150 && long.ends_with("… (400002 bytes)"), "{long}");
    let many = V::Ns(
        (0..10_000)
            .map(|n: i32| {
                let text = n.to_string();
                Number::parse(&text).unwrap()
            })
            .collect(),
    );
    assert!(shown(&many, 120).len() < 160);
    assert!(shown(&V::B(vec![0; 400_000]), 120).ends_with("… (400000 bytes)"));
    let deep = (0..31).fold(s("end"), |inner, _| V::L(vec![inner]));
    assert!(shown(&deep, 120).contains("end"));
    let path = told(&Attributes::new(), &map([("\u{1b}[0m", V::Null)]));
    assert_eq!(path[0].0, r#"["\u001b[0m"]"#);
}
