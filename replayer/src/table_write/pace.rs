//! How fast a table may be written: finds the rate that the table takes, and keeps below it.
//!
//! What enters are the times at which writes begin, are taken and are turned away; what leaves is when the next may begin, and how
//! many may be under way. Until the table first turns something away the rate grows with every answer. What is turned away first
//! quarters it; from then on it rises by a small step now and then, the more seldom the more often the table has refused at about the
//! same rate, and falls a little below what was taken when something was turned away. Pure: it has no clock, times are counted from the
//! beginning of the run.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::clock::Clock;
use super::retry::wait_after;

/// Write capacity units a second to begin with: what a new on-demand table takes ("DynamoDB on-demand capacity mode", Developer Guide).
const BEGIN_UNITS: f64 = 4000.0;
/// The slowest rate: a table takes at least one unit a second.
const LEAST_UNITS: f64 = 1.0;
/// The fastest rate, beyond what one process reaches.
const MOST_UNITS: f64 = 1_000_000.0;
/// How much the rate grows with each unit that is taken, while nothing was turned away and the rate is what bounds the run: to more
/// than twice as much within a twentieth of a second.
const GROWTH: f64 = 20.0;
/// What is left of the rate when the table first turns something away: it may have taken saved capacity until then.
const FIRST_CUT: f64 = 0.25;
/// How long the table's answers are watched before the rate changes; longer where a batch takes longer.
const WINDOW_SECONDS: f64 = 0.5;
/// The same while more is turned away than taken.
const SEVERE_WINDOW_SECONDS: f64 = 0.1;
/// Units of one full batch of small items.
const BATCH_UNITS: f64 = 25.0;
/// How many seconds of the rate may be under way: more would only stand in each other's way.
const UNDER_WAY_SECONDS: f64 = 0.5;
/// What is taken up of what the table took in a window in which it turned something away, and the least that the rate falls then.
const BELOW: f64 = 0.9;
/// The step up, as a part of the rate at which the table last turned something away.
const STEP: f64 = 0.03;
/// Windows between two steps up, at most.
const REST_MAX: u32 = 8;
/// How near two rates are that count as the same.
const SAME: f64 = 0.15;
/// How far above the known rate it is taken to be too low.
const ABOVE: f64 = 1.05;
/// How far above that rate the table is taken to allow more, so that the rate grows by leaps again.
const BEYOND: f64 = 1.25;

/// A controller of the write rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    rate: f64,
    cap: f64,
    /// The rate that the table took when it last turned something away; none before it has.
    known: Option<f64>,
    /// Windows between two steps up, and those left until the next.
    rest: u32,
    resting: u32,
    /// When the next write may begin, in seconds.
    free_at: f64,
    window: Window,
    /// Units taken and turned away since the beginning.
    taken: u64,
    refused: u64,
}

/// What happened since the rate last changed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Window {
    begin: f64,
    taken: f64,
    refused: f64,
    /// Whether a write had to wait: without that the rate is not what bounds the run.
    waited: bool,
}

impl Pace {
    /// A controller that never goes beyond `cap` units a second.
    #[must_use]
    pub fn new(cap: Option<u32>) -> Self {
        let cap = cap.map_or(MOST_UNITS, f64::from).max(LEAST_UNITS);
        let rate = BEGIN_UNITS.min(cap);
        Self {
            rate,
            cap,
            known: None,
            rest: 1,
            resting: 0,
            free_at: 0.0,
            window: Window::default(),
            taken: 0,
            refused: 0,
        }
    }

    /// When `units` may be written that are ready at `now`. Time in which nothing was ready is not saved up.
    #[must_use]
    pub fn begin(&mut self, now: Duration, units: u32) -> Duration {
        let now = now.as_secs_f64();
        let begin = self.free_at.max(now);
        self.window.waited |= begin > now;
        self.free_at = begin + f64::from(units) / self.rate;
        Duration::from_secs_f64(begin)
    }

