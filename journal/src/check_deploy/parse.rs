//! Text to tree: YAML with CloudFormation's short tags, or JSON.
//!
//! Events are taken one by one and nothing is expanded, so that a small file cannot become a large tree. Bytes, depth and
//! nodes are bounded; aliases, merge keys, foreign tags and keys that come twice are errors, as CloudFormation has them.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::error::CheckDeployError;
use super::node::{Node, Value};

/// The longest text that is read: CloudFormation takes templates of 1 MB; a change set with property values may be longer.
pub const TEXT_BYTES_MAX: usize = 16 << 20;
/// How deep values may lie in each other. CloudFormation's own limit for functions is lower.
const DEPTH_MAX: usize = 64;
const NODES_MAX: usize = 1 << 20;

/// The functions that have a short tag, without the two that have no `Fn::`.
const SHORT: [&str; 24] = [
    "And",
    "Base64",
    "Cidr",
    "Contains",
    "EachMemberEquals",
    "EachMemberIn",
    "Equals",
    "FindInMap",
    "GetAZs",
    "GetAtt",
    "If",
    "ImportValue",
    "Join",
    "Length",
    "Not",
    "Or",
    "RefAll",
    "Select",
    "Split",
    "Sub",
    "ToJsonString",
    "Transform",
    "ValueOf",
    "ValueOfAll",
];

/// A map or list whose end has not come.
struct Open {
    line: usize,
    tag: Option<String>,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    Map { members: BTreeMap<String, Node>, key: Option<(String, usize)> },
}

/// Parses a file's text.
///
/// # Errors
/// When it is not well-formed, with the line; when it is too long, too deep, or has what CloudFormation does not take.
pub fn parse(file: &str, text: &str) -> Result<Node, CheckDeployError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(CheckDeployError::TooLarge { file: file.to_owned(), limit: TEXT_BYTES_MAX });
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let braces = text.trim_start().starts_with(['{', '[']);
    // What begins like JSON may be YAML in its flow style. Where it is neither, the JSON reader's words help more.
    let json = braces.then(|| serde_json::from_str::<serde::de::IgnoredAny>(text));
    let joined;
    let text = match &json {
        Some(Ok(_)) if text.contains("\\u") => {
            joined = join_surrogates(text);
            &joined
        }
        _ => text,
    };
    match (tree(file, text), json) {
        (Err(CheckDeployError::Syntax { .. }), Some(Err(error))) => Err(CheckDeployError::Syntax {
            file: file.to_owned(),
            line: error.line(),
            reason: format!("not JSON, nor YAML: {error}"),
        }),
        (parsed, _) => parsed,
    }
}

