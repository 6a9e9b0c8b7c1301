//! Restores that end while they set what a table has beside its items: the run goes on with that, and with nothing else.

use journal::Kind;
use journal_tests::faulty_proxy::Fault;
use serde_json::{Value, json};

use super::service::call;
use super::settings::{Answer as _, FILES, ITEMS, Scene, operation_of, report, told};

/// The run that a killed program left: nobody could print its name.
fn left_run(scene: &Scene) -> String {
    let runs = std::fs::read_dir(scene.folder.path().join("state/dynamodb-event-journal/restores")).unwrap();
    let runs: Vec<String> =
        runs.map(|run| run.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.into_iter().next().unwrap()
}

/// What the service says to who asks for what is so already, as AWS does and the emulator does not.
fn refused_as_so_already(operation: &str, body: &[u8]) -> Option<Fault> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = match operation {
        "UpdateTimeToLive" => "TimeToLive is already enabled",
        "UpdateTable" if body.get("StreamSpecification").is_some() => "Table already has an enabled stream",
        "UpdateTable" => "The table is so already",
        _ => return None,
    };
    let refusal = json!({"__type": "com.amazon.coral.validate#ValidationException", "message": message});
    Some(Fault::Answer(400, refusal.text()))
}

/// Killed right before each setting, and right after it and before its answer; in between an item goes, as time to live lets items
/// go. What is asked for again and is so already is refused, and that is no failure.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_killed_at_any_setting_is_completed_by_its_run_and_nothing_is_written_again() {
    let test = "settings_stops::a_restore_killed_at_any_setting_is_completed_by_its_run_and_nothing_is_written_again";
    let Some(scene) = Scene::new(test).await else { return };
    let before = told(scene.port(), FILES);
    let by_writes = ["TagResource", "UpdateContinuousBackups", "UpdateTimeToLive", "DeletionProtectionEnabled"];
    let steps = by_writes.into_iter().map(|step| (step, false));
    let steps = steps.chain(["StreamSpecification", "TableClass", "UpdateTimeToLive"].map(|step| (step, true)));
    let mut killed = 0;
    for ((step, imported), done) in steps.flat_map(|step| [(step, false), (step, true)]) {
        let what = format!("{step}, imported {imported}, done {done}");
        let target = format!("files-{killed}");
        scene.proxy.decide(move |seen| {
            let operation = operation_of(seen);
            let changes = || serde_json::from_slice::<Value>(&seen.body).is_ok_and(|body| body.get(step).is_some());
            (operation == step || operation == "UpdateTable" && changes()).then_some(Fault::Stall { done })
        });
        let running = scene.restore_as(FILES, &target, imported).start();
        killed += 1;
        scene.proxy.wait_for_stalls(killed);
        let _ = running.kill();

        let item = call(scene.port(), "Scan", &json!({"TableName": target, "Limit": 1}))["Items"][0].clone();
        let key = json!({"hash": item["hash"], "part": item["part"]});
        call(scene.port(), "DeleteItem", &json!({"TableName": target, "Key": key}));
        let made = scene.requests();
        let is_so = move |seen: &journal_tests::faulty_proxy::Seen| {
            let operation = operation_of(seen);
            let settled = made.iter().any(|(before, body)| {
                // The last request was stalled: it is so only where it was done.
                *before == operation && (done || made.last().is_none_or(|(_, last)| last != body)) && {
                    serde_json::from_slice::<Value>(&seen.body).is_ok_and(|asked| asked == *body)
                }
            });
            if settled { refused_as_so_already(&operation, &seen.body) } else { None }
        };
        scene.proxy.decide(is_so);
        let report = report(scene.restore(&["--resume", &left_run(&scene)]).run());
        assert_eq!((&report["proven"], &report["unset"]), (&json!(true), &json!([])), "{what}: {report}");
        assert_eq!(report["items"], ITEMS, "{what}");
        assert_eq!(told(scene.port(), &target), before, "{what}");
        let again: Vec<String> = scene.requests().into_iter().map(|(operation, _)| operation).collect();
        for never in ["BatchWriteItem", "Scan", "CreateTable", "ImportTable"] {
            assert!(!again.iter().any(|operation| operation == never), "{what}: {again:?}");
        }
        let count = call(scene.port(), "Scan", &json!({"TableName": target, "Select": "COUNT"}))["Count"].clone();
        assert_eq!(count, ITEMS - 1, "{what}");
        if imported {
            let left = scene.service.s3().await.list_objects_v2().bucket("imports").send().await.unwrap();
            assert!(left.contents().is_empty(), "{what}: the objects of an import are deleted");
        }
    }
}

/// A table that was made just now cannot have backups yet: who waits for that may be stopped, and goes on later.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_waits_to_set_something_stops_and_goes_on_with_the_command_it_printed() {
    let test = "settings_stops::a_restore_that_waits_to_set_something_stops_and_goes_on_with_the_command_it_printed";
    let Some(scene) = Scene::new(test).await else { return };
    let code = "com.amazonaws.dynamodb.v20120810#ContinuousBackupsUnavailableException";
    let message = "Backups are being enabled for the table";
    scene.answer("UpdateContinuousBackups", 400, json!({"__type": code, "message": message}));
    let running = scene.restore_as(FILES, "files-waiting", false).start();
    let _ = scene.proxy.wait_for("POST", |seen| operation_of(seen) == "UpdateContinuousBackups");
    let finished = running.interrupt().failure(i32::from(Kind::Interrupted.exit_code()));
    assert!(finished.stderr.contains("stopped while setting up table files-waiting"), "{}", finished.stderr);
    let printed = finished.stderr.lines().find_map(|line| line.strip_prefix("to continue: replay restore --resume "));
    let run = printed.unwrap_or_else(|| panic!("{}", finished.stderr)).to_owned();
    assert_eq!(
        told(scene.port(), "files-waiting")["table"].pointer("/Table/DeletionProtectionEnabled"),
        Some(&json!(false))
    );
    let _ = scene.requests();
    // The second answer is the service's own.
    let mut waited = false;
    let busy = json!({"__type": code, "message": message}).text();
    scene.proxy.decide(move |seen| {
        let first = operation_of(seen) == "UpdateContinuousBackups" && !std::mem::replace(&mut waited, true);
        first.then_some(Fault::Answer(400, busy))
    });
    let report = report(scene.restore(&["--resume", &run]).run());
    assert_eq!((&report["proven"], &report["unset"]), (&json!(true), &json!([])), "{report}");
    assert_eq!(told(scene.port(), "files-waiting"), told(scene.port(), FILES));
    let asked = scene.requests().into_iter().filter(|(operation, _)| operation == "UpdateContinuousBackups").count();
    assert_eq!(asked, 2);
}
