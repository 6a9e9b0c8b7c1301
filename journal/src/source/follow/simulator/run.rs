//! One simulated run: a world that is written to, a follower that is killed and started again, and what must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;

use super::Chance;
use super::clock::{BEGINNING, VirtualClock};
use super::journal::{Durables, SimJournal};
use super::service::{SimService, Unkindness};
use super::store::SimStore;
use super::world::{ITEMS, SimShard, SimStream, World};
use crate::documents::{self, CheckpointDocument, EndDocument, GapDocument, StartDocument};
use crate::layout;
use crate::model::{Second, TableName, Timeline};
use crate::source::follow::{Clock, Edges, FollowOptions, FollowReport, Stop, follow};
use crate::store::ReadStore;
use crate::store::memory::MemoryStore;

/// What a run is like.
#[derive(Debug, Clone)]
pub(in super::super) struct Profile {
    pub(in super::super) steps: u64,
    pub(in super::super) unkindness: Unkindness,
    pub(in super::super) store_failures: u32,
    /// The follower lives so many milliseconds at most; 0 means that it is never killed.
    pub(in super::super) life: u64,
    /// Of a thousand starts, so many come only after the service has trimmed records.
    pub(in super::super) late: u32,
    /// Of a thousand steps, so many close a shard; delete the table; switch the stream off and on.
    pub(in super::super) closes: u32,
    pub(in super::super) deletes: u32,
    pub(in super::super) switches: u32,
    /// Of a thousand steps, so many show a record of an earlier table.
    pub(in super::super) foreign: u32,
    pub(in super::super) numeric_labels: bool,
    pub(in super::super) followers: usize,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            steps: 400,
            unkindness: Unkindness { failures: 20, empties: 150, delay: 1_500, page: 4, ..Unkindness::default() },
            store_failures: 20,
            life: 6_000,
            late: 0,
            closes: 25,
            deletes: 4,
            switches: 4,
            foreign: 0,
            numeric_labels: false,
            followers: 1,
        }
    }
}

/// What happened in a run, so that a test can see that it was not about nothing.
#[derive(Debug, Default, Clone, Copy)]
pub(in super::super) struct Seen {
    pub(in super::super) emitted: u64,
    pub(in super::super) durable: u64,
    pub(in super::super) lost: u64,
    pub(in super::super) gaps: u64,
    pub(in super::super) ends: u64,
    pub(in super::super) shards: u64,
    pub(in super::super) foreign: u64,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.emitted += other.emitted;
        self.durable += other.durable;
        self.lost += other.lost;
        self.gaps += other.gaps;
        self.ends += other.ends;
        self.shards += other.shards;
        self.foreign += other.foreign;
    }
}

const RETENTION: u64 = 60_000;

pub(in super::super) fn options(seed: u64) -> FollowOptions {
    FollowOptions {
        batch_records: 7,
        batch_age: Duration::from_millis(300),
        poll: Duration::from_millis(200),
        checkpoint_age: Duration::from_secs(1),
        table_poll: Duration::from_secs(1),
        relist: Duration::from_secs(3),
        describe_age: Duration::from_secs(20),
        retention: Duration::from_millis(RETENTION - 5_000),
        end_grace: Duration::from_secs(3),
        child_grace: Duration::from_secs(20),
        memory_pages: 3,
        seed,
        ..FollowOptions::default()
    }
}

pub(in super::super) fn table() -> TableName {
    TableName::parse("notes").unwrap()
}

/// Everything that outlives a follower.
pub(in super::super) struct Run {
    pub(in super::super) clock: VirtualClock,
    pub(in super::super) world: Arc<Mutex<World>>,
    pub(in super::super) store: Arc<MemoryStore>,
    pub(in super::super) durable: Arc<Mutex<Durables>>,
    pub(in super::super) service: Arc<SimService>,
    profile: Profile,
    seed: u64,
}

impl Run {
    pub(in super::super) fn new(clock: &VirtualClock, seed: u64, profile: Profile) -> Self {
        let clock = clock.clone();
        let world = Arc::new(Mutex::new(World::new(clock.clone(), RETENTION, profile.numeric_labels)));
        let service = SimService::new(Arc::clone(&world), clock.clone(), seed ^ 1, profile.unkindness.clone());
        Self {
            clock,
            world,
            store: Arc::new(MemoryStore::new()),
            durable: Arc::default(),
            service: Arc::new(service),
            profile,
            seed,
        }
    }

