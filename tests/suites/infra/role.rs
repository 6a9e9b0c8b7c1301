//! The role of the stream trigger is enough and not too much: what the real binary calls, against what the deployed role says.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use journal_tests::cloudformation::{CloudFormation, template_for_ministack};
use journal_tests::faulty_proxy::{FaultyProxy, Seen};
use journal_tests::ministack;
use journal_tests::processes::{binary, journal};
use serde_json::{Value, json};

use crate::deploy::{BREAK_GLASS, BUCKET, CODE, STACK, ministack_with_code, table};

const TABLE: &str = "notes-table-prod";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// What Lambda itself does with the function's role: it reads the stream, keeps failed batches, and writes logs. No binary of
/// ours makes these calls, so no recording can show them.
const BY_LAMBDA: [&str; 5] = ["ReadStreams", "ListStreams", "KeepFailedBatches", "FindTheFailureBucket", "Log"];
/// Allowed so that S3 says 404 and not 403 of an object that is not there: no call of its own.
const FOR_ANSWERS: [&str; 1] = ["ListTheJournal"];

/// A call as IAM sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    action: String,
    resource: String,
}

/// The call that a request is.
fn call(seen: &Seen) -> Call {
    if let Some(target) = seen.header("x-amz-target") {
        let (_, operation) = target.split_once('.').unwrap();
        let resource = format!("arn:aws:dynamodb:us-east-1:000000000000:table/{TABLE}");
        return Call { action: format!("dynamodb:{operation}"), resource };
    }
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let has = |name: &str| query.split('&').any(|part| part == name || part.starts_with(&format!("{name}=")));
    let path = path.trim_start_matches('/').replace("%7E", "~").replace("%3A", ":");
    let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
    let action = match seen.method.as_str() {
        "GET" if key.is_empty() && has("versioning") => "GetBucketVersioning",
        "GET" if key.is_empty() && has("versions") => "ListBucketVersions",
        "GET" | "HEAD" if key.is_empty() => "ListBucket",
        "GET" | "HEAD" => "GetObject",
        "PUT" => "PutObject",
        "DELETE" => "DeleteObject",
        other => panic!("{other} {}", seen.target),
    };
    let resource =
        if key.is_empty() { format!("arn:aws:s3:::{bucket}") } else { format!("arn:aws:s3:::{bucket}/{key}") };
    Call { action: format!("s3:{action}"), resource }
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap()).collect(),
        value => vec![value.as_str().unwrap()],
    }
}

/// IAM's `*` over any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| matches(rest, &text[at..]))
        }),
    }
}

fn allows(statement: &Value, call: &Call) -> bool {
    texts(&statement["Action"]).contains(&call.action.as_str())
        && texts(&statement["Resource"]).iter().any(|pattern| matches(pattern, &call.resource))
}

/// What a role says, as it was deployed.
fn statements(stacks: &CloudFormation, logical: &str) -> Vec<Value> {
    let resources = stacks.resources(STACK);
    let (_, role) = resources.iter().find(|(id, _)| id == logical).expect("the role is deployed");
    let answer =
        stacks.query("iam", "2010-05-08", "GetRolePolicy", &[("RoleName", role), ("PolicyName", "least")]).unwrap();
    let (_, rest) = answer.split_once("<PolicyDocument>").unwrap();
    let (document, _) = rest.split_once("</PolicyDocument>").unwrap();
    let policy: Value = serde_json::from_str(&decoded(document)).unwrap();
    policy["Statement"].as_array().unwrap().clone()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| first == b'%') {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn record(arn: &str, sequence: u32, broken: bool) -> Value {
    let mut record = json!({
        "eventID": format!("{sequence:032x}"), "eventName": "INSERT", "eventVersion": "1.1", "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1", "eventSourceARN": arn,
        "dynamodb": {
            "ApproximateCreationDateTime": 1_700_000_000, "SequenceNumber": format!("{sequence:021}"), "SizeBytes": 10,
            "StreamViewType": "NEW_AND_OLD_IMAGES", "Keys": {"noteId": {"S": format!("note-{sequence}")}},
            "NewImage": {"noteId": {"S": format!("note-{sequence}")}, "content": {"S": "text"}},
        },
    });
    if broken {
        record["dynamodb"]["Keys"] = json!({"noteId": {"Q": "?"}});
    }
    record
}

/// The Runtime API of one function: hands out the events, then nothing more; each answer's path comes out.
fn runtime_api(events: Vec<String>) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut events = events.into_iter().enumerate();
        // The function asks one thing at a time.
        for stream in listener.incoming() {
            if hand_out(&stream.unwrap(), &mut events, &sender).is_none() {
                return;
            }
        }
    });
    (port, receiver)
}

