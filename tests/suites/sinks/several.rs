//! Several tables at one cut: to new tables and to a folder, in one run that goes on.

use journal::Kind;
use journal_tests::ministack::{MiniStack, environment};
use journal_tests::processes::{Program, replay};
use serde_json::{Value, json};

use super::table::{History, TABLE};
use super::throttle::Throttle;
use super::{check, readers, report};

const OTHER: &str = "users-table-dev";

/// Two tables in one journal; the other one begins an hour later.
async fn histories() -> (History, History) {
    let notes = History::new(31, 600, 30_000).await;
    let users = notes.beside(OTHER, 3600, 300, 3_000).await;
    (notes, users)
}

fn restore(notes: &History, arguments: &[&str]) -> Program {
    replay().args(["restore", "--journal", &notes.url]).args(arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tables_of_a_second_go_to_files_of_a_folder() {
    let Some(python) = readers("several::all_tables_of_a_second_go_to_files_of_a_folder") else { return };
    let (notes, users) = histories().await;
    let second = users.seconds.start() + 200;
    let folder = notes.folder.path().join("backup");
    let folder = folder.to_str().unwrap();
    let at = second.to_string();
    let arguments = ["--all", "--at", &at, "--output", folder, "--format", "sqlite", "--json"];
    let done = report(restore(&notes, &arguments));
    for (at, (table, history)) in [(TABLE, &notes), (OTHER, &users)].into_iter().enumerate() {
        let one = &done["tables"][at];
        assert_eq!((&one["table"], &one["proven"]), (&json!(table), &json!(true)), "{done}");
        assert_eq!(one["digest"], history.at(second).1.to_string());
        let file = one["file"].as_str().unwrap();
        check(&python, &["sqlite", file, history.reference(second).to_str().unwrap()]);
    }
    let refused = restore(&notes, &arguments).run().failure(i32::from(Kind::Conflict.exit_code()));
    assert!(refused.stderr.contains("exists"), "{}", refused.stderr);

    // Before the other table there was: it is left out where all are asked for, and refused where it is named.
    let early = (users.seconds.start() - 100).to_string();
    let other = notes.folder.path().join("early");
    let other = other.to_str().unwrap();
    let done = report(restore(&notes, &["--all", "--at", &early, "--output", other, "--json"]));
    assert_eq!(done["tables"].as_array().unwrap().len(), 1, "{done}");
    let both = ["--table", TABLE, "--table", OTHER, "--at", &early, "--output", other, "--force"];
    let refused = restore(&notes, &both).run().failure(i32::from(Kind::Gap.exit_code()));
    assert!(refused.stderr.contains(OTHER) && refused.stderr.contains("did not exist"), "{}", refused.stderr);
    let sequence = ["--table", TABLE, "--table", OTHER, "--at-sequence", "5", "--output", other];
    let refused = restore(&notes, &sequence).run().failure(i32::from(Kind::Invalid.exit_code()));
    assert!(refused.stderr.contains("--before"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_tables_at_one_cut_are_one_run_that_goes_on_where_it_was_stopped() {
    let test = "several::several_tables_at_one_cut_are_one_run_that_goes_on_where_it_was_stopped";
    let (Some(python), Some(service)) = (readers(test), MiniStack::start_or_skip(test)) else { return };
    let (notes, users) = histories().await;
    let second = users.seconds.end() - 20;
    let at = second.to_string();
    let state = notes.folder.path().join("state");
    let to = ["--as-suffix=-restored", "--partition-key", "noteId", "--at", &at];
    let both = ["--table", TABLE, "--table", OTHER];
    let arguments = [&both[..], &to, &["--json"]].concat();
    // Nothing is made before all of it can be: one name is taken.
    let client = service.dynamodb().await;
    let taken = report(
        restore(
            &notes,
            &["--as", &format!("{OTHER}={OTHER}-restored"), "--partition-key", "noteId", "--at", &at, "--json"],
        )
        .envs(service.environment()),
    );
    assert_eq!(taken["proven"], true);
    let refused = restore(&notes, &arguments).envs(service.environment()).env("XDG_STATE_HOME", &state).run();
    let refused = refused.failure(i32::from(Kind::Conflict.exit_code()));
    assert!(refused.stderr.contains(&format!("{OTHER}-restored")), "{}", refused.stderr);
    assert_eq!(client.list_tables().send().await.unwrap().table_names(), [format!("{OTHER}-restored")]);
    client.delete_table().table_name(format!("{OTHER}-restored")).send().await.unwrap();

    let planned = restore(&notes, &[&arguments[..], &["--plan"]].concat()).envs(service.environment());
    let planned = report(planned);
    let (one, two) = (notes.at(second).0.len(), users.at(second).0.len());
    assert_eq!(
        (&planned["total"]["items"], &planned["tables"][1]["survey"]["items"]),
        (&json!(one + two), &json!(two))
    );
    assert!(client.list_tables().send().await.unwrap().table_names().is_empty());

    let proxy = Throttle::start(service.port(), 200.0);
    let running =
        restore(&notes, &arguments).envs(environment(&proxy.endpoint())).env("XDG_STATE_HOME", &state).start();
    // The first table is proven before the second is begun.
    while proxy.counts().taken < u64::try_from(one).unwrap() + 30 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let finished = running.interrupt().failure(i32::from(Kind::Interrupted.exit_code()));
    let line = finished.stderr.lines().find_map(|line| line.strip_prefix("to continue: replay restore --resume "));
    let name = line.unwrap_or_else(|| panic!("{}", finished.stderr)).to_owned();
    let resume = replay().args(["restore", "--json", "--resume", &name]).envs(service.environment());
    let done: Value = report(resume.env("XDG_STATE_HOME", &state));
    for (at, (table, history)) in [(TABLE, &notes), (OTHER, &users)].into_iter().enumerate() {
        let target = format!("{table}-restored");
        let one = &done["tables"][at];
        assert_eq!((&one["table"], &one["proven"]), (&json!(target), &json!(true)), "{done}");
        assert_eq!(one["digest"], history.at(second).1.to_string());
        check(&python, &["table", &service.endpoint(), history.reference(second).to_str().unwrap(), &target]);
    }
}
