//! Waiting longer after each failure, and the loop that tries again.
//!
//! What enters is an action that may fail for now; what leaves is its answer, or the reason to give up: a wish to stop, an
//! error that no later try can mend, or in a run that is to end by itself ([`Patience::Bounded`]) too many failures. There is
//! no silent spin: every failure is logged with the wait that follows.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tracing::{info, warn};

use super::clock::Clock;
use super::stop::Stop;
use crate::error::{Error, Kind};

/// The longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// The wait after the first failure, before jitter.
const WAIT_FIRST: Duration = Duration::from_millis(200);

/// How long transient failures are borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// As long as the follower runs.
    Endless,
    /// For so many tries.
    Bounded(u32),
}

/// Why an action was not done.
#[derive(Debug)]
pub(super) enum Halt {
    /// A stop was wished before it succeeded.
    Stopped,
    /// It failed for good.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Waits that double from 200 ms to 30 s, each shortened by up to a half at random so that many shards do not try again
/// all at once.
#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    random: StdRng,
}

impl Backoff {
    /// Waits drawn from `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self { failures: 0, random: StdRng::seed_from_u64(seed) }
    }

    /// The wait after one more failure.
    pub(super) fn next(&mut self) -> Duration {
        let full = WAIT_FIRST.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(WAIT_MAX);
        self.failures = self.failures.saturating_add(1).min(20);
        full.mul_f64(self.random.random_range(0.5..=1.0))
    }

    /// Failures since the last success, at most 20.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// It worked: the next failure waits shortly again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Waits, or returns early when a stop is wished; says whether it was.
pub(super) async fn sleep_or_stop(clock: &dyn Clock, stop: &Stop, duration: Duration) -> bool {
    tokio::select! {
        biased;
        () = stop.wait() => true,
        () = clock.sleep(duration) => false,
    }
}

/// What every loop of tries needs.
#[derive(Debug)]
pub(super) struct Retry<'a> {
    pub(super) clock: &'a dyn Clock,
    pub(super) stop: &'a Stop,
    pub(super) patience: Patience,
    pub(super) backoff: &'a mut Backoff,
}

impl Retry<'_> {
    /// Does `action` until it succeeds. It is tried at least once, a wish to stop notwithstanding, for a checkpoint must be
    /// written then too.
    pub(super) async fn run<T, E, F, A>(&mut self, what: &str, mut action: F) -> Result<T, Halt>
    where
        E: Into<Error>,
        F: FnMut() -> A,
        A: Future<Output = Result<T, E>>,
    {
        let mut tries = 0u32;
        loop {
            let error: Error = match action().await {
                Ok(value) => {
                    if tries > 0 {
                        info!(what, failures = tries, "works again");
                    }
                    self.backoff.reset();
                    return Ok(value);
                }
                Err(error) => error.into(),
            };
            tries = tries.saturating_add(1);
            let given_up = matches!(self.patience, Patience::Bounded(most) if tries >= most);
            if error.kind() != Kind::Unavailable || given_up {
                return Err(Halt::Failed(error));
            }
            let wait = self.backoff.next();
            let hint = error.hint().unwrap_or_default();
            warn!(what, failures = tries, wait_ms = wait.as_millis(), hint, "{error}; trying again");
            if self.stop.requested() || sleep_or_stop(self.clock, self.stop, wait).await {
                return Err(Halt::Stopped);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_are_bounded_and_begin_again_after_a_success() {
        let mut backoff = Backoff::new(7);
        let waits: Vec<Duration> = (0..40).map(|_| backoff.next()).collect();
        assert!(waits.iter().all(|wait| *wait >= WAIT_FIRST / 2 && *wait <= WAIT_MAX));
        assert!(waits.last().unwrap() >= &(WAIT_MAX / 2));
        backoff.reset();
        assert!(backoff.next() <= WAIT_FIRST);
    }
}
