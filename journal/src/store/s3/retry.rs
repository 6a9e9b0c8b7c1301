//! How often and how long a request to S3 is tried.
//!
//! The SDK's own retries are switched off and these stand in their place: they also cover what the SDK does not try again
//! (a body that breaks off, a 409 of a create-only put, an answer of the wrong length), and the number of attempts in an
//! error is then the true one.

use std::time::Duration;

use tokio::time::Instant;

/// Bounds of one operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetryPolicy {
    /// Attempts, the first one included.
    pub(super) attempts_max: u32,
    /// The longest pause before the second attempt; it doubles with each attempt.
    pub(super) pause_first: Duration,
    /// The longest pause of all.
    pub(super) pause_max: Duration,
    /// One attempt at a request without a body worth speaking of.
    pub(super) attempt_timeout: Duration,
    /// How many bytes must move in a second, on top of that.
    pub(super) bytes_a_second_min: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 8,
            pause_first: Duration::from_millis(200),
            pause_max: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(30),
            bytes_a_second_min: 128 << 10,
        }
    }
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure<E> {
    /// May work the next time; what the store said.
    Transient(String),
    /// Will not.
    Final(E),
}

/// All attempts at one operation failed.
#[derive(Debug)]
pub(super) enum GaveUp<E> {
    /// The last one in a way that a further attempt might mend.
    Transient {
        /// How many were made.
        attempts: u32,
        /// What the store said last.
        reason: String,
    },
    /// In a way that no further attempt mends.
    Final(E),
}

impl RetryPolicy {
    /// The usual bounds, with as many attempts as the AWS settings ask for (`AWS_MAX_ATTEMPTS`, `max_attempts`). The
    /// SDK's default of 3 cannot be told from a wish, and is too few for a journal: it is taken as not set.
    pub(super) fn with_attempts(asked: Option<u32>) -> Self {
        let usual = Self::default();
        let attempts_max = asked.filter(|asked| *asked != 3).unwrap_or(usual.attempts_max).max(1);
        Self { attempts_max, ..usual }
    }

    /// How long one attempt may take that moves `bytes`.
    pub(super) fn attempt_timeout(&self, bytes: u64) -> Duration {
        self.attempt_timeout + Duration::from_secs(bytes / self.bytes_a_second_min.max(1))
    }

    /// When no further attempt is begun, counted from the first: an operation takes this and one attempt at most.
    fn operation_timeout(&self, bytes: u64) -> Duration {
        self.attempt_timeout(bytes) * 4
    }

    /// A random pause between nothing and twice the longest one before, so that many writers that failed together do not
    /// come back together.
    fn pause(&self, failed: u32) -> Duration {
        let longest = self.pause_first.saturating_mul(1 << failed.saturating_sub(1).min(20)).min(self.pause_max);
        longest.mul_f64(rand::random::<f64>())
    }

    /// Attempts `operation`, which moves `bytes`, until it works, cannot work, or the bounds are reached.
    pub(super) async fn run<T, E, F>(&self, bytes: u64, operation: impl Fn() -> F + Send) -> Result<T, GaveUp<E>>
    where
        F: Future<Output = Result<T, Failure<E>>> + Send,
    {
        let begun = Instant::now();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let limit = self.attempt_timeout(bytes);
            let reason = match tokio::time::timeout(limit, operation()).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(Failure::Final(error))) => return Err(GaveUp::Final(error)),
                Ok(Err(Failure::Transient(reason))) => reason,
                Err(_) => format!("no answer within {} seconds", limit.as_secs()),
            };
            let pause = self.pause(attempts);
            if attempts >= self.attempts_max || begun.elapsed() + pause >= self.operation_timeout(bytes) {
                return Err(GaveUp::Transient { attempts, reason });
            }
            tracing::debug!(attempts, reason, ?pause, "request to the store will be tried again");
            tokio::time::sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        attempts_max: 4,
        pause_first: Duration::ZERO,
        pause_max: Duration::ZERO,
        attempt_timeout: Duration::from_mins(1),
        bytes_a_second_min: 1000,
    };

    /// Fails in passing `failures` times, then works.
    async fn attempts_until_success(policy: RetryPolicy, failures: u32) -> Result<u32, GaveUp<()>> {
        let made = AtomicU32::new(0);
        let operation = || async {
            let attempt = made.fetch_add(1, Ordering::Relaxed) + 1;
            if attempt <= failures { Err(Failure::Transient(format!("failure {attempt}"))) } else { Ok(attempt) }
        };
        policy.run(0, operation).await
    }

    #[tokio::test]
    async fn passing_failures_are_tried_again_up_to_the_bound() {
        assert_eq!(attempts_until_success(POLICY, 0).await.unwrap(), 1);
        assert_eq!(attempts_until_success(POLICY, 3).await.unwrap(), 4);
        let gave_up = attempts_until_success(POLICY, 4).await;
        assert!(matches!(gave_up, Err(GaveUp::Transient { attempts: 4, reason }) if reason == "failure 4"));
    }

    #[tokio::test]
    async fn a_final_failure_is_not_tried_again() {
        let made = AtomicU32::new(0);
        let operation = || async {
            made.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(Failure::Final("no"))
        };
        assert!(matches!(POLICY.run(0, operation).await, Err(GaveUp::Final("no"))));
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn an_attempt_that_never_answers_is_given_up() {
        let policy = RetryPolicy { attempt_timeout: Duration::from_millis(1), attempts_max: 2, ..POLICY };
        let gave_up = policy.run(0, std::future::pending::<Result<(), Failure<()>>>).await;
        assert!(matches!(gave_up, Err(GaveUp::Transient { reason, .. }) if reason.starts_with("no answer within")));
    }

    #[test]
    fn pauses_grow_are_bounded_and_differ() {
        let policy = RetryPolicy::default();
        let longest = |failed| (0..200).map(|_| policy.pause(failed)).max().unwrap();
        assert!(longest(1) <= policy.pause_first);
        assert!(longest(3) > policy.pause_first && longest(3) <= policy.pause_first * 4);
        assert!(longest(60) <= policy.pause_max);
        assert_ne!(policy.pause(60), policy.pause(60));
    }

    #[test]
    fn a_large_body_is_given_more_time() {
        assert_eq!(POLICY.attempt_timeout(5000), Duration::from_secs(65));
    }
}
