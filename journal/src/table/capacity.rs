//! A bound on read capacity: a bucket of read units that fills with time and is drained by what was consumed.
//!
//! What enters are the time and the units that a request consumed; what leaves is how long to wait. Pure: the clock is
//! the caller's. Segments share one bucket.

use std::time::Duration;

/// Read units a second, with up to one second's worth saved up. A request is paid after it, for its price is only known
/// then: the bucket goes below empty, and the next request waits until it is no longer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Capacity {
    units_a_second: f64,
    units: f64,
    filled_at: Duration,
}

impl Capacity {
    /// A full bucket. `units_a_second` is above 0.
    pub(super) fn new(units_a_second: f64, now: Duration) -> Self {
        Self { units_a_second, units: units_a_second, filled_at: now }
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled_at).as_secs_f64();
        self.units = (self.units + passed * self.units_a_second).min(self.units_a_second);
        self.filled_at = self.filled_at.max(now);
    }

    /// How long to wait before the next request.
    pub(super) fn wait(&mut self, now: Duration) -> Duration {
        self.fill(now);
        if self.units > 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64((-self.units / self.units_a_second).max(0.001)).unwrap_or(Duration::MAX)
    }

    /// Pays for a request.
    pub(super) fn consumed(&mut self, units: f64, now: Duration) {
        self.fill(now);
        if units.is_finite() {
            self.units -= units.max(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_never_takes_more_than_its_share_over_time() {
        let mut capacity = Capacity::new(100.0, Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut consumed = 0.0;
        for _ in 0..50 {
            now += capacity.wait(now);
            capacity.consumed(128.5, now);
            consumed += 128.5;
        }
        // The first second's worth is there at the start, and the last request may go below empty.
        assert!(consumed <= 100.0 * now.as_secs_f64() + 100.0 + 128.5 + 1.0, "{consumed} in {now:?}");
        assert!(now > Duration::from_mins(1));
    }

    #[test]
    fn idle_time_saves_up_one_second_at_most() {
        let mut capacity = Capacity::new(10.0, Duration::ZERO);
        let later = Duration::from_hours(1);
        assert_eq!(capacity.wait(later), Duration::ZERO);
        capacity.consumed(20.0, later);
        let wait = capacity.wait(later);
        assert!(wait >= Duration::from_millis(990) && wait <= Duration::from_millis(1010), "{wait:?}");
    }

    #[test]
    fn nonsense_from_a_service_does_not_stop_the_scan_for_ever() {
        let mut capacity = Capacity::new(10.0, Duration::ZERO);
        capacity.consumed(f64::INFINITY, Duration::ZERO);
        capacity.consumed(f64::NAN, Duration::ZERO);
        capacity.consumed(-5.0, Duration::ZERO);
        assert_eq!(capacity.wait(Duration::ZERO), Duration::ZERO);
    }
}