    /// The edges of one follower's life.
    pub(in super::super) fn edges(&self, life: u64) -> Edges {
        let seed = self.seed ^ life.wrapping_mul(0x9e37_79b9);
        let failures = self.profile.store_failures;
        let (world, durable, inner) = (Arc::clone(&self.world), Arc::clone(&self.durable), Arc::clone(&self.store));
        let watch = Box::new(move |key: &str, body: &[u8]| {
            if key.contains("/checkpoints/") {
                check_checkpoint(&world, &durable, &inner, key, body);
            }
        });
        Edges {
            service: self.service.clone(),
            store: Arc::new(SimStore::new(Arc::clone(&self.store), self.clock.clone(), seed ^ 2, failures, watch)),
            durable: Arc::new(SimJournal::new(
                Arc::clone(&self.world),
                self.clock.clone(),
                Arc::clone(&self.durable),
                seed ^ 3,
                failures,
            )),
            clock: Arc::new(self.clock.clone()),
        }
    }

    /// Follows for so long, then stops in order.
    pub(in super::super) async fn follow_for(
        &self,
        life: u64,
        options: FollowOptions,
        milliseconds: u64,
    ) -> FollowReport {
        let stop = Stop::new();
        let following = follow(self.edges(life), vec![table()], options, stop.clone());
        tokio::pin!(following);
        tokio::select! {
            biased;
            () = self.clock.sleep(Duration::from_millis(milliseconds)) => {}
            report = &mut following => return report,
        }
        stop.request();
        following.await
    }

    /// Lives, dies and lives again until the workload is over.
    async fn live(&self, follower: u64, over: Stop) {
        let chance = Chance::new(self.seed ^ 5 ^ follower);
        let mut life = follower << 32;
        while !over.requested() {
            life += 1;
            let options = FollowOptions { wait: true, ..options(self.seed ^ life) };
            if self.profile.life == 0 {
                let stop = over.child();
                follow(self.edges(life), vec![table()], options, stop).await;
                return;
            }
            let lives = 1 + chance.below(self.profile.life);
            if chance.permille(200) {
                self.follow_for(life, options, lives).await;
            } else {
                tokio::select! {
                    biased;
                    () = self.clock.sleep(Duration::from_millis(lives)) => {}
                    _ = follow(self.edges(life), vec![table()], options, Stop::new()) => {}
                }
            }
            let late = chance.permille(self.profile.late);
            let away = if late { RETENTION / 2 + chance.below(RETENTION * 2) } else { chance.below(2_000) };
            self.clock.sleep(Duration::from_millis(away)).await;
        }
    }

    async fn work(&self) {
        let chance = Chance::new(self.seed ^ 4);
        let name = table();
        for _ in 0..self.profile.steps {
            self.clock.sleep(Duration::from_millis(1 + chance.below(200))).await;
            let profile = &self.profile;
            let draw = u32::try_from(chance.below(1000)).unwrap();
            let mut limit = 0;
            let mut within = |permille: u32| {
                limit += permille;
                draw < limit
            };
            if within(profile.closes) {
                let (at, split) = (usize::try_from(chance.below(64)).unwrap(), chance.permille(400));
                self.world.lock().unwrap().close_shard(&name, at, split);
            } else if within(profile.deletes) {
                self.world.lock().unwrap().delete_table(&name);
                self.clock.sleep(Duration::from_millis(1 + chance.below(4_000))).await;
                self.world.lock().unwrap().create_table(&name, 1 + chance.below(3));
            } else if within(profile.switches) {
                self.world.lock().unwrap().disable_stream(&name);
                self.clock.sleep(Duration::from_millis(2_000 + chance.below(4_000))).await;
                self.world.lock().unwrap().enable_stream(&name, 1 + chance.below(3));
            } else if within(profile.foreign) {
                let before = if profile.numeric_labels { 1 } else { 61 } + chance.below(500);
                self.world.lock().unwrap().show_foreign(&name, chance.below(ITEMS), before);
            } else {
                for _ in 0..=chance.below(6) {
                    self.world.lock().unwrap().write(&name, chance.below(ITEMS));
                }
            }
        }
    }

