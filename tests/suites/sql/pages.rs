//! `replay tables`, `replay schema`, completions and man pages.

use std::collections::{BTreeMap, BTreeSet};

use journal_tests::processes::{journal, replay};
use serde_json::Value;

use crate::{Folder, TABLE, compacted, plain, told};

#[test]
fn tables_say_what_is_in_the_journal() {
    let folder = plain();
    let text = folder.replay(&["tables"]).run().success().stdout;
    assert!(text.starts_with(TABLE) && text.contains("key path (S)") && text.contains("covered 2020-03-21T"), "{text}");
    let json: Value = serde_json::from_str(&folder.replay(&["tables", "--json"]).run().success().stdout).unwrap();
    assert_eq!(json[0]["table"], TABLE);
    assert_eq!(json[0]["timelines"][0]["segments"], folder.segments().len());
    let empty = Folder::empty();
    let run = empty.replay(&["tables"]).run().success();
    assert!(run.stdout.is_empty() && run.stderr.contains("no table yet"), "{}", run.stderr);
}

/// The paths that a value of `DynamoDB` JSON has, down to so many levels; the fixture's names are words.
fn paths(path: &str, value: &Value, levels: usize, found: &mut BTreeSet<String>) {
    found.insert(path.to_owned());
    let Some(levels) = levels.checked_sub(1) else { return };
    for (name, value) in value["M"].as_object().into_iter().flatten() {
        paths(&format!("{path}.{name}"), value, levels, found);
    }
    for value in value["L"].as_array().into_iter().flatten() {
        paths(&format!("{path}[]"), value, levels, found);
    }
}

#[test]
fn the_schema_counts_what_a_plain_scan_counts() {
    let mut versions = 0u64;
    let mut expected: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
    for line in told::lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let stream = &record["dynamodb"];
        let second = stream["ApproximateCreationDateTime"].as_u64().unwrap();
        let Some(image) = stream["NewImage"].as_object() else { continue };
        versions += 1;
        let mut names: BTreeSet<String> = BTreeSet::new();
        for (name, value) in image.iter().filter(|(name, _)| *name != "path") {
            paths(name, value, 3, &mut names);
        }
        for name in names {
            let (count, first, last) = expected.entry(name.clone()).or_insert((0, second, second));
            (*count, *first, *last) = (*count + 1, second.min(*first), second.max(*last));
        }
    }
    for folder in [plain(), compacted()] {
        let output = folder.replay(&["schema", "--table", TABLE, "--json"]).run().success().stdout;
        let found: Value = serde_json::from_str(&output).unwrap();
        assert_eq!((found["key"].as_str(), found["versions"].as_u64()), (Some("path (S)"), Some(versions)));
        let attributes = found["attributes"].as_array().unwrap();
        assert_eq!(attributes.len(), expected.len());
        let export = folder.replay(&["export", "--table", TABLE, "--at", "latest", "--format", "json"]).run().success();
        let items: Vec<Value> = export.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(found["items"], items.len());
        for attribute in attributes {
            let name = attribute["name"].as_str().unwrap();
            let (count, first, last) = expected[name];
            assert_eq!(attribute["versions"], count, "{name}");
            let time = |second: u64| journal::model::Second::new(second).unwrap().to_rfc3339();
            assert_eq!((&attribute["first"], &attribute["last"]), (&time(first).into(), &time(last).into()), "{name}");
            if !name.contains(['.', '[']) {
                let having = items.iter().filter(|item| item.get(name).is_some()).count();
                assert_eq!(attribute["items"], having, "{name}");
            }
        }
        let text = folder.replay(&["schema", "--table", TABLE]).run().success().stdout;
        assert!(text.contains("100.0 %") && text.lines().count() == expected.len() + 2, "{text}");
    }
    assert!(expected.contains_key("parents[]") && expected.keys().any(|name| name.starts_with("where.")));
    let flat = plain().replay(&["schema", "--table", TABLE, "--depth", "0"]).run().success().stdout;
    assert!(flat.contains("parents") && !flat.contains("parents["), "{flat}");
    let unknown = plain().replay(&["schema", "--table", "nobody"]).run().failure(2);
    assert!(unknown.stderr.contains("has no table nobody"), "{}", unknown.stderr);
}

#[test]
fn completions_and_man_pages_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for (name, command) in [("journal", "baseline"), ("replay", "log")] {
        let program = || if name == "journal" { journal() } else { replay() };
        for shell in ["bash", "zsh", "fish"] {
            let script = program().args(["completions", shell]).run().success().stdout;
            assert!(script.contains(command) && script.contains(name), "{name} {shell}");
        }
        let _ = program().args(["completions", "nonsense"]).run().failure(2);
        let pages = folder.path().join("man");
        let _ = program().arg("man").arg(&pages).run().success();
        let page = std::fs::read_to_string(pages.join(format!("{name}-{command}.1"))).unwrap();
        assert!(page.contains("Examples:") && page.contains(".TH"), "{page}");
        assert!(pages.join(format!("{name}.1")).is_file());
        // A folder that cannot be made is named.
        let file = folder.path().join(format!("{name}-file"));
        std::fs::write(&file, "x").unwrap();
        let refused = program().arg("man").arg(file.join("man")).run().failure(2);
        assert!(refused.stderr.contains("cannot write man page"), "{}", refused.stderr);
    }
}
