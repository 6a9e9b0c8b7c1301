//! CloudFormation of a running MiniStack, by its query API: stacks made, updated and deleted as a deploy would.
//!
//! Plain HTTP/1.0 on loopback, so that no SDK crate is needed for a handful of calls.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

/// How long a stack may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// A client of one region's stacks.
#[derive(Debug, Clone)]
pub struct CloudFormation {
    port: u16,
}

/// How a stack operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `CREATE_COMPLETE`, `UPDATE_ROLLBACK_COMPLETE`, …, or `GONE`.
    pub status: String,
    /// The events that failed, one a line.
    pub failures: String,
}

impl CloudFormation {
    /// The stacks of a MiniStack on this port of 127.0.0.1.
    #[must_use]
    pub fn at(port: u16) -> Self {
        Self { port }
    }

    /// One call.
    ///
    /// # Errors
    /// The service's answer, when it is not a success.
    pub fn call(&self, action: &str, parameters: &[(&str, &str)]) -> Result<String, String> {
        self.query("cloudformation", "2010-05-15", action, parameters)
    }

    /// One call of another service with a query API, such as IAM.
    ///
    /// # Errors
    /// The service's answer, when it is not a success.
    pub fn query(
        &self,
        service: &str,
        version: &str,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> Result<String, String> {
        let mut body = format!("Action={action}&Version={version}");
        for (name, value) in parameters {
            write!(body, "&{name}={}", encoded(value)).unwrap();
        }
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let credential = format!("test/20260101/us-east-1/{service}/aws4_request");
        let head = format!(
            "POST / HTTP/1.0\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=none\r\n\
             Content-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        if head.split(' ').nth(1) == Some("200") { Ok(body.to_owned()) } else { Err(body.to_owned()) }
    }

    /// Makes a stack and waits for its end.
    ///
    /// # Errors
    /// When the service refuses the template before it begins.
    pub fn create(&self, stack: &str, template: &str, parameters: &[(&str, &str)]) -> Result<Outcome, String> {
        self.deploy("CreateStack", stack, template, parameters)
    }

    /// Updates a stack and waits for its end.
    ///
    /// # Errors
    /// When the service refuses the template before it begins.
    pub fn update(&self, stack: &str, template: &str, parameters: &[(&str, &str)]) -> Result<Outcome, String> {
        self.deploy("UpdateStack", stack, template, parameters)
    }

    /// Deletes a stack and waits until it is gone.
    ///
    /// # Errors
    /// When the service refuses, as it must under termination protection.
    pub fn delete(&self, stack: &str) -> Result<Outcome, String> {
        self.call("DeleteStack", &[("StackName", stack)])?;
        Ok(self.end(stack))
    }

    /// Switches termination protection.
    ///
    /// # Errors
    /// The service's answer, when it is not a success.
    pub fn protect(&self, stack: &str, on: bool) -> Result<(), String> {
        let enable = if on { "true" } else { "false" };
        let parameters = [("StackName", stack), ("EnableTerminationProtection", enable)];
        self.call("UpdateTerminationProtection", &parameters).map(drop)
    }

    /// A stack's output.
    #[must_use]
    pub fn output(&self, stack: &str, name: &str) -> Option<String> {
        let answer = self.call("DescribeStacks", &[("StackName", stack)]).ok()?;
        let key = format!("<OutputKey>{name}</OutputKey>");
        answer.split("<member>").find(|member| member.contains(&key)).and_then(|member| tag(member, "OutputValue"))
    }

    /// Logical and physical ids of a stack's resources.
    #[must_use]
    pub fn resources(&self, stack: &str) -> Vec<(String, String)> {
        let Ok(answer) = self.call("DescribeStackResources", &[("StackName", stack)]) else { return Vec::new() };
        let members = answer.split("<member>").skip(1);
        members.filter_map(|m| Some((tag(m, "LogicalResourceId")?, tag(m, "PhysicalResourceId")?))).collect()
    }

    fn deploy(
        &self,
        action: &str,
        stack: &str,
        template: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Outcome, String> {
        let names: Vec<_> = (1..=parameters.len())
            .map(|at| {
                (format!("Parameters.member.{at}.ParameterKey"), format!("Parameters.member.{at}.ParameterValue"))
            })
            .collect();
        let mut all = vec![
            ("StackName", stack),
            ("TemplateBody", template),
            ("Capabilities.member.1", "CAPABILITY_IAM"),
            ("Capabilities.member.2", "CAPABILITY_AUTO_EXPAND"),
        ];
        for ((key, value), (name, content)) in names.iter().zip(parameters) {
            all.push((key, name));
            all.push((value, content));
        }
        self.call(action, &all)?;
        Ok(self.end(stack))
    }

    /// Polls until nothing is in progress: the query API has no other way.
    fn end(&self, stack: &str) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = match self.call("DescribeStacks", &[("StackName", stack)]) {
                Ok(answer) => tag(&answer, "StackStatus").unwrap_or_default(),
                Err(_) => "GONE".to_owned(),
            };
            if !status.ends_with("_IN_PROGRESS") {
                return Outcome { failures: self.failures(stack), status };
            }
            assert!(Instant::now() < deadline, "the stack {stack} is still {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn failures(&self, stack: &str) -> String {
        let Ok(answer) = self.call("DescribeStackEvents", &[("StackName", stack)]) else { return String::new() };
        let failed = answer.split("<member>").filter(|event| event.contains("_FAILED</ResourceStatus>"));
        let lines = failed.map(|event| {
            let of = |name| tag(event, name).unwrap_or_default();
            format!("{}: {}", of("LogicalResourceId"), of("ResourceStatusReason"))
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// The text of the first element of this name.
fn tag(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text.to_owned())
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").unwrap();
        }
    }
    out
}

/// `infra/template.yaml` as MiniStack takes it: its alarms know no queries, so those become alarms of one metric; and it hands a
/// mapping a number's parameter as text, so that one is written out. Nothing else is changed.
#[must_use]
pub fn template_for_ministack() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/template.yaml");
    let template = std::fs::read_to_string(path).unwrap();
    let mut out = String::new();
    let mut lines = template.lines();
    while let Some(line) = lines.next() {
        if line != "      Metrics:" {
            out.push_str(
                &line.replace("ParallelizationFactor: !Ref ParallelizationFactor", "ParallelizationFactor: 1"),
            );
            out.push('\n');
            continue;
        }
        let mut metric = String::new();
        for line in lines.by_ref() {
            let line = line.trim();
            if let Some(expression) = line.strip_prefix("Expression: SELECT ") {
                metric.push_str(expression.split(['(', ')']).nth(1).unwrap());
            } else if let Some(period) = line.strip_prefix("Period: ") {
                write!(
                    out,
                    "      Namespace: DynamoDBJournal\n      MetricName: {metric}\n      Statistic: Sum\n      Period: {period}\n"
                )
                .unwrap();
            } else if line.starts_with("ReturnData:") {
                break;
            }
        }
        assert!(!metric.is_empty(), "a query of one metric");
    }
    out
}
