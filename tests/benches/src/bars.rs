//! Rows: what was measured, the bar it is held against, and the verdict.

use serde::Serialize;

use crate::measure::Spread;

/// What a value is held against.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum Bar {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
    /// Only shown.
    None,
}

/// How a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// The bar is held.
    Pass,
    /// It is not.
    Fail,
    /// There is no bar.
    Shown,
    /// It could not be measured: never a pass.
    NotMeasured,
}

impl Verdict {
    /// The word for tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Shown => "shown",
            Self::NotMeasured => "not measured",
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Which part of the bench made it.
    pub group: &'static str,
    /// What was measured.
    pub what: String,
    /// The bar.
    pub bar: Bar,
    /// Unit of value and bar.
    pub unit: &'static str,
    /// The value: the median of rounds where there are rounds.
    pub value: Option<f64>,
    /// Lowest and highest of the rounds.
    pub range: Option<(f64, f64)>,
    /// What else there is to say: absolute figures, or why it could not be measured.
    pub note: String,
}

impl Row {
    /// A value.
    #[must_use]
    pub fn new(group: &'static str, what: impl Into<String>, bar: Bar, unit: &'static str, value: f64) -> Self {
        Self { group, what: what.into(), bar, unit, value: Some(value), range: None, note: String::new() }
    }

    /// The median of rounds, with their spread.
    #[must_use]
    pub fn spread(group: &'static str, what: impl Into<String>, bar: Bar, unit: &'static str, spread: Spread) -> Self {
        Self { range: Some((spread.least, spread.most)), ..Self::new(group, what, bar, unit, spread.median) }
    }

    /// What could not be measured, and why.
    #[must_use]
    pub fn unmeasured(
        group: &'static str,
        what: impl Into<String>,
        bar: Bar,
        unit: &'static str,
        why: impl Into<String>,
    ) -> Self {
        Self { group, what: what.into(), bar, unit, value: None, range: None, note: why.into() }
    }

    /// With a note.
    #[must_use]
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// How it ended.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.value, self.bar) {
            (None, _) => Verdict::NotMeasured,
            (_, Bar::None) => Verdict::Shown,
            (Some(value), Bar::AtMost(bar)) if value <= bar => Verdict::Pass,
            (Some(value), Bar::AtLeast(bar)) if value >= bar => Verdict::Pass,
            _ => Verdict::Fail,
        }
    }

    fn cells(&self) -> [String; 6] {
        let value = self.value.map_or_else(|| "–".to_owned(), |value| format!("{} {}", show(value), self.unit));
        let range = self.range.map_or_else(String::new, |(least, most)| format!("{}–{}", show(least), show(most)));
        let bar = match self.bar {
            Bar::AtMost(bar) => format!("≤ {}", show(bar)),
            Bar::AtLeast(bar) => format!("≥ {}", show(bar)),
            Bar::None => String::new(),
        };
        [
            self.what.clone(),
            value.trim_end().to_owned(),
            range,
            bar,
            self.verdict().word().to_owned(),
            self.note.clone(),
        ]
    }
}

/// A number with as many digits as mean something.
#[must_use]
pub fn show(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        large if large >= 1000.0 => 0,
        large if large >= 100.0 => 1,
        large if large >= 1.0 => 2,
        large if large >= 0.01 => 3,
        _ => 5,
    };
    format!("{value:.digits$}")
}

/// The rows as a Markdown table.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from("| what | measured | lowest–highest | bar | | |\n|---|---|---|---|---|---|\n");
    for row in rows {
        text.push_str("| ");
        text.push_str(&row.cells().join(" | "));
        text.push_str(" |\n");
    }
    text
}

/// How many rows ended in which way, as one line.
#[must_use]
pub fn summary(rows: &[Row]) -> String {
    let count = |verdict| rows.iter().filter(|row| row.verdict() == verdict).count();
    format!(
        "{} bars held, {} missed, {} not measured",
        count(Verdict::Pass),
        count(Verdict::Fail),
        count(Verdict::NotMeasured)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_held_at_its_own_value_and_missed_beyond_it() {
        let verdict = |bar, value| Row::new("x", "x", bar, "", value).verdict();
        assert_eq!(verdict(Bar::AtMost(2.0), 2.0), Verdict::Pass);
        assert_eq!(verdict(Bar::AtMost(2.0), 2.01), Verdict::Fail);
        assert_eq!(verdict(Bar::AtLeast(2.0), 2.0), Verdict::Pass);
        assert_eq!(verdict(Bar::AtLeast(2.0), 1.99), Verdict::Fail);
        assert_eq!(verdict(Bar::AtLeast(2.0), f64::NAN), Verdict::Fail);
        assert_eq!(verdict(Bar::None, 1.0), Verdict::Shown);
    }

    #[test]
    fn what_was_not_measured_is_no_pass() {
        let row = Row::unmeasured("x", "a bar", Bar::AtMost(1.0), "s", "no such program");
        assert_eq!(row.verdict(), Verdict::NotMeasured);
        let table = table(std::slice::from_ref(&row));
        assert!(table.contains("| a bar | – |  | ≤ 1.00 | not measured | no such program |"), "{table}");
        assert_eq!(summary(&[row]), "0 bars held, 0 missed, 1 not measured");
    }

    #[test]
    fn numbers_are_shown_with_the_digits_that_mean_something() {
        assert_eq!(
            [0.0, 0.0007, 0.05, 3.456, 123.45, 4567.8].map(show),
            ["0", "0.00070", "0.050", "3.46", "123.5", "4568"]
        );
    }
}
