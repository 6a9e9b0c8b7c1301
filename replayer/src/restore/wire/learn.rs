//! The client's own way of one request, watched: its body is the one that is wanted, and how it was sent is kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::config::http::HttpRequest;
use aws_sdk_dynamodb::config::interceptors::{
    BeforeTransmitInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_runtime_api::client::auth::{AuthScheme as _, AuthSchemeId};
use aws_smithy_runtime_api::client::http::{HttpClient as _, HttpConnectorSettings};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::timeout::TimeoutConfig;
use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{ATTEMPT_TIMEOUT, Clock, Wire};

/// A clock that is off by less is right: a request's date has whole seconds.
const CLOCK_EXACT: Duration = Duration::from_secs(2);

/// Puts a body into a request of the client, and keeps how it was sent.
#[derive(Debug, Clone)]
pub(in super::super) struct Learner {
    body: Bytes,
    wire: Arc<Mutex<Option<Wire>>>,
}

impl Learner {
    /// For this body.
    pub(in super::super) fn new(body: Bytes) -> Self {
        Self { body, wire: Arc::default() }
    }

    /// How the request was sent; none when it was not sent, or in a way that is not known here.
    pub(in super::super) fn learned(&self) -> Option<Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Intercept for Learner {
    fn name(&self) -> &'static str {
        "PutsAsTheyAre"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        *request.body_mut() = SdkBody::from(self.body.clone());
        request.headers_mut().try_insert("content-length", self.body.len().to_string())?;
        Ok(())
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let wire = Wire::of(context.request(), components, bag);
        *self.wire.lock().unwrap_or_else(PoisonError::into_inner) = wire;
        Ok(())
    }
}

impl Wire {
    /// How a signed request of the client goes; none when it is not signed as `AWS4-HMAC-SHA256` in its header.
    fn of(request: &HttpRequest, components: &RuntimeComponents, bag: &ConfigBag) -> Option<Self> {
        let header = |name: &str| request.headers().get(name);
        let (region, service) = scope(header("authorization")?)?;
        let now = components.time_source()?.now();
        let timeouts = bag.load::<TimeoutConfig>().cloned();
        let mut settings = HttpConnectorSettings::builder();
        settings.set_connect_timeout(timeouts.as_ref().and_then(TimeoutConfig::connect_timeout));
        settings.set_read_timeout(timeouts.as_ref().and_then(TimeoutConfig::read_timeout));
        Some(Self {
            uri: request.uri().to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            user_agent: header("user-agent").map(str::to_owned),
            clock: clock(now, header("x-amz-date")?)?,
            timeout: timeouts.and_then(|all| all.operation_attempt_timeout()).unwrap_or(ATTEMPT_TIMEOUT),
            resolver: components.auth_scheme(AuthSchemeId::new("sigv4"))?.identity_resolver(components)?,
            connector: components.http_client()?.http_connector(&settings.build(), components),
            components: components.clone(),
            bag: ConfigBag::base(),
        })
    }
}

/// Region and service of a signature's scope: `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …`.
pub(super) fn scope(authorization: &str) -> Option<(&str, &str)> {
    let credential = authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=")?.split(',').next()?;
    // A key may have slashes of its own.
    let mut parts = credential.rsplit('/');
    let (end, service, region) = (parts.next()?, parts.next()?, parts.next()?);
    (end == "aws4_request" && !service.is_empty() && !region.is_empty()).then_some((region, service))
}

/// How far a request's date, `YYYYMMDDThhmmssZ`, is from `now`.
pub(super) fn clock(now: SystemTime, date: &str) -> Option<Clock> {
    let date = DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
    let now = Timestamp::try_from(now).ok()?;
    let by = date.duration_since(now);
    let exact = by.unsigned_abs() < CLOCK_EXACT;
    Some(match (exact, by.is_negative()) {
        (true, _) => Clock::Ahead(Duration::ZERO),
        (false, false) => Clock::Ahead(by.unsigned_abs()),
        (false, true) => Clock::Behind(by.unsigned_abs()),
    })
}
