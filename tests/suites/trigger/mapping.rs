//! A simulator of an event source mapping on one shard, against the real binary and a real S3: batches of any size, the same
//! one again, others after a failure, the function killed while a put is under way, S3 that fails, throttles, loses
//! answers and never answers. At the end the journal holds exactly the changes of the stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use journal::cut::Cut;
use journal::model::{ChangeRecord, Second};
use journal::store::{ReadStore, S3Store};
use journal_tests::faulty_proxy::{Fault, FaultyProxy};
use journal_tests::merged;
use journal_tests::ministack::{self, MiniStack};
use journal_tests::processes::{Running, stream_trigger};
use journal_tests::recorded;
use journal_tests::reference::Reference;
use journal_tests::runtime_api::RuntimeApi;
use journal_tests::seed;
use journal_tests::workload::{Change, Profile, Workload, lambda_document, sorted_records, stream};
use rand::RngExt as _;
use replayer::merge::MergeOptions;

const BUCKET: &str = "journal";

/// What goes wrong with one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mishap {
    None,
    /// A batch from before is given again.
    Duplicate,
    Throttled,
    Failing,
    Refused,
    AnswerLost,
    /// Refused for good: the event fails, and comes again in other batches.
    Denied,
    /// S3 never answers, and the function notices that its time is over.
    OutOfTime {
        done: bool,
    },
    /// S3 never answers, and Lambda kills the function.
    Killed {
        done: bool,
    },
}

const MISHAPS: [Mishap; 14] = [
    Mishap::None,
    Mishap::None,
    Mishap::None,
    Mishap::Duplicate,
    Mishap::Duplicate,
    Mishap::Throttled,
    Mishap::Failing,
    Mishap::Refused,
    Mishap::AnswerLost,
    Mishap::Denied,
    Mishap::OutOfTime { done: false },
    Mishap::OutOfTime { done: true },
    Mishap::Killed { done: false },
    Mishap::Killed { done: true },
];

struct Mapping {
    api: RuntimeApi,
    proxy: FaultyProxy,
    running: Option<Running>,
    happened: BTreeMap<Mishap, u64>,
}

impl Mapping {
    fn start(upstream: u16) -> Self {
        let (mut api, proxy) = (RuntimeApi::default(), FaultyProxy::start(upstream));
        let running = Some(start_function(&mut api, &proxy));
        Self { api, proxy, running, happened: BTreeMap::new() }
    }

    /// Gives a batch; whether the function made it durable.
    async fn deliver(&mut self, batch: &[Change], mishap: Mishap) -> bool {
        *self.happened.entry(mishap).or_default() += 1;
        let payload = lambda_document(batch);
        // The function is awake, and the journal open, before its time is counted.
        assert!(self.api.invoke("{\"Records\":[]}").await.is_success());
        let plan = |faults: Vec<Fault>| self.proxy.plan("PUT", faults);
        match mishap {
            Mishap::None | Mishap::Duplicate => {}
            Mishap::Throttled => plan(vec![Fault::Answer(503, "SlowDown"), Fault::Answer(503, "SlowDown")]),
            Mishap::Failing => plan(vec![Fault::Answer(500, "InternalError"), Fault::Refuse]),
            Mishap::Refused => plan(vec![Fault::Refuse]),
            Mishap::AnswerLost => plan(vec![Fault::LoseAnswer]),
            Mishap::Denied => plan(vec![Fault::Answer(403, "AccessDenied")]),
            Mishap::OutOfTime { done } | Mishap::Killed { done } => plan(vec![Fault::Stall { done }]),
        }
        match mishap {
            Mishap::OutOfTime { .. } => {
                let pending = self.api.send(payload, Duration::from_millis(1500));
                let (kind, message) = self.api.answer(pending).await.failure();
                assert_eq!(kind, "Journal.Unavailable", "{message}");
                assert!(message.contains("were not durable within"), "{message}");
                // On a slow machine its time may have been over before the put.
                self.proxy.forget_plans();
                false
            }
            Mishap::Killed { .. } => {
                let stalls = self.proxy.stalls();
                let pending = self.api.send(payload, Duration::from_mins(1));
                self.proxy.wait_for_stalls(stalls + 1);
                let _ = self.running.take().unwrap().kill();
                self.api.give_up(&pending);
                self.running = Some(start_function(&mut self.api, &self.proxy));
                false
            }
            Mishap::Denied => {
                let (_, message) = self.api.invoke(payload).await.failure();
                assert!(message.contains("denied") || message.contains("AccessDenied"), "{message}");
                false
            }
            _ => {
                let answer = self.api.invoke(payload).await;
                assert!(answer.is_success(), "{mishap:?}: {answer:?}");
                true
            }
        }
    }
}

