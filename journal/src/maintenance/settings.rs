//! The settings of guard and upkeep, from the function's environment.

use std::time::Duration;

use thiserror::Error;

use crate::compact::CompactOptions;
use crate::control::MappingSettings;
use crate::error::{Classify, Kind};
use crate::guard::{GuardSettings, Powers};
use crate::protect::{Selection, SelectionError};
use crate::snapshot::SnapshotOptions;
use crate::upkeep::UpkeepOptions;

/// Why the environment does not say what is to be done.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum VariableError {
    /// The function is not named.
    #[error("JOURNAL_FUNCTION is not set, so the guard does not know which function streams ought to trigger")]
    NoFunction,
    /// The tables cannot be read.
    #[error("JOURNAL_TABLES cannot be read: {0}")]
    Tables(#[source] SelectionError),
    /// Not a number in bounds.
    #[error("{variable} is {found:?}, not a number from {least} to {most}")]
    Number {
        /// The variable.
        variable: &'static str,
        /// What it holds.
        found: String,
        /// The least.
        least: u32,
        /// The most.
        most: u32,
    },
    /// Neither true nor false.
    #[error("{variable} is {found:?}, neither true nor false")]
    Switch {
        /// The variable.
        variable: &'static str,
        /// What it holds.
        found: String,
    },
}

impl Classify for VariableError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoFunction => Some("set it to the name or ARN of stream-trigger".to_owned()),
            Self::Tables(_) => {
                Some("give names, prefixes (notes-*), tags (tag:stage=prod) or *, with commas in between".to_owned())
            }
            Self::Number { .. } | Self::Switch { .. } => Some("mend it in the function's environment".to_owned()),
        }
    }
}

/// Reads variables by their names.
struct Variables<F>(F);

impl<F: Fn(&str) -> Option<String>> Variables<F> {
    fn text(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn number(&self, variable: &'static str, default: u32, least: u32, most: u32) -> Result<u32, VariableError> {
        let Some(found) = self.text(variable) else { return Ok(default) };
        let number = found.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or(VariableError::Number { variable, found, least, most })
    }

    fn switch(&self, variable: &'static str, default: bool) -> Result<bool, VariableError> {
        match self.text(variable).as_deref() {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(found) => Err(VariableError::Switch { variable, found: found.to_owned() }),
        }
    }
}

/// What upkeep does, as the environment says it: `JOURNAL_SNAPSHOT_MIB`, `JOURNAL_GRACE_HOURS`.
///
/// # Errors
/// When a variable cannot be read.
pub fn upkeep_from_environment() -> Result<UpkeepOptions, VariableError> {
    upkeep_of(&Variables(|name: &str| std::env::var(name).ok()))
}

fn upkeep_of<F: Fn(&str) -> Option<String>>(variables: &Variables<F>) -> Result<UpkeepOptions, VariableError> {
    let mebibytes = variables.number("JOURNAL_SNAPSHOT_MIB", 256, 1, 1_048_576)?;
    let hours = variables.number("JOURNAL_GRACE_HOURS", 24, 0, 8760)?;
    let grace = Duration::from_hours(u64::from(hours));
    Ok(UpkeepOptions {
        compact: Some(CompactOptions { grace, ..CompactOptions::default() }),
        snapshot: Some(SnapshotOptions {
            replay_bytes_max: u64::from(mebibytes) << 20,
            grace,
            ..SnapshotOptions::default()
        }),
        budget: None,
    })
}

/// What the environment says to the guard.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardVariables {
    function: String,
    selection: Selection,
    mapping: MappingSettings,
    switch_streams: bool,
    read_streams: bool,
    fresh_seconds: u32,
}

impl GuardVariables {
    /// Of this process.
    ///
    /// # Errors
    /// When a variable is missing or cannot be read.
    pub fn from_environment() -> Result<Self, VariableError> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, VariableError> {
        let variables = Variables(variable);
        Ok(Self {
            function: variables.text("JOURNAL_FUNCTION").ok_or(VariableError::NoFunction)?,
            selection: Selection::of_text(&variables.text("JOURNAL_TABLES").unwrap_or_default())
                .map_err(VariableError::Tables)?,
            mapping: MappingSettings {
                batch_records: variables.number("JOURNAL_BATCH_SIZE", 1000, 1, 10_000)?,
                window_seconds: variables.number("JOURNAL_BATCH_WINDOW_SECONDS", 5, 0, 300)?,
                parallelization: variables.number("JOURNAL_PARALLELIZATION", 1, 1, 10)?,
                on_failure: variables.text("JOURNAL_ON_FAILURE"),
            },
            switch_streams: variables.switch("JOURNAL_SWITCH_STREAMS", false)?,
            read_streams: variables.switch("JOURNAL_READ_STREAMS", true)?,
            fresh_seconds: variables.number("JOURNAL_FRESH_SECONDS", 900, 60, 86_400)?,
        })
    }

