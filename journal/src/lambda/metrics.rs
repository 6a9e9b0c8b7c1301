//! Metrics in CloudWatch's embedded metric format: a JSON line on standard output, from which CloudWatch makes metrics.
//!
//! What enters are counts of one table or one function; what leaves is one line. No request is made, so no metric can
//! delay or fail an invocation. Source: "Specification: Embedded metric format" in the Amazon CloudWatch User Guide.

use std::io::Write as _;

use serde_json::{Map, Value, json};

use super::clock;
use crate::model::TableName;

/// The namespace of every metric.
pub const NAMESPACE: &str = "DynamoDBJournal";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Records made durable in segments, those that were there already included.
    Records,
    /// Bytes of the segments made.
    Bytes,
    /// Segments made.
    Segments,
    /// Records that came again: copies in one event, and records whose segment was there already.
    Duplicates,
    /// Records kept in quarantine.
    Quarantined,
    /// Age of the oldest record of an event when it was durable: the lag.
    OldestRecordAgeSeconds,
    /// From a decoded event to everything of it durable.
    AppendMilliseconds,
    /// Tables that guard found not protected and could not or may not mend.
    GuardFailures,
    /// What guard mended.
    GuardRepairs,
    /// 1 for every run of guard that came to its end.
    GuardHeartbeat,
    /// Tables whose verification failed.
    VerifyFailures,
}

impl Metric {
    /// Its name in CloudWatch.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Records => "Records",
            Self::Bytes => "Bytes",
            Self::Segments => "Segments",
            Self::Duplicates => "Duplicates",
            Self::Quarantined => "Quarantined",
            Self::OldestRecordAgeSeconds => "OldestRecordAgeSeconds",
            Self::AppendMilliseconds => "AppendMilliseconds",
            Self::GuardFailures => "GuardFailures",
            Self::GuardRepairs => "GuardRepairs",
            Self::GuardHeartbeat => "GuardHeartbeat",
            Self::VerifyFailures => "VerifyFailures",
        }
    }

    /// Its unit in CloudWatch.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Bytes => "Bytes",
            Self::OldestRecordAgeSeconds => "Seconds",
            Self::AppendMilliseconds => "Milliseconds",
            _ => "Count",
        }
    }
}

/// What a metric is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dimension {
    /// One table: dimension `Table`.
    Table(TableName),
    /// A function, where there is no table: dimension `Function`.
    Function(String),
}

/// Metrics of one table or function at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurements {
    dimension: Dimension,
    values: Vec<(Metric, u64)>,
}

impl Measurements {
    /// None yet.
    #[must_use]
    pub fn of(dimension: Dimension) -> Self {
        Self { dimension, values: Vec::new() }
    }

    /// Adds one; a second value of the same metric takes the place of the first.
    #[must_use]
    pub fn with(mut self, metric: Metric, value: u64) -> Self {
        self.values.retain(|(known, _)| *known != metric);
        self.values.push((metric, value));
        self
    }

    /// The line, without a line break.
    #[must_use]
    pub fn line(&self, now_milliseconds: u64) -> String {
        let (dimension, of) = match &self.dimension {
            Dimension::Table(table) => ("Table", table.as_str()),
            Dimension::Function(function) => ("Function", function.as_str()),
        };
        let metrics: Vec<Value> =
            self.values.iter().map(|(metric, _)| json!({"Name": metric.name(), "Unit": metric.unit()})).collect();
        let mut line = Map::new();
        line.insert(
            "_aws".to_owned(),
            json!({
                "Timestamp": now_milliseconds,
                "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [[dimension]], "Metrics": metrics}],
            }),
        );
        line.insert(dimension.to_owned(), json!(of));
        for (metric, value) in &self.values {
            line.insert(metric.name().to_owned(), json!(value));
        }
        Value::Object(line).to_string()
    }

    /// Writes the line to standard output. Metrics that cannot be written are lost, and nothing else.
    pub fn emit(&self) {
        let line = self.line(clock::now_milliseconds()) + "\n";
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_namespace_dimension_units_and_values() {
        let table = TableName::parse("notes").unwrap();
        let line = Measurements::of(Dimension::Table(table))
            .with(Metric::Records, 3)
            .with(Metric::AppendMilliseconds, 12)
            .with(Metric::Records, 4)
            .line(1_585_476_000_123);
        assert!(!line.contains('\n'));
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            line,
            json!({
                "_aws": {
                    "Timestamp": 1_585_476_000_123_u64,
                    "CloudWatchMetrics": [{
                        "Namespace": "DynamoDBJournal",
                        "Dimensions": [["Table"]],
                        "Metrics": [
                            {"Name": "AppendMilliseconds", "Unit": "Milliseconds"},
                            {"Name": "Records", "Unit": "Count"},
                        ],
                    }],
                },
                "Table": "notes",
                "AppendMilliseconds": 12,
                "Records": 4,
            })
        );
    }

    #[test]
    fn a_function_stands_where_there_is_no_table() {
        let line = Measurements::of(Dimension::Function("guard".to_owned())).with(Metric::GuardHeartbeat, 1).line(0);
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["Function"], "guard");
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["Function"]]));
    }
}
