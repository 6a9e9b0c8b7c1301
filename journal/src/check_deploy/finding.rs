//! What was found, in words and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The deploy is refused.
    Refused,
    /// It would be refused, and was accepted by name.
    Accepted,
    /// Worth knowing.
    Warning,
}

/// What would happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Harm {
    /// The table goes.
    Deleted,
    /// An empty table takes the old one's place.
    Replaced,
    /// The table goes, and an empty one of its name is made under another logical id.
    Remade,
    /// The table would not be journalled.
    Unprotected,
    /// The text does not tell what becomes of it.
    Unknown,
    /// The table stays, and the stack no longer knows it.
    Left,
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it weighs.
    pub severity: Severity,
    /// What would happen.
    pub harm: Harm,
    /// The logical id.
    pub resource: String,
    /// The file that says so.
    pub file: String,
    /// The line there, from 1; 0 where there is none.
    pub line: usize,
    /// Why.
    pub reason: String,
    /// What can be done, the best first.
    pub ways_out: Vec<String>,
}

/// All that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Refusals first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings refuse the deploy.
    #[must_use]
    pub fn refusals(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Refused).count()
    }

    /// The report in words.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let word = match finding.severity {
                Severity::Refused => "REFUSED ",
                Severity::Accepted => "accepted",
                Severity::Warning => "warning ",
            };
            let place = match finding.line {
                0 => finding.file.clone(),
                line => format!("{}:{line}", finding.file),
            };
            let _ = writeln!(text, "{word} {} ({place}): {}", clean(&finding.resource), clean(&finding.reason));
            if finding.severity == Severity::Refused {
                for way in &finding.ways_out {
                    let _ = writeln!(text, "         - {}", clean(way));
                }
            }
        }
        if self.refusals() == 0 {
            text.push_str("no table is lost, and each is protected\n");
        }
        text
    }
}

/// Without characters that would move a terminal's cursor: logical ids come from a file that may be hostile.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
