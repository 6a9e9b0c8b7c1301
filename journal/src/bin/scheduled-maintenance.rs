//! `scheduled-maintenance`: the Lambda function that looks after tables and the journal, from schedules and when a table changes.

use std::process::ExitCode;

fn main() -> ExitCode {
    journal::lambda::main(journal::maintenance::handle)
}
