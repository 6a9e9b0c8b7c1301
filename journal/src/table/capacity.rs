//! A bound on read capacity: a bucket of read units that fills with time and is drained by what requests consume.
//!
//! What enters are the time and the units that a request consumed; what leaves is how long to wait, and how many items to
//! ask for so that one page does not take more than a second's share. Pure: the clock is the caller's. Segments share one
//! bucket.

use std::time::Duration;

/// Items of the first page, whose price is not known yet.
const FIRST_PAGE_ITEMS: f64 = 50.0;
/// Items that one page may be asked for at most; the service's own bound is 1 MB.
const PAGE_ITEMS_MAX: f64 = 100_000.0;

/// Read units a second, with up to one second's worth saved up. The price of a request is only known after it: a guess is
/// taken before, so that segments at the same time do not all begin on the same units, and put right after.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Capacity {
    units_a_second: f64,
    units: f64,
    filled_at: Duration,
    /// What a page is guessed to cost.
    page_units: f64,
    /// Items that a page should have.
    page_items: f64,
}

impl Capacity {
    /// A full bucket. `units_a_second` is above 0.
    pub(super) fn new(units_a_second: f64, now: Duration) -> Self {
        let page_units = units_a_second;
        Self { units_a_second, units: units_a_second, filled_at: now, page_units, page_items: FIRST_PAGE_ITEMS }
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled_at).as_secs_f64();
        self.units = (self.units + passed * self.units_a_second).min(self.units_a_second);
        self.filled_at = self.filled_at.max(now);
    }

    /// Takes the units of one page.
    ///
    /// # Errors
    /// With how long to wait where there are none.
    pub(super) fn take(&mut self, now: Duration) -> Result<f64, Duration> {
        self.fill(now);
        if self.units > 0.0 {
            self.units -= self.page_units;
            return Ok(self.page_units);
        }
        let wait = (-self.units / self.units_a_second).max(0.001);
        Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX))
    }

    /// Puts right what was `taken` for a page that consumed `units` and read `items`.
    pub(super) fn settle(&mut self, taken: f64, units: f64, items: u32, now: Duration) {
        self.fill(now);
        let units = if units.is_finite() { units.max(0.0) } else { 0.0 };
        self.units += taken - units;
        if items > 0 && units > 0.0 {
            self.page_units = units;
            self.page_items = (self.units_a_second * f64::from(items) / units).clamp(1.0, PAGE_ITEMS_MAX);
        }
    }

    /// Items to ask for in the next page.
    pub(super) fn page_items(&self) -> i32 {
        // The text of a floored float within these bounds is a plain integer.
        format!("{:.0}", self.page_items.floor()).parse().unwrap_or(1)
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
            let taken = loop {
                match capacity.take(now) {
                    Ok(taken) => break taken,
                    Err(wait) => now += wait,
                }
            };
            capacity.settle(taken, 128.5, 10, now);
            consumed += 128.5;
        }
        // The first second's worth is there at the start, and the last request may go below empty.
        assert!(consumed <= 100.0 * now.as_secs_f64() + 100.0 + 128.5 + 1.0, "{consumed} in {now:?}");
        assert!(now > Duration::from_mins(1));
    }

    #[test]
    fn segments_at_the_same_time_do_not_begin_on_the_same_units() {
        let mut capacity = Capacity::new(10.0, Duration::ZERO);
        assert!(capacity.take(Duration::ZERO).is_ok());
        assert!(capacity.take(Duration::ZERO).is_err());
    }

    #[test]
    fn a_request_that_failed_gives_its_units_back() {
        let mut capacity = Capacity::new(10.0, Duration::ZERO);
        let taken = capacity.take(Duration::ZERO).unwrap();
        capacity.settle(taken, 0.0, 0, Duration::ZERO);
        assert!(capacity.take(Duration::ZERO).is_ok());
    }

    #[test]
    fn idle_time_saves_up_one_second_at_most() {
        let mut capacity = Capacity::new(10.0, Duration::ZERO);
        let later = Duration::from_hours(1);
        let taken = capacity.take(later).unwrap();
        capacity.settle(taken, 20.0, 1, later);
        let wait = capacity.take(later).unwrap_err();
        assert!(wait >= Duration::from_millis(990) && wait <= Duration::from_millis(1010), "{wait:?}");
    }

    #[test]
    fn a_page_is_asked_for_that_takes_about_a_seconds_share() {
        let mut capacity = Capacity::new(10.0, Duration::ZERO);
        assert_eq!(capacity.page_items(), 50);
        capacity.settle(0.0, 100.0, 50, Duration::ZERO);
        assert_eq!(capacity.page_items(), 5);
        capacity.settle(0.0, 1000.0, 1, Duration::ZERO);
        assert_eq!(capacity.page_items(), 1);
        capacity.settle(0.0, 0.000_001, 1000, Duration::ZERO);
        assert_eq!(capacity.page_items(), 100_000);
    }

    #[test]
    fn nonsense_from_a_service_does_not_stop_the_scan_for_ever() {
        let mut capacity = Capacity::new(10.0, Duration::ZERO);
        for units in [f64::INFINITY, f64::NAN, -5.0] {
            let taken = capacity.take(Duration::ZERO).unwrap();
            capacity.settle(taken, units, 1, Duration::ZERO);
        }
        assert!(capacity.take(Duration::ZERO).is_ok());
    }
}
