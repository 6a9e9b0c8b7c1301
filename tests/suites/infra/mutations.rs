//! Each way in which somebody could loosen a template, and the rule of ours that refuses it.

use crate::tools::{guard, text};

/// One edit of a template.
struct Mutation {
    what: &'static str,
    /// The first line, without its indentation, from which on the text is looked for.
    after: &'static str,
    find: &'static str,
    put: &'static str,
    rule: &'static str,
}

const fn mutation(
    what: &'static str,
    after: &'static str,
    find: &'static str,
    put: &'static str,
    rule: &'static str,
) -> Mutation {
    Mutation { what, after, find, put, rule }
}

const KEPT: &str = "data_is_kept_when_the_stack_goes";
const LOCKED: &str = "the_journal_is_locked";
const PRIVATE: &str = "buckets_are_not_public";
const COLD: &str = "cold_objects_can_still_be_read_at_once";
const TLS: &str = "only_by_tls";
const ONCE: &str = "what_is_written_once_is_created_only";
const VERSIONS: &str = "only_break_glass_deletes_versions";
const ROLES: &str = "roles_name_what_they_do";
const DELETES: &str = "nobody_deletes_versions_or_tables";
const COMPACTION: &str = "only_compaction_deletes";
const WRITES: &str = "each_role_writes_its_own_things";
const STREAMS: &str = "every_stream_is_read_from_its_beginning_until_it_is_durable";
const FUNCTIONS: &str = "functions_run_on_amazon_linux_2023_and_log_for_a_stated_time";
const SCHEDULES: &str = "schedules_run";
const ALARMS: &str = "alarms_ring";

const RETAIN: &str = "DeletionPolicy: Retain";
const REPLACE_RETAIN: &str = "UpdateReplacePolicy: Retain";

