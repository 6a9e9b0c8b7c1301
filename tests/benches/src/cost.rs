//! What it costs by AWS's list prices, as arithmetic that can be read.
//!
//! Prices are those of us-east-1 in US dollars, without free tiers and discounts, as AWS's price pages list them; check them
//! before you rely on them. What enters is traffic; what leaves are lines that each say how they were computed.

use crate::bars::{Bar, Row, show};

/// List prices.
#[derive(Debug, Clone, Copy)]
pub struct Prices {
    /// S3 Standard, a million PUT or LIST requests.
    pub put_million: f64,
    /// A million GET requests.
    pub get_million: f64,
    /// A GB stored for a month.
    pub stored_gb: f64,
    /// Lambda, a million invocations.
    pub invocations_million: f64,
    /// A GB-second of memory, `x86_64`.
    pub memory_gb_second: f64,
    /// Point-in-time recovery, a GB of table for a month.
    pub pitr_gb: f64,
    /// AWS Backup of DynamoDB tables, warm, a GB for a month.
    pub backup_gb: f64,
    /// Firehose, a GB taken in; each record counts in steps of 5 KB.
    pub firehose_gb: f64,
    /// Firehose's conversion to Parquet, a GB.
    pub firehose_parquet_gb: f64,
    /// Athena, a TB scanned.
    pub athena_tb: f64,
}

/// The prices of the model.
pub const PRICES: Prices = Prices {
    put_million: 5.0,
    get_million: 0.4,
    stored_gb: 0.023,
    invocations_million: 0.2,
    memory_gb_second: 0.000_016_666_7,
    pitr_gb: 0.2,
    backup_gb: 0.1,
    firehose_gb: 0.029,
    firehose_parquet_gb: 0.018,
    athena_tb: 5.0,
};

/// A table's traffic, and how it is journaled.
#[derive(Debug, Clone, Copy)]
pub struct Traffic {
    /// Changes a day.
    pub changes_a_day: f64,
    /// `MaximumBatchingWindowInSeconds`.
    pub window_seconds: f64,
    /// Shards of the stream that have traffic: a new on-demand table has four.
    pub shards: f64,
    /// How often compaction runs.
    pub compactions_a_day: f64,
    /// Lambda JSON of a change, in bytes.
    pub payload_bytes: f64,
    /// Bytes of a change in a segment.
    pub segment_bytes: f64,
    /// Bytes of a change after compaction.
    pub compacted_bytes: f64,
    /// GB of the live table.
    pub table_gb: f64,
}

/// Lambda's payload limit, with room for what surrounds the records.
const PAYLOAD_MAX: f64 = 5_500_000.0;
const BATCH_MAX: f64 = 10_000.0;
/// Memory of the functions, in GB.
const MEMORY_GB: f64 = 0.25;
/// Seconds of an invocation beside the work on its records: a PUT, and a part of a cold start.
const INVOCATION_SECONDS: f64 = 0.08;
/// Seconds of processor that a change takes in a function of a quarter of a GB, which has a seventh of a core.
const CHANGE_SECONDS: f64 = 0.000_05;
/// Bytes of a compacted run.
const RUN_BYTES: f64 = 32e6;
const COMPACTION_GB: f64 = 0.5;
/// Changes a second that compaction does in a function of half a GB.
const COMPACTED_A_SECOND: f64 = 100_000.0;

/// One line of a sum.
#[derive(Debug, Clone)]
pub struct Line {
    /// What is paid for.
    pub what: &'static str,
    /// How it was computed.
    pub arithmetic: String,
    /// Dollars for a million changes.
    pub dollars: f64,
}

impl Traffic {
    /// Ten million changes a day of a table of 20 GB.
    #[must_use]
    pub fn large(segment_bytes: f64, compacted_bytes: f64) -> Self {
        Self {
            changes_a_day: 10e6,
            window_seconds: 300.0,
            shards: 4.0,
            compactions_a_day: 24.0,
            payload_bytes: 1400.0,
            segment_bytes,
            compacted_bytes,
            table_gb: 20.0,
        }
    }

    /// A hundred thousand changes a day of a table of 1 GB, compacted once a day: hours are too short to be worth a run.
    #[must_use]
    pub fn small(segment_bytes: f64, compacted_bytes: f64) -> Self {
        Self {
            changes_a_day: 100e3,
            compactions_a_day: 1.0,
            table_gb: 1.0,
            ..Self::large(segment_bytes, compacted_bytes)
        }
    }

    /// Changes that one invocation gets.
    #[must_use]
    pub fn batch(&self) -> f64 {
        let in_window = self.changes_a_day / 86_400.0 * self.window_seconds / self.shards;
        in_window.min(BATCH_MAX).min(PAYLOAD_MAX / self.payload_bytes).max(1.0)
    }

