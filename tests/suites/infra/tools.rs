//! The checkers that the test command installs, and the claims that need nothing but them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The variable that names cfn-guard.
const GUARD: &str = "JOURNAL_TEST_CFN_GUARD";
/// The variable that names the folder with `cfn-lint` and `sam`.
const LINT: &str = "JOURNAL_TEST_CLOUDFORMATION";
/// AWS's limit for a template that is sent in the request itself.
const TEMPLATE_BYTES_MAX: usize = 51_200;

/// A file of `infra/`.
pub(crate) fn infra(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra").join(name)
}

/// Its text.
pub(crate) fn text(name: &str) -> String {
    std::fs::read_to_string(infra(name)).unwrap()
}

fn installed(variable: &str, test: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    if found.is_none() {
        journal_tests::skip(test, &format!("{variable} is not set; tests/run installs the tool"));
    }
    found
}

/// The folder with `cfn-lint` and `sam`.
pub(crate) fn linters(test: &str) -> Option<PathBuf> {
    installed(LINT, test)
}

/// Runs our rules against every template of a folder: which rules each of them breaks, by the file's name.
pub(crate) fn guard(test: &str, rules: &str, folder: &Path) -> Option<BTreeMap<String, BTreeSet<String>>> {
    let program = installed(GUARD, test)?;
    let mut command = Command::new(program);
    command.args(["validate", "--show-summary", "all", "--rules"]).arg(infra(rules)).arg("--data").arg(folder);
    let output = command.output().unwrap();
    let printed = printed(&output);
    // 0 passed, 19 a rule failed; anything else is an error of ours in the rules or the template.
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 19)), "cfn-guard ended with {code:?}:\n{printed}");
    let mut found = BTreeMap::new();
    let mut file = String::new();
    for line in printed.lines() {
        if let Some((path, _)) = line.split_once(" Status = ") {
            file = Path::new(path).file_name().unwrap().to_string_lossy().into_owned();
            found.insert(file.clone(), BTreeSet::new());
        } else if let Some((rule, end)) = line.split_once(' ')
            && end.trim() == "FAIL"
            && let Some((_, rule)) = rule.split_once(".guard/")
        {
            found.get_mut(&file).unwrap().insert(rule.to_owned());
        }
    }
    Some(found)
}

fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// One of the two, where there is no network.
fn tool(test: &str, name: &str, arguments: &[&str], paths: &[PathBuf]) -> Option<Output> {
    let folder = installed(LINT, test)?;
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(folder.join(name));
    command.args(arguments).args(paths).env("HOME", home.path()).env("SAM_CLI_TELEMETRY", "0");
    command.env("AWS_DEFAULT_REGION", "us-east-1").env("NO_PROXY", "*").env("HTTPS_PROXY", "http://127.0.0.1:9");
    Some(command.output().unwrap())
}

#[test]
fn cfn_lint_has_no_warnings_for_any_template() {
    let templates = ["template.yaml", "backup-account.yaml", "samples/sam.yaml"].map(infra);
    let test = "cfn_lint_has_no_warnings_for_any_template";
    let Some(output) = tool(test, "cfn-lint", &[], &templates) else { return };
    assert!(output.status.success() && output.stdout.is_empty(), "{}", printed(&output));
}

#[test]
fn sam_validates_every_template_offline() {
    for template in ["template.yaml", "backup-account.yaml", "samples/sam.yaml"] {
        let test = "sam_validates_every_template_offline";
        let Some(output) = tool(test, "sam", &["validate", "--lint", "--template-file"], &[infra(template)]) else {
            return;
        };
        assert!(output.status.success(), "{template}: {}", printed(&output));
    }
}

#[test]
fn cfn_lint_does_find_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("template.yaml");
    std::fs::write(&path, text("template.yaml").replace("StorageClass: GLACIER_IR", "StorageClass: GLACIER_FAST"))
        .unwrap();
    let test = "cfn_lint_does_find_what_is_wrong";
    let Some(output) = tool(test, "cfn-lint", &[], &[path]) else { return };
    assert!(!output.status.success() && printed(&output).contains("GLACIER_FAST"), "{}", printed(&output));
}

#[test]
fn the_template_can_be_sent_in_the_request_itself() {
    let bytes = text("template.yaml").len();
    assert!(bytes <= TEMPLATE_BYTES_MAX, "{bytes} bytes, and CloudFormation takes {TEMPLATE_BYTES_MAX}");
}
