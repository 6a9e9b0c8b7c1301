//! `journal`: writes a write-ahead event journal for DynamoDB tables.

use std::process::ExitCode;

use clap::Parser as _;
use journal::cli::{Cli, report};
use journal::interrupt::Interrupt;

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.set_up_logs();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report::no_runtime(&error),
    };
    let result = runtime.block_on(async { cli.run(&Interrupt::on_signals()).await });
    // A blocking read of a terminal cannot be ended; the process must not wait for it.
    runtime.shutdown_background();
    report::exit_code(result)
}
