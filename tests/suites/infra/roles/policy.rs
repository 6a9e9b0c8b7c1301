//! What a deployed role says, and whether it allows a call: as much of IAM as the template uses.

use journal_tests::cloudformation::CloudFormation;
use serde_json::Value;

use crate::deploy::STACK;

/// A call as IAM sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    /// `service:Operation`.
    pub(crate) action: String,
    /// On what; `*` where the operation has no resource.
    pub(crate) resource: String,
    /// What a condition may ask for, where the call says it: key and value.
    pub(crate) context: Option<(&'static str, String)>,
}

/// One statement, as it was deployed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Statement(Value);

impl Statement {
    pub(crate) fn sid(&self) -> &str {
        self.0["Sid"].as_str().unwrap()
    }

    pub(crate) fn actions(&self) -> Vec<&str> {
        texts(&self.0["Action"])
    }

    pub(crate) fn resources(&self) -> Vec<&str> {
        texts(&self.0["Resource"])
    }

    pub(crate) fn allows(&self, call: &Call) -> bool {
        self.resources().iter().any(|pattern| self.allows_on(pattern, call))
    }

    /// Whether it allows the call by this one of its resources.
    pub(crate) fn allows_on(&self, pattern: &str, call: &Call) -> bool {
        self.actions().contains(&call.action.as_str()) && matches(pattern, &call.resource) && self.conditions_hold(call)
    }

    /// A key that the call does not say is one that S3 or Lambda knows by itself.
    fn conditions_hold(&self, call: &Call) -> bool {
        let Some((key, value)) = &call.context else { return true };
        let operators = self.0["Condition"].as_object().into_iter().flatten();
        operators
            .filter_map(|(_, keys)| keys.get(key))
            .all(|wanted| texts(wanted).iter().any(|text| matches(text, value)))
    }
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap()).collect(),
        value => vec![value.as_str().unwrap()],
    }
}

/// IAM's `*` over any text.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| matches(rest, &text[at..]))
        }),
    }
}

/// What a role says, as it was deployed.
pub(crate) fn statements(stacks: &CloudFormation, logical: &str) -> Vec<Statement> {
    let resources = stacks.resources(STACK);
    let (_, role) = resources.iter().find(|(id, _)| id == logical).expect("the role is deployed");
    let answer =
        stacks.query("iam", "2010-05-08", "GetRolePolicy", &[("RoleName", role), ("PolicyName", "least")]).unwrap();
    let (_, rest) = answer.split_once("<PolicyDocument>").unwrap();
    let (document, _) = rest.split_once("</PolicyDocument>").unwrap();
    let policy: Value = serde_json::from_str(&decoded(document)).unwrap();
    policy["Statement"].as_array().unwrap().iter().cloned().map(Statement).collect()
}

/// Text in which `%xx` is a byte.
pub(crate) fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| first == b'%') {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Calls that no statement allows.
pub(crate) fn missing<'c>(statements: &[Statement], calls: impl IntoIterator<Item = &'c Call>) -> Vec<&'c Call> {
    calls.into_iter().filter(|call| !statements.iter().any(|statement| statement.allows(call))).collect()
}
