//! Test harness.

pub mod workload;
