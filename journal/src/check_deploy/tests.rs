//! What is refused, what is not, and what hostile text does.

use std::fmt::Write as _;

use super::*;

const TABLE: &str = "
Resources:
  Notes:
    Type: AWS::DynamoDB::Table
    DeletionPolicy: Retain
    UpdateReplacePolicy: Delete
    Properties:
      TableName: notes
      BillingMode: PAY_PER_REQUEST
      KeySchema: [{AttributeName: noteId, KeyType: HASH}]
      AttributeDefinitions: [{AttributeName: noteId, AttributeType: S}]
      StreamSpecification: {StreamViewType: NEW_AND_OLD_IMAGES}
";

fn consent(parameters: &[(&str, &str)]) -> Consent {
    let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Consent { parameters: parameters.collect(), ..Consent::default() }
}

fn judged(next: &str, deployed: Option<&str>, parameters: &[(&str, &str)]) -> Result<Report, CheckDeployError> {
    let deployed = deployed.map(|text| Source { file: "deployed", text });
    check(Source { file: "next", text: next }, deployed, &consent(parameters))
}

/// The harms for which a deploy is refused.
fn refused(next: &str, deployed: &str) -> Vec<Harm> {
    harms(&judged(next, Some(deployed), &[]).unwrap())
}

fn harms(report: &Report) -> Vec<Harm> {
    report.findings.iter().filter(|of| of.severity == Severity::Refused).map(|of| of.harm).collect()
}

/// A text edited; the edit must change it.
fn with(text: &str, find: &str, put: &str) -> String {
    assert!(text.contains(find), "{find}");
    text.replacen(find, put, 1)
}

#[test]
fn a_table_as_it_was_is_not_refused() {
    assert_eq!(refused(TABLE, TABLE), []);
    let more = with(TABLE, "PAY_PER_REQUEST", "PROVISIONED");
    assert_eq!(refused(&more, TABLE), []);
}

#[test]
fn each_replacing_property_is_refused_and_others_are_not() {
    for (find, put) in [
        ("TableName: notes", "TableName: other"),
        ("TableName: notes", "TableClass: STANDARD"),
        (
            "{AttributeName: noteId, KeyType: HASH}",
            "{AttributeName: noteId, KeyType: HASH}, {AttributeName: at, KeyType: RANGE}",
        ),
        ("AttributeType: S", "AttributeType: N"),
        ("TableName: notes", "TableName: notes\n      LocalSecondaryIndexes: [{IndexName: by}]"),
        ("TableName: notes", "TableName: notes\n      ImportSourceSpecification: {InputFormat: CSV}"),
        ("TableName: notes", "TableName: !Sub \"notes-${AWS::Region}\""),
    ] {
        assert_eq!(refused(&with(TABLE, find, put), TABLE), [Harm::Replaced], "{put}");
    }
    for (find, put) in [
        ("AttributeType: S}", "AttributeType: S}, {AttributeName: country, AttributeType: S}"),
        ("TableName: notes", "TableName: notes\n      LocalSecondaryIndexes: []"),
        ("TableName: notes", "TableName: !Sub notes"),
        ("TableName: notes", "TableName: \"notes\"\n      DeletionProtectionEnabled: true"),
    ] {
        assert_eq!(refused(&with(TABLE, find, put), TABLE), [], "{put}");
    }
}

#[test]
fn a_replacement_is_let_through_only_when_both_templates_retain() {
    let retained = with(TABLE, "UpdateReplacePolicy: Delete", "UpdateReplacePolicy: Retain");
    let renamed = with(&retained, "TableName: notes", "TableName: other");
    assert_eq!(refused(&renamed, TABLE), [Harm::Replaced]);
    let report = judged(&renamed, Some(&retained), &[]).unwrap();
    assert_eq!(harms(&report), []);
    assert!(report.findings.iter().any(|of| of.harm == Harm::Left));
}

#[test]
fn a_table_that_goes_is_refused_unless_the_deployed_template_retains() {
    let empty = "Resources: {T: {Type: AWS::SNS::Topic}}";
    let loose = with(TABLE, "DeletionPolicy: Retain", "DeletionPolicy: Delete");
    let none = with(TABLE, "    DeletionPolicy: Retain\n", "");
    assert_eq!(refused(empty, &loose), [Harm::Deleted]);
    assert_eq!(refused(empty, &none), [Harm::Deleted]);
    let report = judged(empty, Some(TABLE), &[]).unwrap();
    assert_eq!(harms(&report), []);
    assert_eq!(report.findings.first().map(|of| of.harm), Some(Harm::Left));
}

