//! Restore into a table, and the function's cold start: rows that need more than this build has.

use crate::bars::{Bar, Row};

use super::Context;

/// Restores beside raw requests and beside rivals.
#[must_use]
pub fn rows(_: &Context) -> Vec<Row> {
    let row = |what: &str, bar, unit, why: &str| Row::unmeasured("restore", what, bar, unit, why);
    let later = "the bench does not measure it yet";
    vec![
        row("restore into DynamoDB Local: share of R_restore", Bar::AtLeast(97.0), "%", later),
        row("restore: times faster than boto3's batch_writer", Bar::AtLeast(3.0), "×", later),
        row("restore: times faster than dynamodump", Bar::AtLeast(3.0), "×", later),
        row("restore: client processor time an item, null server", Bar::AtMost(2.5), "µs", later),
        row("cold start of the function, to the first byte of its PUT", Bar::None, "ms", later),
    ]
}
