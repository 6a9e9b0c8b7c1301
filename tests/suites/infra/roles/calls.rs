//! A function's own calls: a deployed function's binary with the environment of its stack, behind a recording proxy, driven by a
//! Runtime API; and each request that came by as the call that IAM would see.

use std::collections::BTreeSet;

use journal_tests::faulty_proxy::{FaultyProxy, Seen};
use journal_tests::ministack::{self, MiniStack};
use journal_tests::processes::{Running, binary, program};
use journal_tests::runtime_api::RuntimeApi;
use serde_json::Value;

use super::policy::{Call, decoded};
use crate::deploy::STACK;

/// A running function whose every call is recorded.
pub(crate) struct Recorded {
    pub(crate) api: RuntimeApi,
    pub(crate) proxy: FaultyProxy,
    _running: Running,
    seen: Vec<Seen>,
}

impl Recorded {
    /// Starts the binary with what the stack's function of this name has in its environment, and `besides`.
    pub(crate) async fn start(ministack: &MiniStack, function: &str, name: &str, besides: &[(&str, &str)]) -> Self {
        let lambda = aws_sdk_lambda::Client::new(&ministack.settings().await);
        let deployed =
            lambda.get_function_configuration().function_name(format!("{STACK}-{function}")).send().await.unwrap();
        let variables = deployed.environment.and_then(|environment| environment.variables).unwrap();
        let proxy = FaultyProxy::start(ministack.port());
        let mut api = RuntimeApi::default();
        let mut program = program(&binary(name))
            .envs(ministack::environment(&proxy.endpoint()))
            .env("AWS_EC2_METADATA_DISABLED", "true");
        for (variable, value) in &variables {
            program = program.env(variable, value);
        }
        for (variable, value) in besides {
            program = program.env(variable, value);
        }
        let running = api.function(program, &variables["JOURNAL_URL"]);
        Self { api, proxy, _running: running, seen: Vec::new() }
    }

    /// Invokes it; it must succeed.
    pub(crate) async fn invoke(&mut self, event: &impl ToString) -> Value {
        let answer = self.api.invoke(event.to_string()).await;
        self.seen.extend(self.proxy.take_all());
        match answer {
            journal_tests::runtime_api::Answer::Success(value) => value,
            failed @ journal_tests::runtime_api::Answer::Failure { .. } => panic!("the function failed: {failed:?}"),
        }
    }

    /// What it called so far.
    pub(crate) fn calls(&self) -> BTreeSet<Call> {
        self.seen.iter().map(call).collect()
    }
}

/// The call that a request is.
fn call(seen: &Seen) -> Call {
    let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    if let Some(target) = seen.header("x-amz-target") {
        let (_, operation) = target.split_once('.').unwrap();
        return of_dynamodb(operation, &body);
    }
    if let Some((_, operation)) = path.split_once("/operation/") {
        return Call { action: format!("cloudwatch:{operation}"), resource: "*".to_owned(), context: None };
    }
    if path.contains("/event-source-mappings") {
        return of_lambda(&seen.method, &body);
    }
    of_s3(&seen.method, path, query)
}

fn of_dynamodb(operation: &str, body: &Value) -> Call {
    const ACCOUNT: &str = "arn:aws:dynamodb:us-east-1:000000000000";
    let text = |name: &str| body[name].as_str();
    let resource = match operation {
        "ListTables" | "ListStreams" => "*".to_owned(),
        // An iterator is the service's own text: IAM sees the stream that it was made of.
        "GetRecords" => format!("{ACCOUNT}:table/any/stream/any"),
        _ => text("StreamArn").or(text("ResourceArn")).or(text("TableName")).unwrap().to_owned(),
    };
    let resource =
        if resource == "*" || resource.starts_with("arn:") { resource } else { format!("{ACCOUNT}:table/{resource}") };
    Call { action: format!("dynamodb:{operation}"), resource, context: None }
}

fn of_lambda(method: &str, body: &Value) -> Call {
    let operation = match method {
        "GET" => "List",
        "POST" => "Create",
        "PUT" => "Update",
        other => panic!("{other} of a mapping"),
    };
    let plural = if operation == "List" { "s" } else { "" };
    let function = body["FunctionName"].as_str().filter(|_| operation == "Create");
    Call {
        action: format!("lambda:{operation}EventSourceMapping{plural}"),
        resource: "*".to_owned(),
        context: function.map(|function| ("lambda:FunctionArn", function.to_owned())),
    }
}

fn of_s3(method: &str, path: &str, query: &str) -> Call {
    let value = |name: &str| {
        let mut parts = query.split('&').map(|part| part.split_once('=').unwrap_or((part, "")));
        parts.find(|(found, _)| *found == name).map(|(_, value)| decoded(value))
    };
    let path = decoded(path.trim_start_matches('/'));
    let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
    let action = match method {
        "GET" if key.is_empty() && value("versioning").is_some() => "GetBucketVersioning",
        "GET" if key.is_empty() && value("versions").is_some() => "ListBucketVersions",
        "GET" | "HEAD" if key.is_empty() => "ListBucket",
        "GET" | "HEAD" => "GetObject",
        "PUT" => "PutObject",
        "DELETE" if value("versionId").is_some() => "DeleteObjectVersion",
        "DELETE" => "DeleteObject",
        other => panic!("{other} {path}?{query}"),
    };
    let resource =
        if key.is_empty() { format!("arn:aws:s3:::{bucket}") } else { format!("arn:aws:s3:::{bucket}/{key}") };
    let context = if action == "ListBucket" { value("prefix").map(|prefix| ("s3:prefix", prefix)) } else { None };
    Call { action: format!("s3:{action}"), resource, context }
}
