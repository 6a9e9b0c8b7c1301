//! What a table has beside its items comes back with it: all that the service tells of the new table is what it told of the old
//! one, read as plain JSON without our client's types. What the emulator does not keep is looked for in the requests.

use std::collections::BTreeMap;

use journal::Kind;
use journal_tests::faulty_proxy::{Fault, FaultyProxy, Seen};
use journal_tests::ministack::{MiniStack, environment};
use journal_tests::processes::{Finished, Program, journal, replay};
use serde_json::{Value, json};

use super::service::{call, try_call};

/// A customer's key.
const KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/5b1a0000-1111-2222-3333-444455556666";
pub(super) const NOTES: &str = "notes";
pub(super) const FILES: &str = "files";
/// Items of each table.
pub(super) const ITEMS: usize = 120;

/// A service with two tables that have all that a table can have, a proxy before it that keeps every request, and a journal.
pub(super) struct Scene {
    pub(super) service: MiniStack,
    pub(super) proxy: FaultyProxy,
    pub(super) folder: tempfile::TempDir,
    url: String,
}

impl Scene {
    pub(super) async fn new(test: &str) -> Option<Self> {
        let service = MiniStack::start_or_skip(test)?;
        service.make_bucket("imports", true).await;
        make_notes(service.port());
        make_files(service.port());
        let folder = tempfile::tempdir().unwrap();
        let url = journal::store::file_url(&folder.path().join("journal")).unwrap();
        let _ = journal().args(["init", "--journal", &url]).run().success();
        let proxy = FaultyProxy::start(service.port());
        let scene = Self { service, proxy, folder, url };
        // The emulator does not keep for how many days a table can be recovered.
        scene.answer("DescribeContinuousBackups", 200, BACKUPS);
        scene.baseline(NOTES);
        scene.baseline(FILES);
        scene.proxy.decide(|_| None);
        let _ = scene.proxy.take_all();
        Some(scene)
    }

    pub(super) fn port(&self) -> u16 {
        self.service.port()
    }

    /// From now on these operations are answered so, without the service.
    pub(super) fn answer(&self, operation: &'static str, status: u16, body: impl Answer) {
        let body = body.text();
        self.proxy.decide(move |seen| (operation_of(seen) == operation).then_some(Fault::Answer(status, body)));
    }

    fn baseline(&self, table: &str) {
        let baseline = journal().args(["baseline", "--journal", &self.url, "--table", table]);
        let _ = baseline.envs(environment(&self.proxy.endpoint())).run().success();
    }

    pub(super) fn restore(&self, arguments: &[&str]) -> Program {
        let restore = replay().args(["restore", "--journal", &self.url, "--json"]).args(arguments);
        restore.envs(environment(&self.proxy.endpoint())).env("XDG_STATE_HOME", self.folder.path().join("state"))
    }

    /// A restore of a table to a new one, by writes or by an import.
    pub(super) fn restore_as(&self, table: &str, target: &str, imported: bool) -> Program {
        let restore = self.restore(&["--table", table, "--at", "latest", "--as", target]);
        if imported { restore.args(IMPORT) } else { restore }
    }

    /// The requests that the last programs made, by operation.
    pub(super) fn requests(&self) -> Vec<(String, Value)> {
        let seen = self.proxy.take_all().into_iter().filter(|seen| seen.header("x-amz-target").is_some());
        seen.map(|seen| (operation_of(&seen), serde_json::from_slice(&seen.body).unwrap())).collect()
    }
}

pub(super) const IMPORT: [&str; 4] = ["--import", "s3://imports/x", "--import-compression", "gzip"];
const BACKUPS: &str = r#"{"ContinuousBackupsDescription": {"ContinuousBackupsStatus": "ENABLED",
    "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "ENABLED", "RecoveryPeriodInDays": 7}}}"#;

/// What a proxy answers with, for as long as the tests run.
pub(super) trait Answer {
    fn text(self) -> &'static str;
}

