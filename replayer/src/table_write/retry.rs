//! Attempts that the service does not answer or turns away, with growing, random waits between them.

use std::time::Duration;

use rand::RngExt as _;

use crate::restore::ServiceError;

/// Attempts in a row of one request that come to nothing.
pub(crate) const ATTEMPTS_MAX: u32 = 12;
const PAUSE: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(20);

/// Waits before the attempt after `attempt`: twice as long each time, a random part of it, so that many do not come back
/// together.
pub(crate) async fn back_off(pause: Duration, attempt: u32) {
    let longest = pause.saturating_mul(1 << attempt.min(10)).min(BACK_OFF_MAX);
    let share = rand::rng().random_range(0.5..=1.0);
    tokio::time::sleep(longest.mul_f64(share)).await;
}

/// Asks until there is an answer that trying again would not change.
pub(crate) async fn tried<T, F>(ask: impl Fn() -> F) -> Result<T, ServiceError>
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