    /// The table has taken `taken` units and turned `refused` away.
    pub fn answered(&mut self, now: Duration, taken: u32, refused: u32) {
        self.taken += u64::from(taken);
        self.refused += u64::from(refused);
        self.window.taken += f64::from(taken);
        self.window.refused += f64::from(refused);
        let now = now.as_secs_f64();
        let elapsed = now - self.window.begin;
        let ends = match self.known {
            None if refused > 0 => self.first_refused(elapsed),
            None => self.grow(taken, elapsed),
            Some(known) => self.settle(known, elapsed),
        };
        self.rate = self.rate.clamp(LEAST_UNITS, self.cap);
        if ends || self.known.is_none() {
            // What was given out at another rate does not hold any more.
            self.free_at = self.free_at.min(now + BATCH_UNITS / self.rate);
        }
        if ends {
            self.window = Window { begin: now, ..Window::default() };
        }
    }

    /// Nothing was turned away yet.
    fn grow(&mut self, taken: u32, elapsed: f64) -> bool {
        if self.window.waited {
            self.rate += f64::from(taken) * GROWTH;
        }
        elapsed >= WINDOW_SECONDS
    }

    fn first_refused(&mut self, elapsed: f64) -> bool {
        let measured = self.window.taken / elapsed.max(SEVERE_WINDOW_SECONDS / 4.0);
        self.known = Some(measured.clamp(LEAST_UNITS, self.rate));
        self.rate *= FIRST_CUT;
        true
    }

    /// `known` is about what the table takes; the window ends when it tells enough.
    fn settle(&mut self, known: f64, elapsed: f64) -> bool {
        let Window { taken, refused, waited, .. } = self.window;
        let severe = refused > taken;
        let window = if severe { SEVERE_WINDOW_SECONDS } else { WINDOW_SECONDS };
        if elapsed < window.max(4.0 * BATCH_UNITS / self.rate).min(20.0) {
            return false;
        }
        if refused > 0.0 {
            let measured = (taken / elapsed).max(LEAST_UNITS);
            if severe {
                self.rest = 1;
            } else if (measured - known).abs() < SAME * known {
                self.rest = (self.rest * 2).min(REST_MAX);
            }
            (self.known, self.resting) = (Some(measured), self.rest);
            let lowest = self.rate * if severe { 0.1 } else { 0.8 };
            self.rate = (measured * BELOW).max(lowest).min(self.rate * BELOW);
        } else if waited {
            if self.rate > known * ABOVE {
                self.rest = 1;
            }
            if self.rate > known * BEYOND {
                self.rate *= BEYOND;
            } else if self.resting > 1 {
                self.resting -= 1;
            } else {
                self.rate += (known * STEP).max(0.05);
                self.resting = self.rest;
            }
        }
        true
    }

    /// How many full batches of small items may be under way at once: at least one.
    #[must_use]
    pub fn batches_at_once(&self) -> f64 {
        (self.rate * UNDER_WAY_SECONDS / BATCH_UNITS).max(1.0)
    }

    /// Units a second just now.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Units taken and turned away since the beginning.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.taken, self.refused)
    }
}

/// The pace that all writes under way share, and the clock it lacks.
#[derive(Debug)]
pub(crate) struct SharedPace {
    clock: Clock,
    pace: Mutex<Pace>,
}

impl SharedPace {
    pub(crate) fn new(cap: Option<u32>) -> Self {
        Self::by(Clock::system(), cap)
    }