fn tree(file: &str, text: &str) -> Result<Node, CheckDeployError> {
    let fail = |line: usize, reason: String| CheckDeployError::Syntax { file: file.to_owned(), line, reason };
    let mut open: Vec<Open> = Vec::new();
    let mut root: Option<Node> = None;
    let mut nodes = 0_usize;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| fail(error.marker().line(), error.info().to_owned()))?;
        let line = span.start.line();
        let done = match event {
            Event::Alias(_) => return Err(fail(line, "an alias, which CloudFormation does not take".to_owned())),
            Event::DocumentStart(_) if root.is_some() => return Err(fail(line, "a second document".to_owned())),
            Event::SequenceStart(_, tag) => {
                let tag = function(tag.as_deref()).map_err(|reason| fail(line, reason))?;
                open.push(Open { line, tag, kind: Kind::List(Vec::new()) });
                None
            }
            Event::MappingStart(_, tag) => {
                let tag = function(tag.as_deref()).map_err(|reason| fail(line, reason))?;
                open.push(Open { line, tag, kind: Kind::Map { members: BTreeMap::new(), key: None } });
                None
            }
            Event::Scalar(text, style, _, tag) => {
                let tag = function(tag.as_deref()).map_err(|reason| fail(line, reason))?;
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let value = match text.as_ref() {
                    "" | "~" | "null" | "Null" | "NULL" if plain => Value::Null,
                    text => Value::Text(text.to_owned()),
                };
                Some(wrapped(Node { value, line }, tag))
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|ended| {
                let value = match ended.kind {
                    Kind::List(items) => Value::List(items),
                    Kind::Map { members, .. } => Value::Map(members),
                };
                wrapped(Node { value, line: ended.line }, ended.tag)
            }),
            _ => None,
        };
        if open.len() > DEPTH_MAX {
            return Err(fail(line, format!("values lie more than {DEPTH_MAX} deep")));
        }
        let Some(node) = done else { continue };
        nodes += 1;
        if nodes > NODES_MAX {
            return Err(fail(line, format!("more than {NODES_MAX} values")));
        }
        match open.last_mut().map(|open| &mut open.kind) {
            None => root = Some(node),
            Some(Kind::List(items)) => items.push(node),
            Some(Kind::Map { members, key }) => match key.take() {
                None => {
                    let text = match &node.value {
                        Value::Text(text) => text.clone(),
                        Value::Null => String::new(),
                        _ => return Err(fail(line, format!("a key that is {}", node.shape()))),
                    };
                    if text == "<<" {
                        return Err(fail(line, "a merge key, which CloudFormation does not take".to_owned()));
                    }
                    if members.contains_key(&text) {
                        return Err(fail(line, format!("the key {text:?} comes twice in one map")));
                    }
                    *key = Some((text, node.line));
                }
                Some((text, at)) => {
                    members.insert(text, Node { line: at, ..node });
                }
            },
        }
    }
    root.ok_or_else(|| fail(1, "there is nothing in it".to_owned()))
}

/// The function that a short tag stands for; none for tags that only say a type.
fn function(tag: Option<&Tag>) -> Result<Option<String>, String> {
    let Some(tag) = tag else { return Ok(None) };
    match (tag.handle.as_str(), tag.suffix.as_str()) {
        ("!", "Ref" | "Condition") => Ok(Some(tag.suffix.clone())),
        ("!", name) if SHORT.contains(&name) => Ok(Some(format!("Fn::{name}"))),
        ("!", "")
        | ("", "!")
        | ("tag:yaml.org,2002:" | "!!", "str" | "int" | "float" | "bool" | "null" | "map" | "seq") => Ok(None),
        (handle, suffix) => Err(format!("the tag {handle}{suffix} is none of CloudFormation's")),
    }
}

/// The value under its function. `!GetAtt A.B` is written as the list it means.
fn wrapped(node: Node, tag: Option<String>) -> Node {
    let Some(function) = tag else { return node };
    let line = node.line;
    let split = match (function.as_str(), &node.value) {
        ("Fn::GetAtt", Value::Text(text)) => text
            .split_once('.')
            .map(|(of, name)| Node::list_node(vec![Node::text_node(of, line), Node::text_node(name, line)], line)),
        _ => None,
    };
    Node::call(&function, split.unwrap_or(node))
}

/// JSON writes a character beyond the first plane as two escapes, which YAML does not know. They become the character.
fn join_surrogates(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let units = [hex(escape, 0), hex(escape, 6)];
        if let [Some(high), Some(low)] = units
            && let Some(Ok(character)) = char::decode_utf16([high, low]).next()
            && !(0..0xD800).contains(&high)
            && let Some(after) = escape.get(12..)
        {
            out.push(character);
            rest = after;
            continue;
        }
        // An escaped backslash is one escape of two characters: what follows it begins anew.
        let length = escape.chars().take(2).map(char::len_utf8).sum();
        let (kept, after) = escape.split_at(length);
        out.push_str(kept);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The four digits of `\uXXXX` at this offset.
fn hex(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..at.checked_add(6)?)?.strip_prefix("\\u")?;
    u16::from_str_radix(digits, 16).ok()
}
