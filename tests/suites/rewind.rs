//! Rewinds of a live table through its real stream: only what changed is written, conflicts are left alone, and a run that was
//! killed is continued and taken back whole.
//!
//! The story is a bad deploy that overwrites and deletes notes while good writes go on. A proxy between `replay` and the
//! service counts requests. `JOURNAL_REWIND_ITEMS` sets the size of the table; 200,000 is the real scale.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, DeleteRequest, KeySchemaElement, KeyType, PutRequest,
    ScalarAttributeType, StreamSpecification, StreamViewType, WriteRequest,
};
use futures::stream::{StreamExt as _, TryStreamExt as _};
use journal::embedded::{self, EmbeddedDynamoDb};
use journal_tests::faulty_proxy::FaultyProxy;
use journal_tests::ministack::{self, MiniStack};
use journal_tests::processes::{Finished, Program, Running, journal, replay};
use serde_json::Value;

const TABLE: &str = "notes-table-dev";
/// Waits for the follower to come by.
const LOOKS_MAX: usize = 1200;

type Notes = BTreeMap<String, BTreeMap<String, String>>;

/// A service, a proxy before it, a journal, and a follower that is running.
struct World {
    client: Client,
    environment: Vec<(&'static str, String)>,
    /// The environment that leads through the proxy.
    counted: Vec<(&'static str, String)>,
    proxy: FaultyProxy,
    folder: tempfile::TempDir,
    url: String,
    follower: Option<Running>,
    sentinels: usize,
    _service: Service,
}

enum Service {
    MiniStack { _service: MiniStack },
    Embedded { _service: EmbeddedDynamoDb, _folder: tempfile::TempDir },
}

fn port(endpoint: &str) -> u16 {
    endpoint.rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap()
}

impl World {
    async fn ministack(test: &str) -> Option<Self> {
        let service = MiniStack::start_or_skip(test)?;
        let (client, endpoint) = (service.dynamodb().await, service.endpoint());
        Some(Self::new(client, &endpoint, Service::MiniStack { _service: service }).await)
    }

    async fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let service = EmbeddedDynamoDb::start(folder.path(), None).await.unwrap();
        let (client, endpoint) = (embedded::dynamodb_client(service.endpoint()), service.endpoint().to_owned());
        Self::new(client, &endpoint, Service::Embedded { _service: service, _folder: folder }).await
    }

    async fn new(client: Client, endpoint: &str, service: Service) -> Self {
        let proxy = FaultyProxy::start(port(endpoint));
        let folder = tempfile::tempdir().unwrap();
        let url = journal::store::file_url(&folder.path().join("journal")).unwrap();
        let _ = journal().args(["init", "--journal", &url]).run().success();
        let mut world = Self {
            client,
            environment: ministack::environment(endpoint),
            counted: ministack::environment(&proxy.endpoint()),
            proxy,
            folder,
            url,
            follower: None,
            sentinels: 0,
            _service: service,
        };
        world.make_table().await;
        world.follow();
        world
    }

    async fn make_table(&self) {
        let attribute = AttributeDefinition::builder().attribute_name("noteId").attribute_type(ScalarAttributeType::S);
        let element = KeySchemaElement::builder().attribute_name("noteId").key_type(KeyType::Hash);
        let stream = StreamSpecification::builder()
            .stream_enabled(true)
            .stream_view_type(StreamViewType::NewAndOldImages)
            .build()
            .unwrap();
        let request = self.client.create_table().table_name(TABLE).billing_mode(BillingMode::PayPerRequest);
        let request = request.attribute_definitions(attribute.build().unwrap()).key_schema(element.build().unwrap());
        request.stream_specification(stream).send().await.unwrap();
    }

    fn program(&self, program: Program, command: &str) -> Program {
        let environment = self.environment.iter().map(|(name, value)| (*name, value.clone()));
        program.args([command, "--journal", &self.url]).envs(environment)
    }

    fn follow(&mut self) {
        let quick = ["--poll", "50ms", "--batch-age", "200ms", "--checkpoint-age", "300ms"];
        self.follower = Some(self.program(journal(), "follow").args(["--table", TABLE, "--wait"]).args(quick).start());
    }

    async fn stop_following(&mut self) {
        let follower = self.follower.take().unwrap();
        let _ = tokio::task::spawn_blocking(move || follower.interrupt()).await.unwrap().success();
    }

    fn rewind(&self, arguments: &[&str]) -> Program {
        let counted = self.counted.iter().map(|(name, value)| (*name, value.clone()));
        replay().args(["rewind", "--journal", &self.url]).args(arguments).envs(counted)
    }

    /// Waits until the journal has everything written so far; gives the sequence number of a record after it.
    async fn journalled(&mut self) -> String {
        self.sentinels += 1;
        let id = format!("sentinel-{}", self.sentinels);
        self.put(&[(id.clone(), note("sentinel", 0))]).await;
        for _ in 0..LOOKS_MAX {
            let asked =
                self.program(replay(), "log").args(["--table", TABLE, "--json", "--key", &format!("noteId={id}")]);
            let found = run(asked).await;
            if found.code() == Some(0) && !found.stdout.trim().is_empty() {
                let line: Value = serde_json::from_str(found.stdout.lines().next().unwrap()).unwrap();
                return line["sequence"].as_str().unwrap().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the journal does not come to {id}");
    }

    async fn put(&self, notes: &[(String, BTreeMap<String, String>)]) {
        let requests = notes.iter().map(|(id, note)| {
            let item = note.iter().map(|(name, value)| (name.clone(), AttributeValue::S(value.clone())));
            let item = item.chain([("noteId".to_owned(), AttributeValue::S(id.clone()))]).collect();
            let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        });
        self.write(requests.collect()).await;
    }

    async fn delete(&self, ids: &[String]) {
        let requests = ids.iter().map(|id| {
            let delete = DeleteRequest::builder().key("noteId", AttributeValue::S(id.clone())).build().unwrap();
            WriteRequest::builder().delete_request(delete).build()
        });
        self.write(requests.collect()).await;
    }

    async fn write(&self, requests: Vec<WriteRequest>) {
        let batches: Vec<Vec<WriteRequest>> = requests.chunks(25).map(<[WriteRequest]>::to_vec).collect();
        let sent = futures::stream::iter(batches).map(|batch| async move {
            let answer = self.client.batch_write_item().request_items(TABLE, batch).send().await?;
            assert!(answer.unprocessed_items().is_none_or(std::collections::HashMap::is_empty));
            Ok::<(), aws_sdk_dynamodb::Error>(())
        });
        sent.buffer_unordered(4).try_collect::<Vec<()>>().await.unwrap();
    }

    /// All notes but the sentinels.
    async fn notes(&self) -> Notes {
        let mut notes = Notes::new();
        let mut pages = self.client.scan().table_name(TABLE).consistent_read(true).into_paginator().send();
        while let Some(page) = pages.next().await {
            for item in page.unwrap().items() {
                let mut note: BTreeMap<String, String> =
                    item.iter().map(|(name, value)| (name.clone(), value.as_s().unwrap().clone())).collect();
                let id = note.remove("noteId").unwrap();
                if !id.starts_with("sentinel") {
                    notes.insert(id, note);
                }
            }
        }
        notes
    }

    /// Counts the requests that came through the proxy since the last call, by the service's name for them.
    fn count(&self, counts: &mut BTreeMap<String, usize>) {
        for seen in self.proxy.take_seen("POST") {
            let target = seen.header("x-amz-target").unwrap_or("none");
            *counts.entry(target.rsplit('.').next().unwrap().to_owned()).or_default() += 1;
        }
    }

    fn requests(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        self.count(&mut counts);
        counts
    }
}

fn note(content: &str, likes: usize) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("content".to_owned(), content.to_owned()),
        ("author".to_owned(), "ada".to_owned()),
        ("likes".to_owned(), likes.to_string()),
    ])
}

