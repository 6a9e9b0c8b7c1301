//! How cost grows with the length of history.

use std::sync::Arc;

use journal::merge::MergeOptions;
use journal::store::ReadStore;

use crate::history;
use crate::measure;
use crate::number;
use crate::plot::{Chart, Line};
use crate::workload::Profile;

use super::Context;
use super::once::{replay, touched};

/// Measures histories of ten thousand changes and more, each about three times as long as the one before.
#[must_use]
pub fn charts(context: &Context) -> Vec<Chart> {
    let mut lengths = vec![10_000u64];
    while let Some(next) =
        lengths.last().map(|last| if last.to_string().starts_with('1') { last * 3 } else { last / 3 * 10 })
        && next <= context.growth_changes
    {
        lengths.push(next);
    }
    let (mut clock, mut limit, mut memory, mut density) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for length in lengths {
        let history = context.compacted(Profile::w1(), length);
        let store: Arc<dyn ReadStore> = history::open(&context.runtime, &history.folder);
        let inputs = history::inputs(&context.runtime, store.as_ref());
        let (touched, mut reader) = (touched(&history.folder, &inputs), crate::limits::Reader::default());
        let options = MergeOptions::default();
        let pair = measure::Pair::measure(
            context.rounds.min(5),
            || {
                replay(&context.runtime, &store, &inputs, &options);
            },
            || reader.read(&touched),
        );
        let at = number(length);
        clock.push((at, pair.clock().median));
        limit.push((at, pair.limit_clock().median));
        let bytes: u64 = inputs.iter().map(|input| input.size).sum();
        density.push((at, number(bytes) / at));
        if let Ok(cost) = super::replay::peak(context, "replay-threads", length) {
            memory.push((at, cost.memory / 1e6));
        }
    }
    let line = |name: &str, points| Line { name: name.to_owned(), points };
    vec![
        Chart {
            name: "growth-time",
            title: "Replay of the whole state, seconds by the clock".to_owned(),
            lines: vec![line("replay", clock), line("R", limit)],
            log_y: true,
        },
        Chart {
            name: "growth-memory",
            title: "Replay of the whole state, peak memory of the process in MB".to_owned(),
            lines: vec![line("replay", memory)],
            log_y: false,
        },
        Chart {
            name: "growth-bytes",
            title: "Compacted bytes a change".to_owned(),
            lines: vec![line("W1", density)],
            log_y: false,
        },
    ]
}
