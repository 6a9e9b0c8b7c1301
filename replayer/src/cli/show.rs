//! `replay show`: one item at a cut.

use std::process::ExitCode;

use clap::ValueEnum;
use journal::cli::{Global, output};
use journal::error::Result;
use journal::interrupt::Interrupt;
use journal::model::{Attributes, Second, SequenceNumber, TableName};

use super::ABSENT_EXIT_CODE;
use super::cut::{CutArgs, MergeArgs, say_undated, schema};
use crate::key_schema::KeySelection;
use crate::output::{CsvColumns, Format, write_item};
use crate::state::{Flow, Selection, visit_items};

/// Show one item at a cut
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  replay show --table notes-table-dev --key noteId=5b1a --at '2 hours ago'
  replay show --table notes-table-dev --key 5b1a --before 2020-03-29T10:00:00Z --format dynamodb-json
  replay show --table notes-table-dev --key '{\"noteId\":{\"S\":\"5b1a\"}}' --at-sequence 100000000000000000000007

The exit code is 0 when the item was there and 10 when it was not.")]
pub struct Args {
    /// The table
    #[arg(long, value_name = "NAME")]
    pub table: TableName,
    /// When.
    #[command(flatten)]
    pub cut: CutArgs,
    /// The item: NAME=VALUE[,NAME=VALUE], a bare value, or DynamoDB JSON
    #[arg(long, value_name = "KEY")]
    pub key: String,
    /// How it is written
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    pub format: TextFormat,
    /// What reading may take.
    #[command(flatten)]
    pub merge: MergeArgs,
}

/// The formats that are text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TextFormat {
    /// `{"Item":{…}}`, values with their types
    DynamodbJson,
    /// One plain JSON object
    Json,
    /// Comma-separated values, names first
    Csv,
}

impl From<TextFormat> for Format {
    fn from(format: TextFormat) -> Self {
        match format {
            TextFormat::DynamodbJson => Self::DynamodbJson,
            TextFormat::Json => Self::Json,
            TextFormat::Csv => Self::Csv,
        }
    }
}

type Found = Option<(Attributes, Option<SequenceNumber>, Option<Second>)>;

/// Runs the command.
///
/// # Errors
/// When the arguments are wrong, the cut is not covered, or an object cannot be read.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<ExitCode> {
    let (store, plan) = args.cut.plan(&args.table, global).await?;
    let key = schema(&plan)?.parse_key(&args.key)?;
    let selection = Selection { keys: KeySelection::only(&key), ..Selection::default() };
    let visit =
        visit_items(store, &plan, selection, args.merge.options(), interrupt, None, |found: &mut Found, item| {
            *found = Some((item.attributes, item.sequence, item.second));
            Ok(Flow::Continue)
        });
    let (found, visited) = visit.await?;
    say_undated(&plan, &visited.merge);
    let Some((item, sequence, second)) = found else {
        if !global.quiet {
            output::note(&format!("table {} {}: there is no such item", plan.timeline.table, plan.cut));
        }
        return Ok(ExitCode::from(ABSENT_EXIT_CODE));
    };
    if !global.quiet {
        let when = second.map(|second| format!(" of {second}")).unwrap_or_default();
        output::note(&match sequence {
            Some(sequence) => format!("as the record {sequence}{when} made it"),
            None => "as a snapshot or an old image has it: the record that made it so was not read".to_owned(),
        });
    }
    let mut text = Vec::new();
    let format = Format::from(args.format);
    let mut columns = None;
    // Writing to memory does not fail.
    if format == Format::Csv {
        let mut names = CsvColumns::of_key(plan.key.as_ref());
        names.see(&item)?;
        drop(names.write_header(&mut text));
        columns = Some(names);
    }
    drop(write_item(format, columns.as_ref(), &item, &mut text));
    output::print_bytes(&text)?;
    Ok(ExitCode::SUCCESS)
}
