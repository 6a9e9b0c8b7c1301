//! The stack, made by MiniStack's CloudFormation, and what is left when somebody deletes it.

use std::io::Write as _;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, StreamSpecification,
    StreamViewType,
};
use aws_sdk_s3::primitives::ByteStream;
use journal_tests::cloudformation::{CloudFormation, template_for_ministack};
use journal_tests::ministack::MiniStack;

use crate::tools::text;

pub(crate) const STACK: &str = "journal";
pub(crate) const BUCKET: &str = "journal-000000000000-us-east-1";
pub(crate) const BREAK_GLASS: (&str, &str) = ("BreakGlassRoleArn", "arn:aws:iam::000000000000:role/break-glass");
pub(crate) const CODE: (&str, &str) = ("CodeBucket", "code");

/// A zip of one stored file named `bootstrap`, executable.
fn stub_zip() -> Vec<u8> {
    let body = b"#!/bin/sh\nexec sleep 3600\n";
    let name = b"bootstrap";
    let (crc, size) = (crc32fast::hash(body).to_le_bytes(), u32::try_from(body.len()).unwrap().to_le_bytes());
    let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
    common.extend(crc);
    common.extend(size);
    common.extend(size);
    common.extend([9, 0, 0, 0]);
    let mut zip = Vec::new();
    zip.write_all(b"PK\x03\x04").unwrap();
    zip.extend(&common);
    zip.extend(name);
    zip.extend(body);
    let directory = u32::try_from(zip.len()).unwrap();
    zip.extend(b"PK\x01\x02\x14\x03");
    zip.extend(&common);
    zip.extend([0; 6]);
    zip.extend((0o100_755_u32 << 16).to_le_bytes());
    zip.extend([0; 4]);
    zip.extend(name);
    let length = u32::try_from(zip.len()).unwrap() - directory;
    zip.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    zip.extend(length.to_le_bytes());
    zip.extend(directory.to_le_bytes());
    zip.extend([0, 0]);
    zip
}

pub(crate) async fn ministack_with_code(test: &str) -> Option<(MiniStack, CloudFormation)> {
    let ministack = MiniStack::start_or_skip(test)?;
    ministack.make_bucket(CODE.1, false).await;
    for name in ["stream-trigger.zip", "scheduled-maintenance.zip", "scheduled-verification.zip"] {
        let body = ByteStream::from(stub_zip());
        ministack.s3().await.put_object().bucket(CODE.1).key(name).body(body).send().await.unwrap();
    }
    let stacks = CloudFormation::at(ministack.port());
    Some((ministack, stacks))
}

/// Makes a table with a stream of both images, and gives the stream's ARN.
pub(crate) async fn table(ministack: &MiniStack, name: &str) -> String {
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewAndOldImages);
    let made = ministack
        .dynamodb()
        .await
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .key_schema(KeySchemaElement::builder().attribute_name("noteId").key_type(KeyType::Hash).build().unwrap())
        .attribute_definitions(
            AttributeDefinition::builder()
                .attribute_name("noteId")
                .attribute_type(ScalarAttributeType::S)
                .build()
                .unwrap(),
        )
        .stream_specification(stream.build().unwrap())
        .send()
        .await
        .unwrap();
    made.table_description.unwrap().latest_stream_arn.unwrap()
}

#[tokio::test]
async fn a_stack_binds_every_stream_of_its_list_and_no_other() {
    let test = "a_stack_binds_every_stream_of_its_list_and_no_other";
    let Some((ministack, stacks)) = ministack_with_code(test).await else { return };
    let first = table(&ministack, "notes-table-prod").await;
    let second = table(&ministack, "other.table_2").await;
    let third = table(&ministack, "third").await;
    let both = format!("{first},{second}");
    let made = stacks.create(STACK, &template_for_ministack(), &[BREAK_GLASS, CODE, ("StreamArns", &both)]).unwrap();
    assert_eq!(made.status, "CREATE_COMPLETE", "{}", made.failures);

    let lambda = aws_sdk_lambda::Client::new(&ministack.settings().await);
    let listed = async || {
        let answer = lambda.list_event_source_mappings().send().await.unwrap();
        let mut mappings = answer.event_source_mappings.unwrap();
        mappings.sort_by(|one, other| one.event_source_arn.cmp(&other.event_source_arn));
        mappings
    };
    let mappings = listed().await;
    let bound: Vec<_> = mappings.iter().map(|mapping| mapping.event_source_arn().unwrap().to_owned()).collect();
    assert_eq!(bound, [first.clone(), second]);
    let failures = format!("arn:aws:s3:::{BUCKET}-failures");
    for mapping in &mappings {
        assert_eq!(mapping.starting_position().unwrap().as_str(), "TRIM_HORIZON");
        assert_eq!(mapping.maximum_retry_attempts(), Some(-1));
        assert_eq!(mapping.maximum_record_age_in_seconds(), Some(-1));
        assert_eq!(mapping.bisect_batch_on_function_error(), Some(false));
        let on_failure = mapping.destination_config().and_then(|config| config.on_failure());
        assert_eq!(on_failure.and_then(|on_failure| on_failure.destination()), Some(failures.as_str()));
    }

    // A stream that goes and one that comes: the first table's mapping stays the one it was.
    let kept = mappings[0].uuid().unwrap().to_owned();
    let other = format!("{first},{third}");
    let updated =
        stacks.update(STACK, &template_for_ministack(), &[BREAK_GLASS, CODE, ("StreamArns", &other)]).unwrap();
    assert_eq!(updated.status, "UPDATE_COMPLETE", "{}", updated.failures);
    let mappings = listed().await;
    let bound: Vec<_> = mappings.iter().map(|mapping| mapping.event_source_arn().unwrap().to_owned()).collect();
    assert_eq!(bound, [first, third]);
    assert_eq!(mappings[0].uuid(), Some(kept.as_str()));
    assert_eq!(stacks.output(STACK, "JournalUrl").as_deref(), Some("s3://journal-000000000000-us-east-1/journal"));
}

