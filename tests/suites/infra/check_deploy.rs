//! `journal check-deploy` as a person, a workflow or a plugin runs it, on the incident's own deploy.

use std::path::{Path, PathBuf};

use journal_tests::processes::{Program, journal};

use crate::tools::infra;

const REFUSED: i32 = 6;
const NOT_UNDERSTOOD: i32 = 2;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/deploys").join(name)
}

fn check(next: PathBuf, deployed: Option<PathBuf>) -> Program {
    let program = journal().arg("check-deploy").arg(next);
    match deployed {
        Some(deployed) => program.arg("--deployed").arg(deployed),
        None => program,
    }
}

#[test]
fn the_incidents_deploy_is_refused_with_its_reason_and_the_ways_out() {
    let refused = check(fixture("other-service.json"), Some(fixture("notes.json"))).run().failure(REFUSED);
    for text in [
        "REFUSED  NotesTable",
        "notes.json:",
        "would be deleted",
        "this is the stack you mean",
        "--accept-loss NotesTable",
    ] {
        assert!(refused.stdout.contains(text), "{text} is not in {}", refused.stdout);
    }
    assert!(refused.stderr.contains("refused for 1 reason"), "{}", refused.stderr);
    let _ = check(fixture("other-service.json"), Some(fixture("notes.json")))
        .args(["--accept-loss", "NotesTable"])
        .run()
        .success();
}

#[test]
fn the_incidents_change_set_is_refused() {
    let refused = check(fixture("incident.change-set.json"), None).arg("--json").run().failure(REFUSED);
    let report: serde_json::Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!(report["findings"].as_array().unwrap().len(), 1);
    assert_eq!(report["findings"][0]["harm"], "deleted");
    assert_eq!(report["findings"][0]["severity"], "refused");
    assert_eq!(report["findings"][0]["resource"], "NotesTable");
    assert!(report["findings"][0]["line"].as_u64().unwrap() > 1);
}

#[test]
fn with_the_samples_lines_the_same_deploy_leaves_the_table() {
    // The lines themselves deploy; without them the service as it was is refused, for its table is not protected.
    let _ = check(fixture("notes.protected.json"), Some(fixture("notes.json"))).run().success();
    let bare = check(fixture("notes.json"), None).run().failure(REFUSED);
    assert!(bare.stdout.contains("not protected"), "{}", bare.stdout);
    let other = check(fixture("other-service.json"), Some(fixture("notes.protected.json"))).run().success();
    assert!(other.stdout.contains("the table stays, outside of the stack"), "{}", other.stdout);
}

/// cfn-lint carries CloudFormation's own resource schemas.
#[test]
fn the_replacing_properties_are_those_of_the_resource_schemas() {
    let test = "the_replacing_properties_are_those_of_the_resource_schemas";
    let Some(folder) = crate::tools::linters(test) else { return };
    let python = std::fs::read_dir(folder.join("../lib")).unwrap().next().unwrap().unwrap().path();
    let schemas = python.join("site-packages/cfnlint/data/schemas/resources");
    let mut seen = 0;
    for file in std::fs::read_dir(schemas).unwrap().map(|file| file.unwrap().path()) {
        let Ok(schema) = std::fs::read_to_string(&file) else { continue };
        if !schema.contains("\"AWS::DynamoDB::Table\"") && !schema.contains("\"AWS::DynamoDB::GlobalTable\"") {
            continue;
        }
        let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
        if !matches!(schema["typeName"].as_str(), Some("AWS::DynamoDB::Table" | "AWS::DynamoDB::GlobalTable")) {
            continue;
        }
        seen += 1;
        for list in ["createOnlyProperties", "conditionalCreateOnlyProperties"] {
            for property in schema[list].as_array().into_iter().flatten() {
                let name = property.as_str().unwrap().strip_prefix("/properties/").unwrap();
                assert!(journal::check_deploy::REPLACING_PROPERTIES.contains(&name), "{name} replaces, says {list}");
            }
        }
    }
    assert_eq!(seen, 2, "schemas of both kinds of table");
}

#[test]
fn the_samples_and_our_own_templates_pass() {
    for template in ["samples/sam.yaml", "template.yaml", "backup-account.yaml"] {
        let _ = check(infra(template), Some(infra(template))).run().success();
    }
}

#[test]
fn what_cannot_be_read_is_an_error_and_no_approval() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    for (path, text) in [
        (folder.path().join("none.yaml"), "none.yaml"),
        (folder.path().to_path_buf(), "reading"),
        (write("latin1.yaml", b"Resources:\n  A: \xe9"), "not UTF-8 (byte 16)"),
        (write("cut.json", b"{\"Resources\": {\n\"A\": {"), "cut.json, line 2"),
        (write("tag.yaml", b"Resources:\n  A:\n    Type: !Reff x\n"), "tag.yaml, line 3: the tag !Reff"),
    ] {
        let ended = check(path, None).run().failure(NOT_UNDERSTOOD);
        assert!(ended.stderr.contains(text), "{text} is not in {}", ended.stderr);
    }
    let ended = check(infra("template.yaml"), None).args(["--parameter", "Stage"]).run().failure(NOT_UNDERSTOOD);
    assert!(ended.stderr.contains("NAME=VALUE"), "{}", ended.stderr);
}