/// Serves one request; nothing when the events or the test have ended.
fn hand_out(
    stream: &TcpStream,
    events: &mut impl Iterator<Item = (usize, String)>,
    answers: &Sender<String>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        if line == "\r\n" {
            break;
        }
        head.push(line);
    }
    let path = head.first()?.split(' ').nth(1)?.to_owned();
    let of = |name: &str| {
        let mut values = head.iter().filter_map(|line| line.split_once(':'));
        values.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    if let Some(length) = of("content-length") {
        let mut body = vec![0; length.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
    } else if of("transfer-encoding").is_some() {
        let mut line = String::new();
        while line != "0\r\n" {
            line.clear();
            reader.read_line(&mut line).ok()?;
        }
    }
    let answer = if path.ends_with("/next") {
        let (number, event) = events.next()?;
        format!(
            "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: {number}\r\nLambda-Runtime-Deadline-Ms: 9999999999999\r\n\
             Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:stream-trigger\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{event}",
            event.len()
        )
    } else {
        answers.send(path).ok()?;
        "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
    };
    let mut stream = stream;
    stream.write_all(answer.as_bytes()).ok()
}

/// Calls that no statement allows.
fn missing(statements: &[Value], calls: &BTreeSet<Call>) -> Vec<Call> {
    calls.iter().filter(|call| !statements.iter().any(|statement| allows(statement, call))).cloned().collect()
}

#[tokio::test]
async fn the_triggers_role_allows_every_call_it_makes_and_none_that_it_never_makes() {
    let test = "the_triggers_role_allows_every_call_it_makes_and_none_that_it_never_makes";
    let Some((ministack, stacks)) = ministack_with_code(test).await else { return };
    let arn = table(&ministack, TABLE).await;
    let made = stacks.create(STACK, &template_for_ministack(), &[BREAK_GLASS, CODE]).unwrap();
    assert_eq!(made.status, "CREATE_COMPLETE", "{}", made.failures);
    let location = format!("s3://{BUCKET}/journal");
    let _ = journal().arg("init").arg("--journal").arg(&location).envs(ministack.environment()).run().success();

    let proxy = FaultyProxy::start(ministack.port());
    let event = |records: Vec<Value>| json!({"Records": records}).to_string();
    // A new segment, and the table's description; the same again; a record of this timeline, and one of none, that cannot be
    // understood.
    let batch = event(vec![record(&arn, 1, false), record(&arn, 2, false)]);
    let events = vec![
        batch.clone(),
        batch,
        event(vec![record(&arn, 3, true)]),
        event(vec![record(&arn, 3, true)]),
        event(vec![record("no stream at all", 4, false)]),
        event(vec![record("no stream at all", 4, false)]),
    ];
    let count = events.len();
    let (port, answers) = runtime_api(events);
    let mut function = Command::new(binary("stream-trigger"))
        .env_clear()
        .envs(ministack::environment(&proxy.endpoint()))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_LAMBDA_RUNTIME_API", format!("127.0.0.1:{port}"))
        .env("AWS_LAMBDA_FUNCTION_NAME", "stream-trigger")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
        .env("JOURNAL_URL", &location)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let paths: Vec<_> = (0..count).map_while(|_| answers.recv_timeout(PATIENCE).ok()).collect();
    function.kill().unwrap();
    function.wait().unwrap();
    assert_eq!(paths.len(), count, "the function answered every event: {paths:?}");
    assert!(paths.iter().all(|path| path.ends_with("/response")), "{paths:?}");
    let calls: BTreeSet<_> = proxy.take_all().iter().map(call).collect();
    assert!(calls.len() >= 8, "{calls:#?}");

    let statements = statements(&stacks, "StreamTriggerRole");
    let unallowed = missing(&statements, &calls);
    assert!(unallowed.is_empty(), "the role lacks {unallowed:#?}");

    let mut idle = String::new();
    for statement in &statements {
        let sid = statement["Sid"].as_str().unwrap();
        if BY_LAMBDA.contains(&sid) || FOR_ANSWERS.contains(&sid) {
            continue;
        }
        for action in texts(&statement["Action"]) {
            if !calls.iter().any(|call| call.action == action && allows(statement, call)) {
                writeln!(idle, "{sid}: {action} is never called").unwrap();
            }
        }
        for pattern in texts(&statement["Resource"]) {
            let used = |call: &Call| {
                texts(&statement["Action"]).contains(&call.action.as_str()) && matches(pattern, &call.resource)
            };
            if !calls.iter().any(used) {
                writeln!(idle, "{sid}: nothing is done to {pattern}").unwrap();
            }
        }
        // And the comparison can fail: without the statement something is missing.
        let others: Vec<_> = statements.iter().filter(|other| *other != statement).cloned().collect();
        if missing(&others, &calls).is_empty() {
            writeln!(idle, "{sid}: nothing would be missing without it").unwrap();
        }
    }
    assert!(idle.is_empty(), "the role has too much:\n{idle}");
}
