//! The loop that takes invocations, and how errors are told to Lambda.

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::Deserialize;
use serde_json::Value;

use super::logs::set_up_logs;
use super::process::Process;
use super::settings::FunctionSettings;
use crate::error::{Error, Result};

/// A whole function: settings, logs, then one invocation after the other, each answered with what `handler` gives. It is
/// the body of a binary's `main`.
///
/// The journal is opened before the first invocation is taken, where Lambda gives a process more of the processor; when
/// that fails the process goes on, and the invocation that needs the journal tries again and fails with the reason.
pub fn main<E, H, F>(handler: H) -> ExitCode
where
    E: for<'de> Deserialize<'de>,
    H: Fn(Arc<Process>, LambdaEvent<E>) -> F,
    F: Future<Output = Result<Value>>,
{
    let settings = match FunctionSettings::from_environment() {
        Ok(settings) => settings,
        Err(error) => return refused(&error.into()),
    };
    let logs = set_up_logs(&settings.log);
    if let Err(error) = logs {
        tracing::error!(hint = crate::Classify::hint(&error), "{error}; going on with info");
    }
    // One thread: a function of the usual memory has less than one processor, and threads cost time at the start.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("the async runtime could not be started: {error}");
            return ExitCode::from(crate::Kind::Internal.exit_code());
        }
    };
    runtime.block_on(async {
        let process = Arc::new(Process::start(settings).await);
        if let Err(error) = process.existing_journal().await {
            tracing::warn!(
                hint = error.hint(),
                "the journal is not open yet, the next invocation tries again: {error}"
            );
        }
        let served = lambda_runtime::run(service_fn(|event: LambdaEvent<E>| {
            let answer = handler(Arc::clone(&process), event);
            async move { answer.await.map_err(|error| refusal(&error)) }
        }));
        match served.await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("the function's runtime ended: {error}");
                ExitCode::from(crate::Kind::Unavailable.exit_code())
            }
        }
    })
}

/// An error as Lambda shows it: its kind, its text, and the way out where there is one. It is logged too.
#[must_use]
pub fn refusal(error: &Error) -> Diagnostic {
    let hint = error.hint();
    tracing::error!(kind = ?error.kind(), hint, "{error}");
    let error_message = match hint {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    };
    Diagnostic { error_type: format!("Journal.{:?}", error.kind()), error_message }
}

fn refused(error: &Error) -> ExitCode {
    use std::io::Write as _;
    let hint = error.hint().map(|hint| format!("\n{hint}")).unwrap_or_default();
    let _ = writeln!(std::io::stderr(), "error: {error}{hint}");
    ExitCode::from(error.kind().exit_code())
}
