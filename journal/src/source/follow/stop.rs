//! The wish to stop, passed from the command line down to every shard.
//!
//! A stop is a wish, not a kill: whoever hears it finishes the batch in hand, writes the checkpoint and returns.

use tokio::sync::watch;

/// Tells that a stop is wished, once and for all its clones and children.
#[derive(Debug, Clone)]
pub struct Stop {
    own: watch::Sender<bool>,
    above: Vec<watch::Receiver<bool>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    /// A wish not yet made.
    #[must_use]
    pub fn new() -> Self {
        Self { own: watch::Sender::new(false), above: Vec::new() }
    }

    /// A wish that is made with this one, and can be made without it.
    #[must_use]
    pub fn child(&self) -> Self {
        let mut above = self.above.clone();
        above.push(self.own.subscribe());
        Self { own: watch::Sender::new(false), above }
    }

    /// Makes the wish.
    pub fn request(&self) {
        self.own.send_replace(true);
    }

    /// Whether it was made.
    #[must_use]
    pub fn requested(&self) -> bool {
        *self.own.borrow() || self.above.iter().any(|above| *above.borrow())
    }

    /// Waits until it is made.
    pub async fn wait(&self) {
        let waits = std::iter::once(self.own.subscribe()).chain(self.above.iter().cloned()).map(|mut receiver| {
            Box::pin(async move {
                if receiver.wait_for(|requested| *requested).await.is_err() {
                    // Nobody is left who could make the wish.
                    std::future::pending::<()>().await;
                }
            })
        });
        futures::future::select_all(waits).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_childs_stop_is_not_its_parents_but_a_parents_stop_is_its_childs() {
        let parent = Stop::new();
        let (one, other) = (parent.child(), parent.child().child());
        one.request();
        one.wait().await;
        assert!(one.requested() && !parent.requested() && !other.requested());
        parent.request();
        other.wait().await;
        assert!(other.requested());
    }
}
