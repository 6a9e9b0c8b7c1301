//! Random histories: segments that overlap and come late, baselines, compactions and snapshots in any order. Whatever a plan
//! can start from makes the true state at every covered second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use journal::append::SnapshotWriter;
use journal::compact::{CompactOptions, compact_table};
use journal::interrupt::Interrupt;
use journal::model::{ChangeRecord, Image, Second};
use journal::snapshot::{SnapshotOptions, Way, bases, snapshot_at, snapshot_table};
use journal::store::memory::MemoryStore;
use journal_tests::reference::State;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use replayer::cut::Cut;

use super::table::{BEGINNING, change, covered, image, interval, key, put, second, start, state, timeline};

/// One change: how long after the one before, of which item, to what.
type Write = (u64, u64, Option<u16>);

#[derive(Debug, Clone)]
struct Plan {
    /// Items that are there before the stream; with none the stream is whole.
    before: BTreeMap<u64, u16>,
    writes: Vec<Write>,
    /// Of a hundred records, those that are appended only at the end.
    late: u32,
    steps: usize,
    seed: u64,
}

fn plans() -> impl Strategy<Value = Plan> {
    let wait = prop_oneof![2 => Just(0u64), 3 => 1u64..900, 2 => 900u64..9000];
    let write = (wait, 0u64..9, proptest::option::weighted(0.65, 0u16..500));
    (
        proptest::collection::btree_map(0u64..9, 500u16..900, 0..5),
        proptest::collection::vec(write, 1..90),
        prop_oneof![2 => Just(0u32), 1 => 1u32..20],
        1usize..6,
        any::<u64>(),
    )
        .prop_map(|(before, writes, late, steps, seed)| Plan { before, writes, late, steps, seed })
}

fn text(value: u16) -> Image {
    image(format!("{value} {}", "stay at home ".repeat(usize::from(value % 7))))
}

/// The records, and the table's state after each second in which it changed.
fn simulate(plan: &Plan) -> (Vec<ChangeRecord>, BTreeMap<u64, State>) {
    let mut table = plan.before.clone();
    let mut now = BEGINNING;
    let mut records = Vec::new();
    let shown = |table: &BTreeMap<u64, u16>| table.iter().map(|(id, value)| (key(*id), text(*value))).collect();
    let mut states: BTreeMap<u64, State> = BTreeMap::from([(now, shown(&table))]);
    for (number, (wait, id, value)) in plan.writes.iter().enumerate() {
        now += wait;
        let old = match value {
            Some(value) => table.insert(*id, *value),
            None => table.remove(id),
        };
        if old != *value {
            let number = u64::try_from(number).unwrap() + 1;
            records.push(change(*id, number, now, old.map(text), value.map(text)));
        }
        states.insert(now, shown(&table));
    }
    (records, states)
}

fn at(states: &BTreeMap<u64, State>, second: u64) -> &State {
    states.range(..=second).next_back().unwrap().1
}

/// What a scan reads that takes half an hour: each item at a moment of its own.
fn scan(states: &BTreeMap<u64, State>, from: u64) -> Vec<(u64, Image)> {
    let items = (0u64..9).filter_map(|id| Some((id, at(states, from + id * 200).get(&key(id))?.clone())));
    items.collect()
}

async fn baseline(store: &Arc<MemoryStore>, items: Vec<(u64, Image)>, from: u64) {
    let name = format!("{from}-baseline-1");
    let mut writer = SnapshotWriter::new(store.clone(), super::table::stream(), super::table::names(), name)
        .with_part_bytes_max(200);
    for (id, image) in items {
        writer.push(key(id), image).await.unwrap();
    }
    writer.finish(second(from), second(from + 1800)).await.unwrap();
}

/// Batches of neighbours, each now and then twice, or grouped in another way.
fn batches(records: &[ChangeRecord], random: &mut StdRng) -> Vec<Vec<ChangeRecord>> {
    let mut batches = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        let size = random.random_range(1..=6).min(rest.len());
        let (batch, after) = rest.split_at(size);
        batches.push(batch.to_vec());
        if random.random_ratio(1, 6) {
            let from = random.random_range(0..records.len());
            let reach = (from + random.random_range(1..20)).min(records.len());
            let count = random.random_range(1..=reach - from);
            // Not neighbours: a long span with few records.
            batches.push(records[from..reach].sample(random, count).cloned().collect());
        }
        rest = after;
    }
    batches
}

async fn check(
    store: &Arc<MemoryStore>,
    states: &BTreeMap<u64, State>,
    last: u64,
    random: &mut StdRng,
) -> Result<[usize; 3], TestCaseError> {
    let covered = covered(store.as_ref()).await;
    let mut ways = [0usize; 3];
    let edges: Vec<u64> = states.keys().copied().collect();
    let mut seconds: Vec<u64> = (0..12).map(|_| *edges.choose(random).unwrap() + random.random_range(0..3)).collect();
    seconds.extend((0..4).map(|_| random.random_range(BEGINNING..=last)));
    for cut in seconds.into_iter().filter(|cut| *cut <= last) {
        let found = bases(&covered, interval(&covered), Cut::at(second(cut)));
        prop_assert!(!found.candidates.is_empty(), "nothing makes {}", cut);
        for candidate in found.candidates {
            let memory = if random.random() { 48 << 20 } else { 1 };
            let (got, report) = state(store, candidate.inputs(&covered), Cut::at(second(cut)), memory).await;
            prop_assert_eq!(&got, at(states, cut), "at {}: {:?}", cut, candidate);
            // What `--explain` shows of it is what is read.
            prop_assert_eq!(report.objects, candidate.objects, "at {}: {:?}", cut, candidate);
            prop_assert!(report.bytes_read <= candidate.bytes, "at {}: {:?} {:?}", cut, candidate, report);
            match candidate.way {
                Way::Forward => ways[0] += 1,
                Way::Backward => ways[1] += 1,
                Way::Around | Way::Records => ways[2] += 1,
            }
        }
    }
    Ok(ways)
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: if super::full() { 1000 } else { 60 },
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        max_shrink_time: 60_000,
        ..ProptestConfig::default()
    }
}

