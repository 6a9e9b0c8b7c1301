//! An event source mapping: which stream feeds which function, and how.

use serde::Serialize;

use crate::model::Second;

/// `State` of a mapping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MappingState {
    /// It feeds the function.
    Enabled,
    /// It does not.
    Disabled,
    /// It is on the way to another state (`Creating`, `Enabling`, `Disabling`, `Updating`).
    Changing,
    /// It will soon be gone.
    Deleting,
}

impl MappingState {
    /// Reads the service's word; an unknown one counts as a change under way.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "Enabled" => Self::Enabled,
            "Disabled" => Self::Disabled,
            "Deleting" => Self::Deleting,
            _ => Self::Changing,
        }
    }
}

/// How a stream's records reach the function. What could lose records is fixed: from the oldest record on, retried until a record expires, no
/// bisecting, no filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MappingSettings {
    /// Records a batch at most, 1 to 10,000; a batch also ends at 6 MB.
    pub batch_records: u32,
    /// Seconds that a batch may be gathered for, 0 to 300.
    pub window_seconds: u32,
    /// Batches of one shard at a time, 1 to 10.
    pub parallelization: u32,
    /// The ARN of the bucket, queue or topic that gets what expired in spite of all retries.
    pub on_failure: Option<String>,
}

impl Default for MappingSettings {
    fn default() -> Self {
        Self { batch_records: 1000, window_seconds: 5, parallelization: 1, on_failure: None }
    }
}

/// A mapping as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mapping {
    /// `UUID`.
    pub id: String,
    /// The stream's ARN, as text.
    pub source: String,
    /// The function's ARN.
    pub function: String,
    /// Its state.
    pub state: MappingState,
    /// Why it is in that state, as the service says.
    pub reason: Option<String>,
    /// How the last batch went, as the service says.
    pub last_result: Option<String>,
    /// When it was last changed.
    pub modified: Option<Second>,
    /// `StartingPosition`.
    pub starting_position: Option<String>,
    /// Whether a failing batch is cut in two.
    pub bisect: bool,
    /// `MaximumRetryAttempts`, −1 for no limit. A service that does not say has none.
    pub retries_max: i32,
    /// `MaximumRecordAgeInSeconds`, −1 for no limit but the stream's own.
    pub record_age_max: i32,
    /// Filters: records that match none of them never reach the function.
    pub filters: usize,
    /// The settings that may be chosen.
    pub settings: MappingSettings,
}

impl Mapping {
    /// What its settings lose records by, in words; none when nothing is lost.
    #[must_use]
    pub fn loses(&self) -> Option<String> {
        let mut ways = Vec::new();
        if self.retries_max >= 0 {
            ways.push(format!("gives a batch up after {} retries", self.retries_max));
        }
        // A record lives a day: an age of a day and more changes nothing.
        if (0..86_400).contains(&self.record_age_max) {
            ways.push(format!("gives records up at an age of {} seconds", self.record_age_max));
        }
        (!ways.is_empty()).then(|| ways.join(" and "))
    }

    /// What the last batch failed with, where it did.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.last_result.as_deref().filter(|result| {
            let result = result.trim();
            let upper = result.to_ascii_uppercase();
            ["PROBLEM", "FAILED"].iter().any(|word| upper.starts_with(word)) || upper.contains("ERROR")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping() -> Mapping {
        Mapping {
            id: "1".to_owned(),
            source: String::new(),
            function: String::new(),
            state: MappingState::Enabled,
            reason: None,
            last_result: None,
            modified: None,
            starting_position: None,
            bisect: false,
            retries_max: -1,
            record_age_max: -1,
            filters: 0,
            settings: MappingSettings::default(),
        }
    }

    #[test]
    fn a_limit_on_retries_or_age_is_a_loss_and_a_day_is_none() {
        assert_eq!(mapping().loses(), None);
        assert_eq!(Mapping { record_age_max: 86_400, ..mapping() }.loses(), None);
        let text = Mapping { retries_max: 0, record_age_max: 60, ..mapping() }.loses().unwrap();
        assert_eq!(text, "gives a batch up after 0 retries and gives records up at an age of 60 seconds");
    }

    #[test]
    fn a_failing_batch_is_told_from_a_good_one() {
        let with = |text: &str| Mapping { last_result: Some(text.to_owned()), ..mapping() };
        assert!(with("PROBLEM: Function call failed").problem().is_some());
        assert!(with("OK").problem().is_none() && with("No records processed").problem().is_none());
        assert!(mapping().problem().is_none());
    }
}
