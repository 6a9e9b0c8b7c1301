//! What the pages and the policies of `infra/` say of each other.

use std::collections::BTreeSet;

use crate::roles::policy::matches;
use crate::tools::{infra, text};

/// Logical ids of the resources of one type, or all of them.
fn resources(template: &str, of_type: Option<&str>) -> BTreeSet<String> {
    let (_, rest) = template.split_once("\nResources:\n").unwrap();
    let (resources, _) = rest.split_once("\nOutputs:\n").unwrap();
    let mut found = BTreeSet::new();
    let mut logical = "";
    for line in resources.lines() {
        if let Some(id) = line.strip_prefix("  ").filter(|id| !id.starts_with([' ', '#'])) {
            logical = id.trim_end_matches(':');
        } else if let Some(kind) = line.strip_prefix("    Type: ")
            && of_type.is_none_or(|wanted| wanted == kind)
        {
            found.insert(logical.to_owned());
        }
    }
    found
}

#[test]
fn every_alarm_has_a_section_that_says_what_to_do() {
    let alarms = resources(&text("template.yaml"), Some("AWS::CloudWatch::Alarm"));
    assert!(alarms.len() >= 13, "{alarms:?}");
    let readme = text("README.md");
    let sections: BTreeSet<_> = readme.split("\n### ").skip(1).filter_map(|section| section.split_once('\n')).collect();
    for alarm in &alarms {
        let section = sections.iter().find(|(title, _)| title == alarm);
        let (_, body) = section.unwrap_or_else(|| panic!("README.md has no section ### {alarm}"));
        assert!(
            body.split("\n## ").next().unwrap().split_whitespace().count() >= 20,
            "the section of {alarm} says nothing"
        );
    }
    for (title, _) in sections.iter().filter(|(title, _)| !title.contains(' ')) {
        assert!(alarms.contains(*title), "README.md speaks of the alarm {title}, which the template has not");
    }
}

#[test]
fn every_parameter_is_used_and_explained() {
    let template = text("template.yaml");
    let (_, rest) = template.split_once("\nParameters:\n").unwrap();
    let (parameters, body) = rest.split_once("\nConditions:\n").unwrap();
    let names: Vec<_> = parameters
        .lines()
        .filter_map(|line| line.strip_prefix("  ").filter(|name| !name.starts_with(' '))?.strip_suffix(':'))
        .collect();
    assert!(names.len() > 20);
    assert_eq!(parameters.matches("\n    Description:").count(), names.len());
    for name in names {
        let used = [format!("!Ref {name}"), format!("${{{name}}}")].iter().any(|text| body.contains(text));
        assert!(used, "nothing uses {name}");
    }
}

#[test]
fn the_stack_policy_holds_whatever_is_retained() {
    let template = text("template.yaml");
    let policy: serde_json::Value = serde_json::from_str(&text("stack-policy.json")).unwrap();
    let denied =
        policy["Statement"].as_array().unwrap().iter().find(|statement| statement["Effect"] == "Deny").unwrap();
    assert_eq!(denied["Action"], serde_json::json!(["Update:Replace", "Update:Delete"]));
    let named: BTreeSet<_> = denied["Resource"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| resource.as_str().unwrap().strip_prefix("LogicalResourceId/").unwrap().to_owned())
        .collect();
    let all = resources(&template, None);
    assert!(named.is_subset(&all), "the policy names what is not there: {:?}", named.difference(&all));
    let (_, body) = template.split_once("\nResources:\n").unwrap();
    for logical in &all {
        let (_, resource) = body.split_once(&format!("\n  {logical}:\n")).unwrap();
        let resource = resource.split("\n\n").next().unwrap();
        if resource.contains("DeletionPolicy: Retain") {
            assert!(named.contains(logical), "{logical} is retained, and the stack policy lets an update take it");
        }
    }
}

/// FORMAT.md says which objects are written once; the bucket's policy asks for a create-only put of exactly those.
#[test]
fn the_bucket_policy_and_the_format_agree_on_what_is_written_once() {
    let format = std::fs::read_to_string(infra("../journal/FORMAT.md")).unwrap();
    let template = text("template.yaml");
    let (_, policy) = template.split_once("- Sid: OnlyCreateOnlyPuts").unwrap();
    let (policy, _) = policy.split_once("Condition:").unwrap();
    let patterns: Vec<_> =
        policy.lines().filter_map(|line| line.split_once("${JournalPrefix}/")?.1.strip_suffix('"')).collect();
    let mut once = 0;
    for row in format.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [key, _, written] = cells[..] else { continue };
        if !written.starts_with("once") && written != "replaced" {
            continue;
        }
        let key = key.trim_matches('`');
        let covered = patterns.iter().any(|pattern| matches(pattern, key));
        assert_eq!(covered, written.starts_with("once"), "{key} is written {written}");
        once += usize::from(covered);
    }
    assert!(once >= 9, "the table of FORMAT.md was not understood");
}

#[test]
fn every_sample_switches_the_stream_on() {
    for (sample, line) in [
        ("sam.yaml", "StreamViewType: NEW_AND_OLD_IMAGES"),
        ("serverless.yml", "StreamViewType: NEW_AND_OLD_IMAGES"),
        ("cdk.ts", "stream: StreamViewType.NEW_AND_OLD_IMAGES"),
        ("terraform.tf", "stream_view_type            = \"NEW_AND_OLD_IMAGES\""),
    ] {
        assert!(text(&format!("samples/{sample}")).contains(line), "{sample}");
    }
}