    /// Ingest and compaction, for a million changes.
    #[must_use]
    pub fn lines(&self, prices: &Prices) -> Vec<Line> {
        let batch = self.batch();
        let batches = 1e6 / batch;
        let seconds = batches * INVOCATION_SECONDS + 1e6 * CHANGE_SECONDS;
        // Where it runs every hour, an hour's segments become a run and a day's runs another: each reads every object once and
        // reads its own outputs back. Where it runs once a day there are no hours.
        let days = 1e6 / self.changes_a_day;
        let hours = if self.compactions_a_day > 1.0 { self.compactions_a_day * days } else { 0.0 };
        let runs = |windows: f64| windows.max(1e6 * self.compacted_bytes / RUN_BYTES);
        let of_hours = if hours > 0.0 { runs(hours) } else { 0.0 };
        let outputs = of_hours + runs(days);
        let (windows, read) = (hours + days, batches + of_hours);
        let levels = if hours > 0.0 { 2.0 } else { 1.0 };
        let compacting = levels * 1e6 / COMPACTED_A_SECOND + windows * 0.3;
        let line = |what, arithmetic: String, dollars| Line { what, arithmetic, dollars };
        vec![
            line(
                "segments put",
                format!("{batches:.0} batches of {batch:.0} × ${}/million PUT", prices.put_million),
                batches * prices.put_million / 1e6,
            ),
            line(
                "function invoked",
                format!("{batches:.0} × ${}/million", prices.invocations_million),
                batches * prices.invocations_million / 1e6,
            ),
            line(
                "function runs",
                format!(
                    "({batches:.0} × {INVOCATION_SECONDS} s + 1 million × {:.0} µs) × {MEMORY_GB} GB × ${}/GB-s",
                    CHANGE_SECONDS * 1e6,
                    prices.memory_gb_second
                ),
                seconds * MEMORY_GB * prices.memory_gb_second,
            ),
            line(
                "compaction's puts",
                format!(
                    "({outputs:.1} runs + {windows:.1} documents + {windows:.1} listings) × ${}/million",
                    prices.put_million
                ),
                (outputs + 2.0 * windows) * prices.put_million / 1e6,
            ),
            line(
                "compaction's gets",
                format!("({read:.0} read + {outputs:.1} read back) × ${}/million GET", prices.get_million),
                (read + outputs) * prices.get_million / 1e6,
            ),
            line(
                "compaction runs",
                format!("{compacting:.0} s × {COMPACTION_GB} GB × ${}/GB-s", prices.memory_gb_second),
                compacting * COMPACTION_GB * prices.memory_gb_second,
            ),
        ]
    }

    /// Dollars for a million changes.
    #[must_use]
    pub fn dollars_a_million(&self, prices: &Prices) -> f64 {
        self.lines(prices).iter().map(|line| line.dollars).sum()
    }

    /// Dollars a month, a year's history being kept.
    #[must_use]
    pub fn journal_a_month(&self, prices: &Prices) -> f64 {
        let millions = self.changes_a_day * 30.0 / 1e6;
        let stored = self.changes_a_day * 365.0 * self.compacted_bytes / 1e9;
        millions * self.dollars_a_million(prices) + stored * prices.stored_gb
    }

    /// Point-in-time recovery: 35 days back.
    #[must_use]
    pub fn pitr_a_month(&self, prices: &Prices) -> f64 {
        self.table_gb * prices.pitr_gb
    }

    /// AWS Backup: a full backup a day, 35 of them kept.
    #[must_use]
    pub fn backup_a_month(&self, prices: &Prices) -> f64 {
        self.table_gb * 35.0 * prices.backup_gb
    }

    /// Firehose to Parquet in S3, a year kept; ten questions a month to Athena that each scan a tenth of it.
    #[must_use]
    pub fn firehose_a_month(&self, prices: &Prices) -> f64 {
        let changes = self.changes_a_day * 30.0;
        let taken_in = changes * (self.payload_bytes / 5120.0).ceil() * 5120.0 / 1e9;
        let converted = changes * self.payload_bytes / 1e9;
        // Twice ours: the bar of compaction, measured by the bench.
        let stored = self.changes_a_day * 365.0 * self.compacted_bytes * 2.0 / 1e9;
        // The function that hands records on costs what ours costs without its PUT.
        let handed_on: f64 = self.lines(prices)[1..3].iter().map(|line| line.dollars).sum();
        taken_in * prices.firehose_gb
            + converted * prices.firehose_parquet_gb
            + stored * (prices.stored_gb + prices.athena_tb / 1e3)
            + changes / 1e6 * handed_on
    }

