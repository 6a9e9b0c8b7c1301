//! Attempts that the service does not answer or turns away, with growing, random waits between them.

use std::time::Duration;

use rand::RngExt as _;

use crate::restore::ServiceError;

/// Attempts in a row of one request that come to nothing.
pub(crate) const ATTEMPTS_MAX: u32 = 12;
/// The wait before a first retry where nothing else is asked for.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(20);

/// Waits before the attempt after `attempt`: twice as long each time, a random part of it, so that many do not come back
/// together.
pub(crate) async fn back_off(pause: Duration, attempt: u32) {
    tokio::time::sleep(wait_after(pause, attempt)).await;
}

/// How long that is.
pub(super) fn wait_after(pause: Duration, attempt: u32) -> Duration {
    pause.saturating_mul(1 << attempt.min(10)).min(BACK_OFF_MAX).mul_f64(share())
}

#[cfg(not(test))]
fn share() -> f64 {
    rand::rng().random_range(0.5..=1.0)
}

/// The same for every run of a test.
#[cfg(test)]
fn share() -> f64 {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    thread_local! {
        static SEEDED: std::cell::RefCell<StdRng> = std::cell::RefCell::new(StdRng::seed_from_u64(1));
    }
    SEEDED.with_borrow_mut(|rng| rng.random_range(0.5..=1.0))
}

/// Asks until there is an answer that trying again would not change. `pause` is the wait before a first retry.
pub(crate) async fn tried<T, F>(pause: Duration, ask: impl Fn() -> F) -> Result<T, ServiceError>
where
    F: Future<Output = Result<T, ServiceError>>,
{
    let mut attempt = 1;
    loop {
        match ask().await {
            Err(error) if error.is_transient() && attempt < ATTEMPTS_MAX => back_off(pause, attempt).await,
            answer => return answer,
        }
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_service_that_does_not_answer_is_asked_so_often_and_one_that_refuses_once() {
        let unavailable: &dyn Fn() -> ServiceError = &|| ServiceError::Unavailable { reason: "reset".to_owned() };
        let denied: &dyn Fn() -> ServiceError = &|| ServiceError::Denied { reason: "no".to_owned() };
        for (error, attempts) in [(unavailable, ATTEMPTS_MAX), (denied, 1)] {
            let asked = Cell::new(0);
            let ask = || {
                asked.set(asked.get() + 1);
                assert!(asked.get() <= ATTEMPTS_MAX, "it never ends");
                std::future::ready(Err::<(), _>(error()))
            };
            tried(Duration::ZERO, ask).await.unwrap_err();
            assert_eq!(asked.get(), attempts);
        }
    }
}
