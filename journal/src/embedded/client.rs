//! SDK clients for an embedded endpoint, with credentials that open nothing.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};

/// The region that embedded clients name; the endpoint does not care.
pub const REGION: &str = "us-east-1";
/// The access key and the secret key that embedded clients sign with; the endpoint takes any.
pub const ACCESS_KEY: &str = "embedded";

/// The environment in which any AWS SDK, the AWS CLI and this project's commands talk to the endpoint.
#[must_use]
pub fn environment(endpoint: &str) -> [(&'static str, String); 6] {
    [
        ("AWS_ENDPOINT_URL_DYNAMODB", endpoint.to_owned()),
        ("AWS_ENDPOINT_URL_DYNAMODB_STREAMS", endpoint.to_owned()),
        ("AWS_REGION", REGION.to_owned()),
        // The AWS CLI and boto3 read this one alone.
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", ACCESS_KEY.to_owned()),
    ]
}

/// Settings of SDK clients for an embedded endpoint. They read no profile and no environment.
#[must_use]
pub fn settings(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new(ACCESS_KEY, ACCESS_KEY, None, None, "embedded DynamoDB");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// A DynamoDB client for an embedded endpoint.
#[must_use]
pub fn dynamodb_client(endpoint: &str) -> aws_sdk_dynamodb::Client {
    aws_sdk_dynamodb::Client::new(&settings(endpoint))
}

/// A DynamoDB Streams client for an embedded endpoint.
#[must_use]
pub fn streams_client(endpoint: &str) -> aws_sdk_dynamodbstreams::Client {
    aws_sdk_dynamodbstreams::Client::new(&settings(endpoint))
}
