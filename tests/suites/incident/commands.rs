//! `journal protect`, `unprotect` and `guard` against MiniStack's tables, streams, functions and mappings.

use aws_sdk_dynamodb::types::StreamViewType;
use journal_tests::processes::journal;
use serde_json::Value;

use crate::cloud::Cloud;

const TABLE: &str = "notes-table-prod";

async fn mappings(cloud: &Cloud) -> Vec<(String, String)> {
    let listed = cloud.functions.list_event_source_mappings().function_name(&cloud.function).send().await.unwrap();
    let mapping = |found: &aws_sdk_lambda::types::EventSourceMappingConfiguration| {
        (found.uuid().unwrap().to_owned(), found.state().unwrap().to_owned())
    };
    listed.event_source_mappings().iter().map(mapping).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_table_is_protected_by_one_command_and_what_was_there_is_in_the_journal() {
    let test = "a_live_table_is_protected_by_one_command_and_what_was_there_is_in_the_journal";
    let Some(cloud) = Cloud::with_function(test).await else { return };
    cloud.make_table(TABLE, None).await;
    cloud.write_notes(TABLE, 0..20).await;

    let plan = cloud.run(journal().args(["protect", "notes-*", "--dry-run"])).await.success();
    for part in ["switch a stream on", "TRIM_HORIZON", "baseline"] {
        assert!(plan.stdout.contains(part), "{}", plan.stdout);
    }
    assert!(mappings(&cloud).await.is_empty());
    let described = cloud.tables.describe_table().table_name(TABLE).send().await.unwrap().table.unwrap();
    assert!(described.latest_stream_arn.is_none(), "a plan changes nothing");

    let done = cloud.run(journal().args(["protect", "notes-*"])).await.success();
    assert!(done.stdout.contains("20 items") && done.stdout.contains(", whole:"), "{}", done.stdout);
    let bound = mappings(&cloud).await;
    assert_eq!(bound.len(), 1);
    assert_eq!(bound[0].1, "Enabled");

    // From here on the function journals every change.
    cloud.write_notes(TABLE, 20..30).await;
    cloud.reply(TABLE, 5..10).await;
    cloud.wait_for_records(TABLE, 15).await;
    let guarded = cloud.run(journal().args(["guard", TABLE, "--json"])).await.success();
    let report: Value = serde_json::from_str(&guarded.stdout).unwrap();
    assert_eq!(report["tables"][0]["read"]["appended"]["records"], 0, "the function had it all: {report}");
    assert_eq!(cloud.replayed(TABLE, &["--at", "latest"]).await, cloud.items(TABLE).await);

    let again = cloud.run(journal().args(["protect", TABLE])).await.success();
    assert!(again.stdout.contains("nothing was to be done"), "{}", again.stdout);
    assert_eq!(mappings(&cloud).await, bound);

    let asked = cloud.run(journal().args(["unprotect", TABLE])).await.failure(2);
    assert!(asked.stdout.contains(&bound[0].0) && asked.stderr.contains("--yes"), "{}{}", asked.stdout, asked.stderr);
    assert_eq!(mappings(&cloud).await, bound);
    let _ = cloud.run(journal().args(["unprotect", TABLE, "--yes"])).await.success();
    assert!(mappings(&cloud).await.is_empty());
    assert_eq!(cloud.replayed(TABLE, &["--at", "latest"]).await.len(), 30, "the journal stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_another_view_type_gives_way_only_when_that_is_asked_for() {
    let test = "a_stream_with_another_view_type_gives_way_only_when_that_is_asked_for";
    let Some(cloud) = Cloud::with_function(test).await else { return };
    cloud.make_table(TABLE, Some(StreamViewType::NewImage)).await;
    cloud.write_notes(TABLE, 0..5).await;

    let refused = cloud.run(journal().args(["protect", TABLE])).await.failure(2);
    assert!(refused.stderr.contains("NEW_IMAGE") && refused.stderr.contains("--replace-stream"), "{}", refused.stderr);
    let found = cloud.run(journal().args(["guard", TABLE])).await.failure(5);
    assert!(found.stdout.contains("NOT PROTECTED") && found.stdout.contains("--replace-stream"), "{}", found.stdout);
    assert!(mappings(&cloud).await.is_empty());

    let done = cloud.run(journal().args(["protect", TABLE, "--replace-stream"])).await.success();
    assert!(done.stdout.contains("switch the stream off"), "{}", done.stdout);
    cloud.reply(TABLE, 0..5).await;
    cloud.wait_for_records(TABLE, 5).await;
    let _ = cloud.run(journal().args(["guard", TABLE])).await.success();
    assert_eq!(cloud.replayed(TABLE, &["--at", "latest"]).await, cloud.items(TABLE).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_function_never_got_the_guard_appends_and_it_binds_what_is_unbound() {
    let test = "what_the_function_never_got_the_guard_appends_and_it_binds_what_is_unbound";
    let Some(cloud) = Cloud::with_function(test).await else { return };
    cloud.make_table(TABLE, Some(StreamViewType::NewAndOldImages)).await;
    let _ = cloud.run(journal().args(["protect", TABLE])).await.success();
    let (id, _) = mappings(&cloud).await.remove(0);
    cloud.functions.update_event_source_mapping().uuid(&id).enabled(false).send().await.unwrap();
    cloud.write_notes(TABLE, 0..10).await;

    let looked = cloud.run(journal().args(["guard", TABLE, "--check"])).await.failure(5);
    assert!(looked.stdout.contains("it is disabled"), "{}", looked.stdout);
    assert_eq!(mappings(&cloud).await[0].1, "Disabled", "a check changes nothing");

    // The mapping stays off for as long as the guard reads, so that what is in the journal is the guard's own doing.
    let mended = cloud.run(journal().args(["guard", TABLE, "--json"])).await.success();
    let report: Value = serde_json::from_str(&mended.stdout).unwrap();
    let guarded = &report["tables"][0];
    assert!(guarded["repairs"][0].as_str().unwrap().contains("it is disabled"), "{report}");
    assert_eq!(mappings(&cloud).await[0].1, "Enabled");
    assert_eq!(cloud.replayed(TABLE, &["--at", "latest"]).await, cloud.items(TABLE).await);

    cloud.functions.delete_event_source_mapping().uuid(&id).send().await.unwrap();
    cloud.write_notes(TABLE, 10..15).await;
    let bound = cloud.run(journal().args(["guard", TABLE])).await.success();
    assert!(bound.stdout.contains("make the mapping"), "{}", bound.stdout);
    assert_eq!(cloud.replayed(TABLE, &["--at", "latest"]).await, cloud.items(TABLE).await);
    let _ = cloud.run(replay_verify()).await.success();

    let timelines = cloud.timelines(TABLE).await;
    let events: Vec<&str> =
        timelines[0]["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    for kind in ["table-created", "mapping-mended", "mapping-made"] {
        assert!(events.contains(&kind), "{events:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_command_is_said_before_anything_is_done() {
    let test = "what_is_wrong_with_the_command_is_said_before_anything_is_done";
    let Some(cloud) = Cloud::with_function(test).await else { return };
    for (arguments, says) in [
        (vec!["protect"], "no table is named"),
        (vec!["protect", "a/b"], "neither a table name"),
        (vec!["protect", "--tag", "prod"], "key=value"),
        (vec!["protect", "not-there"], "does not exist"),
        (vec!["guard", "a/b"], "neither a table name"),
        (vec!["guard", "not-there"], "not protected as they ought to be"),
    ] {
        let code = if arguments.contains(&"not-there") && arguments[0] == "guard" { 5 } else { 2 };
        let refused = cloud.run(journal().args(&arguments)).await.failure(code);
        assert!(refused.stderr.contains(says), "{arguments:?}: {}", refused.stderr);
    }
}

fn replay_verify() -> journal_tests::processes::Program {
    journal_tests::processes::replay().args(["verify", "--table", TABLE])
}