    /// The whole run, and what must hold after it.
    pub(in super::super) fn check(seed: u64, profile: Profile) -> Seen {
        let clock = VirtualClock::default();
        let inner = clock.clone();
        clock.run(async move {
            let run = Self::new(&inner, seed, profile);
            run.world.lock().unwrap().create_table(&table(), 2);
            let over = Stop::new();
            let work = async {
                run.work().await;
                over.request();
            };
            let lives =
                (0..run.profile.followers).map(|follower| run.live(u64::try_from(follower).unwrap(), over.clone()));
            futures::future::join(work, futures::future::join_all(lives)).await;
            let report = run.follow_for(u64::MAX, FollowOptions { wait: true, ..options(seed) }, 45_000).await;
            for (_, _, failure) in &report.tables {
                assert!(failure.is_none(), "{failure:?}");
            }
            run.verify().await
        })
    }

    /// Nothing is lost but in a stated gap, and nothing is there that was not emitted.
    pub(in super::super) async fn verify(&self) -> Seen {
        let mut seen = Seen::default();
        let streams: Vec<SimStream> = self.world.lock().unwrap().streams.values().cloned().collect();
        let durable = self.durable.lock().unwrap().clone();
        for stream in &streams {
            let timeline = stream.arn.timeline();
            let store = self.store.as_ref();
            let start: Option<StartDocument> = documents::read(store, &layout::start_document(timeline)).await.unwrap();
            let have = durable.get(&stream.arn).cloned().unwrap_or_default();
            if start.is_none() {
                assert!(have.is_empty(), "records of a timeline without a start");
                continue;
            }
            let gaps = gaps(store, timeline);
            let covered_from = start.unwrap().covered_from;
            let late = self.profile.late > 0;
            let expected = |name: &String| name.contains("/stream-disabled") || name.contains("/since-");
            assert!(late || gaps.keys().all(expected), "seed {}: a gap for no reason: {gaps:#?}", self.seed);
            seen.gaps += u64::try_from(gaps.len()).unwrap();
            let mut emitted = BTreeSet::new();
            for shard in &stream.shards {
                seen.shards += 1;
                for (_, record) in &shard.records {
                    let sequence = record.record.sequence;
                    emitted.insert(sequence);
                    if stream.foreign.contains(&sequence) {
                        assert!(!have.contains_key(&sequence), "a foreign record was taken");
                        seen.foreign += 1;
                        continue;
                    }
                    seen.emitted += 1;
                    match have.get(&sequence) {
                        Some(there) => assert_eq!(there, record),
                        // Trimmed before the first follower came.
                        None if record.record.second < Some(covered_from) => {}
                        None => {
                            seen.lost += 1;
                            assert!(
                                is_stated(&gaps, record.record.second.unwrap()),
                                "seed {}: {sequence} of {timeline} {} at {:?} is lost and not stated: {gaps:#?}",
                                self.seed,
                                shard.id,
                                record.record.second
                            );
                        }
                    }
                }
            }
            assert!(have.keys().all(|sequence| emitted.contains(sequence)), "a record from nowhere");
            seen.durable += u64::try_from(have.len()).unwrap();
            let end: Option<EndDocument> = documents::read(store, &layout::end_document(timeline)).await.unwrap();
            if let Some(disabled) = stream.disabled {
                let end = end.unwrap_or_else(|| panic!("seed {}: {timeline} has no end", self.seed));
                let reason = if stream.table_deleted { "table deleted" } else { "stream disabled" };
                // A table that is deleted soon after its stream was switched off may be seen either way.
                if stream.table_deleted || !self.deleted_later(stream) {
                    assert!(end.reason == reason || stream.table_deleted, "{end:?}");
                }
                assert!(end.at.get() * 1000 + 1000 > BEGINNING + disabled);
                seen.ends += 1;
            } else {
                assert!(end.is_none());
            }
            // A slower follower may put back the checkpoint of a timeline that another one has ended: its end stands.
            if stream.disabled.is_none() || self.profile.followers == 1 {
                self.verify_checkpoints(stream);
            }
        }
        seen
    }

