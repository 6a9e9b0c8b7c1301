//! Segments and snapshots as bytes; specified in FORMAT.md.
