//! A table as a template says it, in one form for the three types that make one.

use std::collections::{BTreeMap, BTreeSet};

use super::evaluate::{Scope, Truth};
use super::node::{Node, Value};
use super::text_of;

/// The properties whose change makes CloudFormation put an empty table in the old one's place, after the pages
/// `aws-resource-dynamodb-table` and `aws-resource-dynamodb-globaltable` of the CloudFormation template reference ("Update requires:
/// Replacement") and the resource schemas (`createOnlyProperties`, `conditionalCreateOnlyProperties`). The type of an attribute
/// that both templates define counts too ("Replacement if you edit an existing `AttributeDefinition`").
pub const REPLACING_PROPERTIES: [&str; 5] =
    ["TableName", "KeySchema", "LocalSecondaryIndexes", "ImportSourceSpecification", "GlobalTableSourceArn"];

/// What makes a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Table,
    Global,
    /// SAM's, which becomes a `Table` of the same logical id, without a stream.
    Simple,
}

impl Kind {
    pub(super) fn of(text: &str) -> Option<Self> {
        match text {
            "AWS::DynamoDB::Table" => Some(Self::Table),
            "AWS::DynamoDB::GlobalTable" => Some(Self::Global),
            "AWS::Serverless::SimpleTable" => Some(Self::Simple),
            _ => None,
        }
    }

    /// What CloudFormation itself sees.
    pub(super) fn made(self) -> &'static str {
        if self == Self::Global { "AWS::DynamoDB::GlobalTable" } else { "AWS::DynamoDB::Table" }
    }
}

/// A table of a template.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) kind: Kind,
    pub(super) line: usize,
    /// Whether its condition lets it be there, and the condition's name and mark.
    pub(super) there: Truth,
    pub(super) condition: Option<(String, String)>,
    pub(super) properties: Node,
    deletion: Option<Node>,
    replacement: Option<Node>,
    /// A macro works on it, so that what is deployed is not what is written.
    pub(super) transformed: bool,
}

impl Table {
    /// The table that a resource is, if it is one.
    pub(super) fn of(resource: &Node, scope: &Scope) -> Option<Self> {
        let kind = Kind::of(text_of(resource, "Type")?)?;
        let (there, condition) = match resource.get("Condition") {
            None => (Truth::Yes, None),
            Some(condition) => {
                let resolved = scope.resolve(condition);
                match condition.text().or(resolved.text()) {
                    None => (Truth::Unknown, Some(("of the table".to_owned(), format!("{condition:?}")))),
                    Some(name) => {
                        let (truth, mark) = scope.condition(name);
                        (truth, Some((name.to_owned(), mark)))
                    }
                }
            }
        };
        let empty = Node { value: Value::Map(BTreeMap::new()), line: resource.line };
        let written = resource.get("Properties").unwrap_or(&empty);
        let resolved = scope.resolve(written);
        Some(Self {
            kind,
            line: resource.line,
            there,
            condition,
            transformed: has_transform(resource),
            properties: if kind == Kind::Simple { of_simple(&resolved) } else { resolved },
            deletion: resource.get("DeletionPolicy").map(|policy| scope.resolve(policy)),
            replacement: resource.get("UpdateReplacePolicy").map(|policy| scope.resolve(policy)),
        })
    }

    /// Whether the table stays when its resource goes from the template.
    pub(super) fn is_kept_when_removed(&self) -> bool {
        matches!(self.deletion.as_ref().and_then(Node::text), Some("Retain" | "RetainExceptOnCreate"))
    }

    /// Whether the old table stays when it is replaced.
    pub(super) fn is_kept_when_replaced(&self) -> bool {
        self.replacement.as_ref().and_then(Node::text) == Some("Retain")
    }

    /// The name, where the template gives one.
    pub(super) fn name(&self) -> Option<&str> {
        text_of(&self.properties, "TableName")
    }

    /// What stands between the table and its journal, if anything does.
    pub(super) fn without_protection(&self) -> Option<String> {
        if self.kind == Kind::Simple {
            return Some("AWS::Serverless::SimpleTable cannot have a stream".to_owned());
        }
        let Some(stream) = self.properties.get("StreamSpecification") else {
            return Some("it has no StreamSpecification".to_owned());
        };
        let branches = branches(stream);
        let views: Vec<_> =
            branches.iter().map(|branch| branch.get("StreamViewType").map_or_else(Vec::new, self::branches)).collect();
        for view in &views {
            if view.is_empty() {
                return Some(
                    "its StreamSpecification has no StreamViewType, on one side of a condition at least".to_owned(),
                );
            }
            for view in view {
                match view.text() {
                    Some("NEW_AND_OLD_IMAGES") => {}
                    Some(other) => return Some(format!("its stream has the view {other}")),
                    None => return Some("its stream's view cannot be seen in the template".to_owned()),
                }
            }
        }
        None
    }

