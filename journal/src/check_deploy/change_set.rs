//! A change set, as `describe-change-set` prints it: CloudFormation says itself what it would do.

use super::error::CheckDeployError;
use super::finding::{Finding, Harm, Severity};
use super::node::Node;
use super::parse::parse;
use super::table::Kind;
use super::text_of;

const DESCRIBE: &str = "describe it with --include-property-values, or check the template";

/// Judges every change of a table.
///
/// # Errors
/// When it is one page of several, not ready, or not a change set.
pub(super) fn judge(file: &str, root: &Node) -> Result<Vec<Finding>, CheckDeployError> {
    let shape = |line: usize, reason: String| CheckDeployError::Shape { file: file.to_owned(), line, reason };
    if let Some(token) = root.get("NextToken").filter(|token| token.text().is_some()) {
        let reason = "this is one page of the change set, and the others may hold tables; let the CLI fetch all pages";
        return Err(shape(token.line, reason.to_owned()));
    }
    let changes = root.get("Changes").and_then(Node::list).unwrap_or_default();
    match text_of(root, "Status") {
        Some("CREATE_COMPLETE") | None => {}
        Some("FAILED") if changes.is_empty() && says_no_changes(root) => return Ok(Vec::new()),
        Some(status) => {
            let why = text_of(root, "StatusReason").unwrap_or("no reason is given");
            return Err(shape(root.line, format!("the change set is {status}, not CREATE_COMPLETE: {why}")));
        }
    }
    if root.get("Changes").is_none_or(|changes| changes.list().is_none()) {
        return Err(shape(root.line, "a change set has a list of Changes".to_owned()));
    }
    let mut findings = Vec::new();
    for change in changes {
        let Some(change) = change.get("ResourceChange") else {
            // Hooks and the like are changes of another type.
            if text_of(change, "Type").is_none_or(|kind| kind == "Resource") {
                return Err(shape(change.line, "a change without its ResourceChange".to_owned()));
            }
            continue;
        };
        let member =
            |name: &str| text_of(change, name).ok_or_else(|| shape(change.line, format!("a change without {name}")));
        let (kind, action, resource) = (member("ResourceType")?, member("Action")?, member("LogicalResourceId")?);
        let what = Change { file, node: change, resource, policy: text_of(change, "PolicyAction").unwrap_or("Delete") };
        match Kind::of(kind) {
            Some(_) => what.of_a_table(action, &mut findings),
            None if kind == "AWS::CloudFormation::Stack" => what.of_a_stack(action, &mut findings),
            None => {}
        }
    }
    Ok(findings)
}

fn says_no_changes(root: &Node) -> bool {
    let reason = text_of(root, "StatusReason").unwrap_or_default();
    reason.contains("didn't contain changes") || reason.contains("No updates are to be performed")
}

struct Change<'a> {
    file: &'a str,
    node: &'a Node,
    resource: &'a str,
    policy: &'a str,
}