    pub(crate) fn by(clock: Clock, cap: Option<u32>) -> Self {
        Self { clock, pace: Mutex::new(Pace::new(cap)) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `units` may be written.
    pub(crate) async fn wait(&self, units: u32) {
        let now = self.clock.elapsed();
        let begin = self.lock().begin(now, units);
        if begin > now {
            self.clock.sleep_until(begin).await;
        }
    }

    /// Whether one more request may be under way beside so many.
    pub(crate) fn has_room(&self, under_way: usize, concurrency: usize) -> bool {
        let held = u32::try_from(under_way).map_or(f64::INFINITY, f64::from);
        under_way == 0 || (under_way < concurrency && held + 1.0 <= self.lock().batches_at_once())
    }

    /// Says what became of them.
    pub(crate) fn answered(&self, taken: u32, refused: u32) {
        self.lock().answered(self.clock.elapsed(), taken, refused);
    }

    /// Waits before the attempt after `attempt`, as [`back_off`](super::back_off) does.
    pub(crate) async fn back_off(&self, pause: Duration, attempt: u32) {
        self.clock.sleep(wait_after(pause, attempt)).await;
    }

    /// Units taken and turned away so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.lock().counts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table that takes `rate` units a second and saves up those of `burst` seconds; its clock is virtual.
    struct Table {
        rate: f64,
        burst: f64,
        tokens: f64,
        at: f64,
    }

    impl Table {
        fn new(rate: f64, burst: f64) -> Self {
            Self { rate, burst, tokens: rate * burst, at: 0.0 }
        }

        /// Takes as many whole units of a batch as it has.
        fn write(&mut self, at: f64, units: u32) -> u32 {
            self.tokens =
                (self.tokens + (at - self.at) * self.rate).min((self.rate * self.burst).max(f64::from(units)));
            self.at = at;
            let taken = (1..=units).rev().find(|units| f64::from(*units) <= self.tokens).unwrap_or(0);
            self.tokens -= f64::from(taken);
            taken
        }
    }

    /// Writes for `seconds` after `now`; gives the units taken, those refused, and the time.
    fn write(pace: &mut Pace, table: &mut Table, from: f64, seconds: f64) -> (f64, f64, f64) {
        let (mut now, mut taken, mut refused) = (from, 0.0, 0.0);
        while now < from + seconds {
            let begin = pace.begin(Duration::from_secs_f64(now), 25).as_secs_f64();
            // A request takes a millisecond, and 16 are under way at once: the network does not bound the rate.
            now = begin.max(now + 0.001 / 16.0);
            let got = table.write(now, 25);
            pace.answered(Duration::from_secs_f64(now), got, 25 - got);
            taken += f64::from(got);
            refused += f64::from(25 - got);
        }
        (taken, refused, now)
    }

    #[test]
    fn the_rate_comes_near_what_the_table_takes_and_little_is_turned_away() {
        for rate in [5.0, 40.0, 400.0, 4_000.0, 40_000.0] {
            for burst in [1.0, 5.0] {
                let (mut pace, mut table) = (Pace::new(None), Table::new(rate, burst));
                let (_, _, now) = write(&mut pace, &mut table, 0.0, 120.0);
                let (taken, refused, end) = write(&mut pace, &mut table, now, 300.0);
                let used = taken / (rate * (end - now));
                assert!(used > 0.85 && used < 1.05, "{rate}/s, burst {burst}: {used} of what it takes was used");
                assert!(refused < taken * 0.1, "{rate}/s, burst {burst}: {refused} refused, {taken} taken");
            }
        }
    }

    #[test]
    fn a_table_that_takes_more_or_less_later_is_followed() {
        for (first, second) in [(200.0, 2_000.0), (2_000.0, 200.0)] {
            let (mut pace, mut table) = (Pace::new(None), Table::new(first, 1.0));
            let (_, _, now) = write(&mut pace, &mut table, 0.0, 60.0);
            table.rate = second;
            let (_, _, now) = write(&mut pace, &mut table, now, 60.0);
            let (taken, refused, end) = write(&mut pace, &mut table, now, 60.0);
            let used = taken / (second * (end - now));
            assert!(used > 0.8, "{first}/s, then {second}/s: {used}");
            assert!(refused < taken * 0.1, "{first}/s, then {second}/s: {refused} of {taken}");
        }
    }

    #[test]
    fn the_cap_is_kept_and_idle_time_is_not_saved_up() {
        let mut pace = Pace::new(Some(100));
        let mut after = |asked: u64, units| pace.begin(Duration::from_millis(asked), units).as_millis();
        assert_eq!((after(0, 25), after(0, 25), after(0, 50)), (0, 250, 500));
        assert_eq!((after(5000, 100), after(5000, 1)), (5000, 6000));
        let (mut pace, mut table) = (Pace::new(Some(100)), Table::new(10_000.0, 1.0));
        let (taken, refused, end) = write(&mut pace, &mut table, 0.0, 100.0);
        assert!(taken <= 100.0 * end + 25.0 && taken > 97.0 * end, "{taken} in {end} s");
        assert!(refused < 1.0);
    }

    #[test]
    fn a_run_that_the_rate_does_not_bound_keeps_its_rate() {
        let mut pace = Pace::new(None);
        for second in 0..100 {
            let now = Duration::from_secs(second);
            assert_eq!(pace.begin(now, 1), now);
            pace.answered(now, 1, 0);
        }
        assert!((pace.rate() - BEGIN_UNITS).abs() < f64::EPSILON);
    }
}
