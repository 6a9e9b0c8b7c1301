//! Ctrl-C and SIGTERM: asked for once, a long step finishes or rolls back; asked for twice, the process ends at once.
//!
//! What enters are signals; what leaves is a flag that steps look at between two units of work, or wait for. Knows
//! nothing of the steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;
use tokio::sync::watch;

use crate::error::{Classify, Kind};

/// Whether the user has asked to stop. Clones share the answer.
#[derive(Debug, Clone)]
pub struct Interrupt {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// For who looks: it is looked at between any two items, and the channel is behind a lock.
    asked: AtomicBool,
    /// For who waits.
    sender: watch::Sender<bool>,
}

impl Interrupt {
    /// One that listens to SIGINT and SIGTERM until the process ends. The second signal ends the process at once with
    /// exit code 130: everything stored up to then is whole, for every put is. Must be called in a tokio runtime.
    #[must_use]
    pub fn on_signals() -> Self {
        let interrupt = Self::manual();
        let listener = interrupt.clone();
        tokio::spawn(async move {
            if let Err(error) = listener.listen().await {
                tracing::warn!(%error, "signals cannot be listened to: Ctrl-C will end the process at once");
            }
        });
        interrupt
    }

    /// One that never asks.
    #[must_use]
    pub fn never() -> Self {
        Self::manual()
    }

    /// One that asks when [`Interrupt::trigger`] is called: for tests, and for a program that embeds a step.
    #[must_use]
    pub fn manual() -> Self {
        Self { shared: Arc::new(Shared { asked: AtomicBool::new(false), sender: watch::Sender::new(false) }) }
    }

    /// Asks to stop.
    pub fn trigger(&self) {
        self.shared.asked.store(true, Ordering::Release);
        self.shared.sender.send_replace(true);
    }

    /// Whether to stop.
    #[must_use]
    #[inline]
    pub fn requested(&self) -> bool {
        self.shared.asked.load(Ordering::Acquire)
    }

    /// Waits until stopping is asked for; for ever if it never is.
    pub async fn wait(&self) {
        let mut receiver = self.shared.sender.subscribe();
        if receiver.wait_for(|asked| *asked).await.is_err() {
            // The sender lives as long as `self`; were it gone, nobody could ask any more.
            std::future::pending::<()>().await;
        }
    }

    async fn listen(&self) -> std::io::Result<()> {
        let mut signals = Signals::new()?;
        signals.next().await?;
        self.trigger();
        tracing::warn!("stopping after this step; once more ends the process at once");
        signals.next().await?;
        std::process::exit(i32::from(Kind::Interrupted.exit_code()))
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> std::io::Result<()> {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        Ok(())
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "the same signature as where signals are registered up front")]
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> std::io::Result<()> {
        tokio::signal::ctrl_c().await
    }
}

/// A step was stopped by the user.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("stopped while {step}")]
pub struct InterruptedError {
    /// What was going on, as in `ingesting records.jsonl`.
    pub step: String,
    /// What stands and how to go on, in one sentence.
    pub resume: String,
}

impl Classify for InterruptedError {
    fn kind(&self) -> Kind {
        Kind::Interrupted
    }

    fn hint(&self) -> Option<String> {
        Some(self.resume.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_is_told_and_so_is_who_asks_later() {
        let interrupt = Interrupt::manual();
        assert!(!interrupt.requested());
        let waiting = tokio::spawn({
            let interrupt = interrupt.clone();
            async move { interrupt.wait().await }
        });
        interrupt.trigger();
        waiting.await.unwrap();
        assert!(interrupt.requested());
        interrupt.wait().await;
    }

    #[test]
    fn an_interrupted_step_says_how_to_go_on() {
        let error = InterruptedError { step: "reading x".to_owned(), resume: "run it again".to_owned() };
        assert_eq!(error.kind().exit_code(), 130);
        assert_eq!(error.hint().as_deref(), Some("run it again"));
    }
}