impl Change<'_> {
    fn finding(&self, severity: Severity, harm: Harm, reason: &str, ways_out: &[&str]) -> Finding {
        let mut ways_out: Vec<_> = ways_out.iter().map(|way| (*way).to_owned()).collect();
        if harm == Harm::Unprotected {
            ways_out.push(format!("--without-protection {}, when its items can be made again", self.resource));
        } else {
            ways_out.push(format!("--accept-loss {}, when its items may go", self.resource));
        }
        let name = text_of(self.node, "PhysicalResourceId").map_or_else(String::new, |name| format!(" {name}"));
        Finding {
            severity,
            harm,
            resource: self.resource.to_owned(),
            file: self.file.to_owned(),
            line: self.node.line,
            reason: format!("the table{name} {reason}"),
            ways_out,
        }
    }

    fn of_a_table(&self, action: &str, findings: &mut Vec<Finding>) {
        let retain = "deploy once with DeletionPolicy and UpdateReplacePolicy: Retain and nothing else changed";
        let stack = "check that this is the stack you mean: another service's template removes every table";
        match action {
            "Remove" if self.policy == "Retain" => {
                let reason = "leaves the stack and stays";
                findings.push(self.finding(Severity::Warning, Harm::Left, reason, &[]));
            }
            "Remove" => {
                findings.push(self.finding(Severity::Refused, Harm::Deleted, "would be deleted", &[stack, retain]));
            }
            "Add" => self.protection(true, findings),
            "Import" => self.protection(false, findings),
            "Modify" => {
                let replacement = text_of(self.node, "Replacement").unwrap_or("False");
                if replacement != "False" {
                    let may = if replacement == "True" { "would" } else { "may" };
                    let properties = self.recreating().join(", ");
                    let reason = format!("{may} be replaced by an empty one ({properties}; {})", self.policy);
                    let kept = self.policy.ends_with("Retain");
                    let (severity, harm) =
                        if kept { (Severity::Warning, Harm::Left) } else { (Severity::Refused, Harm::Replaced) };
                    findings.push(self.finding(
                        severity,
                        harm,
                        &reason,
                        &["leave these properties as they are", retain],
                    ));
                }
                if replacement != "False" || self.touches("StreamSpecification") {
                    self.protection(true, findings);
                }
                if self.touches("Replicas") {
                    let reason = "changes its replicas; the regions that go lose their table";
                    findings.push(self.finding(
                        Severity::Refused,
                        Harm::Unknown,
                        reason,
                        &["compare the replicas by hand"],
                    ));
                }
            }
            other => {
                let reason = format!("would go through {other}, whose end CloudFormation does not know yet");
                findings.push(self.finding(
                    Severity::Refused,
                    Harm::Unknown,
                    &reason,
                    &["deploy the nested stack by itself"],
                ));
            }
        }
    }

    /// Looks for the stream in the properties after the change.
    fn protection(&self, must: bool, findings: &mut Vec<Finding>) {
        let after = text_of(self.node, "AfterContext").and_then(|text| parse(self.file, text).ok());
        let properties = after.as_ref().and_then(|after| after.get("Properties"));
        let reason = match properties {
            None if must => "may not be protected: the change set does not say its properties".to_owned(),
            None => return,
            Some(properties) => {
                let view = properties.get("StreamSpecification").and_then(|stream| text_of(stream, "StreamViewType"));
                match view {
                    Some("NEW_AND_OLD_IMAGES") => return,
                    Some(view) => format!("is not protected: its stream has the view {view}"),
                    None => "is not protected: it has no StreamSpecification".to_owned(),
                }
            }
        };
        let ways = ["add StreamSpecification: {StreamViewType: NEW_AND_OLD_IMAGES}", DESCRIBE];
        findings.push(self.finding(Severity::Refused, Harm::Unprotected, &reason, &ways));
    }

    fn targets(&self) -> impl Iterator<Item = &Node> {
        let details = self.node.get("Details").and_then(Node::list).unwrap_or_default();
        details.iter().filter_map(|detail| detail.get("Target"))
    }

    fn touches(&self, property: &str) -> bool {
        self.targets().any(|target| text_of(target, "Name") == Some(property))
    }

    fn recreating(&self) -> Vec<&str> {
        let always = |target: &&Node| text_of(target, "RequiresRecreation").is_some_and(|needs| needs != "Never");
        let mut names: Vec<_> = self.targets().filter(always).filter_map(|target| text_of(target, "Name")).collect();
        names.dedup();
        if names.is_empty() {
            names.push("it does not say by what");
        }
        names
    }

    fn of_a_stack(&self, action: &str, findings: &mut Vec<Finding>) {
        let finding = |severity, reason: &str| Finding {
            severity,
            harm: Harm::Unknown,
            resource: self.resource.to_owned(),
            file: self.file.to_owned(),
            line: self.node.line,
            reason: reason.to_owned(),
            ways_out: vec![format!("--accept-loss {}, when it holds no table", self.resource)],
        };
        match (action, self.policy) {
            ("Remove", "Retain") | ("Add" | "Import", _) => {}
            ("Remove", _) => {
                findings
                    .push(finding(Severity::Refused, "a stack in the stack would be deleted, with every table in it"));
            }
            _ => findings.push(finding(
                Severity::Warning,
                "a stack in the stack changes; its own change set is not in this one: check it by itself",
            )),
        }
    }
}
