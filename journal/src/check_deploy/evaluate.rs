//! Functions and conditions, computed as far as the text allows.
//!
//! What depends on the account, the region or a parameter without a value stays as it is written, with a mark of everything it
//! depends on, so that two results are equal only where two deploys would give the same. Each condition is looked at once:
//! conditions that name each other a thousandfold cost nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::node::{Node, Value};

/// How deep functions may lie in each other, conditions that name conditions counted along.
const DEPTH_MAX: usize = 128;

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    Unknown,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// What functions refer to.
#[derive(Debug)]
pub(super) struct Scope {
    /// Values of parameters; none where there is neither a default nor a given one.
    pub(super) parameters: BTreeMap<String, Option<Node>>,
    pub(super) conditions: BTreeMap<String, Node>,
    pub(super) mappings: BTreeMap<String, Node>,
    /// Conditions looked at: whether they hold, and their marks.
    seen: RefCell<BTreeMap<String, (Truth, String)>>,
}

impl Scope {
    pub(super) fn new(
        parameters: BTreeMap<String, Option<Node>>,
        conditions: BTreeMap<String, Node>,
        mappings: BTreeMap<String, Node>,
    ) -> Self {
        Self { parameters, conditions, mappings, seen: RefCell::default() }
    }

    /// Whether a condition holds, and a mark that is equal for equal definitions over equal values.
    pub(super) fn condition(&self, name: &str) -> (Truth, String) {
        self.condition_at(name, 0)
    }

    fn condition_at(&self, name: &str, depth: usize) -> (Truth, String) {
        if let Some(found) = self.seen.borrow().get(name) {
            return found.clone();
        }
        let Some(definition) = self.conditions.get(name).filter(|_| depth < DEPTH_MAX) else {
            return (Truth::Unknown, format!("no condition {name}"));
        };
        // While it is looked at it is unknown: a circle ends here.
        self.seen.borrow_mut().insert(name.to_owned(), (Truth::Unknown, format!("circle {name}")));
        let resolved = self.resolve_at(definition, depth + 1);
        let found = (self.truth(&resolved, depth + 1), mark(&resolved));
        self.seen.borrow_mut().insert(name.to_owned(), found.clone());
        found
    }

    /// The truth of a resolved condition.
    fn truth(&self, node: &Node, depth: usize) -> Truth {
        if depth > DEPTH_MAX {
            return Truth::Unknown;
        }
        match node.text() {
            Some("true") => return Truth::Yes,
            Some("false") => return Truth::No,
            _ => {}
        }
        let Some((function, argument)) = node.function() else { return Truth::Unknown };
        let items = argument.list().unwrap_or_default();
        match (function, items) {
            ("Condition", _) => argument.text().map_or(Truth::Unknown, |name| self.condition_at(name, depth + 1).0),
            ("Fn::Equals", [one, other]) => match (one.text(), other.text()) {
                (Some(one), Some(other)) => (one == other).into(),
                _ if one == other => Truth::Yes,
                _ => Truth::Unknown,
            },
            ("Fn::Not", [of]) => match self.truth(of, depth + 1) {
                Truth::Yes => Truth::No,
                Truth::No => Truth::Yes,
                Truth::Unknown => Truth::Unknown,
            },
            ("Fn::And", items) => self.all(items, Truth::No, depth),
            ("Fn::Or", items) => self.all(items, Truth::Yes, depth),
            _ => Truth::Unknown,
        }
    }

    /// And and Or: one that `decides` decides; one that is unknown leaves it unknown.
    fn all(&self, items: &[Node], decides: Truth, depth: usize) -> Truth {
        let truths: Vec<_> = items.iter().map(|item| self.truth(item, depth + 1)).collect();
        if truths.contains(&decides) {
            decides
        } else if truths.is_empty() || truths.contains(&Truth::Unknown) {
            Truth::Unknown
        } else if decides == Truth::Yes {
            Truth::No
        } else {
            Truth::Yes
        }
    }

    /// The value as far as it can be computed.
    pub(super) fn resolve(&self, node: &Node) -> Node {
        self.resolve_at(node, 0)
    }

    fn resolve_at(&self, node: &Node, depth: usize) -> Node {
        if depth > DEPTH_MAX {
            return node.clone();
        }
        let line = node.line;
        if let Some((function, argument)) = node.function()
            && let Some(found) = self.call(function, argument, depth + 1)
        {
            return Node { line, ..found };
        }
        let value = match &node.value {
            Value::List(items) => {
                let items = items.iter().map(|item| self.resolve_at(item, depth + 1));
                Value::List(items.filter(|item| !item.is_no_value()).collect())
            }
            Value::Map(members) => {
                let members = members.iter().map(|(key, member)| (key.clone(), self.resolve_at(member, depth + 1)));
                Value::Map(members.filter(|(_, member)| !member.is_no_value()).collect())
            }
            other => other.clone(),
        };
        Node { value, line }
    }

