//! journal
fn main() {}
