//! Two templates: what CloudFormation would do to each table on the way from one to the other.

use super::evaluate::Truth;
use super::finding::{Finding, Harm, Severity};
use super::table::{Kind, Table};
use super::template::Template;
use super::text_of;

const RETAIN: &str = "deploy once with DeletionPolicy: Retain and UpdateReplacePolicy: Retain on the table and nothing else changed; then this deploy leaves it be";

/// Judges every table of both.
pub(super) fn judge(old: Option<&Template>, new: &Template) -> Vec<Finding> {
    let mut findings = Vec::new();
    for template in old.into_iter().chain([new]) {
        for (name, line, reason) in &template.closed {
            findings.push(Finding {
                severity: Severity::Refused,
                harm: Harm::Unknown,
                resource: name.clone(),
                file: template.file.clone(),
                line: *line,
                reason: reason.clone(),
                ways_out: vec![
                    "make a change set and check that: it says what all macros and loops became".to_owned(),
                    "give the parameters it depends on: --parameter NAME=VALUE".to_owned(),
                    format!("--accept-loss {name}, when you know what it makes"),
                ],
            });
        }
    }
    if let Some(old) = old {
        for (id, table) in &old.tables {
            findings.extend(became(old, new, id, table));
        }
        findings.extend(stacks(old, new));
    }
    for (id, table) in new.tables.iter().filter(|(_, table)| table.there != Truth::No) {
        findings.extend(protected(new, id, table));
    }
    findings
}

/// What becomes of a table that is deployed.
fn became(old: &Template, new: &Template, id: &str, table: &Table) -> Vec<Finding> {
    if table.there == Truth::No {
        return Vec::new();
    }
    let removed = |reason: String, line: usize, file: &str| vec![removed(new, id, table, &reason, line, file)];
    let Some(next) = new.tables.get(id) else {
        let reason = match new.types.get(id) {
            None => "it is not in the new template".to_owned(),
            Some(kind) => format!("in the new template its logical id is that of a resource of the type {kind}"),
        };
        return removed(reason, table.line, &old.file);
    };
    if next.kind.made() != table.kind.made() {
        let reason = format!("its type changes from {} to {}", table.kind.made(), next.kind.made());
        return removed(reason, next.line, &new.file);
    }
    let condition = next.condition.as_ref().map_or("", |(name, _)| name);
    if next.there == Truth::No {
        return removed(format!("its condition {condition} is false with these parameters"), next.line, &new.file);
    }
    let mut findings = Vec::new();
    let same = table.condition.as_ref().map(|(_, mark)| mark) == next.condition.as_ref().map(|(_, mark)| mark);
    if next.there == Truth::Unknown && !same {
        findings.push(Finding {
            severity: if table.is_kept_when_removed() { Severity::Warning } else { Severity::Refused },
            harm: Harm::Unknown,
            resource: id.to_owned(),
            file: new.file.clone(),
            line: next.line,
            reason: format!("it depends on the condition {condition}, which is new or changed and cannot be computed"),
            ways_out: vec!["give the parameters it depends on: --parameter NAME=VALUE".to_owned(), RETAIN.to_owned()],
        });
    }
    let mut replacing = table.replaced_by(next);
    if next.transformed || table.transformed {
        replacing.push("whatever the macro in it makes".to_owned());
    }
    if !replacing.is_empty() {
        let kept = table.is_kept_when_replaced() && next.is_kept_when_replaced();
        findings.push(Finding {
            severity: if kept { Severity::Warning } else { Severity::Refused },
            harm: if kept { Harm::Left } else { Harm::Replaced },
            resource: id.to_owned(),
            file: new.file.clone(),
            line: next.line,
            reason: format!(
                "a change of {} makes CloudFormation put an empty table in its place{}",
                replacing.join(", "),
                if kept { "; the old one stays, outside of the stack" } else { ", and delete it" }
            ),
            ways_out: vec![
                "leave these properties as they are deployed".to_owned(),
                "make a second table under another logical id, copy, then remove this one".to_owned(),
                RETAIN.to_owned(),
                format!("--accept-loss {id}, when its items may go"),
            ],
        });
    }
    for region in table.replicas_lost(next) {
        findings.push(Finding {
            severity: Severity::Refused,
            harm: Harm::Deleted,
            resource: id.to_owned(),
            file: new.file.clone(),
            line: next.line,
            reason: format!("its replica in {region} would be deleted"),
            ways_out: vec![
                "keep the replica".to_owned(),
                format!("--accept-loss {id}, when the other replicas are enough"),
            ],
        });
    }
    findings
}

