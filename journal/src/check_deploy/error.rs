//! Why a text could not be judged, and the refusal itself.

use thiserror::Error;

use crate::error::{Classify, Kind};

/// Why a text could not be judged, and the refusal itself.
#[derive(Debug, Error)]
pub enum CheckDeployError {
    /// The file cannot be read.
    #[error("reading {file}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is larger than any template or change set.
    #[error("{file} has more than {limit} bytes")]
    TooLarge {
        /// The file.
        file: String,
        /// The limit.
        limit: usize,
    },
    /// It is not UTF-8.
    #[error("{file} is not UTF-8 (byte {offset})")]
    NotText {
        /// The file.
        file: String,
        /// The first byte that is not.
        offset: usize,
    },
    /// It is not YAML, or not JSON, as CloudFormation takes them.
    #[error("{file}, line {line}: {reason}")]
    Syntax {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// It is well-formed, and not what was asked for.
    #[error("{file}, line {line}: {reason}")]
    Shape {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A parameter on the command line is not `NAME=VALUE`.
    #[error("the parameter {text:?} is not NAME=VALUE")]
    Parameter {
        /// What was given.
        text: String,
    },
    /// The deploy would lose a table, or leave one without protection.
    #[error("this deploy is refused for {refusals} {}", if *.refusals == 1 { "reason" } else { "reasons" })]
    Refused {
        /// How many findings refuse it.
        refusals: usize,
    },
}

impl Classify for CheckDeployError {
    fn kind(&self) -> Kind {
        match self {
            Self::Refused { .. } => Kind::Conflict,
            _ => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } => "check the path; - reads standard input".to_owned(),
            Self::TooLarge { .. } => "give the template itself, or one change set".to_owned(),
            Self::NotText { .. } => "save it as UTF-8".to_owned(),
            Self::Syntax { .. } => {
                "check it with `aws cloudformation validate-template`; CloudFormation takes neither aliases nor merge keys".to_owned()
            }
            Self::Shape { .. } => {
                "give a template, or the JSON that `aws cloudformation describe-change-set --include-property-values` prints".to_owned()
            }
            Self::Parameter { .. } => "write --parameter NAME=VALUE".to_owned(),
            Self::Refused { .. } => "nothing was deployed; each reason above has its ways out".to_owned(),
        })
    }
}
