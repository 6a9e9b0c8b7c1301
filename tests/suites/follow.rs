//! Following live tables: nothing is lost and nothing doubled, whatever happens to the follower.
//!
//! While writers write, followers are killed, tables deleted and made again, baselines taken; then replays are compared with
//! what the writers know they wrote. Each claim is tested on every service: MiniStack and DynamoDB Local where the test
//! command provides them, the embedded DynamoDB everywhere.

#[path = "follow/follower.rs"]
mod follower;
#[path = "follow/item.rs"]
mod item;
#[path = "follow/peer.rs"]
mod peer;
#[path = "follow/stream.rs"]
mod stream;
#[path = "follow/writers.rs"]
mod writers;

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};
use journal_tests::seed;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::json;
use tokio::sync::watch;

use follower::{Journal, kill, stop};
use item::{Items, by_key, key, to_table};
use peer::{Peer, pause};
use stream::{At, Expected};
use writers::{Progress, Until, write};

const WRITERS: [&str; 4] = ["ada", "barbara", "grace", "margaret"];
/// Changes of the main test, in both of its table's lives together.
const CHANGES: usize = 20_000;
const KILLS: usize = 10;
const CUTS: usize = 20;
/// How long something that must come may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// Of the cuts, those that go through a restore into a new table.
const RESTORES: usize = 3;
/// Items that nobody touches once the stream is on.
const UNTOUCHED: u32 = 5_000;

/// Compares without printing thousands of items.
fn assert_same(found: &Items, expected: &Items, what: &str) {
    if found == expected {
        return;
    }
    let missing: Vec<_> = expected.keys().filter(|key| !found.contains_key(*key)).collect();
    let more: Vec<_> = found.keys().filter(|key| !expected.contains_key(*key)).collect();
    let other = expected.iter().find(|(key, item)| found.get(*key).is_some_and(|found| found != *item));
    let other = other.map(|(key, item)| (key, item, &found[key]));
    panic!(
        "{what}: {} items missing (first {:?}), {} too many (first {:?}); the first that differs: {other:?}",
        missing.len(),
        missing.first(),
        more.len(),
        more.first()
    );
}

/// The journal has every record of the stream, none twice, none from elsewhere.
async fn assert_whole(journal: &Journal, expected: &Expected) {
    let (found, report) = journal.records(&expected.label).await;
    let told: Vec<_> = expected.changes.iter().map(|change| (change.key.clone(), change.sequence)).collect();
    let missing = told.iter().filter(|record| !found.contains(record)).take(3).collect::<Vec<_>>();
    assert_eq!(found.len(), told.len(), "records in {}; missing, among others: {missing:?}", expected.label);
    assert!(found == told, "records in {}; missing, among others: {missing:?}", expected.label);
    assert_eq!(report.contradictions, 0, "{}", expected.label);
}

/// Kills and restarts a follower each time that so many changes are written; gives the last one.
async fn kill_at(journal: &Journal, progress: &Progress, moments: BTreeSet<u64>) -> journal_tests::processes::Running {
    let mut follower = journal.follow();
    for moment in moments {
        progress.reaches(moment).await;
        kill(follower).await;
        eprintln!("killed the follower when {} changes were written", progress.get());
        follower = journal.follow();
    }
    follower
}

fn moments(random: &mut StdRng, count: usize, before: usize) -> BTreeSet<u64> {
    let mut moments = BTreeSet::new();
    while moments.len() < count {
        moments.insert(random.random_range(1..u64::try_from(before).unwrap()));
    }
    moments
}

