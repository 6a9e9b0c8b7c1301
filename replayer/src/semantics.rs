//! SEMANTICS.md names a test for each promise: here it is checked that they exist.

use std::collections::BTreeSet;
use std::path::Path;

const TEXT: &str = include_str!("../SEMANTICS.md");

/// All Rust sources below a folder, as one text.
fn sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_test_that_the_promises_name_exists() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut code = String::new();
    for folder in ["replayer/src", "journal/src", "tests/suites"] {
        sources(&top.join(folder), &mut code);
    }
    // A test's name is a sentence: three underscores at least. Everything else in backticks is a flag, a path or a word.
    let quoted: BTreeSet<&str> = TEXT.split('`').skip(1).step_by(2).collect();
    let is_name = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let tests: Vec<&str> =
        quoted.iter().copied().filter(|text| is_name(text) && text.matches('_').count() >= 3).collect();
    assert!(tests.len() > 30, "{tests:?}");
    for test in tests {
        assert!(code.contains(&format!("fn {test}(")), "SEMANTICS.md names {test}, and there is no such test");
    }
    for path in quoted.iter().filter(|text| Path::new(text).extension().is_some_and(|e| e == "rs" || e == "md")) {
        assert!(top.join(path).exists(), "SEMANTICS.md names {path}, and there is no such file");
    }
}
