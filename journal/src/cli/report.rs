//! Errors, exit codes and logs for people: what failed, what to do, and a code that follows the kind.

use std::io::{self, Write};
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::Global;
use super::output::note;
use crate::error::{Error, Kind, Result};

/// Prints an error as its chain and one hint, and gives the exit code of its kind.
#[must_use]
pub fn exit_code(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&text(&error));
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// Says that the asynchronous runtime cannot be started, as where no thread can be made.
#[must_use]
pub fn no_runtime(error: &io::Error) -> ExitCode {
    note(&format!("error: starting the runtime: {error}"));
    ExitCode::from(Kind::Unavailable.exit_code())
}

/// An error as it is printed: `error: …`, and `hint: …` on a line of its own where there is one.
#[must_use]
pub fn text(error: &Error) -> String {
    let title = if error.kind() == Kind::Interrupted { "" } else { "error: " };
    let hint = error.hint().or_else(|| {
        (error.kind() == Kind::Internal).then(|| "this is a defect of this software: please report it".to_owned())
    });
    let hint = hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("{title}{error}{hint}")
}

/// Sends logs to standard error, above any progress bar: warnings, with `-v` what is done, with `-vv` everything; with
/// `-q` errors alone. `RUST_LOG` decides instead where it is set.
pub fn set_up_logs(global: &Global) {
    set_up_logs_without(global, "");
}

/// As [`set_up_logs`], without the warnings of `module`, which the command reports itself; `-v` brings them back.
pub fn set_up_logs_without(global: &Global, module: &str) {
    let without = if module.is_empty() { String::new() } else { format!("warn,dynoxide=error,{module}=error") };
    let filter = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) if !module.is_empty() => &without,
        (false, 0) => "warn,dynoxide=error",
        (false, 1) => "warn,dynoxide=error,journal=info,replayer=info,replay=info",
        (false, _) => "info,journal=debug,replayer=debug,replay=debug",
    };
    let filter = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty()).unwrap_or_else(|| filter.to_owned());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_target(global.verbose > 1)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_writer(AboveBars);
    // A second set-up, as in tests, keeps the first.
    let _ = subscriber.try_init();
}

struct AboveBars;

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = AboveBars;

    fn make_writer(&'a self) -> Self::Writer {
        AboveBars
    }
}

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        super::progress::suspended(|| io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interrupt::InterruptedError;
    use crate::model::SequenceNumber;

    #[test]
    fn an_error_is_printed_with_its_hint_and_a_stop_is_not_called_an_error() {
        let stopped = InterruptedError { step: "reading x".to_owned(), resume: "run it again".to_owned() };
        assert_eq!(text(&stopped.into()), "stopped while reading x\nhint: run it again");
        let error = Error::from(SequenceNumber::parse("x").unwrap_err());
        assert!(text(&error).starts_with("error: sequence number"));
        assert!(!text(&error).contains("hint"));
    }
}
