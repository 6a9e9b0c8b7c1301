//! Which tables are restored, what the new ones are called, and the one cut of all.

use journal::cli::{Global, output};
use journal::error::{Classify, Kind, Result};
use journal::model::{Second, TableName, TimelineLabel};
use journal::store::ReadStore;
use thiserror::Error;

use super::super::cut::say_plan;
use super::arguments::{Args, ArgumentError};
use crate::coverage::CoverageError;
use crate::cut::{Cut, CutRequest, Position};
use crate::listing;
use crate::plan::{ReplayPlan, ReplayRequest, plan};

/// The tables that the arguments name; none when they ask for all of the journal.
pub(super) fn named(args: &Args) -> Result<Option<Vec<TableName>>, ArgumentError> {
    if args.all {
        return Ok(None);
    }
    let paired: Vec<TableName> = args.target.iter().filter_map(|target| target.table.clone()).collect();
    let tables = if args.table.is_empty() { paired } else { args.table.clone() };
    if tables.is_empty() {
        return Err(ArgumentError::Missing);
    }
    once("table", tables.iter())?;
    let one_only = [
        ("--at-sequence", args.cut.at_sequence.is_some()),
        ("--before-sequence", args.cut.before_sequence.is_some()),
        ("--timeline", args.cut.timeline.is_some()),
        ("--into", args.into.is_some()),
    ];
    match one_only.into_iter().find(|(_, given)| *given && tables.len() > 1) {
        Some((what, _)) => Err(ArgumentError::OnlyOne { what, tables: tables.len() }),
        None => Ok(Some(tables)),
    }
}

/// The new tables' names, for a restore to tables.
pub(super) fn targets(args: &Args, tables: &[TableName]) -> Result<Vec<(TableName, TableName)>> {
    if let Some(unknown) = args.target.iter().filter_map(|one| one.table.as_ref()).find(|one| !tables.contains(one)) {
        return Err(ArgumentError::NotChosen { table: unknown.clone() }.into());
    }
    let mut chosen = Vec::with_capacity(tables.len());
    for table in tables.iter().cloned() {
        let pair = args.target.iter().find(|one| one.table.as_ref() == Some(&table));
        let name = match (pair, args.target.as_slice()) {
            (Some(pair), _) => pair.name.clone(),
            (None, [alone]) if tables.len() == 1 => alone.name.clone(),
            (None, []) if args.as_prefix.is_some() || args.as_suffix.is_some() => {
                let part = |text: &Option<String>| text.clone().unwrap_or_default();
                TableName::parse(&format!("{}{table}{}", part(&args.as_prefix), part(&args.as_suffix)))?
            }
            _ => return Err(ArgumentError::NoName { table }.into()),
        };
        chosen.push((table, name));
    }
    once("new table", chosen.iter().map(|(_, name)| name))?;
    Ok(chosen)
}

fn once<'a>(what: &'static str, names: impl Iterator<Item = &'a TableName>) -> Result<(), ArgumentError> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(ArgumentError::Twice { what, table: name.clone() });
        }
    }
    Ok(())
}

/// Some of the tables cannot be had at the cut.
#[derive(Debug, Error)]
#[error("{} of {tables} tables cannot be restored, so nothing was done:\n  {}", .failures.len(), .failures.join("\n  "))]
pub(super) struct NotAllError {
    tables: usize,
    failures: Vec<String>,
    kind: Kind,
}

impl Classify for NotAllError {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn hint(&self) -> Option<String> {
        Some(
            "choose a cut that every table has (`replay tables` shows what is covered), name the others alone with --table, or go on with \
             what the journal has with --allow-partial"
                .to_owned(),
        )
    }
}

/// No table was there.
#[derive(Debug, Error)]
#[error("no table of the journal was there at this cut")]
struct NoneThereError;

impl Classify for NoneThereError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("`replay tables` shows which tables the journal has, and when they were there".to_owned())
    }
}

