//! What a restore says on standard error.

use std::sync::{Mutex, PoisonError};

use journal::cli::progress::{Progress, Unit};
use journal::cli::{Global, output};

use crate::plan::ReplayPlan;
use crate::restore::{RestoreReport, Step, Survey, TargetPlan};

/// Says what will be written.
pub(super) fn survey(counted: &Survey, write_rate: Option<u32>, global: &Global) {
    if global.quiet {
        return;
    }
    let time = match write_rate {
        Some(rate) => format!("{} s at {rate} units a second", counted.write_units.div_ceil(u64::from(rate))),
        None => "as long as the table takes at the rate that is found while writing".to_owned(),
    };
    output::note(&format!(
        "items   {} ({} written by this run before)\nbytes   {}\nunits   {} (indexes take more), {time}, {}.{:02} USD on demand \
         in us-east-1",
        counted.items,
        counted.confirmed,
        counted.bytes,
        counted.write_units,
        counted.cents() / 100,
        counted.cents() % 100
    ));
}

/// Says what table will be made, and with what.
pub(super) fn target(plan: &ReplayPlan, target: &TargetPlan, global: &Global) {
    if global.quiet {
        return;
    }
    let described = if plan.table.is_some() { "as table.json describes it" } else { "with its key alone" };
    output::note(&format!("makes table {} {described}, and reads it back", target.name));
    let settings = &target.settings;
    let mut after = Vec::new();
    if let Some(attribute) = &settings.time_to_live {
        after.push(format!("TTL on {attribute}"));
    }
    if !settings.tags.is_empty() {
        after.push(format!("{} tags", settings.tags.len()));
    }
    if settings.point_in_time_recovery.is_some() {
        after.push("point-in-time recovery".to_owned());
    }
    if settings.deletion_protection {
        after.push("deletion protection".to_owned());
    }
    if !after.is_empty() {
        output::note(&format!("then sets {}", after.join(", ")));
    }
    for note in target.notes.iter().chain(&settings.notes) {
        output::note(&format!("note: {note}"));
    }
    for by_hand in &settings.by_hand {
        output::note(&format!(
            "note: {} will not be set ({}); the command is told at the end",
            by_hand.setting, by_hand.reason
        ));
    }
}

/// Says what was done.
pub(super) fn report(report: &RestoreReport, global: &Global) {
    if !global.quiet {
        output::note(&format!(
            "table   {}\nitems   {} ({} written by this run)\nunits   {} written, {} turned away and tried again\ndigest  {}\nproven: the table was read back, and its digest is \
             that of the journal",
            report.table, report.items, report.written, report.write_units, report.refused_units, report.digest
        ));
        for note in &report.notes {
            output::note(&format!("note: {note}"));
        }
    }
    // Last, for it is what is left to do.
    for unset in &report.unset {
        output::note(&format!("warning: {unset}"));
    }
}

/// The progress of the step that is under way.
pub(super) struct Shown {
    quiet: bool,
    bar: Mutex<Option<(Option<String>, Step, Progress)>>,
}

impl Shown {
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet, bar: Mutex::new(None) }
    }

    /// Shows how far a step is; of which table, where there are several.
    pub(super) fn show(&self, table: Option<&str>, step: Step, items: u64, total: Option<u64>) {
        let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if bar.as_ref().is_none_or(|(of, shown, _)| *shown != step || of.as_deref() != table) {
            let what = match step {
                Step::Counting => "counting items",
                Step::Creating => "making the table",
                Step::Writing => "writing",
                Step::Reading => "reading back",
                Step::Comparing => "comparing",
                Step::Staging => "putting objects",
                Step::Importing => "importing",
                Step::Setting => "setting TTL, tags, protection",
            };
            // The bar before is taken away first.
            drop(bar.take());
            let text = table.map_or_else(|| what.to_owned(), |table| format!("{table}: {what}"));
            let progress = Progress::new(text, Unit::Count("items"), None, self.quiet);
            *bar = Some((table.map(str::to_owned), step, progress));
        }
        if let Some((_, _, progress)) = bar.as_ref() {
            progress.set_of(items, total);
        }
    }
}