const TEMPLATE: &[Mutation] = &[
    mutation("no Retain", "JournalBucket:", RETAIN, "DeletionPolicy: Delete", KEPT),
    mutation("Retain left out", "JournalBucket:", "    DeletionPolicy: Retain\n", "", KEPT),
    mutation("no Retain on replacement", "JournalBucket:", REPLACE_RETAIN, "UpdateReplacePolicy: Delete", KEPT),
    mutation("Snapshot for Retain", "FailureBucket:", RETAIN, "DeletionPolicy: RetainExceptOnCreate", KEPT),
    mutation("the policy goes with the stack", "JournalBucketPolicy:", RETAIN, "DeletionPolicy: Delete", KEPT),
    mutation("the key goes with the stack", "JournalKey:", RETAIN, "DeletionPolicy: Delete", KEPT),
    mutation("the bucket renamed", "Resources:", "  JournalBucket:", "  TheBucket:", KEPT),
    mutation("no versioning", "JournalBucket:", "Status: Enabled", "Status: Suspended", "buckets_keep_versions"),
    mutation(
        "versioning left out",
        "FailureBucket:",
        "      VersioningConfiguration: {Status: Enabled}\n",
        "",
        "buckets_keep_versions",
    ),
    mutation("no lock", "JournalBucket:", "ObjectLockEnabled: true", "ObjectLockEnabled: false", LOCKED),
    mutation("a lock without days", "JournalBucket:", "            Days: !Ref ObjectLockDays\n", "", LOCKED),
    mutation("a lock of a day", "ObjectLockDays:", "Default: 35", "Default: 1", LOCKED),
    mutation("a mode that locks nothing", "ObjectLockMode:", "[GOVERNANCE, COMPLIANCE]", "[GOVERNANCE, NONE]", LOCKED),
    mutation("public ACLs", "JournalBucket:", "BlockPublicAcls: true", "BlockPublicAcls: false", PRIVATE),
    mutation("public policies", "FailureBucket:", "BlockPublicPolicy: true", "BlockPublicPolicy: false", PRIVATE),
    mutation("a public bucket", "JournalBucket:", "        RestrictPublicBuckets: true\n", "", PRIVATE),
    mutation("ACLs at all", "JournalBucket:", "BucketOwnerEnforced", "ObjectWriter", PRIVATE),
    mutation(
        "everybody may read",
        "JournalBucketPolicy:",
        "        Statement:\n",
        "        Statement:\n          - Effect: Allow\n            Principal: '*'\n            Action: s3:GetObject\n            Resource: !Sub \"${JournalBucket.Arn}/*\"\n",
        PRIVATE,
    ),
    mutation(
        "no encryption by the key",
        "JournalBucket:",
        "aws:kms, AES256",
        "AES256, AES256",
        "buckets_are_encrypted",
    ),
    mutation(
        "a key for ever",
        "JournalKey:",
        "EnableKeyRotation: true",
        "EnableKeyRotation: false",
        "buckets_are_encrypted",
    ),
    mutation(
        "a class that must be thawed",
        "JournalBucket:",
        "StorageClass: GLACIER_IR",
        "StorageClass: DEEP_ARCHIVE",
        COLD,
    ),
    mutation("replaced versions thawed", "NoncurrentVersionTransitions:", "GLACIER_IR", "GLACIER", COLD),
    mutation(
        "segments expire",
        "- Id: long-segments-grow-cold",
        "            Status: Enabled\n",
        "            Status: Enabled\n            ExpirationInDays: 400\n",
        COLD,
    ),
    mutation(
        "versions expire unasked",
        "- Id: uploads-that-never-ended",
        "            Status: Enabled\n",
        "            Status: Enabled\n            NoncurrentVersionExpiration: {NoncurrentDays: 1}\n",
        COLD,
    ),
    mutation("small objects moved", "JournalBucket:", "all_storage_classes_128K", "varies_by_storage_class", COLD),
    mutation("versions expire by default", "ReplacedVersionsExpireAfterDays:", "Default: 0", "Default: 30", COLD),
    mutation(
        "no TLS needed",
        "JournalBucketPolicy:",
        "- Sid: OnlyByTls\n            Effect: Deny",
        "- Sid: OnlyByTls\n            Effect: Allow",
        TLS,
    ),
    mutation(
        "TLS for nobody",
        "FailureBucketPolicy:",
        "aws:SecureTransport: \"false\"",
        "aws:SecureTransport: \"true\"",
        TLS,
    ),
    mutation("TLS for one action", "JournalBucketPolicy:", "Action: s3:*", "Action: s3:GetObject", TLS),
    mutation("TLS for the bucket alone", "JournalBucketPolicy:", ", !Sub \"${JournalBucket.Arn}/*\"]", "]", TLS),
    mutation(
        "overwriting puts",
        "JournalBucketPolicy:",
        "- Sid: OnlyCreateOnlyPuts\n            Effect: Deny",
        "- Sid: OnlyCreateOnlyPuts\n            Effect: Allow",
        ONCE,
    ),
    mutation(
        "no if-none-match",
        "JournalBucketPolicy:",
        "              \"Null\": {s3:if-none-match: \"true\"}\n",
        "",
        ONCE,
    ),
    mutation(
        "if-none-match forbidden",
        "JournalBucketPolicy:",
        "s3:if-none-match: \"true\"",
        "s3:if-none-match: \"false\"",
        ONCE,
    ),
    mutation(
        "segments left out",
        "JournalBucketPolicy:",
        "${JournalPrefix}/*/segments/*",
        "${JournalPrefix}/*/other/*",
        ONCE,
    ),
    mutation(
        "snapshots left out",
        "JournalBucketPolicy:",
        "${JournalPrefix}/*/snapshots/*",
        "${JournalPrefix}/*/other/*",
        ONCE,
    ),
    mutation("the statement left out", "JournalBucketPolicy:", "Sid: OnlyCreateOnlyPuts", "Sid: Other", ONCE),
    mutation("versions may go", "JournalBucketPolicy:", "[s3:DeleteObjectVersion, ", "[", VERSIONS),
    mutation("the lock may be bypassed", "JournalBucketPolicy:", "s3:BypassGovernanceRetention, ", "", VERSIONS),
    mutation(
        "everybody breaks the glass",
        "JournalBucketPolicy:",
        "ArnNotEquals: {aws:PrincipalArn: !Ref BreakGlassRoleArn}",
        "ArnNotEquals: {aws:PrincipalArn: \"*\"}",
        VERSIONS,
    ),
    mutation("a pattern breaks the glass", "BreakGlassRoleArn:", "[\\w+=,.@/-]+", ".*", VERSIONS),
    mutation(
        "a lifecycle deletes by a detour",
        "JournalBucketPolicy:",
        "              - s3:PutLifecycleConfiguration\n",
        "",
        VERSIONS,
    ),
    mutation(
        "versioning may be suspended",
        "FailureBucketPolicy:",
        "              - s3:PutBucketVersioning\n",
        "",
        VERSIONS,
    ),
    mutation("the trigger may do all", "StreamTriggerRole:", "Action: s3:PutObject", "Action: s3:*", ROLES),
    mutation(
        "on every bucket",
        "- Sid: ReplaceTableDescriptions",
        "Resource: !Sub \"${JournalBucket.Arn}/${JournalPrefix}/*/table.json\"",
        "Resource: \"*\"",
        ROLES,
    ),
    mutation("everything but", "StreamTriggerRole:", "Action: s3:PutObject", "NotAction: s3:GetObject", ROLES),
    mutation(
        "a managed policy",
        "GuardRole:",
        "    Properties:\n",
        "    Properties:\n      ManagedPolicyArns: [arn:aws:iam::aws:policy/AdministratorAccess]\n",
        ROLES,
    ),
    mutation(
        "mappings of any function",
        "- Sid: BindStreams",
        "{ArnEquals: {lambda:FunctionArn: !GetAtt StreamTriggerFunction.Arn}}",
        "{Bool: {aws:SecureTransport: \"true\"}}",
        ROLES,
    ),
    mutation("a stranger takes the role", "StreamTriggerRole:", "lambda.amazonaws.com", "ec2.amazonaws.com", ROLES),
    mutation(
        "the trigger may delete",
        "StreamTriggerRole:",
        "Action: s3:PutObject",
        "Action: [s3:PutObject, s3:DeleteObject]",
        COMPACTION,
    ),
    mutation(
        "guard may delete",
        "- Sid: AppendWhatIsMissing",
        "Action: s3:PutObject",
        "Action: [s3:PutObject, s3:DeleteObject]",
        COMPACTION,
    ),
    mutation(
        "compaction deletes versions",
        "- Sid: MarkReplacedAsDeleted",
        "Action: s3:DeleteObject",
        "Action: [s3:DeleteObject, s3:DeleteObjectVersion]",
        DELETES,
    ),
    mutation(
        "compaction deletes the journal's document",
        "- Sid: MarkReplacedAsDeleted",
        "*/compactions/*",
        "journal.json",
        DELETES,
    ),
    mutation(
        "guard deletes tables",
        "GuardRole:",
        "[dynamodb:DescribeTable, ",
        "[dynamodb:DeleteTable, dynamodb:DescribeTable, ",
        DELETES,
    ),
    mutation("the trigger writes anywhere", "- Sid: CreateSegments", "*/segments/0/*", "*", WRITES),
    mutation("the trigger writes compacted runs", "- Sid: CreateSegments", "*/segments/0/*", "*/segments/*", WRITES),
    mutation(
        "the trigger reads items",
        "StreamTriggerRole:",
        "[dynamodb:DescribeTable, ",
        "[dynamodb:Scan, dynamodb:DescribeTable, ",
        WRITES,
    ),
    mutation("guard writes snapshots", "- Sid: AppendWhatIsMissing", "*/checkpoints/*", "*/snapshots/*", WRITES),
    mutation(
        "verification writes",
        "VerificationRole:",
        "Action: s3:GetObject",
        "Action: [s3:GetObject, s3:PutObject]",
        WRITES,
    ),
    mutation(
        "only what comes now",
        "Fn::ForEach::Streams:",
        "StartingPosition: TRIM_HORIZON",
        "StartingPosition: LATEST",
        STREAMS,
    ),
    mutation(
        "bisecting",
        "Fn::ForEach::Streams:",
        "BisectBatchOnFunctionError: false",
        "BisectBatchOnFunctionError: true",
        STREAMS,
    ),
    mutation("three tries", "Fn::ForEach::Streams:", "MaximumRetryAttempts: -1", "MaximumRetryAttempts: 3", STREAMS),
    mutation(
        "an hour of tries",
        "Fn::ForEach::Streams:",
        "MaximumRecordAgeInSeconds: -1",
        "MaximumRecordAgeInSeconds: 3600",
        STREAMS,
    ),
    mutation(
        "failed batches vanish",
        "Fn::ForEach::Streams:",
        "            OnFailure: {Destination: !GetAtt FailureBucket.Arn}\n",
        "            OnFailure: {Destination: !Ref AlarmTopic}\n",
        STREAMS,
    ),
    mutation("mappings switched off", "Fn::ForEach::Streams:", "Enabled: true", "Enabled: false", STREAMS),
    mutation(
        "changes filtered out",
        "Fn::ForEach::Streams:",
        "          Enabled: true\n",
        "          Enabled: true\n          FilterCriteria: {Filters: [{Pattern: '{\"eventName\":[\"INSERT\"]}'}]}\n",
        STREAMS,
    ),
    mutation("another runtime", "StreamTriggerFunction:", "provided.al2023", "provided.al2", FUNCTIONS),
    mutation("logs for ever", "StreamTriggerLogs:", "      RetentionInDays: !Ref LogRetentionDays\n", "", FUNCTIONS),
    mutation("a rule that sleeps", "GuardEverySoOften:", "State: ENABLED", "State: DISABLED", SCHEDULES),
    mutation("a deletion unseen", "GuardOnTableChange:", "            - DeleteTable\n", "", SCHEDULES),
    mutation("no snapshots", "CompactionEverySoOften:", "\"upkeep\"", "\"guard\"", SCHEDULES),
    mutation("no compaction", "Resources:", "  CompactionEverySoOften:", "  Other:", SCHEDULES),
    mutation("an alarm nobody hears", "IteratorAgeOneHour:", "      AlarmActions: [!Ref AlarmTopic]\n", "", ALARMS),
    mutation("a late alarm", "IteratorAgeTwelveHours:", "43200000", "86400000", ALARMS),
    mutation(
        "silence is fine",
        "NoHeartbeat:",
        "TreatMissingData: breaching",
        "TreatMissingData: notBreaching",
        ALARMS,
    ),
    mutation(
        "an alarm switched off",
        "Quarantine:",
        "      AlarmActions:",
        "      ActionsEnabled: false\n      AlarmActions:",
        ALARMS,
    ),
    mutation(
        "failed batches unseen",
        "FailureBucket:",
        "EventBridgeEnabled: true",
        "EventBridgeEnabled: false",
        ALARMS,
    ),
    mutation("no dashboard", "Resources:", "  Dashboard:", "  Other:", ALARMS),
];