/// Plans every table at one cut; all failures are told together. With `--all` tables that were not there at the cut are left out.
pub(super) async fn plans(
    store: &dyn ReadStore,
    args: &Args,
    tables: Option<Vec<TableName>>,
    global: &Global,
) -> Result<Vec<ReplayPlan>> {
    let all = tables.is_none();
    let tables = match tables {
        Some(tables) => tables,
        None => listing::tables(store).await?,
    };
    if tables.is_empty() {
        return Err(NoneThereError.into());
    }
    let mut cut = args.cut.request()?;
    if tables.len() > 1 && cut == CutRequest::Latest {
        cut = CutRequest::Cut(Cut::at(earliest_latest(store, &tables, global).await?));
    }
    let timeline = args.cut.timeline.as_deref().map(TimelineLabel::parse).transpose()?;
    let (mut plans, mut failures, mut kind) = (Vec::new(), Vec::new(), None);
    for table in &tables {
        let request = ReplayRequest {
            table: table.clone(),
            cut,
            timeline: timeline.clone(),
            // A table that was not there would otherwise come with all that it ever had.
            allow_partial: args.cut.allow_partial && !all,
        };
        let planned = match plan(store, &request).await {
            Err(error) if all && is_absent(&error) => {
                output::note(&format!("note: table {table} was not there at this cut, and is left out"));
                continue;
            }
            Err(_) if all && args.cut.allow_partial => {
                plan(store, &ReplayRequest { allow_partial: true, ..request }).await
            }
            planned => planned,
        };
        match planned {
            Ok(planned) => plans.push(planned),
            Err(error) if tables.len() == 1 => return Err(error),
            Err(error) => {
                kind.get_or_insert(error.kind());
                failures.push(error.to_string().replace('\n', "\n    "));
            }
        }
    }
    if let Some(kind) = kind {
        return Err(NotAllError { tables: tables.len(), failures, kind }.into());
    }
    if plans.is_empty() {
        return Err(NoneThereError.into());
    }
    for plan in &plans {
        say_plan(plan, global);
        if args.cut.explain {
            output::note(plan.explanation.to_string().trim_end());
        }
    }
    Ok(plans)
}

fn is_absent(error: &journal::Error) -> bool {
    matches!(error.downcast_ref(), Some(CoverageError::Outside { absent: true, .. }))
}

/// A table whose newest covered moment is no second.
#[derive(Debug, Error)]
#[error(
    "the records of table {table} have no seconds, so it has no last second that other tables could be restored at"
)]
struct NoSecondsError {
    table: TableName,
}

impl Classify for NoSecondsError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some(format!("restore table {} by itself: --at latest, or --at-sequence", self.table))
    }
}

/// `latest` of several tables: the last second that all of them are covered at.
async fn earliest_latest(store: &dyn ReadStore, tables: &[TableName], global: &Global) -> Result<Second> {
    let mut earliest: Option<(Second, &TableName)> = None;
    for table in tables {
        let cut = CutRequest::Latest;
        let request = ReplayRequest { table: table.clone(), cut, timeline: None, allow_partial: false };
        let planned = plan(store, &request).await?;
        let Position::Second(second) = planned.cut.position else {
            return Err(NoSecondsError { table: table.clone() }.into());
        };
        if earliest.is_none_or(|(found, _)| second < found) {
            earliest = Some((second, table));
        }
    }
    let Some((second, table)) = earliest else { return Err(NoneThereError.into()) };
    if !global.quiet {
        output::note(&format!(
            "note: the latest second of all tables together is {second}, the last that is covered of table {table}"
        ));
    }
    Ok(second)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn line(text: &str) -> Args {
        Line::try_parse_from(std::iter::once("restore").chain(text.split(' '))).unwrap().args
    }

    fn names(text: &str) -> Result<Vec<(String, String)>> {
        let args = line(text);
        let tables = named(&args)?.unwrap_or_else(|| vec![TableName::parse("one").unwrap()]);
        let found = targets(&args, &tables)?;
        Ok(found.into_iter().map(|(table, name)| (table.to_string(), name.to_string())).collect())
    }

    fn pair(table: &str, name: &str) -> (String, String) {
        (table.to_owned(), name.to_owned())
    }

    #[test]
    fn new_tables_are_named_by_pairs_by_prefix_and_suffix_or_for_one_table_plainly() {
        assert_eq!(names("--table one --as two --at now").unwrap(), [pair("one", "two")]);
        let both = [pair("one", "one-x"), pair("two", "three")];
        assert_eq!(names("--as one=one-x --as two=three --at now").unwrap(), both);
        assert_eq!(names("--table one --table two --as one=one-x --as two=three --at now").unwrap(), both);
        let around = [pair("one", "old-one-x"), pair("two", "old-two-x")];
        assert_eq!(names("--table one --table two --as-prefix old- --as-suffix -x --at now").unwrap(), around);
        assert_eq!(names("--all --as-suffix=-x --at now").unwrap(), [pair("one", "one-x")]);
    }

    #[test]
    fn what_several_tables_cannot_have_is_refused_with_the_way_out() {
        for (text, said, hint) in [
            ("--table one --table two --as new --at now", "called", "--as one=NAME"),
            ("--table one --table two --as one=new --at now", "called", "--as two=NAME"),
            ("--table one --as two=new --at now", "two", "--table two"),
            ("--as one=new --as two=new --at now", "twice", ""),
            ("--table one --table one --as-suffix=x --at now", "twice", ""),
            ("--table one --table two --as-suffix=x --at-sequence 1", "--at-sequence", "--before"),
            ("--table one --table two --as-suffix=x --timeline 1 --at now", "--timeline", "by itself"),
            ("--table one --table two --into three --at now", "--into", "by itself"),
            ("--at now --as new", "--table", ""),
        ] {
            let error = names(text).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{text}");
            assert!(error.to_string().contains(said), "{text}: {error}");
            assert!(error.hint().unwrap_or_default().contains(hint), "{text}: {:?}", error.hint());
        }
    }
}