impl Answer for &'static str {
    fn text(self) -> &'static str {
        self
    }
}

impl Answer for Value {
    fn text(self) -> &'static str {
        Box::leak(self.to_string().into_boxed_str())
    }
}

/// The service's name for what a request asks.
pub(super) fn operation_of(seen: &Seen) -> String {
    seen.header("x-amz-target").unwrap_or("none").rsplit('.').next().unwrap().to_owned()
}

fn key(hash: &str, range: &str) -> Value {
    json!([{"AttributeName": hash, "KeyType": "HASH"}, {"AttributeName": range, "KeyType": "RANGE"}])
}

fn attributes(types: &[(&str, &str)]) -> Value {
    types.iter().map(|(name, kind)| json!({"AttributeName": name, "AttributeType": kind})).collect()
}

/// Makes a table and gives it all that is set on a table that is there.
fn make(port: u16, mut table: Value, ttl: &str, items: impl Iterator<Item = Value>) {
    let name = table["TableName"].clone();
    table["StreamSpecification"] = json!({"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"});
    table["SSESpecification"] = json!({"Enabled": true, "SSEType": "KMS", "KMSMasterKeyId": KEY});
    table["TableClass"] = json!("STANDARD_INFREQUENT_ACCESS");
    let made = call(port, "CreateTable", &table);
    let tags = json!([{"Key": "team", "Value": "notes & replies"}, {"Key": "cost centre", "Value": "it's 42"}]);
    let arn = &made["TableDescription"]["TableArn"];
    call(port, "TagResource", &json!({"ResourceArn": arn, "Tags": tags}));
    let ttl = json!({"Enabled": true, "AttributeName": ttl});
    call(port, "UpdateTimeToLive", &json!({"TableName": name, "TimeToLiveSpecification": ttl}));
    let recovery = json!({"PointInTimeRecoveryEnabled": true});
    let recovery = json!({"TableName": name, "PointInTimeRecoverySpecification": recovery});
    call(port, "UpdateContinuousBackups", &recovery);
    call(port, "UpdateTable", &json!({"TableName": name, "DeletionProtectionEnabled": true}));
    for item in items {
        call(port, "PutItem", &json!({"TableName": name, "Item": item}));
    }
}

/// Paid by request with bounds; a numeric sort key, two global and two local indexes.
fn make_notes(port: u16) {
    let index = |name: &str, key: Value, projection: Value| json!({"IndexName": name, "KeySchema": key, "Projection": projection});
    let mut by_author = index("by-author", key("author", "createdAt"), json!({"ProjectionType": "ALL"}));
    by_author["OnDemandThroughput"] = json!({"MaxReadRequestUnits": 400, "MaxWriteRequestUnits": 300});
    let include = json!({"ProjectionType": "INCLUDE", "NonKeyAttributes": ["content", "title"]});
    let types = [("noteId", "S"), ("createdAt", "N"), ("author", "S"), ("country", "S"), ("likes", "N")];
    let table = json!({
        "TableName": NOTES,
        "AttributeDefinitions": attributes(&types),
        "KeySchema": key("noteId", "createdAt"),
        "BillingMode": "PAY_PER_REQUEST",
        "OnDemandThroughput": {"MaxReadRequestUnits": 4000, "MaxWriteRequestUnits": 3000},
        "GlobalSecondaryIndexes": [by_author, index("by-country", key("country", "likes"), include)],
        "LocalSecondaryIndexes": [
            index("by-likes", key("noteId", "likes"), json!({"ProjectionType": "KEYS_ONLY"})),
            index("by-country-of-note", key("noteId", "country"), json!({"ProjectionType": "ALL"})),
        ],
    });
    let item = |at: usize| {
        let mut item = json!({
            "noteId": {"S": format!("note-{}", at % 40)}, "createdAt": {"N": format!("{at}.5")},
            "content": {"S": "text".repeat(at % 7)}, "likes": {"N": at.to_string()},
        });
        if at.is_multiple_of(2) {
            item["author"] = json!({"S": "ada"});
        }
        if at.is_multiple_of(3) {
            item["country"] = json!({"S": "DE"});
        }
        item
    };
    make(port, table, "expiresAt", (0..ITEMS).map(item));
}

