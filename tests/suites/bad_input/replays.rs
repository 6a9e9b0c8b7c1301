//! What is to be replayed, and where to.

use journal::Kind;
use journal::embedded::{EmbeddedDynamoDb, dynamodb_client, environment};
use journal_tests::processes::{Finished, Program, replay};

use super::{TABLE, assert_refused, content, filled_journal};

fn export(url: &str, arguments: &[&str]) -> Finished {
    let finished = replay().args(["export", "--journal", url, "--table", TABLE]).args(arguments).run();
    assert!(finished.stdout.is_empty(), "a refusal prints no result: {}", finished.stdout);
    finished
}

#[test]
fn a_time_in_the_future() {
    let (_folder, url) = filled_journal();
    for time in ["2199-01-01T00:00:00Z", "7226582400"] {
        assert_refused(export(&url, &["--at", time]), Kind::Invalid, &["2199-01-01", "future", "--at latest"]);
    }
}

#[test]
fn a_time_that_is_none() {
    let (_folder, url) = filled_journal();
    for time in ["teatime", "2020-13-01T00:00:00Z", ""] {
        assert_refused(export(&url, &["--at", time]), Kind::Invalid, &["time", "10 minutes ago"]);
    }
    assert_refused(export(&url, &["--at", "2020-03-29T10:00:00"]), Kind::Invalid, &["no zone", "2020-03-29T10:00:00Z"]);
    assert_refused(export(&url, &["--at", "10 minutes"]), Kind::Invalid, &["10 minutes ago"]);
    assert_refused(export(&url, &["--at-sequence", "12a"]), Kind::Invalid, &["12a", "sequence number"]);
}

#[test]
fn no_cut_or_two() {
    let (_folder, url) = filled_journal();
    assert_refused(export(&url, &[]), Kind::Invalid, &["--at", "--before", "--at-sequence"]);
    let two = export(&url, &["--at", "latest", "--before", "latest"]);
    assert!(two.failure(2).stderr.contains("--before"));
}

#[test]
fn a_cut_outside_coverage_is_told_the_intervals() {
    let (_folder, url) = filled_journal();
    // The history begins at 2016-02-27T16:07:26Z.
    for arguments in [["--at", "2016-02-27T16:07:25Z"], ["--at", "1990-01-01T00:00:00Z"]] {
        assert_refused(export(&url, &arguments), Kind::Gap, &[TABLE, "2016-02-27T16:07:26Z", "--allow-partial"]);
    }
}

#[test]
fn a_table_that_the_journal_does_not_have() {
    let (_folder, url) = filled_journal();
    for command in [["export", "--at"], ["restore", "--at"]] {
        let [command, flag] = command;
        let mut program = replay().args([command, "--journal", &url, "--table", "no-such-table", flag, "latest"]);
        if command == "restore" {
            program = program.args(["--as", "notes-restored"]);
        }
        let finished = super::without_service(program).run();
        assert_refused(finished, Kind::Invalid, &["no-such-table", TABLE]);
    }
}

#[test]
fn a_run_that_nobody_knows() {
    let (folder, url) = filled_journal();
    for command in ["restore", "rewind"] {
        let resume = replay().args([command, "--journal", &url, "--resume", "20200101t000000z-abcd"]);
        let finished = super::without_service(resume).env("XDG_STATE_HOME", folder.path()).run();
        assert_refused(finished, Kind::Invalid, &["20200101t000000z-abcd"]);
    }
}

#[test]
fn a_key_of_the_wrong_type() {
    let (_folder, url) = filled_journal();
    let show = |key: &str| replay().args(["show", "--journal", &url, "--table", TABLE, "--at", "latest", "--key", key]);
    let refused = |key: &str, says: &[&str]| assert_refused(show(key).run(), Kind::Invalid, says);
    refused(r#"{"path":{"N":"12"}}"#, &["\"path\"", "N", "S"]);
    refused(r#"{"file":{"S":"README.md"}}"#, &["file", "path (S)"]);
    refused("file=README.md", &["file", "path (S)"]);
    refused(r#"{"path":{"S":"README.md"},"size":{"N":"1"}}"#, &["size", "path (S)"]);
    refused(r#"{"path":{"M":{}}}"#, &["path"]);
    refused("{", &["key"]);
    // The right type finds it.
    let found = show(r#"{"path":{"S":"README.md"}}"#).run().success();
    assert!(found.stdout.contains("README.md"), "{}", found.stdout);
}

#[test]
fn a_condition_that_is_none() {
    let (_folder, url) = filled_journal();
    for condition in ["size >", "size = ", "attribute_exists(", "§"] {
        assert_refused(export(&url, &["--at", "latest", "--where", condition]), Kind::Invalid, &[condition]);
    }
}

#[test]
fn a_file_that_exists_is_not_overwritten() {
    let (folder, url) = filled_journal();
    let file = folder.path().join("export.json");
    std::fs::write(&file, "mine").unwrap();
    let to = ["--at", "latest", "--output", file.to_str().unwrap()];
    assert_refused(export(&url, &to), Kind::Conflict, &["export.json", "--force"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    let _ = export(&url, &[&to[..], &["--force"]].concat()).success();
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 237);
}

#[test]
fn standard_output_that_is_full() {
    let (_folder, url) = filled_journal();
    let export = replay().args(["export", "--journal", &url, "--table", TABLE, "--at", "latest"]);
    let finished = export.inside(&["sh", "-c", "exec \"$@\" >/dev/full", "sh"]).run();
    assert_refused(finished, Kind::Unavailable, &["standard output"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_table_that_exists() {
    let data = tempfile::tempdir().unwrap();
    let service = EmbeddedDynamoDb::start(data.path(), None).await.unwrap();
    let client = dynamodb_client(service.endpoint());
    let (folder, url) = filled_journal();
    let run_file = folder.path().join("run.json");
    let restore = || {
        let restore = replay().args(["restore", "--journal", &url, "--table", TABLE, "--at", "1492035263"]);
        let restore = restore.args(["--as", "taken", "--run-file"]).arg(&run_file);
        restore.envs(environment(service.endpoint()))
    };
    let run = |program: Program| async { tokio::task::spawn_blocking(move || program.run()).await.unwrap() };
    let _ = run(restore()).await.success();
    let count = || async { client.scan().table_name("taken").send().await.unwrap().items().len() };
    assert_eq!(count().await, 104);
    // Somebody changed it since: it is theirs now.
    let key = aws_sdk_dynamodb::types::AttributeValue::S("mine".to_owned());
    client.put_item().table_name("taken").item("path", key).send().await.unwrap();
    assert_refused(run(restore()).await, Kind::Conflict, &["taken", "--as"]);
    assert_eq!(count().await, 105, "a target that exists is not touched");
}

#[test]
fn a_damaged_segment_is_named_and_nothing_is_exported() {
    let (folder, url) = filled_journal();
    let segments: Vec<_> =
        content(folder.path()).into_iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "seg")).collect();
    let (path, mut bytes) = segments.into_iter().next().unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let file = folder.path().join("export.json");
    let to = ["--at", "latest", "--output", file.to_str().unwrap()];
    assert_refused(export(&url, &to), Kind::Corrupt, &[&name]);
    assert!(!file.exists(), "a file appears when it is whole");
    let verify = replay().args(["verify", "--journal", &url]).run();
    assert_eq!(verify.code(), Some(4), "{}{}", verify.stdout, verify.stderr);
    assert!(format!("{}{}", verify.stdout, verify.stderr).contains(&name), "{}{}", verify.stdout, verify.stderr);
}
