//! `journal redrive`: appends what an event source mapping gave up.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;

use super::{Global, aws, output};
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::redrive::{RedriveError, RedriveReport, redrive_messages, redrive_place};
use crate::source::files::FileError;
use crate::source::stream_sdk::SdkStreams;
use crate::store;

/// Bytes of one message at most: an invocation record with its payload as text, and room.
const MESSAGE_BYTES_MAX: u64 = 64 << 20;

/// What to redrive.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  journal redrive s3://failed-batches
  journal redrive file:///var/tmp/downloaded
  aws sqs receive-message --queue-url … --max-number-of-messages 10 | journal redrive -

An S3 destination holds the records themselves. A queue's or topic's message names them only:
they are read again from the stream, which keeps them for 24 hours. Objects that are done get
a mark below redriven/ in the same place and are passed over the next time; nothing is deleted.
Messages of a queue are yours to delete when the command has ended with 0.")]
pub struct Args {
    /// Destinations: `s3://bucket/prefix`, `file:///folder`, a file with one message, `-` for standard input
    #[arg(required = true, value_name = "DESTINATION")]
    pub destinations: Vec<String>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// When a destination cannot be read or the journal fails, and at the end when something could not be redriven.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<()> {
    let journal = global.open().await?;
    let service = SdkStreams::new(&aws::settings().await?);
    let mut report = RedriveReport::default();
    let mut result = Ok(());
    for destination in &args.destinations {
        result = if destination.contains("://") {
            let place = store::open_place(destination).await?;
            redrive_place(&*journal, &*place, &service, interrupt, &mut report).await
        } else {
            let messages = [(destination.clone(), read(destination)?)];
            redrive_messages(&*journal, &service, &messages, interrupt, &mut report).await
        };
        if result.is_err() {
            break;
        }
    }
    if args.json {
        output::json(&report)?;
    } else if !global.quiet {
        output::print(&summary(&report))?;
    }
    for left in &report.left {
        output::note(&format!("not redriven: {}: {}", left.name, left.reason));
    }
    result?;
    match report.left.first() {
        None => Ok(()),
        Some(first) => Err(RedriveError::Left { left: report.left.len(), of: report.batches, kind: first.kind }.into()),
    }
}

/// A message from a file or standard input.
fn read(name: &str) -> Result<Bytes, FileError> {
    let opened = |source| FileError::Open { file: name.to_owned(), source };
    let mut reader: Box<dyn std::io::Read> = if name == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(Path::new(name)).map_err(opened)?)
    };
    let mut bytes = Vec::new();
    reader.by_ref().take(MESSAGE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(opened)?;
    let most = usize::try_from(MESSAGE_BYTES_MAX).unwrap_or(usize::MAX);
    if bytes.len() > most {
        return Err(FileError::TooLong { file: name.to_owned(), line: 1, bytes_max: most });
    }
    Ok(Bytes::from(bytes))
}

fn summary(report: &RedriveReport) -> String {
    let appended = &report.appended;
    let mut text = format!(
        "batches      {}\nredriven     {} ({} read again from their stream)\ndone before  {}\nnot redriven {}\n",
        report.batches,
        report.redriven,
        report.fetched_again,
        report.done_before,
        report.left.len()
    );
    let _ = write!(
        text,
        "records      {}\nsegments     {} made ({} bytes), {} there already\nquarantined  {}\n",
        appended.records,
        appended.segments_created,
        appended.bytes,
        appended.segments_already_there,
        appended.quarantined
    );
    text
}