/// Waits until a follower has ended a timeline.
async fn ended(journal: &Journal, arn: &str) {
    let waiting = async {
        while !journal.has_ended(arn).await {
            pause().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "no follower ended the timeline of {arn}");
}

// Claims. Each takes a service.

/// Four writers, ten kills, a table deleted and made again: twenty cuts equal what the writers wrote.
async fn a_killed_follower_loses_nothing(peer: Peer) {
    let seed = seed::seeds([rand::random()])[0];
    let mut random = seed::generator("a killed follower", seed);
    let table = "notes-table-dev";
    let first_arn = peer.make_table(table, true).await.unwrap();
    let journal = Journal::init(&peer, table);
    let progress = Progress::new();
    let moments = moments(&mut random, KILLS, CHANGES);
    let each = CHANGES / 2 / WRITERS.len();

    let (logs, follower) = tokio::join!(
        async {
            let first = write(&peer.tables, table, &WRITERS, Until::Changes(each), &progress, &mut random).await;
            peer.delete_table(table).await;
            let second_arn = peer.make_table(table, true).await.unwrap();
            assert_ne!(first_arn, second_arn);
            let second = write(&peer.tables, table, &WRITERS, Until::Changes(each), &progress, &mut random).await;
            [(first_arn, first), (second_arn, second)]
        },
        kill_at(&journal, &progress, moments)
    );
    ended(&journal, &logs[0].0).await;
    let _ = stop(follower).await;
    let _ = journal.follow_once().await;

    let mut expected = Vec::new();
    for (arn, log) in &logs {
        let placed = Expected::place(&peer.streams, arn, log).await;
        assert_eq!(placed.changes.len(), CHANGES / 2);
        assert_whole(&journal, &placed).await;
        expected.push(placed);
    }
    for number in 0..CUTS {
        let timeline = expected.choose(&mut random).unwrap();
        let change = timeline.changes.choose(&mut random).unwrap();
        let at = peer.cut_at(change);
        let items = timeline.items_at(at, &Items::new());
        let what = format!("timeline {} at {at:?}", timeline.label);
        if number < RESTORES {
            let target = format!("restored-{number}");
            let _ = journal.restore(Some(&timeline.label), at, &target).await;
            assert_same(&peer.scan(&target).await, &items, &what);
        } else {
            assert_same(&journal.export(Some(&timeline.label), at).await, &items, &what);
        }
    }
    let _ = journal.verify().await.success();
}

/// A baseline read while the table is written to serves the cuts before it.
async fn a_baseline_serves_the_cuts_before_it(peer: Peer) {
    let seed = seed::seeds([rand::random()])[0];
    let mut random = seed::generator("a baseline", seed);
    let table = "notes-table-old";
    let _ = peer.make_table(table, false).await;
    let untouched = by_key((0..UNTOUCHED).map(|number| {
        let mut item = key("nobody", number);
        item.insert("content".to_owned(), json!({ "S": format!("old note {number}") }));
        item
    }));
    for items in untouched.values().collect::<Vec<_>>().chunks(25) {
        let puts = items.iter().map(|item| {
            let put = PutRequest::builder().set_item(Some(to_table(item))).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        });
        let answer = peer.tables.batch_write_item().request_items(table, puts.collect()).send().await.unwrap();
        assert!(answer.unprocessed_items().is_none_or(std::collections::HashMap::is_empty));
    }
    let arn = peer.switch_stream_on(table).await;
    let journal = Journal::init(&peer, table);
    // The journal covers the stream from here on.
    let _ = journal.follow_once().await;
    let follower = journal.follow();
    let progress = Progress::new();
    let (tell, told) = watch::channel(false);
    let (log, written_before) =
        tokio::join!(write(&peer.tables, table, &WRITERS, Until::Told(told, 10_000), &progress, &mut random), async {
            // Some seconds of writes before the baseline, so that there are whole seconds to cut at.
            let begun = epoch_seconds();
            while epoch_seconds() < begun + 4 || progress.get() < 1000 {
                pause().await;
            }
            let written_before = progress.get();
            let _ = journal.baseline().await;
            progress.reaches(written_before + 1000).await;
            tell.send(true).unwrap();
            written_before
        });
    let _ = stop(follower).await;
    let _ = journal.follow_once().await;
    let expected = Expected::place(&peer.streams, &arn, &log).await;
    assert_whole(&journal, &expected).await;

    let written_before = usize::try_from(written_before).unwrap();
    // The first half of the changes surely came seconds before the baseline.
    let before = &expected.changes[..written_before / 2];
    let mut cuts: Vec<At> = (0..4).map(|_| peer.cut_at(before.choose(&mut random).unwrap())).collect();
    cuts.push(peer.cut_at(expected.changes.choose(&mut random).unwrap()));
    cuts.push(peer.cut_at(expected.changes.last().unwrap()));
    for (number, at) in cuts.into_iter().enumerate() {
        let items = expected.items_at(at, &untouched);
        assert!(items.len() > untouched.len(), "the writers had written nothing at {at:?}");
        let what = format!("at {at:?}");
        if number == 0 {
            let _ = journal.restore(None, at, "restored").await;
            assert_same(&peer.scan("restored").await, &items, &what);
        } else {
            assert_same(&journal.export(None, at).await, &items, &what);
        }
    }
    let _ = journal.verify().await.success();
}

fn epoch_seconds() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// Two followers of one table into one journal: no error, no record more.
async fn two_followers_make_one_history(peer: Peer) {
    let seed = seed::seeds([rand::random()])[0];
    let mut random = seed::generator("two followers", seed);
    let table = "notes-table-two";
    let arn = peer.make_table(table, true).await.unwrap();
    let journal = Journal::init(&peer, table);
    let progress = Progress::new();
    let followers = [journal.follow(), journal.follow()];
    let log = write(&peer.tables, table, &WRITERS, Until::Changes(500), &progress, &mut random).await;
    let expected = Expected::place(&peer.streams, &arn, &log).await;
    for follower in followers {
        let _ = stop(follower).await;
    }
    let _ = journal.follow_once().await;
    assert_whole(&journal, &expected).await;
    for _ in 0..3 {
        let at = peer.cut_at(expected.changes.choose(&mut random).unwrap());
        assert_same(&journal.export(None, at).await, &expected.items_at(at, &Items::new()), &format!("at {at:?}"));
    }
    let _ = journal.verify().await.success();
}

/// While no follower runs, the table is deleted and made again; the next follower drains the old stream first.
async fn a_table_remade_while_nobody_follows_is_drained(peer: Peer) {
    let seed = seed::seeds([rand::random()])[0];
    let mut random = seed::generator("remade while nobody follows", seed);
    let table = "notes-table-gone";
    let first_arn = peer.make_table(table, true).await.unwrap();
    let journal = Journal::init(&peer, table);
    let _ = journal.follow_once().await;
    let progress = Progress::new();
    let mut first = write(&peer.tables, table, &["ada"], Until::Changes(300), &progress, &mut random).await;
    // It reads a part, and is killed while more is written.
    let killed_at = progress.get() + random.random_range(1..100);
    let follower = journal.follow();
    let (more, ()) =
        tokio::join!(write(&peer.tables, table, &["barbara"], Until::Changes(150), &progress, &mut random), async {
            progress.reaches(killed_at).await;
            kill(follower).await;
        });
    first.extend(more);
    peer.delete_table(table).await;
    let second_arn = peer.make_table(table, true).await.unwrap();
    let second = write(&peer.tables, table, &["ada"], Until::Changes(200), &progress, &mut random).await;

    let follower = journal.follow();
    ended(&journal, &first_arn).await;
    let _ = stop(follower).await;
    let _ = journal.follow_once().await;
    for (arn, log) in [(&first_arn, first), (&second_arn, second)] {
        let expected = Expected::place(&peer.streams, arn, &log).await;
        assert_whole(&journal, &expected).await;
        let at = peer.cut_at(expected.changes.last().unwrap());
        let found = journal.export(Some(&expected.label), at).await;
        assert_same(&found, &expected.items_at(at, &Items::new()), &format!("{arn} at {at:?}"));
    }
}

macro_rules! claims {
    ($($claim:ident),+ $(,)?) => {
        claims!(@on ministack [$($claim),+]);
        claims!(@on dynamodb_local [$($claim),+]);
        claims!(@on embedded [$($claim),+]);
    };
    (@on $service:ident [$($claim:ident),+]) => {
        mod $service {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $claim() {
                    let name = concat!(stringify!($service), "::", stringify!($claim));
                    if let Some(peer) = super::Peer::$service(name).await {
                        super::$claim(peer).await;
                    }
                }
            )+
        }
    };
}

claims!(
    a_killed_follower_loses_nothing,
    a_baseline_serves_the_cuts_before_it,
    two_followers_make_one_history,
    a_table_remade_while_nobody_follows_is_drained,
);
