//! The roles are enough and not too much: what the real binaries call, on every path they have, against what the deployed roles
//! say.

#[path = "roles/calls.rs"]
mod calls;
#[path = "roles/policy.rs"]
pub(crate) mod policy;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::types::{AttributeValue, StreamSpecification, Tag};
use journal::append::{Batch, append};
use journal::compact::{CompactOptions, compact_table};
use journal::interrupt::Interrupt;
use journal::model::{Second, StreamRecord, Timeline};
use journal::store::{S3Store, WriteStore};
use journal_tests::cloudformation::{CloudFormation, template_for_ministack};
use journal_tests::faulty_proxy::Fault;
use journal_tests::ministack::MiniStack;
use journal_tests::workload::{Change, Profile, Workload, key_attributes, stream};
use serde_json::{Value, json};

use self::calls::Recorded;
use self::policy::{Call, Statement, missing, statements};
use crate::deploy::{BREAK_GLASS, BUCKET, CODE, STACK, ministack_with_code, table};

const TABLE: &str = "notes-table-prod";
/// What Lambda itself does with a function's role: it reads the trigger's stream, keeps failed batches, and writes logs. No binary of
/// ours makes these calls, so no recording can show them.
const BY_LAMBDA: [&str; 4] = ["ListStreams", "KeepFailedBatches", "FindTheFailureBucket", "Log"];

/// A stack whose guard looks after tables with a tag.
async fn deployed(test: &str) -> Option<(MiniStack, CloudFormation)> {
    let (ministack, stacks) = ministack_with_code(test).await?;
    let parameters = [BREAK_GLASS, CODE, ("GuardTables", "tag:journal=on"), ("SnapshotMebibytes", "1")];
    let made = stacks.create(STACK, &template_for_ministack(), &parameters).unwrap();
    assert_eq!(made.status, "CREATE_COMPLETE", "{}", made.failures);
    Some((ministack, stacks))
}

async fn store(ministack: &MiniStack) -> Arc<dyn WriteStore> {
    let settings = ministack.settings().await;
    let location = format!("s3://{BUCKET}/journal");
    Arc::new(S3Store::open_write_with(&settings, &location, BUCKET, "journal").await.unwrap())
}

/// Compares a role with the calls that were recorded: each must be allowed, and every statement, action and resource used, but for
/// statements that are not the binary's own.
fn compare(statements: &[Statement], calls: &BTreeSet<Call>, not_ours: &[&str]) {
    let unallowed = missing(statements, calls);
    assert!(unallowed.is_empty(), "the role lacks {unallowed:#?}");
    let mut idle = String::new();
    for statement in statements.iter().filter(|statement| !not_ours.contains(&statement.sid())) {
        let sid = statement.sid();
        for action in statement.actions() {
            if !calls.iter().any(|call| call.action == action && statement.allows(call)) {
                writeln!(idle, "{sid}: {action} is never called").unwrap();
            }
        }
        for pattern in statement.resources() {
            if !calls.iter().any(|call| statement.allows_on(pattern, call)) {
                writeln!(idle, "{sid}: nothing is done to {pattern}").unwrap();
            }
        }
        // And the comparison can fail: without the statement something is missing.
        let others: Vec<_> = statements.iter().filter(|other| *other != statement).cloned().collect();
        if missing(&others, calls).is_empty() {
            writeln!(idle, "{sid}: nothing would be missing without it").unwrap();
        }
    }
    assert!(idle.is_empty(), "the role has too much:\n{idle}");
}

