//! `Fn::ForEach` among resources: the members it repeats, as far as its collection is known.

use std::collections::BTreeMap;

use super::error::CheckDeployError;
use super::evaluate::Scope;
use super::node::{Node, Value};

/// CloudFormation takes 500 resources a template.
const RESOURCES_MAX: usize = 10_000;
/// How deep loops may lie in each other. CloudFormation takes five.
const LOOPS_MAX: usize = 5;

/// Resources, and loops that cannot be looked into.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    pub(super) resources: BTreeMap<String, Node>,
    /// Name of the loop, its line, why.
    pub(super) closed: Vec<(String, usize, String)>,
}

/// The resources of a section, its loops unrolled.
///
/// # Errors
/// When a loop is not one, two resources get one id, or there are too many.
pub(super) fn expand(file: &str, section: &Node, scope: &Scope) -> Result<Expanded, CheckDeployError> {
    let mut expanded = Expanded::default();
    into(file, section, scope, &mut expanded, 0)?;
    Ok(expanded)
}

fn into(
    file: &str,
    section: &Node,
    scope: &Scope,
    expanded: &mut Expanded,
    loops: usize,
) -> Result<(), CheckDeployError> {
    let shape = |line: usize, reason: String| CheckDeployError::Shape { file: file.to_owned(), line, reason };
    let Some(members) = section.map() else {
        return Err(shape(section.line, format!("resources that are {}", section.shape())));
    };
    for (id, member) in members {
        let Some(name) = id.strip_prefix("Fn::ForEach::") else {
            if expanded.resources.len() >= RESOURCES_MAX {
                return Err(shape(member.line, format!("more than {RESOURCES_MAX} resources")));
            }
            if expanded.resources.insert(id.clone(), member.clone()).is_some() {
                return Err(shape(member.line, format!("the logical id {id} comes twice")));
            }
            continue;
        };
        if loops >= LOOPS_MAX {
            return Err(shape(member.line, format!("loops lie more than {LOOPS_MAX} deep")));
        }
        let parts = member.list().unwrap_or_default();
        let [identifier, collection, body] = parts else {
            return Err(shape(member.line, format!("Fn::ForEach::{name} is not [identifier, collection, body]")));
        };
        let Some(identifier) = identifier.text() else {
            return Err(shape(member.line, format!("Fn::ForEach::{name} has no identifier")));
        };
        let collection = scope.resolve(collection);
        let items: Option<Vec<_>> = collection.list().and_then(|items| items.iter().map(Node::text).collect());
        let Some(items) = items else {
            if may_hold_tables(body) {
                let reason =
                    format!("the collection of Fn::ForEach::{name} is not known, and its body may hold tables");
                expanded.closed.push((id.clone(), member.line, reason));
            }
            continue;
        };
        for item in items {
            into(file, &substituted(body, identifier, item), scope, expanded, loops + 1)?;
        }
    }
    Ok(())
}

/// Whether a table's type stands anywhere in it, or a type that is itself computed.
fn may_hold_tables(node: &Node) -> bool {
    match &node.value {
        Value::Text(text) => super::table::Kind::of(text).is_some(),
        Value::List(items) => items.iter().any(may_hold_tables),
        Value::Map(members) => {
            members.get("Type").is_some_and(|kind| kind.text().is_none_or(|text| text.contains("${")))
                || members.values().any(may_hold_tables)
        }
        Value::Null => false,
    }
}

/// The body for one item: `${Id}` in keys and texts, `&{Id}` in keys (letters and digits alone), and `Ref` to it.
fn substituted(node: &Node, identifier: &str, item: &str) -> Node {
    let line = node.line;
    if let Some(("Ref", argument)) = node.function()
        && argument.text() == Some(identifier)
    {
        return Node::text_node(item, line);
    }
    let plain = format!("${{{identifier}}}");
    let stripped = format!("&{{{identifier}}}");
    let value = match &node.value {
        Value::Text(text) => Value::Text(text.replace(&plain, item)),
        Value::List(items) => Value::List(items.iter().map(|of| substituted(of, identifier, item)).collect()),
        Value::Map(members) => {
            let letters: String = item.chars().filter(char::is_ascii_alphanumeric).collect();
            let members = members.iter().map(|(key, member)| {
                (key.replace(&plain, item).replace(&stripped, &letters), substituted(member, identifier, item))
            });
            Value::Map(members.collect())
        }
        Value::Null => Value::Null,
    };
    Node { value, line }
}