    /// One object for every version, a year kept: a PUT a change.
    #[must_use]
    pub fn objects_a_month(&self, prices: &Prices) -> f64 {
        let stored = self.changes_a_day * 365.0 * self.payload_bytes / 3.0 / 1e9;
        self.changes_a_day * 30.0 / 1e6 * prices.put_million + stored * prices.stored_gb
    }
}

/// The bars, from measured sizes.
#[must_use]
pub fn rows(segment_bytes: f64, compacted_bytes: f64) -> Vec<Row> {
    let row = |traffic: Traffic, name: &str, bar| {
        let what = format!("ingest and compaction of a million changes at {name} a day, 300 s window");
        let note = format!("batches of {:.0}, {} shards", traffic.batch(), show(traffic.shards));
        Row::new("cost", what, Bar::AtMost(bar), "$", traffic.dollars_a_million(&PRICES)).note(note)
    };
    vec![
        row(Traffic::large(segment_bytes, compacted_bytes), "10 million", 0.02),
        row(Traffic::small(segment_bytes, compacted_bytes), "100 thousand", 0.07),
    ]
}

/// The arithmetic and the comparison, as Markdown.
#[must_use]
pub fn page(segment_bytes: f64, compacted_bytes: f64) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let traffics = [
        ("10 million changes a day", Traffic::large(segment_bytes, compacted_bytes)),
        ("100 thousand changes a day", Traffic::small(segment_bytes, compacted_bytes)),
    ];
    for (name, traffic) in traffics {
        let _ = writeln!(text, "A million changes at {name}:\n\n| what | arithmetic | $ |\n|---|---|---|");
        for line in traffic.lines(&PRICES) {
            let _ = writeln!(text, "| {} | {} | {:.5} |", line.what, line.arithmetic, line.dollars);
        }
        let _ = writeln!(text, "| **sum** | | **{:.4}** |\n", traffic.dollars_a_million(&PRICES));
    }
    text.push_str(&comparison(segment_bytes, compacted_bytes));
    text
}

/// The table against other ways, as in the README.
#[must_use]
pub fn comparison(segment_bytes: f64, compacted_bytes: f64) -> String {
    let (large, small) =
        (Traffic::large(segment_bytes, compacted_bytes), Traffic::small(segment_bytes, compacted_bytes));
    let line = |name: &str, of: fn(&Traffic, &Prices) -> f64, what: &str| {
        format!("| {name} | {:.2} | {:.2} | {what} |\n", of(&small, &PRICES), of(&large, &PRICES))
    };
    let mut text = String::from(
        "| $ a month | 1 GB, 100 k changes a day | 20 GB, 10 M changes a day | what one has |\n|---|---|---|---|\n",
    );
    text.push_str(&line("this journal", Traffic::journal_a_month, "every change of a year, any second of it"));
    text.push_str(&line(
        "point-in-time recovery",
        Traffic::pitr_a_month,
        "any second of 35 days; no history; gone with the table but for one last backup",
    ));
    text.push_str(&line("AWS Backup, daily", Traffic::backup_a_month, "35 states, one a day"));
    text.push_str(&line(
        "Firehose + Athena",
        Traffic::firehose_a_month,
        "every change of a year as Parquet; the rebuilding is yours to write",
    ));
    text.push_str(&line(
        "one object a version",
        Traffic::objects_a_month,
        "every version of a year; a replay is as many GETs",
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_bounded_by_the_window_and_by_the_payload() {
        let small = Traffic::small(200.0, 100.0);
        assert!((small.batch() - 100e3 / 288.0 / 4.0).abs() < 1e-9);
        let large = Traffic::large(200.0, 100.0);
        assert!((large.batch() - PAYLOAD_MAX / 1400.0).abs() < 1e-9);
        assert!(Traffic { payload_bytes: 100.0, changes_a_day: 1e9, ..large }.batch() <= BATCH_MAX);
    }

    #[test]
    fn one_put_a_change_costs_what_the_list_says() {
        // 1,000 changes a second for 30 days: about $13,000, as AWS's calculator says.
        let traffic = Traffic { changes_a_day: 86.4e6, payload_bytes: 0.0, ..Traffic::large(0.0, 0.0) };
        assert!((traffic.objects_a_month(&PRICES) - 12_960.0).abs() < 1.0);
    }

    #[test]
    fn every_dollar_of_the_sum_is_on_a_line() {
        let traffic = Traffic::large(200.0, 100.0);
        let sum: f64 = traffic.lines(&PRICES).iter().map(|line| line.dollars).sum();
        assert!((sum - traffic.dollars_a_million(&PRICES)).abs() < 1e-12);
        assert!(traffic.lines(&PRICES).iter().all(|line| line.dollars > 0.0 && !line.arithmetic.is_empty()));
    }
}