#[test]
fn a_new_logical_id_is_a_deletion_and_an_empty_table() {
    let loose = with(TABLE, "DeletionPolicy: Retain", "DeletionPolicy: Delete");
    let renamed = with(&loose, "  Notes:", "  NotesTable:");
    assert_eq!(refused(&renamed, &loose), [Harm::Remade]);
    let report = judged(&renamed, Some(TABLE), &[]).unwrap();
    assert!(report.findings.iter().any(|of| of.reason.contains("the deploy will fail")), "{report:?}");
}

#[test]
fn another_type_of_the_same_logical_id_is_a_deletion() {
    let loose = with(TABLE, "DeletionPolicy: Retain", "DeletionPolicy: Delete");
    assert_eq!(refused(&with(&loose, "::Table", "::GlobalTable"), &loose), [Harm::Deleted]);
    assert_eq!(refused(&with(&loose, "AWS::DynamoDB::Table", "AWS::SNS::Topic"), &loose), [Harm::Deleted]);
}

#[test]
fn sams_simple_table_is_the_table_it_becomes() {
    let simple = "Transform: AWS::Serverless-2016-10-31\nResources:\n  Notes:\n    Type: AWS::Serverless::SimpleTable\n    Properties: {TableName: notes, PrimaryKey: {Name: noteId, Type: String}}\n";
    // From SimpleTable to a protected table of the same key: the same table. Back: without a stream.
    assert_eq!(refused(TABLE, simple), []);
    assert_eq!(refused(simple, TABLE), [Harm::Unprotected]);
    let other = simple.replace("noteId", "id");
    assert_eq!(refused(&other, TABLE), [Harm::Replaced, Harm::Unprotected]);
    assert_eq!(refused(TABLE, &simple.replace("    Properties", "    DeletionPolicy: Retain\n    Properties")), []);
}

#[test]
fn a_table_without_a_stream_of_both_images_is_refused() {
    let stream = "      StreamSpecification: {StreamViewType: NEW_AND_OLD_IMAGES}\n";
    for put in ["", "      StreamSpecification: {StreamViewType: KEYS_ONLY}\n", "      StreamSpecification: {}\n"] {
        let bare = with(TABLE, stream, put);
        assert_eq!(harms(&judged(&bare, None, &[]).unwrap()), [Harm::Unprotected], "{put}");
        assert_eq!(refused(&bare, TABLE), [Harm::Unprotected], "{put}");
    }
    let chosen = with(
        TABLE,
        "Resources:",
        "Parameters: {Stage: {Type: String}}\nConditions: {Prod: !Equals [!Ref Stage, prod]}\nResources:",
    );
    let chosen = with(
        &chosen,
        "{StreamViewType: NEW_AND_OLD_IMAGES}",
        "!If [Prod, {StreamViewType: NEW_AND_OLD_IMAGES}, !Ref AWS::NoValue]",
    );
    assert_eq!(harms(&judged(&chosen, None, &[]).unwrap()), [Harm::Unprotected]);
    assert_eq!(harms(&judged(&chosen, None, &[("Stage", "prod")]).unwrap()), []);
    assert_eq!(harms(&judged(&chosen, None, &[("Stage", "dev")]).unwrap()), [Harm::Unprotected]);
}

#[test]
fn a_condition_that_takes_the_table_away_is_refused() {
    let head = "Parameters: {Stage: {Type: String, Default: prod}}\nConditions:\n  Has: !Or [!Equals [!Ref Stage, prod], !Equals [!Ref Stage, beta]]\nResources:";
    let loose = with(TABLE, "DeletionPolicy: Retain", "DeletionPolicy: Delete");
    let old = with(&loose, "\nResources:", head);
    let conditional =
        with(&old, "    Type: AWS::DynamoDB::Table", "    Type: AWS::DynamoDB::Table\n    Condition: Has");
    assert_eq!(refused(&conditional, &old), []);
    let gone = with(&conditional, "Default: prod", "Default: dev");
    assert_eq!(refused(&gone, &old), [Harm::Deleted]);
    // Without a value nobody knows; but the same condition over the same values keeps what it kept.
    let unknown = with(&conditional, ", Default: prod", "");
    assert_eq!(refused(&unknown, &old), [Harm::Unknown]);
    assert_eq!(refused(&unknown, &unknown), []);
    let narrower = with(&unknown, "!Equals [!Ref Stage, beta]", "!Equals [!Ref Stage, gamma]");
    assert_eq!(refused(&narrower, &unknown), [Harm::Unknown]);
    assert_eq!(harms(&judged(&narrower, Some(&unknown), &[("Stage", "prod")]).unwrap()), []);
}

