//! What the cross-crate tests stand on.

pub mod commands;
pub mod merged;
pub mod reference;
pub mod seed;
