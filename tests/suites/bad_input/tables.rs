//! Live tables that are not what the journal knows: made again since, or with another key.

use journal::Kind;
use journal_tests::faulty_proxy::FaultyProxy;
use journal_tests::ministack::{MiniStack, environment};
use journal_tests::processes::{Program, journal, replay};
use serde_json::{Value, json};

use super::service::call;
use super::{assert_refused, content, filled_journal, new_journal};

/// Times that a follower looks, until it has seen the end of a stream.
const LOOKS_MAX: usize = 20;

/// A table with a stream; the key's attributes with their types, the partition key first.
fn make(port: u16, table: &str, key: &[(&str, &str)]) {
    let attributes = key.iter().map(|(name, kind)| json!({"AttributeName": name, "AttributeType": kind}));
    let roles = key.iter().zip(["HASH", "RANGE"]);
    let schema = roles.map(|((name, _), role)| json!({"AttributeName": name, "KeyType": role}));
    let body = json!({
        "TableName": table, "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": attributes.collect::<Vec<_>>(), "KeySchema": schema.collect::<Vec<_>>(),
        "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    });
    call(port, "CreateTable", &body);
}

fn put(port: u16, table: &str, item: &Value) {
    call(port, "PutItem", &json!({"TableName": table, "Item": item}));
}

fn note(id: &str, content: &str) -> Value {
    json!({"noteId": {"S": id}, "content": {"S": content}})
}

/// The items of a table, in one order.
fn scan(port: u16, table: &str) -> Vec<Value> {
    let mut items = call(port, "Scan", &json!({"TableName": table}))["Items"].as_array().unwrap().clone();
    items.sort_by_key(ToString::to_string);
    items
}

/// The sequence numbers of the journal's changes, oldest first.
fn sequences(url: &str, table: &str) -> Vec<String> {
    let log = replay().args(["log", "--journal", url, "--table", table, "--json"]).run().success();
    let lines = log.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut sequences: Vec<String> = lines.map(|line| line["sequence"].as_str().unwrap().to_owned()).collect();
    sequences.sort_by_key(|sequence| (sequence.len(), sequence.clone()));
    sequences
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_across_a_table_that_was_made_again() {
    let test = "tables::a_rewind_across_a_table_that_was_made_again";
    let Some(service) = MiniStack::start_or_skip(test) else { return };
    let port = service.port();
    let (folder, url) = new_journal();
    let follow = || {
        let follow = journal().args(["follow", "--once", "--journal", &url, "--table", "notes"]);
        let _ = follow.envs(service.environment()).run().success();
    };
    make(port, "notes", &[("noteId", "S")]);
    put(port, "notes", &note("1", "good"));
    put(port, "notes", &note("2", "good"));
    put(port, "notes", &note("2", "bad"));
    follow();
    let of_first = sequences(&url, "notes");
    assert_eq!(of_first.len(), 3);
    let then = scan(port, "notes");
    call(port, "DeleteTable", &json!({"TableName": "notes"}));
    make(port, "notes", &[("noteId", "S")]);
    put(port, "notes", &note("2", "of another table"));
    put(port, "notes", &note("2", "changed"));
    let ended = || content(folder.path()).into_keys().any(|path| path.ends_with("end.json"));
    for _ in 0..LOOKS_MAX {
        follow();
        if ended() && sequences(&url, "notes").len() == 5 {
            break;
        }
    }
    assert!(ended(), "the follower never saw the end of the first table");
    let all = sequences(&url, "notes");
    assert_eq!((all.len(), &all[..3]), (5, &of_first[..]));
    let now = scan(port, "notes");

    let rewind = |arguments: &[&str]| {
        let rewind = replay().args(["rewind", "--journal", &url, "--table", "notes"]).args(arguments);
        rewind.envs(service.environment()).run()
    };
    let (first, last) = (format!("sequence:{}", all[0]), format!("sequence:{}", all[4]));
    let (at, from) = (["--at-sequence", &all[2]], ["--between", &first, &last]);
    for (asked, cut) in [(&at[..], &all[2]), (&from[..], &all[0])] {
        for apply in [&[][..], &["--apply"]] {
            let refused = rewind(&[asked, apply].concat());
            let (_, restore) = refused.stderr.split_once("hint: ").unwrap_or_else(|| panic!("{}", refused.stderr));
            let restore = restore.split_once("replay ").expect("a command is told").1.trim().to_owned();
            let command = format!("restore --table notes --at-sequence {cut} --as notes-then");
            assert_eq!(restore, command);
            let says =
                ["notes", "was another table", "deleted", "made again", "nothing in the table of today to rewind"];
            assert_refused(refused, Kind::Invalid, &says);
            assert_eq!(scan(port, "notes"), now, "a rewind that is refused writes nothing");
        }
    }

    // The way out is one: a new table of that moment.
    let command = format!("restore --table notes --at-sequence {} --as notes-then", all[2]);
    let restore = replay().args(command.split(' ')).args(["--journal", &url]).env("XDG_STATE_HOME", folder.path());
    let _ = restore.envs(service.environment()).run().success();
    assert_eq!(scan(port, "notes-then"), then);

    // The table of today is rewound within its own life as ever.
    let undone = rewind(&["--at-sequence", &all[3], "--apply", "--json"]).success();
    let report: Value = serde_json::from_str(&undone.stdout).unwrap();
    assert_eq!(report["run"]["changed_back"], 1, "{report}");
    assert_eq!(scan(port, "notes"), [note("2", "of another table")]);
}

/// A table of the journal with its key as it is told, and a live table with its key.
type Case<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)]);

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_into_a_table_with_another_key() {
    let test = "tables::a_restore_into_a_table_with_another_key";
    let Some(service) = MiniStack::start_or_skip(test) else { return };
    let port = service.port();
    let proxy = FaultyProxy::start(port);
    let (_folder, ingested) = filled_journal();
    let (_other, url) = new_journal();
    // A key of two attributes, known with its roles from the table's own description.
    make(port, "replies", &[("noteId", "S"), ("at", "N")]);
    let reply = |content: &str| json!({"noteId": {"S": "1"}, "at": {"N": "2"}, "content": {"S": content}});
    put(port, "replies", &reply("first"));
    let baseline = journal().args(["baseline", "--journal", &url, "--table", "replies"]);
    let _ = baseline.envs(service.environment()).run().success();

    let restore = |url: &str, table: &str, into: &str, more: &[&str]| -> Program {
        let restore = replay().args(["restore", "--journal", url, "--table", table, "--at", "latest", "--into", into]);
        restore.args(more).envs(environment(&proxy.endpoint()))
    };
    let of_replies = "noteId (S), at (N)";
    let cases: [Case<'_>; 6] = [
        ("replies", of_replies, "other-names", &[("id", "S"), ("at", "N")]),
        ("replies", of_replies, "other-types", &[("noteId", "S"), ("at", "S")]),
        ("replies", of_replies, "no-sort-key", &[("noteId", "S")]),
        ("replies", of_replies, "other-roles", &[("at", "N"), ("noteId", "S")]),
        ("ripgrep", "path (S)", "other-name", &[("file", "S")]),
        ("ripgrep", "path (S)", "a-sort-key", &[("path", "S"), ("size", "N")]),
    ];
    for (table, expected, into, key) in cases {
        make(port, into, key);
        // An item that a restore would delete.
        let item: Value = key.iter().map(|(name, kind)| ((*name).to_owned(), json!({*kind: "7"}))).collect();
        put(port, into, &item);
        let found: Vec<String> = key.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
        let told = format!("table {into} has the key {}, the journal's has {expected}", found.join(", "));
        let url = if table == "ripgrep" { &ingested } else { &url };
        for apply in [&[][..], &["--apply"], &["--apply", "--only", "attribute_exists(content)"]] {
            let _ = proxy.take_all();
            assert_refused(restore(url, table, into, apply).run(), Kind::Invalid, &[&told, "--as NAME"]);
            let asked = proxy.take_all();
            let is_look = |target: Option<&str>| target.is_some_and(|target| target.ends_with(".DescribeTable"));
            assert!(!asked.is_empty() && asked.iter().all(|seen| is_look(seen.header("x-amz-target"))), "{asked:?}");
        }
        assert_eq!(scan(port, into), [item], "{into} is not touched");
    }
    let missing = restore(&url, "replies", "nowhere", &["--apply"]).run();
    assert_refused(missing, Kind::Invalid, &["there is no table nowhere", "--as nowhere"]);

    // With the same key it goes on.
    make(port, "same", &[("noteId", "S"), ("at", "N")]);
    let _ = restore(&url, "replies", "same", &["--apply"]).run().success();
    assert_eq!(scan(port, "same"), [reply("first")]);
}
