//! `BatchWriteItem` requests sent as the client sends them, without what the client does around each.
//!
//! What enters is a request that the AWS SDK's client has made; what leaves is a way to send more of its kind: to the endpoint that the
//! client resolved, through its HTTP client with its connections, time limits and TLS, signed for its region by its own
//! signer with the credentials that its cache holds and refreshes. What is left out is the client's work for every
//! request: plugins, interceptors, endpoint rules, typed items in and out.
//!
//! Measured with batches of 25 items of 460 bytes against a server that does nothing: see `tests/BENCHMARKS.md`, "Restore".
//! Knows nothing of pace and of trying again.

mod answer;
mod learn;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::config::ConfigBag;
use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::identity::{Identity, ResolveCachedIdentity as _, SharedIdentityResolver};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use bytes::Bytes;

use super::batch::PutBatch;
use super::service::ServiceError;

pub(super) use learn::Learner;

/// How long a request may take where the client's settings do not say.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer at most: it repeats no more than the request had, perhaps with every character escaped.
const ANSWER_BYTES_MAX: usize = 96 << 20;

const CONTENT_TYPE: &str = "application/x-amz-json-1.0";
const TARGET: &str = "DynamoDB_20120810.BatchWriteItem";

/// Where requests go, and how they are signed.
#[derive(Debug)]
pub(super) struct Wire {
    uri: String,
    /// Region and service as they are signed for.
    region: String,
    service: String,
    /// Who the client says it is. It says so twice; one header less is what every request and its reader are spared.
    user_agent: Option<String>,
    clock: Clock,
    timeout: Duration,
    components: RuntimeComponents,
    resolver: SharedIdentityResolver,
    connector: SharedHttpConnector,
    /// What identity resolvers are given beside the components: nothing.
    bag: ConfigBag,
}

/// How far the time that requests are signed with is from this machine's: the client corrects it by what services answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clock {
    Ahead(Duration),
    Behind(Duration),
}

impl Clock {
    fn at(self, now: SystemTime) -> SystemTime {
        match self {
            Self::Ahead(by) => now.checked_add(by),
            Self::Behind(by) => now.checked_sub(by),
        }
        .unwrap_or(now)
    }
}

/// Why a request has no good answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// It could not be made or signed; nothing was sent. The client's own way tells why.
    Unsent,
    /// It was sent.
    Answer(ServiceError),
}

impl Wire {
    /// Sends a batch once; gives the positions of the puts that were not processed.
    pub(super) async fn send(&self, batch: &PutBatch) -> Result<Vec<usize>, Failed> {
        let body = batch.body();
        let identity = self
            .components
            .identity_cache()
            .resolve_cached_identity(self.resolver.clone(), &self.components, &self.bag)
            .await
            .map_err(|_| Failed::Unsent)?;
        let request = self.request(&body, &identity).ok_or(Failed::Unsent)?;
        let answered = async {
            let unavailable = |reason: String| ServiceError::Unavailable { reason };
            let response = self.connector.call(request).await.map_err(|error| unavailable(chain(&error)))?;
            read(response).await
        };
        let late = |_| ServiceError::Unavailable { reason: format!("no answer within {:?}", self.timeout) };
        let answer = tokio::time::timeout(self.timeout, answered).await.map_err(late).and_then(|answer| answer);
        answer.and_then(|answer| answer.left(batch)).map_err(Failed::Answer)
    }

    /// A signed request; none when something in it is no text that a header may have.
    fn request(&self, body: &Bytes, identity: &Identity) -> Option<HttpRequest> {
        let mut request = HttpRequest::new(SdkBody::from(body.clone()));
        request.set_method("POST").ok()?;
        request.set_uri(self.uri.as_str()).ok()?;
        let headers = request.headers_mut();
        for (name, value) in
            [("content-type", CONTENT_TYPE), ("x-amz-target", TARGET), ("content-length", &body.len().to_string())]
        {
            headers.try_insert(name, value.to_owned()).ok()?;
        }
        let now = self.components.time_source()?.now();
        let params = v4::SigningParams::builder()
            .identity(identity)
            .region(&self.region)
            .name(&self.service)
            .time(self.clock.at(now))
            .settings(SigningSettings::default())
            .build()
            .ok()?;
        let signable =
            SignableRequest::new(request.method(), request.uri(), request.headers().iter(), SignableBody::Bytes(body));
        let (instructions, _) = sign(signable.ok()?, &params.into()).ok()?.into_parts();
        let headers = request.headers_mut();
        for header in instructions.into_parts().0 {
            headers.try_insert(header.name(), header.value().to_owned()).ok()?;
        }
        if let Some(user_agent) = &self.user_agent {
            headers.try_insert("user-agent", user_agent.clone()).ok()?;
        }
        Some(request)
    }
}

/// An answer's status and what its headers say of its body, with the body.
async fn read(response: HttpResponse) -> Result<answer::Answer, ServiceError> {
    let header = |name: &str| response.headers().get(name).map(str::to_owned);
    let (status, error, crc) = (response.status().as_u16(), header("x-amzn-errortype"), header("x-amz-crc32"));
    let mut stream = ByteStream::new(response.into_body());
    let mut body: Vec<u8> = Vec::new();
    while let Some(part) = stream.next().await {
        let part = part.map_err(|error| ServiceError::Unavailable { reason: chain(&error) })?;
        if body.len().saturating_add(part.len()) > ANSWER_BYTES_MAX {
            let reason = format!("BatchWriteItem's answer has more than {ANSWER_BYTES_MAX} bytes");
            return Err(ServiceError::Answer { reason });
        }
        body.extend_from_slice(&part);
    }
    Ok(answer::Answer { status, error, crc, body })
}

/// An error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
