//! A world to follow in: tables, streams and shard trees that split, close, are trimmed and vanish, a store and a journal that
//! fail, all driven by one seed and a clock of its own. The same seed gives the same run.

pub(super) mod clock;
pub(super) mod journal;
pub(super) mod run;
pub(super) mod service;
pub(super) mod store;
pub(super) mod world;

use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Chances drawn from one seed.
#[derive(Debug)]
pub(super) struct Chance(Mutex<StdRng>);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// True so many times of a thousand.
    pub(super) fn permille(&self, of_thousand: u32) -> bool {
        self.below(1000) < u64::from(of_thousand)
    }

    /// A number from 0 to below `end`.
    pub(super) fn below(&self, end: u64) -> u64 {
        self.0.lock().unwrap().random_range(0..end.max(1))
    }
}
