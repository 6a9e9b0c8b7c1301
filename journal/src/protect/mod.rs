//! Protects a table that already lives: its stream switched on, an event source mapping from it to the journal's function, a baseline.
//!
//! Plan, then act: [`plan()`] is a pure function from what is there to the steps that lead to what ought to be, and [`bind`] takes the first of them
//! and looks again, until none is left. So every step is one call whose answer may be lost: the next look shows whether it was done, and the same
//! command again goes on where the last one stopped. Which tables are meant is [`Selection`]'s; what a baseline or a stream holds is not known here.

mod act;
mod error;
mod observe;
mod plan;
mod select;
#[cfg(test)]
mod tests;

pub use act::{Binding, Patience, bind, unbind};
pub use error::ProtectError;
pub use observe::{Sight, observe, observe_with};
pub use plan::{Plan, Step, Wish, plan};

pub use select::{Selection, SelectionError, tables};
