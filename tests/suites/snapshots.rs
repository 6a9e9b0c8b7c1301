//! Snapshots and compaction: random histories in every form that a journal can take, real histories, a year of segments, a
//! hundred thousand tiny ones, and the memory that a replay takes.
//!
//! `JOURNAL_TEST_FULL=1` runs the scales of the claims; without it they are reduced, and what is printed says which.

#[path = "snapshots/memory.rs"]
mod memory;
#[path = "snapshots/random.rs"]
mod random;
#[path = "snapshots/scale.rs"]
mod scale;
#[path = "snapshots/table.rs"]
mod table;

/// Whether the real scale is wanted.
fn full() -> bool {
    std::env::var_os("JOURNAL_TEST_FULL").is_some_and(|value| value == "1")
}