fn start_function(api: &mut RuntimeApi, proxy: &FaultyProxy) -> Running {
    // The table is none that DynamoDB knows: there is no table.json, and that is in nobody's way.
    let program = stream_trigger().envs(ministack::environment(&proxy.endpoint()));
    api.function(program, &format!("s3://{BUCKET}/prod"))
}

async fn run(ministack: &MiniStack, seed: u64, count: usize) {
    let mut random = seed::generator("event source mapping", seed);
    let changes: Vec<Change> = Workload::new(Profile { seed, ..Profile::w1() }).take(count).collect();
    let mut mapping = Mapping::start(ministack.port());
    let mut at = 0;
    let mut deliveries = 0;
    while at < changes.len() {
        let end = changes.len().min(at + random.random_range(1..=count / 20));
        let mishap = MISHAPS[random.random_range(0..MISHAPS.len())];
        deliveries += 1;
        if mishap == Mishap::Duplicate {
            let from = random.random_range(0..=at);
            let to = random.random_range(from..=at);
            assert!(mapping.deliver(&changes[from..to], mishap).await);
            continue;
        }
        if mapping.deliver(&changes[at..end], mishap).await {
            at = end;
        }
    }
    println!("{count} changes in {deliveries} deliveries: {:?}", mapping.happened);
    drop(mapping);

    let timeline = stream().unwrap().timeline().clone();
    let location = format!("s3://{BUCKET}/prod");
    let settings = ministack.settings().await;
    let store: Arc<dyn ReadStore> =
        Arc::new(S3Store::open_write_with(&settings, &location, BUCKET, "prod").await.unwrap());
    let (found, segments) = recorded::records(&*store, &timeline).await;
    assert!(found.len() > count && segments > 20, "{} records in {segments} segments", found.len());
    let mut once: Vec<ChangeRecord> = found.clone();
    once.sort_by(|a, b| (&a.key, a.sequence).cmp(&(&b.key, b.sequence)));
    once.dedup();
    let expected = sorted_records(&changes).unwrap();
    assert_eq!(once.len(), expected.len(), "a record is lost or made up");
    assert_eq!(once, expected);
    let reference = Reference::of(&expected);
    let seconds: Vec<Second> = expected.iter().filter_map(|record| record.second).collect();
    for second in [*seconds.iter().max().unwrap(), seconds[seconds.len() / 2]] {
        let inputs = merged::inputs(&*store, &timeline).await.unwrap();
        let cut = Cut::at(second);
        let (state, _) = merged::state_at(store.clone(), inputs, cut, None, MergeOptions::default()).await.unwrap();
        assert_eq!(state, reference.at(cut), "at {second}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_with_a_mapping_no_record_is_lost_and_none_made_up() {
    let test = "whatever_goes_wrong_with_a_mapping_no_record_is_lost_and_none_made_up";
    let Some(ministack) = MiniStack::start_or_skip(test) else { return };
    ministack.make_bucket(BUCKET, true).await;
    for seed in seed::seeds([3]) {
        run(&ministack, seed, 3_000).await;
    }
}
