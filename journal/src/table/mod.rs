//! The live table: its description for `table.json`, what is needed to make it again, and the baseline scan.

pub mod recreate;
