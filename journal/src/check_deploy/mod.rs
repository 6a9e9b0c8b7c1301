//! The deploy guard: reads what a deploy is about to do to tables, and refuses what would lose one.
//!
//! What enters is text: the template that is deployed and the one that is to be, or a change set as
//! `describe-change-set` prints it. What leaves is a list of [`Finding`]s, each with its reason and the ways out. Works offline:
//! knows no AWS client, no store and no journal. Where the text does not tell, the answer is never "fine": what cannot be seen is
//! said and refused.
//!
//! [`parse`](fn@parse) makes a tree of YAML or JSON; `template` expands loops and finds the tables; `evaluate` computes
//! functions and conditions as far as the text allows; `compare` and `change_set` judge.

mod change_set;
mod compare;
mod error;
mod evaluate;
mod finding;
mod foreach;
mod node;
mod parse;
mod table;
mod template;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use error::CheckDeployError;
pub use finding::{Finding, Harm, Report, Severity};
pub use parse::{TEXT_BYTES_MAX, parse};
pub use table::REPLACING_PROPERTIES;

use node::Node;
use template::Template;

/// What the person who deploys has decided.
#[derive(Debug, Clone, Default)]
pub struct Consent {
    /// Values of template parameters, where they are not the defaults.
    pub parameters: BTreeMap<String, String>,
    /// Logical ids whose table may be deleted or replaced.
    pub losses: BTreeSet<String>,
    /// Logical ids whose table needs no protection: a cache, say.
    pub unprotected: BTreeSet<String>,
}

/// A file's name, for messages, and its text.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What to call it.
    pub file: &'a str,
    /// YAML or JSON.
    pub text: &'a str,
}

/// Judges a deploy. `next` is a template, or a change set's description; `deployed` is the template that the stack has now, and
/// without one `next` is judged as a new stack.
///
/// # Errors
/// When a text is not YAML or JSON, or neither a template nor a change set that is whole and ready. A refusal is no error
/// here: it is in the report.
pub fn check(next: Source<'_>, deployed: Option<Source<'_>>, consent: &Consent) -> Result<Report, CheckDeployError> {
    let root = parse(next.file, next.text)?;
    let mut findings = if root.get("Changes").is_some() || root.get("ChangeSetId").is_some() {
        if deployed.is_some() {
            return Err(CheckDeployError::Shape {
                file: next.file.to_owned(),
                line: root.line,
                reason: "a change set says itself what it changes; leave the deployed template out".to_owned(),
            });
        }
        change_set::judge(next.file, &root)?
    } else {
        let new = Template::of(next.file, root, &consent.parameters)?;
        let old = match deployed {
            Some(source) => Some(Template::of(source.file, parse(source.file, source.text)?, &consent.parameters)?),
            None => None,
        };
        compare::judge(old.as_ref(), &new)
    };
    for finding in &mut findings {
        let consented = match finding.harm {
            Harm::Unprotected => consent.unprotected.contains(&finding.resource),
            _ => consent.losses.contains(&finding.resource),
        };
        if consented && finding.severity == Severity::Refused {
            finding.severity = Severity::Accepted;
        }
    }
    findings.sort_by(|one, other| {
        (one.severity, &one.resource, one.harm).cmp(&(other.severity, &other.resource, other.harm))
    });
    Ok(Report { findings })
}

/// The text of a scalar member.
fn text_of<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.get(key).and_then(Node::text)
}