/// A table that the new template no longer has.
fn removed(new: &Template, id: &str, table: &Table, reason: &str, line: usize, file: &str) -> Finding {
    let heir = table.name().and_then(|name| {
        new.tables.iter().find(|(other, heir)| *other != id && heir.there != Truth::No && heir.name() == Some(name))
    });
    let kept = table.is_kept_when_removed();
    let (harm, reason) = match (&heir, kept) {
        (None, false) => (Harm::Deleted, format!("the table would be deleted: {reason}")),
        (Some((heir, _)), false) => {
            (Harm::Remade, format!("the table would be deleted and an empty one made as {heir}: {reason}"))
        }
        (None, true) => (Harm::Left, format!("{reason}; the table stays, outside of the stack")),
        (Some((heir, _)), true) => (
            Harm::Left,
            format!(
                "{reason}; the table stays, so that {heir} of the same name cannot be made and the deploy will fail"
            ),
        ),
    };
    let mut ways_out =
        vec!["check that this is the stack you mean: another service's template removes every table".to_owned()];
    if let Some((heir, _)) = heir {
        ways_out.push(format!("keep the logical id {id} instead of {heir}"));
    }
    ways_out.push(RETAIN.to_owned());
    ways_out.push(format!("--accept-loss {id}, when its items may go"));
    Finding {
        severity: if kept { Severity::Warning } else { Severity::Refused },
        harm,
        resource: id.to_owned(),
        file: file.to_owned(),
        line,
        reason,
        ways_out,
    }
}

/// Whether a table of the new template would be journalled, and kept.
fn protected(new: &Template, id: &str, table: &Table) -> Vec<Finding> {
    let finding = |severity, harm, reason: String, ways_out| Finding {
        severity,
        harm,
        resource: id.to_owned(),
        file: new.file.clone(),
        line: table.line,
        reason,
        ways_out,
    };
    let mut findings = Vec::new();
    if let Some(reason) = table.without_protection() {
        let mut ways_out = Vec::new();
        if table.kind == Kind::Simple {
            ways_out.push(
                "make it an AWS::DynamoDB::Table of the same logical id, key and name: it stays the same table"
                    .to_owned(),
            );
        }
        ways_out.push("add StreamSpecification: {StreamViewType: NEW_AND_OLD_IMAGES}".to_owned());
        ways_out.push(format!("--without-protection {id}, when its items can be made again"));
        findings.push(finding(
            Severity::Refused,
            Harm::Unprotected,
            format!("the table is not protected: {reason}"),
            ways_out,
        ));
    }
    let mut missing = Vec::new();
    if !table.is_kept_when_removed() {
        missing.push("DeletionPolicy: Retain");
    }
    if !table.is_kept_when_replaced() {
        missing.push("UpdateReplacePolicy: Retain");
    }
    if !missing.is_empty() {
        let reason = format!("the table has no {}: a later deploy can take it", missing.join(" and no "));
        findings.push(finding(Severity::Warning, Harm::Unprotected, reason, Vec::new()));
    }
    findings
}

/// Stacks in the stack: their tables are in templates of their own.
fn stacks(old: &Template, new: &Template) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (id, stack) in &old.stacks {
        let (severity, harm, line, reason) = match new.stacks.get(id) {
            None if matches!(text_of(stack, "DeletionPolicy"), Some("Retain" | "RetainExceptOnCreate")) => continue,
            None => (
                Severity::Refused,
                Harm::Unknown,
                stack.line,
                "a stack in the stack would be deleted, with every table in it".to_owned(),
            ),
            Some(next) if next.get("Properties") == stack.get("Properties") => continue,
            Some(next) => (
                Severity::Warning,
                Harm::Unknown,
                next.line,
                "a stack in the stack changes; its template is not looked into: check it by itself".to_owned(),
            ),
        };
        let file = if severity == Severity::Warning { &new.file } else { &old.file };
        findings.push(Finding {
            severity,
            harm,
            resource: id.clone(),
            file: file.clone(),
            line,
            reason,
            ways_out: vec![
                "give it DeletionPolicy: Retain in a deploy of its own first".to_owned(),
                format!("--accept-loss {id}, when it holds no table"),
            ],
        });
    }
    findings
}
