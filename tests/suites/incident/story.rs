//! The story itself, with both stacks.

use aws_sdk_lambda::primitives::Blob;
use journal_tests::cloudformation::{CloudFormation, template_for_ministack};
use journal_tests::processes::{journal, replay};
use serde_json::{Value, json};

use crate::cloud::{Cloud, package};

const TABLE: &str = "notes-table-prod";
const APP: &str = "quarantine-notes-prod";
const JOURNAL: &str = "journal";

/// The notes' service.
const NOTES: &str = r#"
AWSTemplateFormatVersion: "2010-09-09"
Resources:
  NotesTable:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: notes-table-prod
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: noteId, AttributeType: S}]
      KeySchema: [{AttributeName: noteId, KeyType: HASH}]
      StreamSpecification: {StreamViewType: NEW_AND_OLD_IMAGES}
"#;

/// Another service, which its author deployed under the same name.
const OTHER: &str = r#"
AWSTemplateFormatVersion: "2010-09-09"
Resources:
  Jobs:
    Type: AWS::SQS::Queue
    Properties: {QueueName: some-other-projects-jobs}
"#;

/// Both stacks on one MiniStack.
struct Story {
    cloud: Cloud,
    stacks: CloudFormation,
}

impl Story {
    /// The notes' stack, then the journal's, as its template has it.
    async fn begin(test: &str) -> Option<Self> {
        let cloud = Cloud::bare(test, "", &format!("{JOURNAL}-stream-trigger")).await?;
        let stacks = CloudFormation::at(cloud.ministack.port());
        assert_eq!(stacks.create(APP, NOTES, &[]).unwrap().status, "CREATE_COMPLETE");

        cloud.ministack.make_bucket("code", false).await;
        let s3 = cloud.ministack.s3().await;
        for name in ["stream-trigger", "scheduled-maintenance", "scheduled-verification"] {
            let body = package(&cloud.ministack, name);
            s3.put_object().bucket("code").key(format!("{name}.zip")).body(body.into()).send().await.unwrap();
        }
        let parameters = [
            ("BreakGlassRoleArn", "arn:aws:iam::000000000000:role/break-glass"),
            ("CodeBucket", "code"),
            ("Architecture", "x86_64"),
            ("BucketName", "the-journal"),
            ("GuardTables", "notes-table-*"),
        ];
        let made = stacks.create(JOURNAL, &template_for_ministack(), &parameters).unwrap();
        assert_eq!(made.status, "CREATE_COMPLETE", "{}", made.failures);
        stacks.protect(JOURNAL, true).unwrap();
        let cloud = Cloud { journal: "s3://the-journal/journal".to_owned(), ..cloud };
        Some(Self { cloud, stacks })
    }

