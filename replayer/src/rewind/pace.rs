//! How fast a rewind goes: retries with growing, random waits, and a bound on write units a second.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use tokio::time::Instant;

use crate::restore::ServiceError;

/// Attempts of one request that the service does not answer, or turns away.
pub(super) const ATTEMPTS_MAX: u32 = 12;
const PAUSE: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(20);

/// Waits before the attempt after `attempt`: twice as long each time, a random part of it, so that many do not come back
/// together.
pub(super) async fn back_off(pause: Duration, attempt: u32) {
    let longest = pause.saturating_mul(1 << attempt.min(10)).min(BACK_OFF_MAX);
    tokio::time::sleep(longest.mul_f64(rand::rng().random_range(0.5..=1.0))).await;
}

/// Asks until there is an answer that trying again would not change.
pub(super) async fn tried<T, F>(ask: impl Fn() -> F) -> Result<T, ServiceError>
where
    F: Future<Output = Result<T, ServiceError>>,
{
    let mut attempt = 1;
    loop {
        match ask().await {
            Err(error) if error.is_transient() && attempt < ATTEMPTS_MAX => back_off(PAUSE, attempt).await,
            answer => return answer,
        }
        attempt += 1;
    }
}

/// A bound on write units a second.
#[derive(Debug)]
pub(super) struct Rate {
    units_per_second: Option<f64>,
    free_at: Mutex<Instant>,
}

impl Rate {
    pub(super) fn new(units_per_second: Option<u32>) -> Self {
        Self { units_per_second: units_per_second.map(f64::from), free_at: Mutex::new(Instant::now()) }
    }

    /// Waits until `units` may be used.
    pub(super) async fn take(&self, units: u64) {
        if let Some(begin) = self.begin(Instant::now(), units) {
            tokio::time::sleep_until(begin).await;
        }
    }

    /// When `units` may be used that are asked for `now`; none without a bound.
    fn begin(&self, now: Instant, units: u64) -> Option<Instant> {
        let rate = self.units_per_second?;
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = (*free_at).max(now);
        *free_at = begin + Duration::from_secs_f64(f64::from(units) / rate.max(1.0));
        Some(begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewind_keeps_its_write_rate_and_saves_nothing_up() {
        let rate = Rate::new(Some(10));
        let start = Instant::now() + Duration::from_secs(1);
        let after =
            |asked: u64, units| (rate.begin(start + Duration::from_millis(asked), units).unwrap() - start).as_millis();
        assert_eq!((after(0, 5), after(0, 1), after(9000, 1), after(9000, 1)), (0, 500, 9000, 9100));
        assert_eq!(Rate::new(None).begin(start, 1), None);
    }
}
