//! `scheduled-verification`: the Lambda function that proves the journal, from a schedule.

use std::process::ExitCode;

fn main() -> ExitCode {
    journal::lambda::main(replayer::lambda::handle)
}
