//! `stream-trigger`: the Lambda function that a table's stream triggers.

use std::process::ExitCode;
use std::sync::Arc;

use journal::trigger::Trigger;

fn main() -> ExitCode {
    let trigger = Arc::new(Trigger::default());
    journal::lambda::main(move |process, event| Arc::clone(&trigger).handle(process, event))
}