/// With a provisioned throughput; keys that are bytes, and a global index over them.
fn make_files(port: u16) {
    use base64::Engine as _;
    let units = |read: u32, write: u32| json!({"ReadCapacityUnits": read, "WriteCapacityUnits": write});
    let table = json!({
        "TableName": FILES,
        "AttributeDefinitions": attributes(&[("hash", "B"), ("part", "B")]),
        "KeySchema": key("hash", "part"),
        "BillingMode": "PROVISIONED",
        "ProvisionedThroughput": units(70, 60),
        "GlobalSecondaryIndexes": [{
            "IndexName": "by-part", "KeySchema": key("part", "hash"), "Projection": {"ProjectionType": "KEYS_ONLY"},
            "ProvisionedThroughput": units(7, 6),
        }],
    });
    let bytes = |bytes: &[u8]| json!({"B": base64::engine::general_purpose::STANDARD.encode(bytes)});
    let item =
        |at: u8| json!({"hash": bytes(&[0, 255, at % 8]), "part": bytes(&[at, 0]), "size": {"N": at.to_string()}});
    make(port, table, "until", (0..u8::try_from(ITEMS).unwrap()).map(item));
}

/// Without what is a table's own, and without the order of what has none.
fn plain(value: &Value) -> Value {
    const OWN: [&str; 13] = [
        "TableName",
        "TableArn",
        "TableId",
        "CreationDateTime",
        "LatestStreamArn",
        "LatestStreamLabel",
        "IndexArn",
        "LastUpdateDateTime",
        "LastUpdateToPayPerRequestDateTime",
        "EarliestRestorableDateTime",
        "LatestRestorableDateTime",
        "ItemCount",
        "TableSizeBytes",
    ];
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !OWN.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), plain(value)))
            .collect(),
        Value::Array(members) => {
            let mut members: Vec<Value> = members.iter().map(plain).collect();
            members.sort_by_key(ToString::to_string);
            Value::Array(members)
        }
        other => other.clone(),
    }
}

/// All that the service tells of a table.
pub(super) fn told(port: u16, table: &str) -> BTreeMap<&'static str, Value> {
    let name = json!({"TableName": table});
    let description = call(port, "DescribeTable", &name);
    let arn = json!({"ResourceArn": description["Table"]["TableArn"]});
    let told = [
        ("table", description),
        ("recovery", call(port, "DescribeContinuousBackups", &name)),
        ("ttl", call(port, "DescribeTimeToLive", &name)),
        ("tags", call(port, "ListTagsOfResource", &arn)),
    ];
    told.into_iter().map(|(what, value)| (what, plain(&value))).collect()
}

