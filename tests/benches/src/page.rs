//! The results as a page and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::bars::{Row, summary, table};
use crate::plot::Chart;

/// All that a run found.
#[derive(Debug, Serialize)]
pub struct Results {
    /// The machine, and how busy it was.
    pub machine: String,
    /// The command and its scale, as text.
    pub command: String,
    /// The rows.
    pub rows: Vec<Row>,
    /// The drawings.
    pub charts: Vec<Chart>,
}

/// Titles of the groups, in the order of the page.
pub const GROUPS: [(&str, &str); 9] = [
    ("append", "Append"),
    ("compaction", "Compaction"),
    ("replay", "Replay"),
    ("memory", "Memory of a replay"),
    ("sinks", "Sinks"),
    ("lookup", "Few records out of many"),
    ("rivals", "Beside DuckDB"),
    ("restore", "Restore"),
    ("trigger", "The function"),
];

/// The measured part of `tests/BENCHMARKS.md`.
#[must_use]
pub fn markdown(results: &Results, cost: &str) -> String {
    let mut text =
        format!("Machine: {}. Command: `{}`.\n\n{}.\n\n", results.machine, results.command, summary(&results.rows));
    for (group, title) in GROUPS.iter().chain(&[("cost", "Cost")]) {
        let rows: Vec<Row> = results.rows.iter().filter(|row| row.group == *group).cloned().collect();
        if !rows.is_empty() {
            let _ = write!(text, "### {title}\n\n{}\n", table(&rows));
        }
    }
    text.push_str(cost);
    if !results.charts.is_empty() {
        text.push_str("\n### Growth\n");
        for chart in &results.charts {
            let _ = write!(text, "\n![{}](benches/results/{}.svg)\n", chart.title, chart.name);
        }
    }
    text
}

/// Where the measured part of a page begins and ends.
pub type Marks = (&'static str, &'static str);

/// Those of `tests/BENCHMARKS.md`.
pub const RESULTS: Marks = ("<!-- results: written by tests/run bench -->", "<!-- end of results -->");
/// Those of the README's table of costs.
pub const COST: Marks = ("<!-- cost: written by tests/run bench -->", "<!-- end of cost -->");

/// The page with its measured part replaced.
///
/// # Errors
/// When the page has no place for it.
pub fn replace(page: &str, marks: Marks, measured: &str) -> Result<String, String> {
    let (before, rest) = page.split_once(marks.0).ok_or("the page has no place for results")?;
    let (_, after) = rest.split_once(marks.1).ok_or("the place for results does not end")?;
    Ok(format!("{before}{}\n\n{}\n\n{}{after}", marks.0, measured.trim(), marks.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bars::Bar;

    #[test]
    fn only_the_measured_part_of_a_page_is_replaced() {
        for marks in [RESULTS, COST] {
            let page = format!("a\n{}\nold\n{}\nb\n", marks.0, marks.1);
            let once = replace(&page, marks, "new\n").unwrap();
            assert_eq!(once, format!("a\n{}\n\nnew\n\n{}\nb\n", marks.0, marks.1));
            assert_eq!(replace(&once, marks, "new").unwrap(), once);
            assert!(replace("nothing", marks, "new").is_err());
        }
    }

    #[test]
    fn every_row_is_on_the_page_under_its_group() {
        let mut rows: Vec<Row> =
            GROUPS.iter().map(|(group, _)| Row::new(group, format!("of {group}"), Bar::None, "s", 1.0)).collect();
        rows.push(Row::new("cost", "of cost", Bar::None, "$", 1.0));
        let results = Results { machine: "m".to_owned(), command: "c".to_owned(), rows, charts: Vec::new() };
        let page = markdown(&results, "");
        assert!(results.rows.iter().all(|row| page.contains(&row.what)), "{page}");
    }
}
