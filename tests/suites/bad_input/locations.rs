//! Where the journal lies.

use journal::Kind;
use journal_tests::ministack::MiniStack;
use journal_tests::processes::{Program, journal, replay};

use super::{assert_refused, content, filled_journal, history, new_journal, url, without_service};

/// Every command that needs a journal which is there.
fn commands() -> Vec<Program> {
    let history = history();
    let history = history.to_str().unwrap();
    let journal = [
        vec!["ingest", history],
        vec!["follow", "--table", "notes"],
        vec!["baseline", "--table", "notes"],
        vec!["status"],
    ];
    let replay = [
        vec!["export", "--table", "notes", "--at", "latest"],
        vec!["show", "--table", "notes", "--at", "latest", "--key", "a"],
        vec!["restore", "--table", "notes", "--at", "latest", "--as", "notes-restored"],
        vec!["verify"],
    ];
    let journal = journal.into_iter().map(|arguments| self::journal().args(arguments));
    let replay = replay.into_iter().map(|arguments| self::replay().args(arguments));
    journal.chain(replay).map(without_service).collect()
}

#[test]
fn no_location_at_all() {
    for command in commands().into_iter().chain([journal().arg("init")]) {
        assert_refused(command.run(), Kind::Invalid, &["no journal location", "--journal", "JOURNAL_URL"]);
    }
}

#[test]
fn a_location_that_does_not_exist() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    for command in commands() {
        let command = command.env("JOURNAL_URL", url(&missing));
        assert_refused(command.run(), Kind::Invalid, &["missing", "does not exist", "journal init"]);
    }
    assert!(!missing.exists(), "nothing may be made there");
}

#[test]
fn a_location_of_no_known_sort() {
    for location in ["gs://bucket/prefix", "relative/path", "file://host/path", "s3://"] {
        for command in commands().into_iter().chain([without_service(journal().arg("init"))]) {
            let command = command.env("JOURNAL_URL", location);
            assert_refused(command.run(), Kind::Invalid, &[location, "file:///path", "s3://bucket/prefix"]);
        }
    }
}

#[test]
fn a_file_where_the_folder_should_be() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    for command in commands().into_iter().chain([journal().arg("init")]) {
        assert_refused(command.env("JOURNAL_URL", url(&file)).run(), Kind::Invalid, &["file", "not a folder"]);
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_folder_that_is_not_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("holiday.jpg"), "mine").unwrap();
    for command in commands() {
        let command = command.env("JOURNAL_URL", url(folder.path()));
        assert_refused(command.run(), Kind::Invalid, &["is not a journal", "journal.json", "journal init"]);
    }
    // And it is not made one.
    let init = journal().arg("init").env("JOURNAL_URL", url(folder.path())).run();
    assert_refused(init, Kind::Invalid, &["holiday.jpg"]);
    assert_eq!(content(folder.path()).len(), 1);
}

#[test]
fn a_journal_of_another_major_version() {
    let (folder, url) = filled_journal();
    let document = folder.path().join("journal/journal.json");
    std::fs::write(&document, r#"{"format": "dynamodb-event-journal", "major": 2}"#).unwrap();
    let before = content(folder.path());
    for command in commands().into_iter().chain([journal().arg("init")]) {
        let says = [url.as_str(), "format version 2", "reads version 1", "release"];
        assert_refused(command.env("JOURNAL_URL", &url).run(), Kind::Unsupported, &says);
    }
    assert!(content(folder.path()) == before, "a journal of another version is not touched");
}

#[test]
fn a_journal_document_that_is_damaged() {
    let (folder, url) = new_journal();
    std::fs::write(folder.path().join("journal/journal.json"), r#"{"format": "dynam"#).unwrap();
    for command in commands() {
        assert_refused(command.env("JOURNAL_URL", &url).run(), Kind::Corrupt, &["journal.json", "version"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_missing_or_keeps_no_versions() {
    let test = "locations::a_bucket_that_is_missing_or_keeps_no_versions";
    let Some(ministack) = MiniStack::start_or_skip(test) else { return };
    ministack.make_bucket("plain-bucket", false).await;
    let ingest = |bucket: &str| {
        let location = format!("s3://{bucket}/prefix");
        journal().args(["ingest", "--journal", &location]).arg(history()).envs(ministack.environment()).run()
    };
    let init = |bucket: &str| {
        let location = format!("s3://{bucket}/prefix");
        journal().args(["init", "--journal", &location]).envs(ministack.environment()).run()
    };
    for finished in [ingest("missing-bucket"), init("missing-bucket")] {
        assert_refused(finished, Kind::Invalid, &["missing-bucket", "does not exist", "versioning"]);
    }
    for finished in [ingest("plain-bucket"), init("plain-bucket")] {
        assert_refused(finished, Kind::Invalid, &["plain-bucket", "no versioning", "put-bucket-versioning"]);
    }
}
