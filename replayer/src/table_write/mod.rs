//! Writing to a table that is there: what restores into one and rewinds have in common.
//!
//! The pace that a table takes, waits between attempts, conditions on items, and one conditional write. What enters are items and
//! what they are expected to be; what leaves is what became of one write. Knows neither plans nor runs: who calls decides what a
//! conflict means.

mod condition;
mod pace;
mod retry;
mod send;

pub use condition::{CONDITION_BYTES_MAX, Condition, condition, item_bytes as condition_item_bytes};
pub use pace::Pace;
pub(crate) use pace::SharedPace;
pub(crate) use retry::{ATTEMPTS_MAX, back_off, tried};
pub use send::{Write, Wrote};
pub(crate) use send::{item, send};
