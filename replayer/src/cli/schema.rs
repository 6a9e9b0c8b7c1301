//! `replay schema`: which attributes the items of a table have had.

use std::fmt::Write as _;
use std::process::ExitCode;

use journal::cli::{Global, output};
use journal::error::{Kind, Result};
use journal::interrupt::{Interrupt, InterruptedError};
use journal::model::TableName;
use serde_json::json;

use super::cut::MergeArgs;
use crate::audit::{AttributeShape, TableShape, inert, shape};
use crate::state::stopped;

/// Show which attributes the items of a table have had: types, since when, in what share
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  replay schema --table notes-table-dev
  replay schema --table notes-table-dev --depth 0                # the attributes alone
  replay schema --table notes-table-dev --json | jq '.attributes[] | select(.types | length > 1)'

\"versions\" are the images that changes left, \"items\" those of the latest covered moment. replies[].author is what any element of the list
has; a share counts versions or items, not elements. The exit code is 4 when a segment could not
be read: it is named, the others are counted.")]
pub struct Args {
    /// The table
    #[arg(long, value_name = "NAME")]
    pub table: TableName,
    /// Levels into maps and lists that are shown: 0 for the attributes alone
    #[arg(long, value_name = "LEVELS", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=31))]
    pub depth: u8,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
    /// What reading may take.
    #[command(flatten)]
    pub merge: MergeArgs,
}

/// Runs the command.
///
/// # Errors
/// When the journal cannot be read or has no such table. Segments that are corrupt are told by the exit code.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<ExitCode> {
    let store = global.open_read().await?;
    let options = args.merge.options();
    let found = tokio::select! {
        found = shape(store, &args.table, usize::from(args.depth), &options, interrupt) => found?,
        () = stopped(interrupt) => {
            let (step, resume) = ("reading the items".to_owned(), "run the same command again".to_owned());
            return Err(InterruptedError { step, resume }.into());
        }
    };
    if args.json {
        output::print(&format!("{}\n", inert(&document(&args.table, &found).to_string())))?;
    } else {
        output::print(&text(&args.table, &found))?;
    }
    for unreadable in &found.unreadable {
        output::note(&format!(
            "warning: {} cannot be read, what it holds is not counted: {}",
            unreadable.object, unreadable.reason
        ));
    }
    if let Err(reason) = &found.items {
        output::note(&format!("note: items are not counted: {}", inert(reason)));
    }
    Ok(if found.unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(Kind::Corrupt.exit_code()) })
}

/// A share in percent with one digit, as text.
fn share(part: u64, whole: u64) -> String {
    let permille = u128::from(part) * 1000 / u128::from(whole.max(1));
    format!("{}.{} %", permille / 10, permille % 10)
}

fn text(table: &TableName, found: &TableShape) -> String {
    let items = found.items.as_ref().ok().copied();
    let mut text = format!(
        "{table}  key {}, {} versions, {} items\n",
        found.key.as_deref().map_or_else(|| "not known".to_owned(), inert),
        found.images,
        items.map_or_else(|| "not counted".to_owned(), |items| items.to_string()),
    );
    let names: Vec<String> = found.attributes.keys().map(|name| short(name)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(9);
    let _ = writeln!(
        text,
        "{:<width$}  {:>8}  {:>8}  {:<20}  {:<20}  types",
        "attribute", "versions", "items", "first", "last"
    );
    for (name, (_, attribute)) in names.iter().zip(&found.attributes) {
        let second = |second: Option<journal::model::Second>| {
            second.map_or_else(|| "in a baseline".to_owned(), journal::model::Second::to_rfc3339)
        };
        let _ = writeln!(
            text,
            "{name:<width$}  {:>8}  {:>8}  {:<20}  {:<20}  {}",
            share(attribute.images, found.images),
            items.map_or_else(String::new, |items| share(attribute.items, items)),
            second(attribute.seconds.map(|(first, _)| first)),
            second(attribute.seconds.map(|(_, last)| last)),
            types(attribute)
        );
    }
    if found.more_names > 0 {
        let _ = writeln!(text, "and {} times a path that is not shown, for there are too many", found.more_names);
    }
    text
}

fn short(name: &str) -> String {
    match name.char_indices().nth(60) {
        Some((at, _)) => format!("{}… ({} bytes)", inert(name.get(..at).unwrap_or_default()), name.len()),
        None => inert(name),
    }
}

fn types(attribute: &AttributeShape) -> String {
    let several = attribute.types.len() > 1;
    let one = |(kind, count): (&&str, &u64)| {
        if several { format!("{kind} ({})", share(*count, attribute.images)) } else { (*kind).to_owned() }
    };
    attribute.types.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn document(table: &TableName, found: &TableShape) -> serde_json::Value {
    let attributes: Vec<serde_json::Value> = found
        .attributes
        .iter()
        .map(|(name, attribute)| {
            json!({
                "name": name,
                "types": attribute.types,
                "versions": attribute.images,
                "items": found.items.as_ref().ok().map(|_| attribute.items),
                "first": attribute.seconds.map(|(first, _)| first.to_rfc3339()),
                "last": attribute.seconds.map(|(_, last)| last.to_rfc3339()),
            })
        })
        .collect();
    json!({
        "table": table.as_str(),
        "key": found.key,
        "versions": found.images,
        "items": found.items.as_ref().ok(),
        "attributes": attributes,
        "unreadable": found.unreadable.iter().map(|unreadable| &unreadable.object).collect::<Vec<_>>(),
    })
}
