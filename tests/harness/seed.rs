//! Seeds of random tests: chosen, printed, given again.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// Names the seed to run with instead of those that a test brings.
pub const SEED_VARIABLE: &str = "JOURNAL_TEST_SEED";

/// The seeds a test runs with: the one that the environment names, or else `seeds`.
///
/// # Panics
/// When the environment's seed is not a number.
#[must_use]
pub fn seeds(seeds: impl IntoIterator<Item = u64>) -> Vec<u64> {
    match std::env::var(SEED_VARIABLE) {
        Ok(text) => match text.parse() {
            Ok(seed) => vec![seed],
            Err(error) => panic!("{SEED_VARIABLE}={text:?} is not a number: {error}"),
        },
        Err(_) => seeds.into_iter().collect(),
    }
}

/// A generator from a seed, which is printed with what it is for, so that a failure can be run again.
#[must_use]
pub fn generator(what: &str, seed: u64) -> StdRng {
    eprintln!("{what}: {SEED_VARIABLE}={seed}");
    StdRng::seed_from_u64(seed)
}