fn id(number: usize) -> String {
    format!("note-{number:07}")
}

async fn run(program: Program) -> Finished {
    tokio::task::spawn_blocking(move || program.run()).await.unwrap()
}

fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

fn assert_same(found: &Notes, expected: &Notes, what: &str) {
    let differs = |id: &&String| found.get(*id) != expected.get(*id);
    let ids: Vec<&String> = found.keys().chain(expected.keys()).filter(differs).collect();
    let first = ids.first().map(|id| (id, found.get(*id), expected.get(*id)));
    assert!(ids.is_empty(), "{what}: {} notes differ, the first is {first:?}", ids.len());
}

/// A bad deploy overwrites one note in 40 and deletes one in 200, while good writes go on.
async fn a_bad_deploy_is_undone(mut world: World, notes: usize) {
    let (overwritten, deleted) = (notes / 40, notes / 200);
    let all: Vec<_> = (0..notes).map(|number| (id(number), note(&format!("note {number}"), 0))).collect();
    world.put(&all).await;
    let cut = world.journalled().await;

    // The deploy, and good writes of other notes between.
    let bad: Vec<_> = (0..overwritten).map(|number| (id(number), note("null", 0))).collect();
    world.put(&bad[..overwritten / 2]).await;
    let good: Vec<_> = (0..50).map(|number| (format!("new-{number}"), note("a good note", 0))).collect();
    world.put(&good[..25]).await;
    world.put(&bad[overwritten / 2..]).await;
    let gone: Vec<String> = (overwritten..overwritten + deleted).map(id).collect();
    world.delete(&gone).await;
    let until = world.journalled().await;

    // After it: likes of overwritten notes stay, other texts of them clash, new notes are nobody's business.
    let liked: Vec<_> = (0..20).map(|number| (id(number), note("null", 7))).collect();
    let edited: Vec<_> = (20..30).map(|number| (id(number), note("written by hand", 0))).collect();
    world.put(&liked).await;
    world.put(&edited).await;
    world.put(&good[25..]).await;
    world.journalled().await;
    let (from, to) = (format!("sequence:{cut}"), format!("sequence:{until}"));
    let window = ["--table", TABLE, "--between", &from, &to, "--except", "new-*", "--except", "sentinel-*"];

    // The plan reads the journal, describes the table, and touches no item.
    let plan_file = world.folder.path().join("deploy.plan").to_str().unwrap().to_owned();
    let saved = [window.as_slice(), &["--save-plan", &plan_file, "--json"]].concat();
    let planned = run(world.rewind(&saved)).await.success();
    assert_eq!(world.requests(), BTreeMap::from([("DescribeTable".to_owned(), 1)]));
    let counts = &json(&planned)["plan"]["counts"];
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    assert_eq!(number(&counts["change_back"]), overwritten);
    assert_eq!(number(&counts["put_back"]), deleted);
    assert_eq!((number(&counts["delete"]), number(&counts["clashes"])), (0, 10));
    assert_eq!(number(&counts["keeps"]), 30);

    // What the journal does not know yet comes out as conflicts.
    world.stop_following().await;
    let unseen: Vec<_> = (30..35).map(|number| (id(number), note("nobody has seen this", 0))).collect();
    world.put(&unseen).await;
    world.put(&[(gone[0].clone(), note("made anew", 0))]).await;
    let before = world.notes().await;

    // Killed on the way, then continued.
    let rate = (overwritten / 2).max(50).to_string();
    let running = world.rewind(&["--plan", &plan_file, "--apply", "--write-rate", &rate]).start();
    let said = running.wait_for_error("run 2");
    let name = said.split_whitespace().find(|word| word.starts_with("202")).unwrap().trim_end_matches(',').to_owned();
    let mut requests = BTreeMap::new();
    while requests.get("PutItem").is_none_or(|puts| *puts < overwritten / 4) {
        world.count(&mut requests);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let killed = tokio::task::spawn_blocking(move || running.kill()).await.unwrap();
    assert_eq!(killed.code(), None, "it had ended before it was killed");
    let resumed = run(world.rewind(&["--resume", &name, "--json"])).await.failure(6);
    let report = &json(&resumed)["run"];
    let wrote = overwritten + deleted - 10 - 6;
    assert_eq!(number(&report["changed_back"]) + number(&report["put_back"]), wrote, "{report}");
    assert_eq!((number(&report["conflicts"]), number(&report["clashes"]), number(&report["already"])), (6, 10, 0));
    let listed: Vec<&str> =
        report["left_alone"].as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
    assert_eq!(listed.len(), 16);
    assert!(listed.contains(&format!("noteId={}", gone[0]).as_str()), "{listed:?}");
    assert_eq!(number(&report["by_expression"]), wrote + 6);
    world.count(&mut requests);
    println!(
        "{notes} notes, {overwritten} overwritten, {deleted} deleted; requests of a run that was killed once: {requests:?}"
    );
    assert!(
        requests.keys().all(|name| ["DescribeTable", "PutItem", "GetItem"].contains(&name.as_str())),
        "{requests:?}"
    );
    // Each item once, and those of the step in doubt and in flight at the kill twice at most.
    assert!(requests["PutItem"] <= wrote + 6 + 500 + 16, "{requests:?}");

    let mut expected = before.clone();
    for number in (0..overwritten).filter(|number| !(20..35).contains(number)) {
        expected.insert(id(number), note(&format!("note {number}"), if number < 20 { 7 } else { 0 }));
    }
    for (number, id) in (overwritten..).zip(&gone).skip(1) {
        expected.insert(id.clone(), note(&format!("note {number}"), 0));
    }
    assert_same(&world.notes().await, &expected, "the rewound table");

    // Its own writes come through the stream; the undo takes back exactly them.
    world.follow();
    world.journalled().await;
    let undone = run(world.rewind(&["--undo", &name, "--apply", "--json"])).await.success();
    let requests = world.requests();
    assert_eq!(requests["PutItem"] + requests["DeleteItem"], wrote, "{requests:?}");
    assert_eq!(json(&undone)["run"]["took_back"], name.as_str());
    assert_same(&world.notes().await, &before, "the table after the undo");

    // And the undo can be taken back too, from what the journal's folder holds.
    let second = json(&undone)["run"]["run"].as_str().unwrap().to_owned();
    let _ = run(world.rewind(&["--undo", &second, "--apply"])).await.success();
    assert_same(&world.notes().await, &expected, "the table after the undo of the undo");
    world.journalled().await;
    let verified = run(world.program(replay(), "verify").args(["--table", TABLE])).await;
    assert_eq!(verified.code(), Some(0), "{verified:?}");
    world.stop_following().await;
}

fn items(default: usize) -> usize {
    std::env::var("JOURNAL_REWIND_ITEMS").ok().map_or(default, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_deploy_is_undone_in_place_and_the_undo_brings_back_the_state_before_on_ministack() {
    let test = "a_bad_deploy_is_undone_in_place_and_the_undo_brings_back_the_state_before_on_ministack";
    if let Some(world) = World::ministack(test).await {
        a_bad_deploy_is_undone(world, items(4000)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_deploy_is_undone_in_place_and_the_undo_brings_back_the_state_before_embedded() {
    a_bad_deploy_is_undone(World::embedded().await, 2000).await;
}

/// Ctrl-C leaves a run that goes on with the command that is printed, and nothing else is needed for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_that_is_stopped_goes_on_with_the_command_that_it_printed() {
    let mut world = World::embedded().await;
    let all: Vec<_> = (0..120).map(|number| (id(number), note(&format!("note {number}"), 0))).collect();
    world.put(&all).await;
    let cut = world.journalled().await;
    let before = world.notes().await;
    let bad: Vec<_> = (0..120).map(|number| (id(number), note("null", 0))).collect();
    world.put(&bad).await;
    world.journalled().await;
    let _ = world.requests();
    let arguments =
        ["--table", TABLE, "--at-sequence", &cut, "--except", "sentinel-*", "--apply", "--write-rate", "20"];
    let running = world.rewind(&arguments).start();
    let mut requests = BTreeMap::new();
    while requests.get("PutItem").is_none_or(|puts| *puts < 20) {
        world.count(&mut requests);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stopped = tokio::task::spawn_blocking(move || running.interrupt()).await.unwrap().failure(130);
    let said = |title: &str| {
        let line = stopped.stderr.lines().find_map(|line| line.strip_prefix(title));
        line.unwrap_or_else(|| panic!("{title:?} is not said: {}", stopped.stderr)).split(' ').collect::<Vec<&str>>()
    };
    let (resume, undo) = (said("to continue: replay rewind "), said("to take back what was written: replay rewind "));
    assert_eq!((resume[0], undo[0], undo[2], resume[1]), ("--resume", "--undo", "--apply", undo[1]));
    let halfway = world.notes().await;
    assert!(halfway != before && halfway.values().any(|note| note["content"] != "null"), "it was stopped on the way");
    let report = json(&run(world.rewind(&[&resume[..], &["--json"]].concat())).await.success());
    assert_eq!((report["run"]["changed_back"].as_u64(), report["run"]["already"].as_u64()), (Some(120), Some(0)));
    assert_same(&world.notes().await, &before, "the table after the run went on");
    world.stop_following().await;
}

fn with<'a>(one: &[&'a str], other: &[&'a str]) -> Vec<&'a str> {
    [one, other].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_to_a_rewind_is_refused_with_the_way_out() {
    let mut world = World::embedded().await;
    world.put(&[(id(1), note("good", 0))]).await;
    let cut = world.journalled().await;
    world.put(&[(id(1), note("bad", 0))]).await;
    world.journalled().await;
    let at = ["--table", TABLE, "--at-sequence", &cut];

    let wrong = run(world.rewind(&with(&at, &["--only", "likes == '1'"]))).await.failure(2);
    assert!(wrong.stderr.contains("likes == '1'") && wrong.stderr.contains('^'), "{}", wrong.stderr);
    let outside = run(world.rewind(&["--table", TABLE, "--at", "2001-01-01T00:00:00Z"])).await.failure(5);
    assert!(outside.stderr.contains("covered:"), "{}", outside.stderr);
    let unknown = run(world.rewind(&["--undo", "nothing"])).await.failure(2);
    assert!(unknown.stderr.contains("there is no run nothing"), "{}", unknown.stderr);
    let nothing = run(world.rewind(&["--table", TABLE])).await.failure(2);
    assert!(nothing.stderr.contains("--between"), "{}", nothing.stderr);

    // A plan that the journal moved past.
    let plan_file = world.folder.path().join("a.plan").to_str().unwrap().to_owned();
    let _ = run(world.rewind(&with(&at, &["--except", "sentinel-*", "--save-plan", &plan_file]))).await.success();
    world.put(&[(id(1), note("mended", 0))]).await;
    world.journalled().await;
    let moved = run(world.rewind(&["--plan", &plan_file, "--apply"])).await.failure(6);
    assert!(moved.stderr.contains("moved past the plan") && moved.stderr.contains(&id(1)), "{}", moved.stderr);
    assert_eq!(world.notes().await[&id(1)], note("mended", 0));

    // A table that was made again, and one that is gone.
    world.client.delete_table().table_name(TABLE).send().await.unwrap();
    let missing = run(world.rewind(&at)).await.failure(2);
    assert!(missing.stderr.contains("replay restore"), "{}", missing.stderr);
    world.stop_following().await;
    world.make_table().await;
    let other = run(world.rewind(&at)).await.failure(6);
    assert!(other.stderr.contains("is not the one that the journal knows"), "{}", other.stderr);
}
