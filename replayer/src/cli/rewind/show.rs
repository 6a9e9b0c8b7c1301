//! Plans and reports of rewinds as text and as JSON.

use std::fmt::Write as _;

use journal::model::{AttributeValue, Attributes, Second};
use serde_json::{Value, json};

use crate::audit::{Difference, Operation, VALUE_CHARS_MAX, differences, inert, shown};
use crate::cut::Cut;
use crate::rewind::{Asked, Effect, Plan, PlanHeader, PlanItem, RewindReport, clash_text, key_text};

/// US dollars for a million write request units on demand, list price of us-east-1 in 2026.
const DOLLARS_PER_MILLION_UNITS: f64 = 0.625;
/// Write units a second that a new table takes on demand ("On-demand capacity mode", Developer Guide).
const ON_DEMAND_UNITS_PER_SECOND: u64 = 4000;
/// Items left alone that are printed.
const LISTED_MAX: usize = 20;

fn what(header: &PlanHeader) -> String {
    match &header.asked {
        Asked::Undo { run } => format!("take run {} back", inert(run)),
        Asked::Rewind { from, to, .. } => {
            let from = Cut::from(*from);
            match to.map(Cut::from) {
                Some(to) => format!("undo the changes after {from} and up to {to}, keep later ones"),
                None => format!("back to {from}"),
            }
        }
    }
}

/// Seconds for so many units at such a rate, the begun one counted.
fn seconds(units: u64, per_second: u64) -> u64 {
    units.div_ceil(per_second.max(1))
}

fn dollars(units: u64) -> f64 {
    // Exact up to 2^32 units, and beyond that the price is no more than a guess.
    f64::from(u32::try_from(units).unwrap_or(u32::MAX)) / 1e6 * DOLLARS_PER_MILLION_UNITS
}

/// Write units with those of the indexes, at most.
fn units_max(header: &PlanHeader) -> u64 {
    // A changed index entry is removed and put.
    let indexes = u64::try_from(header.indexes).unwrap_or(u64::MAX);
    header.counts.write_units.saturating_mul(indexes.saturating_mul(2).saturating_add(1))
}

/// A plan as text.
pub(super) fn plan_text(plan: &Plan, samples: usize, write_rate: Option<u32>) -> String {
    let header = &plan.header;
    let counts = &header.counts;
    let mut text = String::new();
    let _ = writeln!(text, "table   {}: {}", header.table, what(header));
    if let Asked::Rewind { .. } = header.asked {
        let through = header.head_second.map_or_else(|| "an unknown time".to_owned(), Second::to_rfc3339);
        let (segments, read) = &plan.read;
        let _ = writeln!(
            text,
            "journal read through {through}; {} of {segments} segments, {} bytes, {} records",
            read.objects, read.bytes_read, read.records
        );
    }
    let _ = writeln!(
        text,
        "items   {}: {} put back, {} changed back, {} deleted; {} changed and are as wanted already",
        header.items, counts.put_back, counts.change_back, counts.delete, counts.changed_back
    );
    let _ = writeln!(text, "undoes  {} changes; keeps {} later ones of these items", counts.undoes, counts.keeps);
    if counts.clashes > 0 {
        let _ = writeln!(
            text,
            "clashes {} items in which a kept change changed what is undone (--clashes)",
            counts.clashes
        );
    }
    let (rate, why) = match (write_rate, plan.write_units_per_second) {
        (Some(rate), _) => (u64::from(rate), "--write-rate"),
        (None, Some(rate)) => (rate, "the table's capacity"),
        (None, None) => (ON_DEMAND_UNITS_PER_SECOND, "what a new on-demand table takes"),
    };
    let most = units_max(header);
    let indexes =
        if header.indexes > 0 { format!(", up to {most} with {} indexes", header.indexes) } else { String::new() };
    let _ = writeln!(
        text,
        "cost    {} write units{indexes}; about {} s at {rate} a second ({why}); about ${:.4} on demand (us-east-1)",
        counts.write_units,
        seconds(most, rate),
        dollars(most)
    );
    for note in &plan.notes {
        let _ = writeln!(text, "note    {}", inert(note));
    }
    for (effect, items) in &plan.samples {
        let word = match effect {
            Effect::PutBack => "put back",
            Effect::ChangeBack => "change back",
            Effect::Delete => "delete",
        };
        for item in items.iter().take(samples) {
            let _ = writeln!(text, "{word} {}", item.key_text());
            sample(item, &mut text);
        }
    }
    text
}

fn sample(item: &PlanItem, text: &mut String) {
    let empty = Attributes::new();
    if item.clashes() {
        let _ = writeln!(text, "    clash: {}", clash_text(item));
    }
    for difference in differences(item.now.as_ref().unwrap_or(&empty), item.wanted.as_ref().unwrap_or(&empty)) {
        let _ = writeln!(text, "    {}", line(&difference));
    }
}

fn line(difference: &Difference) -> String {
    let show =
        |value: &Option<AttributeValue>| value.as_ref().map(|value| shown(value, VALUE_CHARS_MAX)).unwrap_or_default();
    let path = inert(&difference.path);
    let (before, after) = (show(&difference.before), show(&difference.after));
    match difference.operation {
        Operation::Added => format!("+ {path}: {after}"),
        Operation::Removed => format!("- {path}: {before}"),
        Operation::MemberAdded => format!("+ {path} has {after}"),
        Operation::MemberRemoved => format!("- {path} has no more {before}"),
        Operation::Changed => format!("~ {path}: {before} → {after}"),
    }
}

/// A plan as JSON.
pub(super) fn plan_json(plan: &Plan) -> Value {
    let most = units_max(&plan.header);
    let clashing: Vec<Value> = plan
        .samples
        .values()
        .flatten()
        .filter(|item| item.clashes())
        .map(|item| json!({ "key": key_text(&item.key), "reason": clash_text(item) }))
        .collect();
    json!({
        "plan": plan.header,
        "write_units_with_indexes_max": most,
        "dollars_on_demand_about": dollars(most),
        "segments": plan.read.0,
        "read": plan.read.1,
        "clashes_among_samples": clashing,
        "notes": plan.notes,
    })
}

/// A report as text.
pub(super) fn report_text(report: &RewindReport, elsewhere: &str) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "written {}: {} put back, {} changed back, {} deleted ({} were not what the plan says); {} were so already",
        report.written(),
        report.put_back,
        report.changed_back,
        report.deleted,
        report.overwritten,
        report.already
    );
    let _ = writeln!(
        text,
        "checked {} by a condition on the whole item, {} by a strongly consistent read and a condition on what was read",
        report.by_expression, report.by_read
    );
    if report.left() > 0 {
        let _ =
            writeln!(text, "left alone {}: {} conflicts, {} clashes", report.left(), report.conflicts, report.clashes);
        for conflict in report.left_alone.iter().take(LISTED_MAX) {
            let _ = writeln!(text, "    {}: {}", conflict.key, conflict.reason);
        }
        let listed = u64::try_from(report.left_alone.len().min(LISTED_MAX)).unwrap_or(u64::MAX);
        if report.left() > listed {
            let _ = writeln!(text, "    and {} more (--json lists a thousand)", report.left() - listed);
        }
    }
    let _ = writeln!(text, "to take it back: replay rewind --undo {}{elsewhere} --apply", report.run);
    text
}