#[test]
fn a_name_out_of_a_changed_mapping_is_a_new_name() {
    let head = "Mappings: {Names: {eu-west-1: {notes: a}}}\nResources:";
    let old = with(TABLE, "\nResources:", head);
    let old = with(&old, "TableName: notes", "TableName: !FindInMap [Names, !Ref AWS::Region, notes]");
    assert_eq!(refused(&old, &old), []);
    assert_eq!(refused(&with(&old, "notes: a", "notes: b"), &old), [Harm::Replaced]);
}

#[test]
fn a_loop_is_unrolled_and_a_closed_one_is_refused() {
    let looped = |names: &str| {
        format!(
            "Transform: AWS::LanguageExtensions\nParameters: {{Names: {{Type: CommaDelimitedList, Default: \"{names}\"}}}}\nResources:\n  Fn::ForEach::Tables:\n    - Name\n    - !Ref Names\n    - Table${{Name}}:\n        Type: AWS::DynamoDB::Table\n        Properties:\n          TableName: !Sub \"notes-${{Name}}\"\n          KeySchema: [{{AttributeName: noteId, KeyType: HASH}}]\n          StreamSpecification: {{StreamViewType: NEW_AND_OLD_IMAGES}}\n"
        )
    };
    assert_eq!(refused(&looped("a,b"), &looped("a,b")), []);
    assert_eq!(refused(&looped("b,c"), &looped("a,b")), [Harm::Deleted]);
    let closed = looped("a").replace(", Default: \"a\"", "");
    assert_eq!(harms(&judged(&closed, None, &[]).unwrap()), [Harm::Unknown]);
    assert_eq!(harms(&judged(&closed, None, &[("Names", "a,b")]).unwrap()), []);
}

#[test]
fn what_a_macro_makes_is_not_taken_for_granted() {
    assert_eq!(harms(&judged(&format!("Transform: [OurMacro]{TABLE}"), None, &[]).unwrap()), [Harm::Unknown]);
    let inside = with(TABLE, "TableName: notes", "TableName: notes\n      Fn::Transform: {Name: AWS::Include}");
    assert_eq!(refused(&inside, TABLE), [Harm::Replaced]);
    let made = with(TABLE, "  Notes:", "  Fn::Transform: {Name: Make}\n  Notes:");
    assert_eq!(refused(&made, TABLE), [Harm::Unknown]);
}

#[test]
fn a_lost_replica_is_a_lost_table() {
    let global = with(TABLE, "::Table", "::GlobalTable");
    let global = with(
        &global,
        "TableName: notes",
        "TableName: notes\n      Replicas: [{Region: eu-west-1}, {Region: us-east-1}]",
    );
    assert_eq!(refused(&with(&global, ", {Region: us-east-1}", ""), &global), [Harm::Deleted]);
    assert_eq!(refused(&global, &with(&global, ", {Region: us-east-1}", "")), []);
}

#[test]
fn a_loss_that_is_accepted_by_name_is_no_refusal_and_is_still_told() {
    let empty = "Resources: {}";
    let loose = with(TABLE, "DeletionPolicy: Retain", "DeletionPolicy: Delete");
    let losses = ["Notes".to_owned()].into();
    let consent = Consent { losses, ..Consent::default() };
    let deployed = Source { file: "deployed", text: &loose };
    let report = check(Source { file: "next", text: empty }, Some(deployed), &consent).unwrap();
    assert_eq!(report.refusals(), 0);
    assert!(report.text().contains("accepted Notes"), "{}", report.text());
}

fn change(action: &str, rest: &str) -> String {
    format!(
        r#"{{"Status": "CREATE_COMPLETE", "Changes": [{{"Type": "Resource", "ResourceChange": {{"Action": "{action}",
        "LogicalResourceId": "Notes", "PhysicalResourceId": "notes", "ResourceType": "AWS::DynamoDB::Table"{rest}}}}}]}}"#
    )
}