    /// As the guard takes them.
    #[must_use]
    pub fn guard(self) -> GuardSettings {
        GuardSettings {
            mapping: self.mapping,
            powers: Some(Powers { mappings: true, streams: self.switch_streams }),
            reads: self.read_streams,
            fresh_seconds: u64::from(self.fresh_seconds),
            ..GuardSettings::new(self.function, self.selection)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &'static [(&'static str, &'static str)]) -> Result<GuardVariables, VariableError> {
        GuardVariables::read(|name| {
            let found = pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            found.or_else(|| (name == "JOURNAL_FUNCTION").then(|| "trigger".to_owned()))
        })
    }

    #[test]
    fn the_environment_says_which_tables_and_what_may_be_done() {
        let settings = with(&[]).unwrap().guard();
        assert!(settings.selection.known && settings.reads);
        assert_eq!(settings.powers, Some(Powers { mappings: true, streams: false }));
        let settings = with(&[
            ("JOURNAL_TABLES", "notes-*,tag:a=b"),
            ("JOURNAL_SWITCH_STREAMS", "true"),
            ("JOURNAL_READ_STREAMS", "false"),
            ("JOURNAL_ON_FAILURE", "arn:aws:s3:::failed"),
            ("JOURNAL_BATCH_SIZE", "10000"),
        ])
        .unwrap()
        .guard();
        assert!(!settings.selection.known && !settings.reads);
        assert_eq!(settings.powers, Some(Powers { mappings: true, streams: true }));
        assert_eq!(settings.mapping.batch_records, 10_000);
        assert_eq!(settings.mapping.on_failure.as_deref(), Some("arn:aws:s3:::failed"));
    }

    #[test]
    fn the_environment_says_how_long_replaced_segments_stay_and_how_much_a_replay_may_read() {
        let options = |pairs: &'static [(&'static str, &'static str)]| {
            let find =
                |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            upkeep_of(&Variables(find))
        };
        let usual = options(&[]).unwrap();
        assert_eq!(usual.compact.map(|compact| compact.grace), Some(Duration::from_hours(24)));
        assert_eq!(usual.snapshot.map(|snapshot| snapshot.replay_bytes_max), Some(256 << 20));
        let other = options(&[("JOURNAL_GRACE_HOURS", " 0 "), ("JOURNAL_SNAPSHOT_MIB", "1")]).unwrap();
        assert_eq!(other.compact.map(|compact| compact.grace), Some(Duration::ZERO));
        let snapshot = other.snapshot.unwrap();
        assert_eq!((snapshot.replay_bytes_max, snapshot.grace), (1 << 20, Duration::ZERO));
        for wrong in [&[("JOURNAL_SNAPSHOT_MIB", "0")], &[("JOURNAL_GRACE_HOURS", "1d")]] {
            assert!(matches!(options(wrong), Err(VariableError::Number { .. })), "{wrong:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        assert_eq!(GuardVariables::read(|_| None), Err(VariableError::NoFunction));
        assert!(matches!(with(&[("JOURNAL_TABLES", "a/b")]), Err(VariableError::Tables(_))));
        for (name, value) in
            [("JOURNAL_BATCH_SIZE", "0"), ("JOURNAL_PARALLELIZATION", "11"), ("JOURNAL_FRESH_SECONDS", "x")]
        {
            let error = GuardVariables::read(|found| {
                if found == name {
                    Some(value.to_owned())
                } else {
                    Some("x-function".to_owned()).filter(|_| found == "JOURNAL_FUNCTION")
                }
            });
            assert!(matches!(error, Err(VariableError::Number { variable, .. }) if variable == name));
        }
        assert!(matches!(with(&[("JOURNAL_READ_STREAMS", "no")]), Err(VariableError::Switch { .. })));
    }
}
