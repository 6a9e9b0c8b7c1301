//! Compaction: bytes, speed and memory, and how dense its output is beside what others would store.

use std::io::Write as _;

use flate2::write::GzEncoder;

use crate::bars::{Bar, Row};
use crate::history;
use crate::measure;
use crate::number;
use crate::workload::{Profile, Workload};

use super::Context;

/// The second after an hour's end at which only windows of that hour are over.
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

/// Density, write amplification, speed, memory.
#[must_use]
pub fn rows(context: &Context) -> Vec<Row> {
    let mut rows = Vec::new();
    for (profile, bar) in [(Profile::w1(), 100.0), (context.w2(), 80.0)] {
        let history = context.compacted(profile, context.changes);
        let report = history.compaction.unwrap_or_default();
        let each = number(report.bytes_out) / number(report.records.max(1));
        let what = format!("compacted bytes a change, all history kept, {}", profile.name);
        let raw = number(history.appended_bytes) / number(history.changes);
        rows.push(
            Row::new("compaction", what, Bar::AtMost(bar), "B", each)
                .note(format!("{raw:.1} before, {} runs of {} changes", report.outputs, report.records)),
        );
        if profile.name == "W1" {
            rows.extend(beside_rivals(context, profile, number(report.bytes_out)));
        }
    }
    rows.extend(amplification(context));
    rows.extend(speed(context));
    rows
}

fn beside_rivals(context: &Context, profile: Profile, ours: f64) -> Vec<Row> {
    let changes = usize::try_from(context.changes).unwrap_or(0);
    let mut gzip = GzEncoder::new(Counted(0), flate2::Compression::default());
    for change in Workload::new(profile).take(changes) {
        writeln!(gzip, "{}", change.lambda_json()).expect("memory");
    }
    let gzip = gzip.finish().expect("memory").0;
    let each = |bytes: f64| bytes / number(context.changes);
    let mut rows = vec![
        Row::new("compaction", "compacted W1 beside NDJSON.gz", Bar::AtMost(0.46), "×", ours / number(gzip)).note(
            format!("the stream's own records, a line each, in order of time: {:.1} B a change", each(number(gzip))),
        ),
    ];
    let what = "compacted W1 beside Parquet zstd sorted by key";
    rows.push(match super::rivals::parquet(context, profile) {
        Ok(parquet) => {
            Row::new("compaction", what, Bar::AtMost(0.52), "×", ours / number(parquet.bytes)).note(format!(
                "written by DuckDB, images as plain JSON without type names: {:.1} B a change",
                each(number(parquet.bytes))
            ))
        }
        Err(why) => Row::unmeasured("compaction", what, Bar::AtMost(0.52), "×", why),
    });
    rows
}

struct Counted(u64);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += crate::count(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Two days of traffic: hours first, then days.
fn amplification(context: &Context) -> Vec<Row> {
    let changes = context.changes.min(200_000);
    let folder = tempfile::tempdir_in(&context.folder).expect("a folder");
    let profile = Profile::w1().over_days(changes, 2);
    let history = history::append_changes(&context.runtime, folder.path(), profile, changes);
    let appended = number(history.appended_bytes);
    let first = history.seconds.0.get();
    // Hour by hour of the first day: none of its days is over, so only hours are compacted.
    let day_end = (first / DAY + 1) * DAY;
    let mut hours = history::compact_at(&context.runtime, folder.path(), first);
    for at in (first / HOUR + 1)..=(day_end / HOUR) {
        hours += history::compact_at(&context.runtime, folder.path(), at * HOUR - 1);
    }
    let one = (number(hours.bytes_in) + number(hours.bytes_out)) / number(hours.bytes_in.max(1));
    let days = history::compact_at(&context.runtime, folder.path(), day_end + HOUR);
    let two = one + number(days.bytes_out) / number(hours.bytes_in.max(1));
    let note = format!(
        "{:.1} B a change appended; {} hours, {} outputs",
        appended / number(changes),
        hours.windows,
        hours.outputs
    );
    vec![
        Row::new(
            "compaction",
            "bytes written ÷ bytes in, one level (the append itself counted)",
            Bar::AtMost(1.6),
            "×",
            one,
        )
        .note(note),
        Row::new(
            "compaction",
            "bytes written ÷ bytes in, two levels (the append itself counted)",
            Bar::AtMost(2.1),
            "×",
            two,
        )
        .note(format!("days: {} bytes in, {} out", days.bytes_in, days.bytes_out)),
    ]
}

fn speed(context: &Context) -> Vec<Row> {
    let (speed, memory) = ("compaction of one level, changes a second of processor", "compaction, peak memory");
    let folder = context.folder.display().to_string();
    let changes = context.changes.to_string();
    // Made here, so that the process measures the compaction alone.
    let history = context.raw(Profile::w1(), context.changes);
    match measure::child(&["once", "compact", "--folder", &folder, "--changes", &changes, "--report"]) {
        Ok(said) => {
            let cost = super::once::Cost::parse(&said);
            let rate = number(history.changes) / cost.processor.max(1e-9) / 1e6;
            vec![
                Row::new("compaction", speed, Bar::AtLeast(0.3), "M/s", rate)
                    .note(format!("{:.1} s by the clock, reading back included", cost.clock)),
                Row::new("compaction", memory, Bar::AtMost(128.0), "MB", cost.memory / 1e6),
            ]
        }
        Err(why) => vec![
            Row::unmeasured("compaction", speed, Bar::AtLeast(0.3), "M/s", why.clone()),
            Row::unmeasured("compaction", memory, Bar::AtMost(128.0), "MB", why),
        ],
    }
}