#[tokio::test]
async fn the_journal_outlives_every_attempt_to_delete_its_stack() {
    let test = "the_journal_outlives_every_attempt_to_delete_its_stack";
    let Some((ministack, stacks)) = ministack_with_code(test).await else { return };
    let template = template_for_ministack();
    // Without a stream, and with the key of its own: the other conditions.
    let parameters = [BREAK_GLASS, CODE, ("Encryption", "SSE-KMS"), ("AlarmEmail", "night@example.com")];
    let made = stacks.create(STACK, &template, &parameters).unwrap();
    assert_eq!(made.status, "CREATE_COMPLETE", "{}", made.failures);
    let mappings: Vec<_> = stacks.resources(STACK).into_iter().filter(|(id, _)| id.starts_with("Mapping")).collect();
    assert!(mappings.is_empty(), "{mappings:?}");
    stacks.call("SetStackPolicy", &[("StackName", STACK), ("StackPolicyBody", &text("stack-policy.json"))]).unwrap();
    stacks.protect(STACK, true).unwrap();
    let s3 = ministack.s3().await;
    let key = "journal/notes/label/segments/0/2026-11-22/name.seg";
    s3.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(b"segment")).send().await.unwrap();

    let refused = stacks.delete(STACK).unwrap_err();
    assert!(refused.contains("TerminationProtection"), "{refused}");
    let status = stacks.call("DescribeStacks", &[("StackName", STACK)]).unwrap();
    assert!(status.contains("CREATE_COMPLETE"), "{status}");

    // Someone lifts the protection and deletes: functions and alarms go, what they wrote stays, versioned as before.
    stacks.protect(STACK, false).unwrap();
    let deleted = stacks.delete(STACK).unwrap();
    assert!(deleted.status == "GONE" || deleted.status == "DELETE_COMPLETE", "{deleted:?}");
    let lambda = aws_sdk_lambda::Client::new(&ministack.settings().await);
    assert!(lambda.list_functions().send().await.unwrap().functions().is_empty());
    let kept = s3.get_object().bucket(BUCKET).key(key).send().await.unwrap();
    assert_eq!(&kept.body.collect().await.unwrap().into_bytes()[..], b"segment");
    let versioning = s3.get_bucket_versioning().bucket(BUCKET).send().await.unwrap();
    assert_eq!(versioning.status().unwrap().as_str(), "Enabled");
    let policy = s3.get_bucket_policy().bucket(BUCKET).send().await.unwrap();
    assert!(policy.policy().unwrap().contains("OnlyBreakGlassDeletesVersions"));
    s3.head_bucket().bucket(format!("{BUCKET}-failures")).send().await.unwrap();
}

#[tokio::test]
async fn another_template_under_the_stacks_name_takes_no_data_along() {
    let test = "another_template_under_the_stacks_name_takes_no_data_along";
    let Some((ministack, stacks)) = ministack_with_code(test).await else { return };
    let made = stacks.create(STACK, &template_for_ministack(), &[BREAK_GLASS, CODE]).unwrap();
    assert_eq!(made.status, "CREATE_COMPLETE", "{}", made.failures);
    let s3 = ministack.s3().await;
    s3.put_object()
        .bucket(BUCKET)
        .key("journal/journal.json")
        .body(ByteStream::from_static(b"{}"))
        .send()
        .await
        .unwrap();
    let other = "Resources:\n  Topic:\n    Type: AWS::SNS::Topic\n";
    let updated = stacks.update(STACK, other, &[]).unwrap();
    assert_eq!(updated.status, "UPDATE_COMPLETE", "{}", updated.failures);
    s3.head_object().bucket(BUCKET).key("journal/journal.json").send().await.unwrap();
}

#[tokio::test]
async fn the_backup_accounts_bucket_is_made_and_kept() {
    let Some((ministack, stacks)) = ministack_with_code("the_backup_accounts_bucket_is_made_and_kept").await else {
        return;
    };
    let parameters = [BREAK_GLASS, ("SourceAccountId", "111111111111")];
    let made = stacks.create("journal-backup", &text("backup-account.yaml"), &parameters).unwrap();
    assert_eq!(made.status, "CREATE_COMPLETE", "{}", made.failures);
    let arn = stacks.output("journal-backup", "BackupBucketArn").unwrap();
    let bucket = arn.strip_prefix("arn:aws:s3:::").unwrap().to_owned();
    let deleted = stacks.delete("journal-backup").unwrap();
    assert!(deleted.status == "GONE" || deleted.status == "DELETE_COMPLETE", "{deleted:?}");
    ministack.s3().await.head_bucket().bucket(&bucket).send().await.unwrap();

    // And the journal's stack replicates into it.
    let backup = [BREAK_GLASS, CODE, ("BackupBucketArn", &arn), ("BackupAccountId", "000000000000")];
    let made = stacks.create(STACK, &template_for_ministack(), &backup).unwrap();
    assert_eq!(made.status, "CREATE_COMPLETE", "{}", made.failures);
    assert!(stacks.resources(STACK).iter().any(|(logical, _)| logical == "ReplicationRole"));
}
