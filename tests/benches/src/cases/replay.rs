//! Replay: compacted runs and a raw tail beside R.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use journal::merge::MergeOptions;
use journal::store::ReadStore;
use replayer::cut::CutRequest;
use replayer::plan::{ReplayPlan, ReplayRequest, plan};

use crate::bars::{Bar, Row};
use crate::history::{self, History};
use crate::limits::{Reader, Touched};
use crate::measure::{self, Pair};
use crate::number;
use crate::workload::Profile;

use super::Context;
use super::once::{self, replay, touched};

/// Everything of a replay.
#[must_use]
pub fn rows(context: &Context) -> Vec<Row> {
    let mut rows = compacted(context, Profile::w1());
    rows.extend(compacted(context, context.w2()));
    rows.push(by_instructions(context));
    rows.extend(memory(context));
    rows.extend(tail(context));
    rows.extend(bytes_read(context));
    rows
}

const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// On one thread, as the limits are: what is done on another is work all the same.
pub(super) fn alone() -> MergeOptions {
    MergeOptions { threads: NonZeroUsize::MIN, ..MergeOptions::default() }
}

fn compacted(context: &Context, profile: Profile) -> Vec<Row> {
    let history = context.compacted(profile, context.changes);
    let store: Arc<dyn ReadStore> = history::open(&context.runtime, &history.folder);
    let inputs = history::inputs(&context.runtime, store.as_ref());
    let (touched, mut reader) = (touched(&history.folder, &inputs), Reader::default());
    let options = alone();
    let pair = Pair::measure(
        context.rounds,
        || {
            replay(&context.runtime, &store, &inputs, &options);
        },
        || reader.read(&touched),
    );
    let records = number(touched.iter().map(|object| object.records).sum());
    let name = profile.name;
    let note = format!(
        "{:.2} M changes/s by the clock, R {:.2}; {:.1} MB in {} runs",
        records / pair.clock().median / 1e6,
        records / pair.limit_clock().median / 1e6,
        number(touched.iter().map(Touched::bytes).sum()) / 1e6,
        touched.len(),
    );
    let what = |rest: &str| format!("replay of compacted runs, {name}: {rest}");
    let rate = crate::measure::Spread {
        median: records / pair.processor().median / 1e6,
        least: records / pair.processor().most / 1e6,
        most: records / pair.processor().least / 1e6,
    };
    let two = MergeOptions { threads: TWO, ..alone() };
    let cores = Pair::measure(
        context.rounds,
        || {
            replay(&context.runtime, &store, &inputs, &two);
        },
        || {
            replay(&context.runtime, &store, &inputs, &options);
        },
    );
    vec![
        Row::spread(
            "replay",
            what("times faster on two cores, clock"),
            Bar::AtLeast(1.85),
            "×",
            cores.times_by_clock(),
        )
        .note("two threads beside one, in turns".to_owned()),
        Row::spread("replay", what("R on two threads, times faster"), Bar::None, "×", limit_on_two(context, &touched))
            .note("what the machine gives: each thread has half of the blocks".to_owned()),
        Row::spread("replay", what("share of R, processor time"), Bar::AtLeast(90.0), "%", pair.share()).note(note),
        Row::spread("replay", what("share of R, clock"), Bar::None, "%", pair.share_by_clock()),
        Row::spread("replay", what("changes a second of processor"), Bar::AtLeast(2.0), "M/s", rate),
    ]
}

/// How many times as fast R is on two threads, by the clock.
fn limit_on_two(context: &Context, touched: &[Touched]) -> measure::Spread {
    let (first, second): (Vec<Touched>, Vec<Touched>) =
        touched.iter().map(Touched::halves).map(|[first, second]| (first, second)).unzip();
    let (mut alone, mut two) = (Reader::default(), [Reader::default(), Reader::default()]);
    let pair = Pair::measure(
        context.rounds,
        || {
            let [one, other] = &mut two;
            std::thread::scope(|scope| {
                scope.spawn(|| other.read(&second));
                one.read(&first);
            });
        },
        || alone.read(touched),
    );
    pair.times_by_clock()
}

fn by_instructions(context: &Context) -> Row {
    let what = "replay of compacted runs, W1: share of R, instructions";
    let changes = context.counted_changes;
    // Made here, so that valgrind does not.
    let history = context.compacted(Profile::w1(), changes);
    let count = |case| measure::instructions(case, &context.folder, changes);
    match (count("replay"), count("replay-limit")) {
        (Ok(ours), Ok(limit)) => {
            let each = number(history.changes);
            Row::new("replay", what, Bar::AtLeast(92.0), "%", 100.0 * number(limit) / number(ours)).note(format!(
                "{:.0} instructions a change, R {:.0}, at {changes} changes",
                number(ours) / each,
                number(limit) / each
            ))
        }
        (Err(why), _) | (_, Err(why)) => Row::unmeasured("replay", what, Bar::AtLeast(92.0), "%", why),
    }
}

/// The peak memory of a process that replays one history and nothing else.
///
/// # Errors
/// When the process fails.
pub fn peak(context: &Context, case: &str, changes: u64) -> Result<once::Cost, String> {
    let folder = context.folder.display().to_string();
    let said = measure::child(&["once", case, "--folder", &folder, "--changes", &changes.to_string(), "--report"])?;
    Ok(once::Cost::parse(&said))
}

