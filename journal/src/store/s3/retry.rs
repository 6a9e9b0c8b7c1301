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