const KEEPS: &str = "the_backup_is_kept";
const GROWS: &str = "the_backup_only_grows";
const HOLDS: &str = "the_backup_is_locked_versioned_private_and_encrypted";

const BACKUP: &[Mutation] = &[
    mutation("no Retain", "BackupBucket:", RETAIN, "DeletionPolicy: Delete", KEEPS),
    mutation("the policy goes", "BackupBucketPolicy:", REPLACE_RETAIN, "UpdateReplacePolicy: Delete", KEEPS),
    mutation("no versioning", "BackupBucket:", "Status: Enabled", "Status: Suspended", HOLDS),
    mutation("no lock", "BackupBucket:", "ObjectLockEnabled: true", "ObjectLockEnabled: false", HOLDS),
    mutation("a public bucket", "BackupBucket:", "BlockPublicAcls: true", "BlockPublicAcls: false", HOLDS),
    mutation("no TLS", "BackupBucketPolicy:", "aws:SecureTransport: \"false\"", "aws:SecureTransport: \"true\"", GROWS),
    mutation(
        "the first account deletes",
        "BackupBucketPolicy:",
        "[s3:ReplicateObject, ",
        "[s3:ReplicateDelete, s3:ReplicateObject, ",
        GROWS,
    ),
    mutation("objects may go", "BackupBucketPolicy:", "              - s3:DeleteObject\n", "", GROWS),
    mutation(
        "anyone writes",
        "BackupBucketPolicy:",
        "Principal: {AWS: !Sub \"arn:${AWS::Partition}:iam::${SourceAccountId}:root\"}",
        "Principal: \"*\"",
        GROWS,
    ),
];

