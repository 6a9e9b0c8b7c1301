//! The time, at the one edge where a function asks for it, and how much of an invocation's is left.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::Second;

/// Milliseconds since 1970.
#[must_use]
pub fn now_milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The second.
#[must_use]
pub fn now() -> Second {
    Second::new(now_milliseconds() / 1000).unwrap_or(Second::MAX)
}

/// When Lambda ends an invocation that has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    milliseconds: u64,
}

impl Deadline {
    /// What is kept for the answer itself and for the last log lines.
    const MARGIN: Duration = Duration::from_millis(400);

    /// As the runtime says it: milliseconds since 1970.
    #[must_use]
    pub fn new(milliseconds: u64) -> Self {
        Self { milliseconds }
    }

    /// How long work may still go on at `now_milliseconds` so that an answer is given in time. At least a tenth of what is
    /// left, so that a function with a very short timeout tries at all.
    #[must_use]
    pub fn left(self, now_milliseconds: u64) -> Duration {
        let left = Duration::from_millis(self.milliseconds.saturating_sub(now_milliseconds));
        left.saturating_sub(Self::MARGIN).max(left / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_for_the_answer_is_kept_back() {
        let deadline = Deadline::new(10_000);
        assert_eq!(deadline.left(4_000), Duration::from_millis(5_600));
        assert_eq!(deadline.left(9_700), Duration::from_millis(30));
        assert_eq!(deadline.left(10_000), Duration::ZERO);
        assert_eq!(deadline.left(20_000), Duration::ZERO);
    }
}