    fn deleted_later(&self, stream: &SimStream) -> bool {
        let world = self.world.lock().unwrap();
        !world.tables.values().any(|table| table.created <= stream.born)
    }

    /// Every shard that was closed in time is finished, and no checkpoint claims to cover what no stream has.
    fn verify_checkpoints(&self, stream: &SimStream) {
        let timeline = stream.arn.timeline();
        for shard in stream.shards.iter().filter(|shard| !shard.vanished) {
            let key = layout::checkpoint_document(timeline, shard.id.as_str());
            let body = self.store.get(&key).now_or_never().unwrap().unwrap();
            let checkpoint: CheckpointDocument = serde_json::from_slice(&body).unwrap();
            assert_eq!(checkpoint.parent.as_deref(), shard.parent.as_ref().map(crate::source::stream::ShardId::as_str));
            assert_eq!(checkpoint.finished, shard.closed.is_some(), "seed {}: {checkpoint:?}", self.seed);
            if let (Some(disabled), Some(through)) = (stream.disabled, checkpoint.read_through) {
                assert!(through.get() * 1000 <= BEGINNING + disabled, "covered after the stream was switched off");
            }
            if stream.disabled.is_none() && shard.closed.is_none() {
                let lag = (BEGINNING + self.clock.elapsed()) / 1000 - checkpoint.read_through.unwrap().get();
                assert!(lag < 10, "seed {}: {lag} s behind", self.seed);
            }
        }
    }
}

/// All gaps of a timeline by key.
pub(in super::super) fn gaps(store: &dyn ReadStore, timeline: &Timeline) -> BTreeMap<String, GapDocument> {
    let objects = store.list_all(&layout::gaps_folder(timeline)).now_or_never().unwrap().unwrap();
    let read = |key: String| {
        let body = store.get(&key).now_or_never().unwrap().unwrap();
        (key, serde_json::from_slice(&body).unwrap())
    };
    objects.into_iter().map(|object| read(object.key)).collect()
}

fn is_stated(gaps: &BTreeMap<String, GapDocument>, second: Second) -> bool {
    gaps.values().any(|gap| gap.from <= second && second <= gap.to)
}

/// A checkpoint acknowledges nothing that is not durable, or stated to be lost.
fn check_checkpoint(world: &Mutex<World>, durable: &Mutex<Durables>, store: &MemoryStore, key: &str, body: &[u8]) {
    let checkpoint: CheckpointDocument = serde_json::from_slice(body).unwrap();
    let timeline = layout::timeline_of(key).unwrap();
    let world = world.lock().unwrap();
    let durable = durable.lock().unwrap();
    let stream = world.streams.values().find(|stream| *stream.arn.timeline() == timeline).unwrap();
    let shard: &SimShard = stream.shards.iter().find(|shard| shard.id.as_str() == checkpoint.shard).unwrap();
    let gaps = gaps(store, &timeline);
    let have = durable.get(&stream.arn);
    let start = store.get(&layout::start_document(&timeline)).now_or_never().unwrap();
    let start: Option<StartDocument> = start.ok().map(|body| serde_json::from_slice(&body).unwrap());
    for (at, (_, record)) in shard.records.iter().enumerate() {
        let (sequence, second) = (record.record.sequence, record.record.second.unwrap());
        let there = have.is_some_and(|have| have.contains_key(&sequence)) || stream.foreign.contains(&sequence);
        let before = start.as_ref().is_some_and(|start| second < start.covered_from);
        if there || before || is_stated(&gaps, second) {
            continue;
        }
        // What is lost before its gap is stated is the children's to state; the last check of the run sees that they do.
        let lost = shard.vanished || at < shard.trimmed;
        assert!(!checkpoint.finished || lost, "{checkpoint:?} is finished without {sequence}");
        assert!(checkpoint.last_sequence.is_none_or(|last| last < sequence), "{checkpoint:?} passes over {sequence}");
        assert!(
            checkpoint.read_through.is_none_or(|through| through <= second),
            "{checkpoint:?} claims {sequence} at {second}"
        );
    }
}
