//! Logs as CloudWatch takes them: one JSON object a line on standard output.

use std::io;

use thiserror::Error;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::error::{Classify, Kind};

/// The variable that says what is logged.
pub(super) const VARIABLE: &str = "JOURNAL_LOG";

/// What is to be logged is not said in a way that is understood.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{VARIABLE} is {found:?}: {reason}")]
pub struct LogError {
    /// The text found.
    pub found: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Classify for LogError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some(
            "give a level (error, warn, info, debug, trace) or TARGET=LEVEL,… such as journal=debug,aws=warn"
                .to_owned(),
        )
    }
}

/// Sends logs to standard output from now on, as `filter` says. What the runtime says of each invocation is left out
/// unless `filter` names it: Lambda itself writes that.
///
/// # Errors
/// When `filter` is not understood. Logs are then set up as `info` says, so that the error can be logged.
pub fn set_up_logs(filter: &str) -> Result<(), LogError> {
    let (targets, error) = match targets(filter) {
        Ok(targets) => (targets, None),
        Err(error) => (targets("info").unwrap_or_default(), Some(error)),
    };
    // A second call, as in a test, changes nothing.
    let _ = tracing_subscriber::registry().with(layer(io::stdout)).with(targets).try_init();
    error.map_or(Ok(()), Err)
}

fn targets(filter: &str) -> Result<Targets, LogError> {
    let refuse = |reason: String| LogError { found: filter.to_owned(), reason };
    let asked: Targets = filter.parse().map_err(|error| refuse(format!("{error}")))?;
    // `Targets` takes a word that is no level for a target that is to be logged whole.
    if let Some(word) = filter.split(',').map(str::trim).find(|part| !part.contains('=') && !is_level(part)) {
        return Err(refuse(format!("{word:?} is not a level")));
    }
    if asked.default_level().is_some() && !filter.contains("lambda_runtime") {
        return Ok(asked.with_target("lambda_runtime", tracing::Level::WARN));
    }
    Ok(asked)
}

fn is_level(word: &str) -> bool {
    word.parse::<tracing::level_filters::LevelFilter>().is_ok() && word.parse::<u8>().is_err()
}

fn layer<S, W>(writer: W) -> impl tracing_subscriber::Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(writer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_line_is_one_json_object_with_its_fields_beside_the_message() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber =
            tracing_subscriber::registry().with(layer(move || writer.clone())).with(targets("info").unwrap());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(records = 3, timeline = "notes/1", "line one\nline two");
            tracing::debug!("not asked for");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "line one\nline two");
        assert_eq!(line["records"], 3);
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn a_filter_that_is_none_is_refused_with_the_way_out() {
        for bad in ["loud", "journal=loud", "journal,info", "3"] {
            let error = targets(bad).unwrap_err();
            assert!(error.to_string().starts_with("JOURNAL_LOG is"), "{error}");
            assert!(error.hint().unwrap().contains("debug"));
        }
        for good in ["info", "DEBUG", "warn,journal=trace", "off"] {
            assert!(targets(good).is_ok(), "{good}");
        }
    }
}