    /// Invokes one of the stack's functions as a rule would.
    async fn invoke(&self, function: &str, event: &Value) -> Value {
        let invoked = self
            .cloud
            .functions
            .invoke()
            .function_name(format!("{JOURNAL}-{function}"))
            .payload(Blob::new(event.to_string()))
            .send()
            .await
            .unwrap();
        let answer = String::from_utf8(invoked.payload.unwrap().into_inner()).unwrap();
        assert_eq!(invoked.function_error, None, "{answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// The guard, as the schedule runs it. What it says of the notes' table.
    async fn guard(&self) -> Value {
        self.invoke("guard", &json!({"task": "guard"})).await["tables"][0].clone()
    }

    /// The guard, as a rule on the audit trail runs it.
    async fn called(&self, call: &str, id: &str) -> Value {
        let event = json!({
            "source": "aws.dynamodb", "detail-type": "AWS API Call via CloudTrail",
            "detail": {
                "eventSource": "dynamodb.amazonaws.com", "eventName": call, "eventID": id,
                "userAgent": "cloudformation.amazonaws.com",
                "userIdentity": {"arn": "arn:aws:iam::000000000000:user/the-author"},
                "requestParameters": {"tableName": TABLE},
            }
        });
        self.invoke("guard", &event).await["tables"][0].clone()
    }

    fn codes(guarded: &Value, level: &str) -> Vec<String> {
        let findings = guarded["findings"].as_array().unwrap().iter();
        let codes =
            findings.filter(|finding| finding["level"] == level).map(|finding| finding["code"].as_str().unwrap());
        codes.map(str::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_deletes_the_notes_and_one_restore_brings_them_back() {
    let Some(story) = Story::begin("a_deploy_deletes_the_notes_and_one_restore_brings_them_back").await else { return };
    let cloud = &story.cloud;

    // The table that lives is bound by the call that made it.
    let bound = story.called("CreateTable", "call-1").await;
    assert!(bound["repairs"][0].as_str().unwrap().contains("make the mapping"), "{bound}");
    assert_eq!(Story::codes(&bound, "alarm"), Vec::<String>::new(), "{bound}");

    cloud.write_notes(TABLE, 0..60).await;
    cloud.reply(TABLE, 0..40).await;
    cloud.reply(TABLE, 10..20).await;
    cloud.delete_notes(TABLE, 55..60).await;
    cloud.wait_for_records(TABLE, 115).await;
    let guarded = story.guard().await;
    assert_eq!(Story::codes(&guarded, "alarm"), Vec::<String>::new(), "{guarded}");
    assert_eq!(guarded["read"]["appended"]["records"], 0, "the function had it all: {guarded}");
    // The last change before the deploy, which no guard sees in time.
    cloud.write_notes(TABLE, 60..61).await;
    let truth = cloud.items(TABLE).await;
    assert_eq!(truth.len(), 56);
    let moment = now();
    // A deploy takes longer than this; here the table would be made again within the second that is asked for.
    while now() == moment {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }

    // The bad deploy: another service under the same stack name. CloudFormation deletes the table.
    assert_eq!(story.stacks.update(APP, OTHER, &[]).unwrap().status, "UPDATE_COMPLETE");
    assert!(cloud.tables.describe_table().table_name(TABLE).send().await.is_err(), "the table is gone");
    // The right service again: an empty table of the same name.
    assert_eq!(story.stacks.update(APP, NOTES, &[]).unwrap().status, "UPDATE_COMPLETE");
    assert!(cloud.items(TABLE).await.is_empty());

    // The guard drains the dead stream, ends its timeline, and binds the new stream.
    let deleted = story.called("DeleteTable", "call-2").await;
    assert_eq!(Story::codes(&deleted, "alarm"), ["table-deleted"], "{deleted}");
    assert!(deleted["repairs"][0].as_str().unwrap().contains("make the mapping"), "{deleted}");
    assert_eq!(deleted["read"]["timelines_ended"], 1, "{deleted}");
    let calm = story.called("CreateTable", "call-3").await;
    assert_eq!(Story::codes(&calm, "alarm"), Vec::<String>::new(), "{calm}");

    // One command.
    let restored = cloud
        .run(replay().args(["restore", "--table", TABLE, "--at", &moment, "--as", "notes-restored", "--json"]))
        .await
        .success();
    let report: Value = serde_json::from_str(&restored.stdout).unwrap();
    assert_eq!(report["items"], 56, "{report}");
    assert_eq!(cloud.items("notes-restored").await, truth);
    assert_eq!(digest(&truth), report["digest"].as_str().unwrap(), "{report}");
    let verified = story.invoke("verification", &json!({"task": "verify"})).await;
    let verdicts: Vec<_> = verified["reports"].as_array().unwrap().iter().map(|report| &report["verdict"]).collect();
    assert_eq!(verdicts, ["sound", "sound"], "{verified}");

    // Later writes to the new table are journalled too, in a timeline that began with it.
    cloud.write_notes(TABLE, 100..110).await;
    cloud.reply(TABLE, 100..105).await;
    cloud.wait_for_records(TABLE, 15).await;
    let later = story.guard().await;
    assert_eq!(Story::codes(&later, "alarm"), Vec::<String>::new(), "{later}");
    assert_eq!(cloud.replayed(TABLE, &["--at", "latest"]).await, cloud.items(TABLE).await);
    assert_eq!(cloud.replayed(TABLE, &["--at", &moment]).await, truth, "and the lost table's history stays");
    let _ = cloud.run(replay().args(["verify", "--table", TABLE])).await.success();

    let timelines = cloud.timelines(TABLE).await;
    assert_eq!(timelines.len(), 2);
    assert!(timelines[0]["end"].as_str().unwrap().contains("table deleted"), "{}", timelines[0]);
    let events = timelines[0]["events"].as_array().unwrap();
    let of = |kind: &str| events.iter().find(|event| event["kind"] == kind);
    assert!(of("table-deleted").is_some(), "{events:?}");
    let author = events.iter().find_map(|event| event["by"]["principal"].as_str());
    assert_eq!(author, Some("arn:aws:iam::000000000000:user/the-author"), "{events:?}");
    let status = cloud.run(journal().args(["status", "--table", TABLE])).await.success();
    assert!(status.stdout.contains("the-author"), "{}", status.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journals_stack_survives_attempts_to_delete_it() {
    let Some(story) = Story::begin("the_journals_stack_survives_attempts_to_delete_it").await else { return };
    let cloud = &story.cloud;
    let _ = story.called("CreateTable", "call-1").await;
    cloud.write_notes(TABLE, 0..10).await;
    cloud.wait_for_records(TABLE, 10).await;
    let truth = cloud.items(TABLE).await;

    // Termination protection holds, and the function goes on.
    assert!(story.stacks.delete(JOURNAL).is_err(), "termination protection refuses");
    cloud.reply(TABLE, 0..10).await;
    cloud.wait_for_records(TABLE, 20).await;
    let after = cloud.items(TABLE).await;
    assert_ne!(after, truth);
    let guarded = story.guard().await;
    assert_eq!(Story::codes(&guarded, "alarm"), Vec::<String>::new(), "{guarded}");

    // Somebody takes the protection away and deletes it all the same, and another service takes its name: what is journalled stays.
    story.stacks.protect(JOURNAL, false).unwrap();
    assert_eq!(story.stacks.update(JOURNAL, OTHER, &[]).unwrap().status, "UPDATE_COMPLETE");
    let _ = story.stacks.delete(JOURNAL).unwrap();
    assert_eq!(cloud.replayed(TABLE, &["--at", "latest"]).await, after);
    let _ = cloud.run(replay().args(["verify", "--table", TABLE])).await.success();
}

/// The current second.
fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs().to_string()
}

/// The state digest of items, computed here from the live table's own answer.
fn digest(items: &std::collections::BTreeMap<String, crate::cloud::Item>) -> String {
    use journal::model::{Image, ItemKey, KeyAttribute, KeyAttributes, KeyType};
    use replayer::digest::{ItemHash, StateDigest, to_plain};
    let names = KeyAttributes::new(vec![KeyAttribute { name: "noteId".to_owned(), key_type: KeyType::S }]).unwrap();
    let mut digest = StateDigest::default();
    for item in items.values() {
        let mut attributes = to_plain(&journal::source::sdk::item_from_sdk(item).unwrap());
        let key = attributes.remove_entry("noteId").into_iter().collect();
        let key = ItemKey::encode(&names, &key).unwrap();
        let image = Image::encode(&attributes).unwrap();
        digest.add(ItemHash::of_bytes(key.as_bytes(), image.as_bytes()));
    }
    digest.to_string()
}
