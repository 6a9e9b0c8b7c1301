//! What the cross-crate tests stand on: real services started for one test run, faults between them and us, and our own
//! programs run as a user runs them.
//!
//! Everything started here listens on loopback alone and ends with the test process, however that ends. Where a part is
//! not installed the test says so with [`skip`], which the test command counts: a skipped test is never called passed.

pub mod cloudformation;
pub mod dynamodb_local;
pub mod faulty_proxy;
pub mod largest_event;
pub mod merged;
pub mod ministack;
mod ministack_process;
pub mod processes;
pub mod recorded;
pub mod reference;
pub mod runtime_api;
pub mod seed;
mod supervisor;
// The traffic that the benches measure, for suites that want the same.
#[path = "../benches/src/workload.rs"]
pub mod workload;

use std::io::Write as _;

/// Says that a test did not run, past the test runner's capture of output. The test command looks for such lines and
/// counts the suite as skipped.
pub fn skip(test: &str, reason: &str) {
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(std::io::stderr(), "test skipped: {test}: {reason}");
}