fn memory(context: &Context) -> Vec<Row> {
    let what = "replay of compacted runs, peak memory of the process";
    let bar = Bar::AtMost(64.0);
    let _ = context.compacted(Profile::w1(), context.changes);
    match peak(context, "replay-threads", context.changes) {
        Ok(cost) => vec![Row::new("replay", what, bar, "MB", cost.memory / 1e6)],
        Err(why) => vec![Row::unmeasured("replay", what, bar, "MB", why)],
    }
}

fn tail(context: &Context) -> Vec<Row> {
    let history = context.raw(Profile::w1(), context.changes);
    let store: Arc<dyn ReadStore> = history::open(&context.runtime, &history.folder);
    let inputs = history::inputs(&context.runtime, store.as_ref());
    let (touched, mut reader) = (touched(&history.folder, &inputs), Reader::default());
    let options = alone();
    let mut report = journal::merge::MergeReport::default();
    let pair = Pair::measure(
        context.rounds.min(5),
        || report = replay(&context.runtime, &store, &inputs, &options),
        || reader.read(&touched),
    );
    let records = number(touched.iter().map(|object| object.records).sum());
    let rate = records / pair.processor().median / 1e6;
    let note = format!(
        "{} segments, {:.0} % of R, {:.1} MB spilled",
        inputs.len(),
        pair.share().median,
        number(report.bytes_spilled) / 1e6
    );
    let mut rows = vec![
        Row::new("replay", "replay of raw segments, changes a second of processor", Bar::AtLeast(1.0), "M/s", rate)
            .note(note),
    ];
    let what = "replay of raw segments, memory for each distinct key (none when it spills)";
    rows.push(match peak(context, "tail", context.changes) {
        Ok(cost) if cost.spilled > 0.0 => Row::new("replay", what, Bar::AtMost(48.0), "B", 0.0)
            .note(format!("it spills; peak memory {:.1} MB", cost.memory / 1e6)),
        Ok(cost) => Row::new("replay", what, Bar::AtMost(48.0), "B", cost.memory / number(report.keys.max(1)))
            .note(format!("peak memory {:.1} MB, {} keys", cost.memory / 1e6, report.keys)),
        Err(why) => Row::unmeasured("replay", what, Bar::AtMost(48.0), "B", why),
    });
    rows
}

/// The plan of the state at the end of a history.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn latest(context: &Context, history: &History) -> (Arc<dyn ReadStore>, ReplayPlan) {
    let store: Arc<dyn ReadStore> = history::open(&context.runtime, &history.folder);
    let request =
        ReplayRequest { table: history::table(), cut: CutRequest::Latest, timeline: None, allow_partial: false };
    let plan = context.runtime.block_on(plan(store.as_ref(), &request)).expect("a plan");
    (store, plan)
}

/// What a replay reads beside the least that could give the state: one run of the live items, and what came after it.
fn bytes_read(context: &Context) -> Vec<Row> {
    let history = context.compacted(context.w2(), context.changes);
    let (store, plan) = latest(context, &history);
    let report = replay(&context.runtime, &store, &plan.inputs, &MergeOptions::default());
    // The state as one run of items, encoded as a snapshot would be.
    let snapshot = state_bytes(context, &store, &plan);
    let ratio = number(report.bytes_read) / number(snapshot.max(1));
    vec![Row::new("replay", "bytes read by a replay ÷ (nearest base + tail), W2", Bar::AtMost(1.1), "×", ratio).note(
        format!(
            "{:.1} MB read; the state as one snapshot has {:.1}",
            number(report.bytes_read) / 1e6,
            number(snapshot) / 1e6
        ),
    )]
}

fn state_bytes(context: &Context, store: &Arc<dyn ReadStore>, plan: &ReplayPlan) -> u64 {
    use journal::format::{OldImage, Record, RecordKind, RunWriter, WriterOptions};
    use journal::model::SequenceNumber;
    let (stream, keys) = (crate::workload::stream().unwrap(), crate::workload::key_attributes().unwrap());
    let writer = RunWriter::new(WriterOptions::snapshot(), stream, keys, SequenceNumber::MIN, None).expect("a writer");
    let writer = Arc::new(Mutex::new(Some(writer)));
    let inner = writer.clone();
    let visit = move |item: journal::merge::ItemRef<'_>| {
        let mut writer = inner.lock().expect("one thread");
        writer.as_mut().expect("a writer").push(&Record {
            key: item.key,
            sequence: SequenceNumber::MIN,
            second: None,
            kind: RecordKind::Item,
            new: Some(item.image),
            old: OldImage::None,
            user: None,
        })?;
        Ok(())
    };
    let merged = journal::merge::for_each_item(
        store.clone(),
        plan.inputs.clone(),
        once::LATEST,
        None,
        MergeOptions::default(),
        visit,
    );
    context.runtime.block_on(merged).expect("a merge");
    let writer = writer.lock().expect("one thread").take().expect("a writer");
    writer.finish().expect("a run").size
}
