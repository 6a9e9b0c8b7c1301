//! A template: its parameters, its conditions, and the tables among its resources.

use std::collections::BTreeMap;

use super::error::CheckDeployError;
use super::evaluate::Scope;
use super::foreach::{self, Expanded};
use super::node::Node;
use super::parse::parse;
use super::table::{Table, has_transform};
use super::text_of;

/// Transforms that change nothing about a table but what this knows.
const KNOWN_TRANSFORMS: [&str; 5] = [
    "AWS::LanguageExtensions",
    "AWS::Serverless-2016-10-31",
    "AWS::CodeDeployBlueGreen",
    "AWS::SecretsManager-2020-07-23",
    "AWS::SecretsManager-2024-09-16",
];

/// A template, looked through.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) file: String,
    pub(super) tables: BTreeMap<String, Table>,
    /// Other resources that may hold tables: stacks in the stack.
    pub(super) stacks: BTreeMap<String, Node>,
    /// Types of all resources.
    pub(super) types: BTreeMap<String, String>,
    /// What cannot be looked into: a name, its line, why.
    pub(super) closed: Vec<(String, usize, String)>,
}

impl Template {
    /// Looks through a template, or through what `get-template` prints around one.
    ///
    /// # Errors
    /// When it is not a template.
    pub(super) fn of(file: &str, root: Node, given: &BTreeMap<String, String>) -> Result<Self, CheckDeployError> {
        let root = match root.get("TemplateBody") {
            Some(body) => match body.text() {
                Some(text) => parse(file, text)?,
                None => body.clone(),
            },
            None => root,
        };
        let shape = |line: usize, reason: &str| CheckDeployError::Shape {
            file: file.to_owned(),
            line,
            reason: reason.to_owned(),
        };
        if root.map().is_none() {
            return Err(shape(root.line, "a template is a map of sections"));
        }
        let resources = root.get("Resources").ok_or_else(|| shape(root.line, "a template has Resources"))?;
        let scope = Scope::new(parameters(&root, given), section(&root, "Conditions"), section(&root, "Mappings"));
        let Expanded { resources, mut closed } = foreach::expand(file, resources, &scope)?;
        if let Some(transform) = root.get("Transform") {
            let names = transform.list().unwrap_or(std::slice::from_ref(transform));
            for name in names {
                let known = name.text().is_some_and(|name| KNOWN_TRANSFORMS.contains(&name));
                if !known {
                    let name = name.text().or_else(|| text_of(name, "Name")).unwrap_or("of its own");
                    closed.push((
                        "Transform".to_owned(),
                        transform.line,
                        format!("the macro {name} may change every resource"),
                    ));
                }
            }
        }
        let mut template = Self {
            file: file.to_owned(),
            tables: BTreeMap::new(),
            stacks: BTreeMap::new(),
            types: BTreeMap::new(),
            closed,
        };
        for (id, resource) in resources {
            if id == "Fn::Transform" {
                let reason = "a macro that makes resources".to_owned();
                template.closed.push((id, resource.line, reason));
                continue;
            }
            if resource.map().is_none() {
                return Err(shape(resource.line, &format!("the resource {id} is {}, not a map", resource.shape())));
            }
            let Some(kind) = text_of(&resource, "Type") else {
                if has_transform(&resource) {
                    template.closed.push((id, resource.line, "a macro makes this resource".to_owned()));
                    continue;
                }
                return Err(shape(resource.line, &format!("the resource {id} has no Type")));
            };
            template.types.insert(id.clone(), kind.to_owned());
            if matches!(kind, "AWS::CloudFormation::Stack" | "AWS::Serverless::Application") {
                template.stacks.insert(id, resource);
            } else if let Some(table) = Table::of(&resource, &scope) {
                template.tables.insert(id, table);
            }
        }
        Ok(template)
    }
}

fn section(root: &Node, name: &str) -> BTreeMap<String, Node> {
    root.get(name).and_then(Node::map).cloned().unwrap_or_default()
}

/// Values of parameters: given, or their defaults. Lists are split.
fn parameters(root: &Node, given: &BTreeMap<String, String>) -> BTreeMap<String, Option<Node>> {
    let declared = section(root, "Parameters");
    declared
        .iter()
        .map(|(name, parameter)| {
            let text = given.get(name).map(String::as_str).or_else(|| text_of(parameter, "Default"));
            let kind = text_of(parameter, "Type").unwrap_or_default();
            // A parameter of the parameter store is a name of a value, not the value.
            let text = text.filter(|_| !kind.starts_with("AWS::SSM::Parameter"));
            let value = text.map(|text| {
                if kind == "CommaDelimitedList" || kind.starts_with("List<") {
                    let items = text.split(',').map(|item| Node::text_node(item.trim(), parameter.line));
                    Node::list_node(items.collect(), parameter.line)
                } else {
                    Node::text_node(text, parameter.line)
                }
            });
            (name.clone(), value)
        })
        .collect()
}
