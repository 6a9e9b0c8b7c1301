//! A clock that stands still while anything is left to do, and then jumps to the next moment that somebody waits for.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;

use crate::source::follow::Clock;

/// 2020-09-13T12:26:40Z, in milliseconds.
pub(in super::super) const BEGINNING: u64 = 1_600_000_000_000;

#[derive(Debug, Default)]
struct State {
    /// Microseconds since the beginning.
    now: u64,
    sleepers: BTreeMap<(u64, u64), Option<Waker>>,
    count: u64,
}

/// The clock.
#[derive(Debug, Default, Clone)]
pub(in super::super) struct VirtualClock(Arc<Mutex<State>>);

impl VirtualClock {
    /// Runs `future` on a runtime of one thread whose idle moments move this clock.
    pub(in super::super) fn run<F: Future>(&self, future: F) -> F::Output {
        let clock = self.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().on_thread_park(move || clock.jump()).build();
        runtime.unwrap().block_on(future)
    }

    fn jump(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            let Some(((at, _), waker)) = state.sleepers.pop_first() else { return };
            state.now = state.now.max(at);
            waker
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Milliseconds since the beginning.
    pub(in super::super) fn elapsed(&self) -> u64 {
        self.0.lock().unwrap().now / 1000
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now_milliseconds(&self) -> u64 {
        BEGINNING + self.elapsed()
    }

    fn running(&self) -> Duration {
        Duration::from_micros(self.0.lock().unwrap().now)
    }

    async fn sleep(&self, duration: Duration) {
        let id = {
            let mut state = self.0.lock().unwrap();
            state.count += 1;
            let id = (state.now + u64::try_from(duration.as_micros()).unwrap(), state.count);
            state.sleepers.insert(id, None);
            id
        };
        Sleep { clock: self.clone(), id }.await;
    }
}

struct Sleep {
    clock: VirtualClock,
    id: (u64, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.0.lock().unwrap();
        match state.sleepers.get_mut(&self.id) {
            None => Poll::Ready(()),
            Some(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.clock.0.lock().unwrap().sleepers.remove(&self.id);
    }
}
