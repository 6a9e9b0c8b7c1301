//! A function's settings, from the environment that Lambda gives it.

use thiserror::Error;

use super::logs;
use crate::error::{Classify, Kind};

/// What Lambda sets for every function, and the runtime cannot do without.
const BY_LAMBDA: [&str; 4] = [
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
];

/// The environment is not that of a function.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum SettingsError {
    /// A variable that Lambda sets is not there, or not as Lambda sets it.
    #[error("{variable} is not set as Lambda sets it: this program is a Lambda function and runs only there")]
    NotLambda {
        /// The variable.
        variable: &'static str,
    },
    /// No journal is named.
    #[error("the function has no JOURNAL_URL, so it does not know where the journal lies")]
    NoJournal,
}

impl Classify for SettingsError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotLambda { .. } => {
                "to append records from this machine use the command journal: journal follow, journal ingest".to_owned()
            }
            Self::NoJournal => "set JOURNAL_URL=s3://bucket/prefix in the function's environment".to_owned(),
        })
    }
}

/// A function's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionSettings {
    /// The function's name.
    pub function: String,
    /// What is logged.
    pub log: String,
    journal: Option<String>,
}

impl FunctionSettings {
    /// Of this process.
    ///
    /// # Errors
    /// When it was not started by Lambda, or by something that sets the same variables.
    pub fn from_environment() -> Result<Self, SettingsError> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        for name in BY_LAMBDA {
            let found = variable(name).ok_or(SettingsError::NotLambda { variable: name })?;
            // The runtime wants a number here and has no error for anything else.
            if name == "AWS_LAMBDA_FUNCTION_MEMORY_SIZE" && found.parse::<i32>().is_err() {
                return Err(SettingsError::NotLambda { variable: name });
            }
        }
        Ok(Self {
            function: variable("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default(),
            log: variable(logs::VARIABLE).unwrap_or_else(|| "info".to_owned()),
            journal: variable("JOURNAL_URL").map(|url| url.trim().to_owned()),
        })
    }

    /// Where the journal lies.
    ///
    /// # Errors
    /// When the environment does not say.
    pub fn journal(&self) -> Result<&str, SettingsError> {
        self.journal.as_deref().ok_or(SettingsError::NoJournal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lambda(name: &str) -> Option<String> {
        Some(match name {
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE" => "512".to_owned(),
            name if name.starts_with("AWS_LAMBDA_") => "x".to_owned(),
            _ => return None,
        })
    }

    #[test]
    fn a_program_that_lambda_did_not_start_says_what_it_is() {
        for missing in BY_LAMBDA {
            let error = FunctionSettings::read(|name| lambda(name).filter(|_| name != missing)).unwrap_err();
            assert_eq!(error, SettingsError::NotLambda { variable: missing });
            assert!(error.hint().unwrap().contains("journal follow"));
        }
        let memory = |name: &str| lambda(name).map(|value| value.replace("512", "much"));
        assert!(FunctionSettings::read(memory).is_err());
    }

    #[test]
    fn a_journal_that_is_not_named_is_said_when_it_is_asked_for() {
        let settings = FunctionSettings::read(lambda).unwrap();
        assert_eq!(settings.log, "info");
        assert_eq!(settings.journal(), Err(SettingsError::NoJournal));
        let with = |name: &str| if name == "JOURNAL_URL" { Some(" s3://b/p ".to_owned()) } else { lambda(name) };
        assert_eq!(FunctionSettings::read(with).unwrap().journal(), Ok("s3://b/p"));
    }
}
