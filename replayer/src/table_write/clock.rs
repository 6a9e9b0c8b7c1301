//! The time that writes go by: the system's, or in tests one that jumps from the end of one wait to the end of the next.
//!
//! What enters and leaves are times since the beginning of a run.

use std::time::Duration;

use tokio::time::Instant;

/// A clock.
#[derive(Debug, Clone)]
pub(crate) enum Clock {
    /// The system's, since then.
    System(Instant),
    /// A test's.
    #[cfg(test)]
    Virtual(virtual_clock::VirtualClock),
}

impl Clock {
    /// The system's clock, from now on.
    pub(crate) fn system() -> Self {
        Self::System(Instant::now())
    }

    /// The time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        match self {
            Self::System(started) => started.elapsed(),
            #[cfg(test)]
            Self::Virtual(clock) => clock.elapsed(),
        }
    }

    /// Waits until so long after the beginning.
    pub(crate) async fn sleep_until(&self, at: Duration) {
        match self {
            Self::System(started) => tokio::time::sleep_until(*started + at).await,
            #[cfg(test)]
            Self::Virtual(clock) => clock.sleep_until(at).await,
        }
    }

    /// Waits so long.
    pub(crate) async fn sleep(&self, time: Duration) {
        self.sleep_until(self.elapsed().saturating_add(time)).await;
    }
}

#[cfg(test)]
pub(crate) mod virtual_clock {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex, MutexGuard};
    use std::task::{Context, Poll, Wake, Waker};
    use std::time::Duration;

    /// A clock that stands still while anything can go on, and then jumps to the end of the wait that ends first.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct VirtualClock(Arc<Mutex<State>>);

    #[derive(Debug, Default)]
    struct State {
        now: Duration,
        /// Waits by their ends, those of one time in the order in which they began.
        waits: BTreeMap<(Duration, u64), Waker>,
        begun: u64,
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    impl VirtualClock {
        fn lock(&self) -> MutexGuard<'_, State> {
            self.0.lock().unwrap()
        }

        pub(crate) fn elapsed(&self) -> Duration {
            self.lock().now
        }

        pub(crate) async fn sleep_until(&self, at: Duration) {
            std::future::poll_fn(|context| {
                let mut state = self.lock();
                if state.now >= at {
                    return Poll::Ready(());
                }
                state.begun += 1;
                let begun = state.begun;
                state.waits.insert((at, begun), context.waker().clone());
                Poll::Pending
            })
            .await;
        }

        /// Runs to the end what waits for nothing but this clock.
        pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
            let mut work = std::pin::pin!(work);
            let woken = Arc::new(Woken::default());
            let waker = Waker::from(Arc::clone(&woken));
            loop {
                if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return done;
                }
                if !woken.0.swap(false, Ordering::Relaxed) {
                    let ended = {
                        let mut state = self.lock();
                        let ((at, _), waker) = state.waits.pop_first().expect("something waits for the clock");
                        state.now = state.now.max(at);
                        waker
                    };
                    ended.wake();
                }
            }
        }
    }
}