fn record(arn: &str, sequence: u32, broken: bool) -> Value {
    let mut record = json!({
        "eventID": format!("{sequence:032x}"), "eventName": "INSERT", "eventVersion": "1.1", "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1", "eventSourceARN": arn,
        "dynamodb": {
            "ApproximateCreationDateTime": 1_700_000_000, "SequenceNumber": format!("{sequence:021}"), "SizeBytes": 10,
            "StreamViewType": "NEW_AND_OLD_IMAGES", "Keys": {"noteId": {"S": format!("note-{sequence}")}},
            "NewImage": {"noteId": {"S": format!("note-{sequence}")}, "content": {"S": "text"}},
        },
    });
    if broken {
        record["dynamodb"]["Keys"] = json!({"noteId": {"Q": "?"}});
    }
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn the_triggers_role_allows_every_call_it_makes_and_none_that_it_never_makes() {
    let test = "the_triggers_role_allows_every_call_it_makes_and_none_that_it_never_makes";
    let Some((ministack, stacks)) = deployed(test).await else { return };
    let arn = table(&ministack, TABLE).await;
    let event = |records: Vec<Value>| json!({"Records": records}).to_string();
    // A new segment, and the table's description; the same again; a record of this timeline, and one of none, that cannot be
    // understood. Nothing lies in the bucket: the function makes the journal.
    let batch = event(vec![record(&arn, 1, false), record(&arn, 2, false)]);
    let mut trigger = Recorded::start(&ministack, "stream-trigger", "stream-trigger", &[]).await;
    for payload in [
        batch.clone(),
        batch,
        event(vec![record(&arn, 3, true)]),
        event(vec![record(&arn, 3, true)]),
        event(vec![record("no stream at all", 4, false)]),
        event(vec![record("no stream at all", 4, false)]),
    ] {
        let _ = trigger.invoke(&payload).await;
    }
    let statements = statements(&stacks, "StreamTriggerRole");
    let not_ours = [&BY_LAMBDA[..], &["ReadStreams"]].concat();
    compare(&statements, &trigger.calls(), &not_ours);
}

/// Puts notes into a table.
async fn write(ministack: &MiniStack, ids: &[&str]) {
    let tables = ministack.dynamodb().await;
    for id in ids {
        let request = tables.put_item().table_name(TABLE).item("noteId", AttributeValue::S((*id).to_owned()));
        request.send().await.unwrap();
    }
}

/// The next call of `operation` is answered so, and passed on from then on.
fn answer_once(guard: &Recorded, operation: &'static str, status: u16, body: &'static str) {
    let mut done = false;
    guard.proxy.decide(move |seen| {
        let is_it = seen.header("x-amz-target").is_some_and(|target| target.ends_with(operation));
        (is_it && !std::mem::replace(&mut done, true)).then_some(Fault::Answer(status, body))
    });
}

/// A record of nothing, from a shard that goes on.
const NOT_UNDERSTOOD: &str = r#"{"Records":[{"eventID":"1","eventName":"INSERT","dynamodb":{}}],
    "NextShardIterator":"none of this service's"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn guards_role_allows_every_call_it_makes_and_none_that_it_never_makes() {
    let test = "guards_role_allows_every_call_it_makes_and_none_that_it_never_makes";
    let Some((ministack, stacks)) = deployed(test).await else { return };
    let arn = table(&ministack, TABLE).await;
    let tables = ministack.dynamodb().await;
    let (owner, _) = arn.split_once("/stream/").unwrap();
    let tag = Tag::builder().key("journal").value("on").build().unwrap();
    tables.tag_resource().resource_arn(owner).tags(tag).send().await.unwrap();
    let mut guard = Recorded::start(&ministack, "guard", "scheduled-maintenance", &[]).await;
    let task = json!({"task": "guard"});
    let store = store(&ministack).await;
    let timeline = journal::model::StreamArn::parse(&arn).unwrap().timeline().clone();
    let has = async |folder: &str| {
        let folder = format!("{}{folder}", journal::layout::timeline_folder(&timeline));
        !store.list_all(&folder).await.unwrap().is_empty()
    };

    // The table is new: guard makes the journal, binds the stream, and appends what the function, which does nothing here, did not.
    write(&ministack, &["a", "b"]).await;
    let first = guard.invoke(&task).await;
    assert!(first["tables"][0]["repairs"][0].as_str().unwrap().contains("make the mapping"), "{first}");
    assert_eq!(first["tables"][0]["read"]["appended"]["records"], 2, "{first}");
    // Somebody disables the mapping, and an audit trail tells of a call.
    let lambda = aws_sdk_lambda::Client::new(&ministack.settings().await);
    let mappings = lambda.list_event_source_mappings().send().await.unwrap().event_source_mappings.unwrap();
    let id = mappings[0].uuid().unwrap();
    lambda.update_event_source_mapping().uuid(id).enabled(false).send().await.unwrap();
    let call = json!({"source": "aws.dynamodb", "detail-type": "AWS API Call via CloudTrail", "detail": {
        "eventSource": "dynamodb.amazonaws.com", "eventName": "UpdateTable", "eventID": "call-1",
        "requestParameters": {"tableName": TABLE}}});
    let called = guard.invoke(&call).await;
    assert!(called["tables"][0]["repairs"][0].as_str().unwrap().contains("disabled"), "{called}");
    // A record comes that cannot be understood.
    write(&ministack, &["c"]).await;
    answer_once(&guard, "GetRecords", 200, NOT_UNDERSTOOD);
    let _ = guard.invoke(&task).await;
    assert!(has("quarantine/").await, "nothing is in quarantine");
    // The stream is switched off: it is drained, the time that nobody knows is a gap, and the timeline has its end.
    write(&ministack, &["d"]).await;
    let off = StreamSpecification::builder().stream_enabled(false).build().unwrap();
    tables.update_table().table_name(TABLE).stream_specification(off).send().await.unwrap();
    let last = guard.invoke(&task).await;
    assert_eq!(last["tables"][0]["read"]["timelines_ended"], 1, "{last}");
    assert!(has("gaps/").await && has("end.json").await, "{last}");
    // And the table goes.
    tables.delete_table().table_name(TABLE).send().await.unwrap();
    let _ = guard.invoke(&task).await;
    compare(&statements(&stacks, "GuardRole"), &guard.calls(), &["Log"]);
}

/// 1 April 2020.
const APRIL: u64 = 1_585_699_200;

/// A journal with a month that was compacted an hour ago, for nothing younger goes into a snapshot, and with the next month as its batches
/// left it.
async fn seed(store: &dyn WriteStore) -> Timeline {
    store.put_new(journal::layout::JOURNAL_DOCUMENT, journal_document()).await.unwrap();
    let changes: Vec<Change> = Workload::new(Profile::w1().over_days(18_000, 13)).take(18_000).collect();
    let (march, april): (Vec<Change>, Vec<Change>) = changes.into_iter().partition(|change| change.second() < APRIL);
    let folder = tempfile::tempdir().unwrap();
    let aside = journal::store::open_write(&journal::store::file_url(folder.path()).unwrap()).await.unwrap();
    append_all(&*aside, &march).await;
    let hour_ago = SystemTime::now() - Duration::from_hours(1);
    let timeline = stream().unwrap().timeline().clone();
    for object in aside.list_all(&journal::layout::segments_folder(&timeline)).await.unwrap() {
        let file = File::options().write(true).open(folder.path().join(object.key)).unwrap();
        file.set_modified(hour_ago).unwrap();
    }
    let now = Second::new(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let (options, never) = (CompactOptions::default(), Interrupt::never());
    compact_table(Arc::clone(&aside), &timeline.table, now, &options, &never, |_| {}).await.unwrap();
    let compacted = format!("{}3/", journal::layout::segments_folder(&timeline));
    for object in aside.list_all(&compacted).await.unwrap() {
        store.put_new(&object.key, aside.get(&object.key).await.unwrap()).await.unwrap();
    }
    append_all(store, &april).await;
    timeline
}

async fn append_all(store: &dyn WriteStore, changes: &[Change]) {
    let stream = stream().unwrap();
    for batch in changes.chunks(500) {
        let record = |change: &Change| StreamRecord {
            stream: stream.clone(),
            key_attributes: key_attributes().unwrap(),
            record: change.record().unwrap(),
        };
        let records = batch.iter().map(record).collect();
        append(store, Batch { records, quarantined: Vec::new() }).await.unwrap();
    }
}

fn journal_document() -> bytes::Bytes {
    bytes::Bytes::from(serde_json::to_vec(&journal::documents::JournalDocument::current()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roles_of_compaction_and_verification_allow_every_call_they_make_and_none_that_they_never_make() {
    let test = "the_roles_of_compaction_and_verification_allow_every_call_they_make_and_none_that_they_never_make";
    let Some((ministack, stacks)) = deployed(test).await else { return };
    let mut compaction =
        Recorded::start(&ministack, "compaction", "scheduled-maintenance", &[("JOURNAL_GRACE_HOURS", "0")]).await;
    let mut verification = Recorded::start(&ministack, "verification", "scheduled-verification", &[]).await;
    let (upkeep, verify) = (json!({"task": "upkeep"}), json!({"task": "verify"}));

    // Nothing lies there yet, and neither may make a journal.
    assert_eq!(compaction.invoke(&upkeep).await, json!({"finished": true}));
    assert_eq!(verification.invoke(&verify).await["reports"], json!([]));

    let store = store(&ministack).await;
    let timeline = seed(&*store).await;
    let first = compaction.invoke(&upkeep).await;
    assert!(first["compact"]["outputs"].as_u64() > Some(0), "{first}");
    let folds = first["snapshot"]["snapshots"].as_array().unwrap();
    assert!(!folds.is_empty(), "{first}");
    // A fold that was stopped after its first part, long ago by a grace of nothing.
    let folder = format!("{}snapshots/", journal::layout::timeline_folder(&timeline));
    let part = store
        .list_all(&folder)
        .await
        .unwrap()
        .into_iter()
        .find(|object| std::path::Path::new(&object.key).extension().is_some_and(|extension| extension == "run"))
        .unwrap();
    let name = part.key.trim_start_matches(&folder).split('/').next().unwrap();
    let dead = part.key.replace(name, &format!("{name}0"));
    store.put_new(&dead, store.get(&part.key).await.unwrap()).await.unwrap();
    // What was merged goes with the next runs, until nothing is due.
    let mut reports = Vec::new();
    let mut deleted = 0;
    for run in 0.. {
        let report = compaction.invoke(&upkeep).await;
        assert_eq!(report["finished"], true, "{report}");
        deleted += report["snapshot"]["deleted"].as_u64().unwrap();
        if report["compact"]["inputs"] == 0 && report["compact"]["deletes"] == 0 {
            break;
        }
        assert!(run < 10, "it has no end: {report}");
        reports.push(report);
    }
    assert!(
        deleted >= 1 && store.get(&dead).await.is_err(),
        "{dead}, which a dead fold left, is there still: {reports:#?}"
    );
    let verified = verification.invoke(&verify).await;
    assert_eq!(verified["reports"][0]["verdict"], "sound", "{verified}");

    compare(&statements(&stacks, "CompactionRole"), &compaction.calls(), &["Log"]);
    compare(&statements(&stacks, "VerificationRole"), &verification.calls(), &["Log"]);
}

/// A journal that lost its document is none to pass over: whoever finds one fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_without_its_document_is_not_taken_for_one_that_is_yet_to_be() {
    let test = "a_journal_without_its_document_is_not_taken_for_one_that_is_yet_to_be";
    let Some((ministack, _stacks)) = deployed(test).await else { return };
    let store = store(&ministack).await;
    let timeline = seed(&*store).await;
    store.delete(journal::layout::JOURNAL_DOCUMENT).await.unwrap();
    assert!(!store.list_all(&journal::layout::segments_folder(&timeline)).await.unwrap().is_empty());
    for (function, name, event) in [
        ("compaction", "scheduled-maintenance", json!({"task": "upkeep"})),
        ("verification", "scheduled-verification", json!({"task": "verify"})),
    ] {
        let mut running = Recorded::start(&ministack, function, name, &[]).await;
        let (_, message) = running.api.invoke(event.to_string()).await.failure();
        assert!(message.contains("journal"), "{message}");
    }
}
