//! Time as the follower sees it, handed in so that a test can hold the hands.
//!
//! What leaves are the second of the day for documents, a running time for ages and intervals, and waiting. Nothing else
//! in the follower asks the system what time it is.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use crate::model::Second;

/// A clock.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since 1970, as the system believes them to be.
    fn now_milliseconds(&self) -> u64;

    /// Time since some fixed moment; never goes back.
    fn running(&self) -> Duration;

    /// Waits.
    async fn sleep(&self, duration: Duration);

    /// The current second.
    fn now(&self) -> Second {
        Second::new(self.now_milliseconds() / 1000).unwrap_or(Second::MAX)
    }
}

/// The system's clock.
#[derive(Debug)]
pub struct SystemClock {
    started: tokio::time::Instant,
}

impl SystemClock {
    /// The system's clock, its running time beginning now.
    #[must_use]
    pub fn new() -> Self {
        Self { started: tokio::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now_milliseconds(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn running(&self) -> Duration {
        self.started.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
