//! The live table: its description for `table.json`, and the baseline scan.
