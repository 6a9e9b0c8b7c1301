//! The peak memory of a replay: of a long history beside a short one, of many items beside few, each in a process of its own.

use crate::bars::{Bar, Row};
use crate::workload::Profile;

use super::Context;
use super::replay::peak;

/// Changes of the short history.
const SHORT: u64 = 100_000;
/// Items of the small table.
const FEW: usize = 10_000;
/// The most that one may take beside the other.
const BAR: Bar = Bar::AtMost(1.2);

/// A table of few items, nearly all of whose changes are updates.
#[must_use]
pub fn few_items() -> Profile {
    Profile { name: "few-items", items: FEW, ..mostly_updates() }
}

/// The same traffic on a table of as many items as two changes in five: two million of five.
#[must_use]
pub fn many_items(changes: u64) -> Profile {
    let items = usize::try_from(changes / 5 * 2).unwrap_or(usize::MAX);
    Profile { name: "many-items", items, ..mostly_updates() }
}

fn mostly_updates() -> Profile {
    Profile { percent: [1, 98, 1], seed: 0x5EED_0003, ..Profile::w2(0) }
}

/// Peaks beside each other.
#[must_use]
pub fn rows(context: &Context) -> Vec<Row> {
    let long = context.growth_changes;
    let items_changes = long / 2;
    let _ = (context.raw(Profile::w1(), SHORT), context.raw(Profile::w1(), long));
    let _ = (context.compacted(Profile::w1(), SHORT), context.compacted(Profile::w1(), long));
    let _ =
        (context.compacted(few_items(), items_changes), context.compacted(many_items(items_changes), items_changes));
    let changes = format!("{long} changes beside {SHORT}");
    let items = format!("{} items beside {FEW}, {items_changes} changes", many_items(items_changes).items);
    vec![
        row(context, &format!("compacted runs, {changes}"), ("replay-threads", SHORT), ("replay-threads", long)),
        row(context, &format!("raw segments, {changes}"), ("tail", SHORT), ("tail", long)),
        row(
            context,
            &format!("compacted runs, {items}"),
            ("replay-few-items", items_changes),
            ("replay-many-items", items_changes),
        ),
    ]
}

fn row(context: &Context, what: &str, small: (&str, u64), large: (&str, u64)) -> Row {
    let what = format!("peak memory of a replay: {what}");
    let of = |(case, changes): (&str, u64)| peak(context, case, changes);
    match (of(small), of(large)) {
        (Ok(small), Ok(large)) => {
            Row::new("memory", what, BAR, "×", large.memory / small.memory.max(1.0)).note(format!(
                "{:.1} MB beside {:.1} MB; {:.0} and {:.0} MB through temporary files",
                large.memory / 1e6,
                small.memory / 1e6,
                large.spilled / 1e6,
                small.spilled / 1e6,
            ))
        }
        (Err(why), _) | (_, Err(why)) => Row::unmeasured("memory", what, BAR, "×", why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_of_the_sizes_of_the_claim() {
        assert_eq!((few_items().items, many_items(5_000_000).items), (10_000, 2_000_000));
    }
}