fn run(plan: &Plan) -> Result<(), TestCaseError> {
    let (records, states) = simulate(plan);
    if records.is_empty() {
        return Ok(());
    }
    let last = records.iter().map(|record| record.second.unwrap().get()).max().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut random = StdRng::seed_from_u64(plan.seed);
        let store = Arc::new(MemoryStore::new());
        let whole = plan.before.is_empty();
        start(store.as_ref(), whole).await;
        let (late, timely): (Vec<_>, Vec<_>) =
            records.iter().cloned().partition(|_| random.random_ratio(plan.late, 100));
        for batch in batches(&timely, &mut random) {
            put(store.as_ref(), batch).await;
        }
        if !whole || random.random_ratio(1, 4) {
            let from = random.random_range(BEGINNING..=last.max(BEGINNING + 1));
            baseline(&store, scan(&states, from), from).await;
        }
        let compaction = CompactOptions { grace: Duration::ZERO, run_bytes_max: 300, ..CompactOptions::default() };
        let options = SnapshotOptions {
            replay_bytes_max: random.random_range(1..4000),
            margin: Duration::ZERO,
            settle: Duration::ZERO,
            tombstones: Duration::from_secs(random.random_range(0..20_000)),
            part_bytes_max: random.random_range(1..400),
            ..SnapshotOptions::default()
        };
        let never = Interrupt::never();
        let table = timeline().table;
        let mut late = late;
        late.shuffle(&mut random);
        for step in 0..plan.steps {
            let now = second(random.random_range(BEGINNING..last + 40 * 86_400));
            match random.random_range(0..3) {
                0 => drop(compact_table(store.clone(), &table, now, &compaction, &never, |_| {}).await.unwrap()),
                1 => drop(snapshot_table(store.clone(), &table, now, &options, &never, |_| {}).await.unwrap()),
                _ => {
                    let cut = second(random.random_range(BEGINNING..=last));
                    // A baseline that does not count yet leaves nothing to fold.
                    let _ = snapshot_at(store.clone(), &table, cut, second(last + 86_400), &options, &never).await;
                }
            }
            if !late.is_empty() && (random.random() || step + 1 == plan.steps) {
                let some = if step + 1 == plan.steps { late.len() } else { random.random_range(0..=late.len()) };
                for record in late.drain(..some) {
                    put(store.as_ref(), vec![record]).await;
                }
            }
        }
        for record in late {
            put(store.as_ref(), vec![record]).await;
        }
        let covered_to =
            covered(store.as_ref()).await.intervals.last().and_then(|i| i.through).map_or(last, Second::get);
        check(&store, &states, covered_to.min(last), &mut random).await?;
        // And when everything is compacted around them.
        for _ in 0..2 {
            compact_table(store.clone(), &table, second(super::table::LATER), &compaction, &never, |_| {})
                .await
                .unwrap();
        }
        let last_now =
            snapshot_table(store.clone(), &table, second(super::table::LATER), &options, &never, |_| {}).await;
        last_now.unwrap();
        check(&store, &states, covered_to.min(last), &mut random).await.map(drop)
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_a_plan_can_start_from_makes_the_true_state_at_every_covered_second(plan in plans()) {
        run(&plan)?;
    }
}

/// Two changes came late that lay between a fold and the baseline it was walked back from: the fold had an item at a second at
/// which it did not exist, and a replay took its word.
#[test]
fn a_fold_that_was_walked_back_to_is_not_used_when_records_between_come_late() {
    let plan = Plan {
        before: BTreeMap::from([(2, 500)]),
        writes: vec![
            (0, 3, Some(0)),
            (0, 0, Some(0)),
            (0, 0, None),
            (0, 0, None),
            (0, 0, Some(0)),
            (0, 0, None),
            (0, 0, Some(0)),
            (5486, 3, None),
            (1132, 0, Some(1)),
            (301, 2, None),
            (7404, 6, None),
            (253, 5, Some(419)),
            (667, 0, None),
            (2375, 5, Some(259)),
            (6959, 2, Some(11)),
            (371, 4, None),
            (0, 7, None),
            (186, 7, Some(259)),
            (872, 8, Some(417)),
            (8705, 1, None),
            (4776, 3, Some(472)),
            (6297, 8, Some(461)),
            (0, 0, Some(286)),
            (6703, 5, Some(313)),
        ],
        late: 6,
        steps: 4,
        seed: 12_181_709_865_165_108_892,
    };
    run(&plan).unwrap();
}