pub(super) fn report(finished: Finished) -> Value {
    serde_json::from_str(&finished.success().stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_with_every_setting_come_back_the_same() {
    let test = "settings::tables_with_every_setting_come_back_the_same";
    let Some(scene) = Scene::new(test).await else { return };
    let port = scene.port();
    for (table, imported) in [(NOTES, false), (FILES, false), (FILES, true)] {
        let before = told(port, table);
        // What is compared says what it should.
        let of = |what: &str, pointer: &str| before[what].pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(of("table", "/Table/SSEDescription/KMSMasterKeyArn"), KEY);
        assert_eq!(of("table", "/Table/TableClassSummary/TableClass"), "STANDARD_INFREQUENT_ACCESS");
        assert_eq!(of("table", "/Table/DeletionProtectionEnabled"), true);
        assert_eq!(of("ttl", "/TimeToLiveDescription/TimeToLiveStatus"), "ENABLED");
        assert_eq!(of("tags", "/Tags").as_array().unwrap().len(), 2);

        let target = format!("{table}-{}", if imported { "imported" } else { "written" });
        let report = report(scene.restore_as(table, &target, imported).run());
        assert_eq!((&report["proven"], &report["unset"]), (&json!(true), &json!([])), "{report}");
        assert_eq!(report["items"], ITEMS);
        assert_eq!(told(port, &target), before, "{target}");
        let deleted = try_call(port, "DeleteTable", &json!({"TableName": target}));
        assert!(deleted.is_err_and(|text| text.contains("protect")), "the new table can be deleted");
        assert_order(&scene.requests(), &target, imported);
    }
    // Read as if it were any other table, the restored one has the same state.
    let digest = |table: &str| {
        scene.baseline(table);
        let file = scene.folder.path().join(format!("{table}.sqlite"));
        let export = ["--table", table, "--at", "latest", "--output", file.to_str().unwrap()];
        report(scene.restore(&export).run())["digest"].clone()
    };
    assert_eq!(digest(NOTES), digest("notes-written"));
    let of_files = [FILES, "files-written", "files-imported"].map(digest);
    assert!(of_files.iter().all(|digest| *digest == of_files[0]), "{of_files:?}");

    let refused = scene.restore_as(NOTES, "notes-imported", true).run().failure(i32::from(Kind::Invalid.exit_code()));
    assert!(refused.stderr.contains("by-likes") && refused.stderr.contains("without --import"), "{}", refused.stderr);
    assert!(try_call(port, "DescribeTable", &json!({"TableName": "notes-imported"})).is_err());
}

/// What is made, and when: the stream before the first item where the table is made for the items, so that it has all of them;
/// what could take items away, or keep a failed restore from being removed, after the last look at them.
#[track_caller]
fn assert_order(requests: &[(String, Value)], target: &str, imported: bool) {
    let steps: Vec<(&str, &Value)> = requests
        .iter()
        .filter(|(name, _)| !name.starts_with("Describe"))
        .map(|(name, body)| (name.as_str(), body))
        .collect();
    let mut order: Vec<&str> = steps.iter().map(|(name, _)| *name).collect();
    order.dedup();
    let settings = ["TagResource", "UpdateContinuousBackups", "UpdateTimeToLive", "UpdateTable"];
    let begin =
        if imported { ["ImportTable", "Scan", "UpdateTable"] } else { ["CreateTable", "BatchWriteItem", "Scan"] };
    assert_eq!(order, [&begin[..], &settings[..]].concat(), "{target}");

    let bodies = |name: &str| -> Vec<&Value> {
        steps.iter().filter(|(found, _)| *found == name).map(|(_, body)| *body).collect()
    };
    let stream = json!({"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"});
    let updates = bodies("UpdateTable");
    let protection = json!({"TableName": target, "DeletionProtectionEnabled": true});
    if imported {
        let class = json!({"TableName": target, "TableClass": "STANDARD_INFREQUENT_ACCESS"});
        let stream = json!({"TableName": target, "StreamSpecification": stream});
        assert_eq!(updates, [&stream, &class, &protection]);
        let made = &bodies("ImportTable")[0]["TableCreationParameters"];
        assert_eq!(made["SSESpecification"], json!({"Enabled": true, "SSEType": "KMS", "KMSMasterKeyId": KEY}));
    } else {
        assert_eq!(updates, [&protection]);
        let made = bodies("CreateTable");
        assert_eq!((made.len(), &made[0]["StreamSpecification"]), (1, &stream));
        assert_eq!(made[0]["DeletionProtectionEnabled"], false);
    }
    let recovery = json!({"PointInTimeRecoveryEnabled": true, "RecoveryPeriodInDays": 7});
    let recovery = json!({"TableName": target, "PointInTimeRecoverySpecification": recovery});
    assert_eq!(bodies("UpdateContinuousBackups"), [&recovery]);
}

/// Replicas and vector indexes are nobody's to make in passing, the service's own tags nobody's at all; what the journal could not
/// read it does not know, and what is denied is not set. All of it is the last that is said, with commands.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_set_is_told_last_with_the_command_that_does_it() {
    let test = "settings::what_cannot_be_set_is_told_last_with_the_command_that_does_it";
    let Some(scene) = Scene::new(test).await else { return };
    let mut description = call(scene.port(), "DescribeTable", &json!({"TableName": FILES}));
    description["Table"]["Replicas"] = json!([{"RegionName": "eu-north-1", "ReplicaStatus": "ACTIVE"}]);
    description["Table"]["VectorIndexes"] = json!([{
        "IndexName": "by-meaning", "VectorAttribute": {"AttributeName": "meaning"}, "Dimensions": 3, "IndexStatus": "ACTIVE",
    }]);
    let description = description.text();
    let tags =
        json!({"Tags": [{"Key": "aws:cloudformation:stack-name", "Value": "notes"}, {"Key": "team", "Value": "a"}]})
            .text();
    let denied = json!({"__type": "com.amazon.coral.service#AccessDeniedException", "message": "not you"}).text();
    // A journal of its own, which has never been told what the first one was.
    let url = journal::store::file_url(&scene.folder.path().join("second")).unwrap();
    let scene = Scene { url, ..scene };
    let _ = journal().args(["init", "--journal", &scene.url]).run().success();
    scene.proxy.decide(move |seen| match operation_of(seen).as_str() {
        "DescribeTable" => Some(Fault::Answer(200, description)),
        "ListTagsOfResource" => Some(Fault::Answer(200, tags)),
        "DescribeTimeToLive" => Some(Fault::Answer(400, denied)),
        _ => None,
    });
    scene.baseline(FILES);
    scene.answer("UpdateContinuousBackups", 400, denied);
    let finished = scene.restore_as(FILES, "files-2", false).run().success();
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(report["proven"], true);
    let unset = report["unset"].as_array().unwrap();
    let listed: Vec<(&str, &str)> =
        unset.iter().map(|one| (one["setting"].as_str().unwrap(), one["command"].as_str().unwrap())).collect();
    let vector =
        r#"[{"Create":{"Dimensions":3,"IndexName":"by-meaning","VectorAttribute":{"AttributeName":"meaning"}}}]"#;
    let expected = [
        (
            "TTL",
            "update-time-to-live --table-name files-2 --time-to-live-specification Enabled=true,AttributeName=ATTRIBUTE",
        ),
        (
            "replica in eu-north-1",
            r#"update-table --table-name files-2 --replica-updates '[{"Create":{"RegionName":"eu-north-1"}}]'"#,
        ),
        ("vector index by-meaning", &format!("update-table --table-name files-2 --vector-index-updates '{vector}'")),
        (
            "point-in-time recovery",
            "update-continuous-backups --table-name files-2 --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true",
        ),
    ];
    let expected: Vec<(&str, String)> =
        expected.iter().map(|(setting, command)| (*setting, format!("aws dynamodb {command}"))).collect();
    assert_eq!(listed, expected.iter().map(|(setting, command)| (*setting, command.as_str())).collect::<Vec<_>>());
    let last: Vec<&str> = finished.stderr.lines().rev().take(expected.len()).collect();
    for (line, (setting, command)) in last.iter().rev().zip(&expected) {
        assert!(line.starts_with(&format!("warning: {setting} is not set (")), "{line}");
        assert!(line.ends_with(&format!(": {command}")), "{line}");
    }
    let notes = report["notes"].to_string();
    assert!(notes.contains("aws:cloudformation:stack-name") && notes.contains(KEY), "{notes}");
    let found = told(scene.port(), "files-2");
    assert_eq!(found["tags"]["Tags"], json!([{"Key": "team", "Value": "a"}]), "what can be set is set");
    assert_eq!(found["table"].pointer("/Table/DeletionProtectionEnabled"), Some(&json!(true)));
}