    /// A function's value, where it is one that this knows.
    fn call(&self, function: &str, argument: &Node, depth: usize) -> Option<Node> {
        let line = argument.line;
        match function {
            "Ref" => self.parameters.get(argument.text()?)?.clone(),
            "Fn::If" => {
                let [name, yes, no] = argument.list()? else { return None };
                let (truth, mark) = self.condition_at(name.text()?, depth);
                match truth {
                    Truth::Yes => Some(self.resolve_at(yes, depth)),
                    Truth::No => Some(self.resolve_at(no, depth)),
                    Truth::Unknown => {
                        let branches = [yes, no].map(|branch| self.resolve_at(branch, depth));
                        let [yes, no] = branches;
                        Some(Node::call(function, Node::list_node(vec![Node::text_node(mark, line), yes, no], line)))
                    }
                }
            }
            "Condition" => {
                // Part of another condition: its mark stands for its definition.
                let (truth, mark) = self.condition_at(argument.text()?, depth);
                Some(match truth {
                    Truth::Yes => Node::text_node("true", line),
                    Truth::No => Node::text_node("false", line),
                    Truth::Unknown => Node::call("Fn::Unknown", Node::text_node(mark, line)),
                })
            }
            "Fn::FindInMap" => {
                let argument = self.resolve_at(argument, depth);
                let [name, first, second, ..] = argument.list()? else { return None };
                let mapping = self.mappings.get(name.text()?);
                let found = mapping.and_then(|mapping| mapping.get(first.text()?)?.get(second.text()?));
                Some(found.cloned().unwrap_or_else(|| {
                    let all = mapping.map_or_else(|| "none".to_owned(), mark);
                    Node::call(function, Node::list_node(vec![argument.clone(), Node::text_node(all, line)], line))
                }))
            }
            "Fn::Join" => {
                let resolved = self.resolve_at(argument, depth);
                let [separator, items] = resolved.list()? else { return None };
                let texts: Option<Vec<_>> = items.list()?.iter().map(Node::text).collect();
                Some(Node::text_node(texts?.join(separator.text()?), line))
            }
            "Fn::Select" => {
                let resolved = self.resolve_at(argument, depth);
                let [at, items] = resolved.list()? else { return None };
                items.list()?.get(at.text()?.parse::<usize>().ok()?).cloned()
            }
            "Fn::Sub" => self.sub(argument, depth),
            _ => None,
        }
    }

    fn sub(&self, argument: &Node, depth: usize) -> Option<Node> {
        let line = argument.line;
        let (template, variables) = match argument.list() {
            None => (argument.text()?, BTreeMap::new()),
            Some([template, variables]) => {
                let variables = self.resolve_at(variables, depth);
                (template.text()?, variables.map()?.clone())
            }
            Some(_) => return None,
        };
        let mut out = String::new();
        let mut rest = template;
        let mut whole = true;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let (name, after) = after.split_once('}')?;
            rest = after;
            let known = variables.get(name).or_else(|| self.parameters.get(name).and_then(Option::as_ref));
            match known.and_then(Node::text) {
                Some(text) => out.push_str(text),
                None if name.starts_with('!') => {
                    let _ = write!(out, "${{{}}}", name.trim_start_matches('!'));
                }
                None => {
                    whole = false;
                    let _ = write!(out, "${{{name}}}");
                }
            }
        }
        out.push_str(rest);
        let text = Node::text_node(out, line);
        if whole {
            return Some(text);
        }
        let unknown = variables.into_iter().filter(|(_, variable)| variable.text().is_none()).collect();
        Some(Node::call("Fn::Sub", Node::list_node(vec![text, Node { value: Value::Map(unknown), line }], line)))
    }
}

/// A digest of a value: equal for equal ones.
fn mark(node: &Node) -> String {
    let mut hash = Sha256::new();
    digest(node, &mut hash);
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn digest(node: &Node, hash: &mut Sha256) {
    let (kind, length) = match &node.value {
        Value::Null => (0_u8, 0),
        Value::Text(text) => (1, text.len()),
        Value::List(items) => (2, items.len()),
        Value::Map(members) => (3, members.len()),
    };
    hash.update([kind]);
    hash.update(length.to_string());
    hash.update([0]);
    match &node.value {
        Value::Null => {}
        Value::Text(text) => hash.update(text),
        Value::List(items) => items.iter().for_each(|item| digest(item, hash)),
        Value::Map(members) => {
            for (key, member) in members {
                hash.update(key.len().to_string());
                hash.update([0]);
                hash.update(key);
                digest(member, hash);
            }
        }
    }
}
