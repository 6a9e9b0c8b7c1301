//! What the journal costs in time, bytes and money: measured beside the physical limit, beside rivals, and modelled.
//!
//! `tests/run bench` builds and runs it; `tests/BENCHMARKS.md` holds the last results. Bars are never tests: a bar that is
//! missed says FAIL in the table and nothing more. What enters are a seed and a scale; what leaves are rows.

pub mod bars;
pub mod cases;
pub mod cost;
pub mod history;
pub mod lambda_stand_in;
// The event that the trigger's own suite gives too.
#[path = "../../harness/largest_event.rs"]
pub mod largest_event;
pub mod limits;
pub mod measure;
// What starts and ends servers for the tests starts them for the benches too.
#[path = "../../harness/ministack_process.rs"]
mod ministack_process;
pub mod null_server;
pub mod page;
pub mod plot;
pub mod raw_requests;
pub mod stores;
#[path = "../../harness/supervisor.rs"]
mod supervisor;
pub mod workload;

/// A count as a number to divide by.
///
/// # Panics
/// Above 2^53, which no benchmark counts to.
#[must_use]
pub fn number(count: u64) -> f64 {
    let (high, low) = (count >> 32, count & u64::from(u32::MAX));
    let part = |bits: u64| f64::from(u32::try_from(bits).expect("32 bits"));
    assert!(count < 1 << 53, "a benchmark's counts fit 53 bits");
    part(high) * 4_294_967_296.0 + part(low)
}

/// A length as a count.
#[must_use]
pub fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
