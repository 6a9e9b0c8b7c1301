//! A template as a tree: scalars, lists and maps, each with the line it stands in. Equality ignores the lines.

use std::collections::BTreeMap;

/// A value of a template.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub(super) value: Value,
    /// Its line, from 1; for a map's member the line of its key.
    pub(super) line: usize,
}

/// Numbers and booleans are kept as their text: CloudFormation does not tell `true` from `"true"`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Text(String),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Node {
    pub(super) fn text_node(text: impl Into<String>, line: usize) -> Self {
        Self { value: Value::Text(text.into()), line }
    }

    pub(super) fn list_node(items: Vec<Node>, line: usize) -> Self {
        Self { value: Value::List(items), line }
    }

    /// A map of one member, as functions are written.
    pub(super) fn call(function: &str, argument: Node) -> Self {
        let line = argument.line;
        Self { value: Value::Map(BTreeMap::from([(function.to_owned(), argument)])), line }
    }

    /// A map's member.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.map()?.get(key)
    }

    pub(super) fn map(&self) -> Option<&BTreeMap<String, Node>> {
        if let Value::Map(map) = &self.value { Some(map) } else { None }
    }

    pub(super) fn list(&self) -> Option<&[Node]> {
        if let Value::List(items) = &self.value { Some(items) } else { None }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// The function and its argument, where it is a map of one member that is one.
    pub(super) fn function(&self) -> Option<(&str, &Node)> {
        let map = self.map()?;
        let (name, argument) = map.first_key_value()?;
        let is_one = map.len() == 1 && (name == "Ref" || name == "Condition" || name.starts_with("Fn::"));
        is_one.then_some((name.as_str(), argument))
    }

    /// Whether it is `!Ref AWS::NoValue`.
    pub(super) fn is_no_value(&self) -> bool {
        matches!(self.function(), Some(("Ref", argument)) if argument.text() == Some("AWS::NoValue"))
    }

    /// What it is called in messages.
    pub(super) fn shape(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}