#[test]
fn a_change_set_is_judged_by_what_cloudformation_says() {
    let bare = r#", "AfterContext": "{\"Properties\": {\"TableName\": \"notes\"}}""#;
    let sound = r#", "AfterContext": "{\"Properties\": {\"StreamSpecification\": {\"StreamViewType\": \"NEW_AND_OLD_IMAGES\"}}}""#;
    let recreated =
        r#", "Replacement": "True", "Details": [{"Target": {"Name": "KeySchema", "RequiresRecreation": "Always"}}]"#;
    let stream = r#", "Replacement": "False", "Details": [{"Target": {"Name": "StreamSpecification", "RequiresRecreation": "Never"}}]"#;
    for (text, expected) in [
        (change("Remove", ""), vec![Harm::Deleted]),
        (change("Remove", r#", "PolicyAction": "Delete""#), vec![Harm::Deleted]),
        (change("Remove", r#", "PolicyAction": "Retain""#), vec![]),
        (change("Modify", r#", "Replacement": "False""#), vec![]),
        (change("Modify", &format!("{recreated}{sound}")), vec![Harm::Replaced]),
        (change("Modify", &format!(r#"{recreated}{sound}, "PolicyAction": "ReplaceAndRetain""#)), vec![]),
        (change("Modify", &format!(r#"{sound}, "Replacement": "Conditional""#)), vec![Harm::Replaced]),
        (change("Modify", &format!("{stream}{bare}")), vec![Harm::Unprotected]),
        (change("Modify", stream), vec![Harm::Unprotected]),
        (change("Modify", &format!("{stream}{sound}")), vec![]),
        (change("Add", ""), vec![Harm::Unprotected]),
        (change("Add", bare), vec![Harm::Unprotected]),
        (change("Add", sound), vec![]),
        (change("Dynamic", ""), vec![Harm::Unknown]),
        (change("Remove", "").replace("DynamoDB::Table", "CloudFormation::Stack"), vec![Harm::Unknown]),
        (change("Remove", "").replace("DynamoDB::Table", "SNS::Topic"), vec![]),
    ] {
        assert_eq!(harms(&judged(&text, None, &[]).unwrap()), expected, "{text}");
    }
}

#[test]
fn a_change_set_that_is_not_whole_is_an_error() {
    let whole = change("Remove", "");
    for (text, why) in [
        (with(&whole, "\"Status\"", "\"NextToken\": \"more\", \"Status\""), "one page"),
        (with(&whole, "CREATE_COMPLETE", "CREATE_IN_PROGRESS"), "CREATE_IN_PROGRESS"),
        (with(&whole, "\"ResourceChange\"", "\"Other\""), "without its ResourceChange"),
        (with(&whole, "\"Action\"", "\"Act\""), "without Action"),
        ("{\"ChangeSetId\": \"a\"}".to_owned(), "list of Changes"),
    ] {
        let error = judged(&text, None, &[]).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let none =
        r#"{"Status": "FAILED", "StatusReason": "The submitted information didn't contain changes.", "Changes": []}"#;
    assert_eq!(judged(none, None, &[]).unwrap(), Report::default());
    assert!(judged(&whole, Some(TABLE), &[]).is_err());
}

#[test]
fn malformed_text_names_its_line() {
    for (text, line, why) in [
        ("Resources:\n  A: [\n", 0, ""),
        ("Resources:\n  A: *b\n", 2, ""),
        ("Resources: &a\n  A: {Type: x}\nOther: *a\n", 3, "alias"),
        ("Resources:\n  A: {Type: x}\n  A: {Type: y}\n", 3, "twice"),
        ("Resources:\n  A:\n    Type: !Foo x\n", 3, "!Foo"),
        ("Resources:\n  A:\n    Type: !!binary aGk=\n", 3, "tag"),
        ("Resources:\n  A:\n    <<: {Type: x}\n", 3, "merge key"),
        ("Resources:\n  ? [a]\n  : b\n", 2, "a key that is a list"),
        ("a: 1\n---\nb: 2\n", 0, "second document"),
        ("{\"Resources\": {\"A\": {\"Type\": \"x\",,}}}", 1, ""),
        ("{\n\"Resources\": {\n\"A\": {\"Type\": \"x\"}\n", 0, ""),
        ("", 1, "nothing in it"),
        ("Resources: 5", 1, "a text"),
        ("- a", 1, "a map of sections"),
        ("a: b", 1, "has Resources"),
        ("Resources:\n  A: text\n", 2, "a text, not a map"),
        ("Resources:\n  A: {}\n", 2, "no Type"),
        ("Resources:\n  Fn::ForEach::X: [a]\n", 2, "not [identifier"),
    ] {
        let error = judged(text, None, &[]).unwrap_err();
        let found = match &error {
            CheckDeployError::Syntax { line, .. } | CheckDeployError::Shape { line, .. } => *line,
            other => panic!("{text:?}: {other}"),
        };
        assert!(error.to_string().contains(why), "{text:?}: {error}");
        assert!(line == 0 || found == line, "{text:?}: line {found} for {line}");
    }
}

#[test]
fn hostile_text_ends_soon_and_in_an_error_or_a_report() {
    let deep = format!("Resources:\n  A: {}", "[".repeat(100_000));
    assert!(judged(&deep, None, &[]).is_err());
    let deep = format!("{{\"Resources\": {}", "{\"a\":".repeat(100_000));
    assert!(judged(&deep, None, &[]).is_err());
    // Conditions that name each other twice, a thousand deep: two to the thousandth, looked at naively.
    let mut text = "Parameters: {P: {Type: String}}\nConditions:\n".to_owned();
    for at in 0..1_000 {
        let next = at + 1;
        writeln!(text, "  C{at}: !And [Condition: C{next}, Condition: C{next}]").unwrap();
    }
    text.push_str("  C1000: !Equals [!Ref P, x]\n");
    text.push_str(TABLE.trim_start());
    let conditional =
        with(&text, "    Type: AWS::DynamoDB::Table", "    Type: AWS::DynamoDB::Table\n    Condition: C0");
    assert!(judged(&conditional, Some(TABLE), &[]).is_ok());
    let circle = with(TABLE, "\nResources:", "Conditions: {A: {Condition: B}, B: {Condition: A}}\nResources:");
    let circle = with(&circle, "    Type: AWS::DynamoDB::Table", "    Type: AWS::DynamoDB::Table\n    Condition: A");
    assert_eq!(refused(&circle, TABLE), []);
    // Loops in loops.
    let many = "a,".repeat(200);
    let body = "Fn::ForEach::A: [X, !Ref L, {Fn::ForEach::B: [Y, !Ref L, {Fn::ForEach::C: [Z, !Ref L, {\"T${X}${Y}${Z}\": {Type: a}}]}]}]";
    let loops = format!("Parameters: {{L: {{Type: CommaDelimitedList, Default: \"{many}\"}}}}\nResources:\n  {body}\n");
    assert!(judged(&loops, None, &[]).is_err());
    let large = " ".repeat(TEXT_BYTES_MAX + 1);
    assert!(matches!(judged(&large, None, &[]), Err(CheckDeployError::TooLarge { .. })));
    // Control characters of a logical id do not reach a terminal.
    let report = judged("{\"Resources\": {\"A\\u001b[2J\": {\"Type\": \"AWS::DynamoDB::Table\"}}}", None, &[]).unwrap();
    assert!(!report.text().contains('\u{1b}'));
}

#[test]
fn json_and_yaml_of_one_template_are_one() {
    let json = r#"{"Resources": {"Notes": {"Type": "AWS::DynamoDB::Table", "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Delete",
        "Properties": {"TableName": {"Fn::Sub": "notes"}, "Comment": "\ud83d\ude00 \\ud83d", "KeySchema": [{"AttributeName": "noteId", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "noteId", "AttributeType": "S"}], "StreamSpecification": {"StreamViewType": "NEW_AND_OLD_IMAGES"}}}}}"#;
    assert_eq!(refused(json, TABLE), []);
    assert_eq!(refused(TABLE, json), []);
    // As `get-template` prints it, whole or as text.
    let wrapped = format!("{{\"TemplateBody\": {json}, \"StagesAvailable\": [\"Original\"]}}");
    assert_eq!(refused(TABLE, &wrapped), []);
    let text = serde_json::to_string(TABLE).unwrap();
    assert_eq!(refused(TABLE, &format!("{{\"TemplateBody\": {text}}}")), []);
    assert_eq!(parse("a", "a: !GetAtt B.C.D").unwrap(), parse("b", "{a: {\"Fn::GetAtt\": [B, C.D]}}").unwrap());
}

#[test]
fn any_cut_of_a_template_is_an_error_or_a_report() {
    for end in (0..TABLE.len()).filter(|end| TABLE.is_char_boundary(*end)) {
        let _ = judged(&TABLE[..end], Some(TABLE), &[]);
    }
}
