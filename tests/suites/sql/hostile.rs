//! An item that wants to take the terminal over.

use std::fmt::Write as _;

use journal_tests::processes::journal;
use serde_json::{Value, json};

use crate::Folder;

/// Escape sequences, control characters, marks that turn text around or hide it.
const ACTIVE: &str = "\u{1b}[31m\u{1b}]0;owned\u{7}\r\n\u{8}\u{9b}2J\u{202e}txet\u{2066}\u{200f}\u{feff}\u{0}";

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!({ "S": ACTIVE }), |inner, _| json!({ "M": { ACTIVE: inner } }))
}

/// Two records of one item: it appears, and everything in it changes.
fn journal_of_hostile_items() -> Folder {
    let folder = Folder::empty();
    let members: Vec<String> = (0..10_000).map(|number| format!("m{number:05}")).collect();
    let long = format!("{ACTIVE}{}", "long ".repeat(48_000));
    let item = |turn: &str| {
        json!({
            "noteId": { "S": format!("id{ACTIVE}") },
            "content": { "S": format!("{turn}{long}") },
            ACTIVE: { "S": turn },
            "deep": nested(if turn == "one" { 31 } else { 30 }),
            "set": { "SS": if turn == "one" { &members[..] } else { &members[1..] } },
            "author": { "S": format!("{turn}{ACTIVE}") },
            "bytes": { "B": "GxsbGw==" },
        })
    };
    let record = |number: u64, name: &str, old: Option<Value>, new: Value| {
        let mut stream = json!({
            "ApproximateCreationDateTime": 1_700_000_000 + number,
            "Keys": { "noteId": new["noteId"] },
            "SequenceNumber": format!("{}", 100_000_000_000_000_000_000u128 + u128::from(number)),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
            "NewImage": new,
        });
        if let Some(old) = old {
            stream["OldImage"] = old;
        }
        json!({
            "eventID": number.to_string(), "eventVersion": "1.1", "eventName": name, "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1", "dynamodb": stream,
            "eventSourceARN": "arn:aws:dynamodb:us-east-1:000000000000:table/notes/stream/2020-03-29T00:00:00.000",
        })
    };
    let mut text = String::new();
    let _ = writeln!(text, "{}", record(1, "INSERT", None, item("one")));
    let _ = writeln!(text, "{}", record(2, "MODIFY", Some(item("one")), item("two")));
    let file = folder.folder.path().join("records.jsonl");
    std::fs::write(&file, text).unwrap();
    let _ = journal().args(["ingest", "--journal", &folder.url]).arg(&file).run().success();
    folder
}

fn is_inert(text: &str) -> bool {
    text.chars().all(|character| {
        character == '\n'
            || !(character.is_control()
                || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'))
    })
}

#[test]
fn a_hostile_item_is_shown_inert_and_cut_with_a_note_in_every_output() {
    let folder = journal_of_hostile_items();
    let all = "SELECT *, json_get(new, 'content') AS content FROM changes";
    let state = "SELECT *, json_get(item, 'author') AS author FROM state_at('notes', 'latest')";
    let key = json!({ "noteId": { "S": format!("id{ACTIVE}") } }).to_string();
    // Arguments, and whether long values are cut.
    let outputs: Vec<(Vec<&str>, bool)> = vec![
        (vec!["sql", all], true),
        (vec!["sql", state], true),
        (vec!["sql", "--actor-attribute", "author", all], true),
        (vec!["sql", "--format", "csv", "--width", "50", all], true),
        (vec!["sql", "--format", "json", "--width", "50", all], true),
        (vec!["sql", "--format", "csv", all], false),
        (vec!["sql", "--format", "json", all], false),
        (vec!["sql", "--format", "json", state], false),
        (vec!["log", "--table", "notes", "--color", "never"], true),
        (vec!["log", "--table", "notes", "--oneline"], false),
        (vec!["log", "--table", "notes", "--stat", "--actor-attribute", "author"], false),
        (vec!["log", "--table", "notes", "--json"], false),
        (vec!["log", "--table", "notes", "--key", &key], true),
        (vec!["blame", "--table", "notes", "--key", &key], true),
        (vec!["blame", "--table", "notes", "--key", &key, "--json"], false),
        (vec!["diff", "--table", "notes", "--from", "1700000001", "--to", "1700000002"], true),
        (vec!["diff", "--table", "notes", "--from", "1700000001", "--to", "1700000002", "--json"], false),
        (vec!["diff", "--table", "notes", "--from", "1700000001", "--to", "1700000002", "--key", &key], true),
        (vec!["log", "--table", "notes", "--reverse", "--width", "40"], true),
        (vec!["show", "--table", "notes", "--at", "latest", "--key", &key], false),
        (vec!["show", "--table", "notes", "--at", "latest", "--key", &key, "--format", "dynamodb-json"], false),
        (vec!["show", "--table", "notes", "--at", "latest", "--key", &key, "--format", "csv"], false),
        (vec!["export", "--table", "notes", "--at", "latest", "--format", "json"], false),
        (vec!["export", "--table", "notes", "--at", "latest", "--format", "dynamodb-json"], false),
        (vec!["export", "--table", "notes", "--at", "latest", "--format", "csv"], false),
        (vec!["schema", "--table", "notes"], true),
        (vec!["schema", "--table", "notes", "--json"], false),
    ];
    for (arguments, is_cut) in outputs {
        let run = folder.replay(&arguments).run();
        assert!(matches!(run.code(), Some(0 | 1)), "{arguments:?}: {}", run.stderr);
        assert!(run.stdout.contains("\\u202e"), "{arguments:?} does not show the item");
        let mut text = format!("{}{}", run.stdout, run.stderr);
        // A text of several lines is one in CSV too.
        if arguments[0] != "sql" && arguments.contains(&"csv") {
            text = text.replace("\r\n", "\n");
        }
        let at = text.char_indices().find(|(at, character)| !is_inert(&text[*at..*at + character.len_utf8()]));
        assert!(at.is_none(), "{arguments:?}: {:?}", at.map(|(at, _)| &text[at..text.len().min(at + 40)]));
        assert_eq!(run.stdout.contains(" bytes)"), is_cut, "{arguments:?}");
        if is_cut {
            assert!(run.stdout.len() < 60_000, "{arguments:?} prints {} bytes", run.stdout.len());
        }
    }
}

#[test]
fn json_is_whole_and_says_the_same_as_the_item() {
    let folder = journal_of_hostile_items();
    let run = folder.sql(&["--format", "json", "SELECT new, old FROM changes ORDER BY sequence"]).success();
    let rows: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows[0]["old"], Value::Null);
    assert_eq!(rows[1]["old"], rows[0]["new"]);
    assert_eq!(rows[1]["new"][ACTIVE], "two");
    assert_eq!(rows[0]["new"]["set"].as_array().unwrap().len(), 10_000);
    assert!(rows[0]["new"]["content"].as_str().unwrap().starts_with(&format!("one{ACTIVE}long")));
}