    /// The properties by which `new` would replace this table.
    pub(super) fn replaced_by(&self, new: &Self) -> Vec<String> {
        let of = |table: &Self, name: &str| table.properties.get(name).cloned();
        let mut names: Vec<_> = REPLACING_PROPERTIES
            .into_iter()
            .filter(|name| normal(of(self, name)) != normal(of(new, name)))
            .map(str::to_owned)
            .collect();
        let (old, new) = (attributes(&self.properties), attributes(&new.properties));
        match (old, new) {
            (Ok(old), Ok(new)) => {
                let changed = old.iter().filter(|(name, kind)| new.get(*name).is_some_and(|new| new != *kind));
                names.extend(changed.map(|(name, _)| format!("AttributeDefinitions ({name})")));
            }
            (old, new) if old == new => {}
            _ => names.push("AttributeDefinitions".to_owned()),
        }
        names
    }

    /// Regions that lose their replica: `DynamoDB` deletes the table there.
    pub(super) fn replicas_lost(&self, new: &Self) -> Vec<String> {
        let regions = |table: &Self| -> BTreeSet<String> {
            let replicas = table.properties.get("Replicas").and_then(Node::list).unwrap_or_default();
            replicas
                .iter()
                .filter_map(|replica| replica.get("Region"))
                .map(|region| match region.text() {
                    Some(text) => text.to_owned(),
                    None => format!("{region:?}"),
                })
                .collect()
        };
        regions(self).difference(&regions(new)).cloned().collect()
    }
}

/// Both sides of a condition that cannot be computed, or the value itself.
fn branches(node: &Node) -> Vec<&Node> {
    match node.function() {
        Some(("Fn::If", argument)) => match argument.list() {
            Some([_, yes, no]) => [yes, no].into_iter().flat_map(branches).collect(),
            _ => vec![node],
        },
        _ => vec![node],
    }
}

/// An empty list says what an absent one says; the order of indexes says nothing.
fn normal(node: Option<Node>) -> Option<Node> {
    let mut node = node?;
    match &mut node.value {
        Value::Null => return None,
        Value::List(items) if items.is_empty() => return None,
        Value::List(items) => items.sort_by_cached_key(order),
        _ => {}
    }
    Some(node)
}

fn order(node: &Node) -> String {
    ["IndexName", "KeyType"].iter().find_map(|key| text_of(node, key)).unwrap_or_default().to_owned()
}

/// Types of attributes by name; what is written, where that cannot be seen.
fn attributes(properties: &Node) -> Result<BTreeMap<String, String>, Option<Node>> {
    let written = properties.get("AttributeDefinitions");
    let Some(items) = written.and_then(Node::list) else {
        return written.map_or(Ok(BTreeMap::new()), |of| Err(Some(of.clone())));
    };
    items
        .iter()
        .map(|item| Some((text_of(item, "AttributeName")?.to_owned(), text_of(item, "AttributeType")?.to_owned())))
        .collect::<Option<_>>()
        .ok_or_else(|| written.cloned())
}

/// What SAM makes of a `SimpleTable`: one key, `id` of type String unless `PrimaryKey` says otherwise.
fn of_simple(properties: &Node) -> Node {
    let line = properties.line;
    let key = properties.get("PrimaryKey");
    let part = |name: &str, default: &str| {
        key.and_then(|key| key.get(name)).cloned().unwrap_or_else(|| Node::text_node(default, line))
    };
    let kind = part("Type", "String");
    let kind = match kind.text() {
        Some("String") => Node::text_node("S", line),
        Some("Number") => Node::text_node("N", line),
        Some("Binary") => Node::text_node("B", line),
        _ => kind,
    };
    let map = |members: [(&str, Node); 2]| Node {
        value: Value::Map(members.map(|(key, member)| (key.to_owned(), member)).into()),
        line,
    };
    let name = part("Name", "id");
    let schema = map([("AttributeName", name.clone()), ("KeyType", Node::text_node("HASH", line))]);
    let definition = map([("AttributeName", name), ("AttributeType", kind)]);
    let mut members = BTreeMap::from([
        ("KeySchema".to_owned(), Node::list_node(vec![schema], line)),
        ("AttributeDefinitions".to_owned(), Node::list_node(vec![definition], line)),
    ]);
    if let Some(name) = properties.get("TableName") {
        members.insert("TableName".to_owned(), name.clone());
    }
    Node { value: Value::Map(members), line }
}

/// Whether a macro is called anywhere in it.
pub(super) fn has_transform(node: &Node) -> bool {
    match &node.value {
        Value::Map(members) => members.contains_key("Fn::Transform") || members.values().any(has_transform),
        Value::List(items) => items.iter().any(has_transform),
        _ => false,
    }
}
