//! `journal check-deploy`: what a deploy would do to tables, before it is done.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::{Global, output};
use crate::check_deploy::{CheckDeployError, Consent, Source, TEXT_BYTES_MAX, check};
use crate::error::Result;
use crate::interrupt::Interrupt;

/// Refuse a deploy that would delete, replace or bare a table
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  aws cloudformation get-template --stack-name notes --template-stage Processed > deployed.json
  journal check-deploy template.yaml --deployed deployed.json
  journal check-deploy change-set.json
  journal check-deploy template.yaml --deployed deployed.json --parameter Stage=prod --accept-loss CacheTable

Reads files alone and asks no service. Exit code 0: no table is lost and each is protected. 6: refused, with reasons and ways
out. 2: a file could not be understood.")]
pub struct Args {
    /// The template that is to be deployed, or a change set's description (JSON); - is standard input
    #[arg(value_name = "TEMPLATE|CHANGESET")]
    pub next: PathBuf,
    /// The template that the stack has now, as it is or as `get-template` prints it
    #[arg(long, value_name = "TEMPLATE")]
    pub deployed: Option<PathBuf>,
    /// A template parameter that has not its default
    #[arg(long = "parameter", value_name = "NAME=VALUE")]
    pub parameters: Vec<String>,
    /// This table, by its logical id, may be deleted or replaced
    #[arg(long, value_name = "LOGICAL-ID")]
    pub accept_loss: Vec<String>,
    /// This table, by its logical id, needs no protection
    #[arg(long, value_name = "LOGICAL-ID")]
    pub without_protection: Vec<String>,
    /// Print what was found as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read or understood, or the deploy is refused.
pub fn run(args: Args, _global: &Global, _interrupt: &Interrupt) -> Result<()> {
    let mut consent = Consent {
        losses: BTreeSet::from_iter(args.accept_loss),
        unprotected: BTreeSet::from_iter(args.without_protection),
        ..Consent::default()
    };
    for text in args.parameters {
        let (name, value) = text.split_once('=').ok_or_else(|| CheckDeployError::Parameter { text: text.clone() })?;
        consent.parameters.insert(name.to_owned(), value.to_owned());
    }
    let (next_file, next) = read(&args.next)?;
    let deployed = args.deployed.as_deref().map(read).transpose()?;
    let deployed = deployed.as_ref().map(|(file, text)| Source { file, text });
    let report = check(Source { file: &next_file, text: &next }, deployed, &consent)?;
    if args.json {
        output::json(&report)?;
    } else {
        output::print(&report.text())?;
    }
    match report.refusals() {
        0 => Ok(()),
        refusals => Err(CheckDeployError::Refused { refusals }.into()),
    }
}

/// A file's name for messages, and its text.
fn read(path: &Path) -> Result<(String, String), CheckDeployError> {
    let stdin = path == Path::new("-");
    let file = if stdin { "standard input".to_owned() } else { path.display().to_string() };
    let limit = u64::try_from(TEXT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let read = if stdin {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|opened| opened.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|source| CheckDeployError::Read { file: file.clone(), source })?;
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(CheckDeployError::TooLarge { file, limit: TEXT_BYTES_MAX });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((file, text)),
        Err(error) => Err(CheckDeployError::NotText { file, offset: error.utf8_error().valid_up_to() }),
    }
}
