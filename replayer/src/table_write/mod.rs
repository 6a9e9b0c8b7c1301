//! Writing to a table that is there: what restores into one and rewinds have in common.
//!
//! The pace that a table takes, waits between attempts, conditions on items, one conditional write, and one item's writing until its
//! outcome is known. What enters are items and what they are expected to be; what leaves is what became of one write. Knows neither
//! plans nor runs: who calls decides what a conflict means.

mod clock;
mod condition;
mod item;
mod pace;
mod retry;
mod send;

#[cfg(test)]
pub(crate) use clock::{Clock, virtual_clock::VirtualClock};
#[cfg(test)]
pub(crate) use condition::holds;
pub use condition::{CONDITION_BYTES_MAX, Condition, condition, item_bytes as condition_item_bytes};
pub use item::ItemTable;
pub(crate) use item::{Became, Failed, ItemWriter, Wanted};
pub use pace::Pace;
pub(crate) use pace::SharedPace;
pub(crate) use retry::{ATTEMPTS_MAX, PAUSE, back_off, tried};
pub use send::{Write, Wrote};
pub(crate) use send::{get, send};