/// The template with the edit made. The text must be there: a mutation that changes nothing would prove nothing.
fn mutated(template: &str, mutation: &Mutation) -> String {
    let what = mutation.what;
    let mut at = 0;
    let start = template
        .split_inclusive('\n')
        .find_map(|line| {
            let here = at;
            at += line.len();
            (line.trim() == mutation.after).then_some(here)
        })
        .unwrap_or_else(|| panic!("{what}: no line {}", mutation.after));
    let found = template[start..].find(mutation.find).unwrap_or_else(|| panic!("{what}: no {}", mutation.find));
    let (before, rest) = template.split_at(start + found);
    format!("{before}{}{}", mutation.put, &rest[mutation.find.len()..])
}

fn refused(test: &str, rules: &str, template: &str, mutations: &[Mutation]) {
    let whole = text(template);
    let folder = tempfile::tempdir().unwrap();
    let file = |at: usize| format!("{at:03}.yaml");
    for (at, mutation) in mutations.iter().enumerate() {
        std::fs::write(folder.path().join(file(at)), mutated(&whole, mutation)).unwrap();
    }
    std::fs::write(folder.path().join("unchanged.yaml"), &whole).unwrap();
    let Some(broken) = guard(test, rules, folder.path()) else { return };
    assert_eq!(broken.len(), mutations.len() + 1, "cfn-guard looked at every file");
    assert!(broken["unchanged.yaml"].is_empty(), "the template as it is breaks {:?}", broken["unchanged.yaml"]);
    let mut through = Vec::new();
    for (at, mutation) in mutations.iter().enumerate() {
        let broken = &broken[&file(at)];
        if !broken.contains(mutation.rule) {
            through.push(format!("{}: not refused by {}, but by {broken:?}", mutation.what, mutation.rule));
        }
    }
    assert!(through.is_empty(), "{}", through.join("\n"));
}

#[test]
fn every_mutation_of_the_template_is_refused_by_its_rule() {
    refused("every_mutation_of_the_template_is_refused_by_its_rule", "rules.guard", "template.yaml", TEMPLATE);
}

#[test]
fn every_mutation_of_the_backup_is_refused_by_its_rule() {
    refused("every_mutation_of_the_backup_is_refused_by_its_rule", "backup-rules.guard", "backup-account.yaml", BACKUP);
}

#[test]
fn every_rule_refuses_something() {
    for (rules, mutations) in [("rules.guard", TEMPLATE), ("backup-rules.guard", BACKUP)] {
        let text = text(rules);
        for rule in text.lines().filter_map(|line| line.strip_prefix("rule ")?.strip_suffix(" {")) {
            assert!(mutations.iter().any(|mutation| mutation.rule == rule), "no mutation is refused by {rule}");
        }
    }
}
