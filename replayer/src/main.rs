//! `replay`: reads a write-ahead event journal for DynamoDB tables.

use std::process::ExitCode;

use clap::Parser as _;
use journal::cli::report;
use journal::interrupt::Interrupt;
use replayer::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    report::set_up_logs(&cli.global);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report::no_runtime(&error),
    };
    let result = runtime.block_on(async { cli.run(&Interrupt::on_signals()).await });
    // A read that hangs on a blocking thread must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => report::exit_code(Err(error)),
    }
}
