//! MiniStack: S3, DynamoDB and its streams, Lambda and CloudFormation behind one endpoint on loopback.
//!
//! The test command installs it and names its Python in `JOURNAL_TEST_MINISTACK`.

use std::path::PathBuf;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};

use crate::ministack_process::MiniStackProcess;

/// The variable that names the Python in which MiniStack is installed.
pub const VARIABLE: &str = "JOURNAL_TEST_MINISTACK";

/// A running MiniStack. It ends when this is dropped, or with the process.
#[derive(Debug)]
pub struct MiniStack(MiniStackProcess);

impl MiniStack {
    /// The Python in which it is installed, if the test command named one.
    #[must_use]
    pub fn installed() -> Option<PathBuf> {
        std::env::var_os(VARIABLE).filter(|python| !python.is_empty()).map(PathBuf::from)
    }

    /// Starts one with nothing in it, or says that `test` is skipped because it is not installed.
    #[must_use]
    pub fn start_or_skip(test: &str) -> Option<Self> {
        if let Some(python) = Self::installed() {
            return Some(Self::start(&python));
        }
        crate::skip(test, &format!("{VARIABLE} does not name a Python with MiniStack; tests/run installs one"));
        None
    }

    fn start(python: &std::path::Path) -> Self {
        Self(MiniStackProcess::start(python))
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// The URL for every service.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.0.port)
    }

    /// The environment that leads our programs, or the AWS CLI, to it.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        environment(&self.endpoint())
    }

    /// Settings for SDK clients.
    pub async fn settings(&self) -> SdkConfig {
        settings(&self.endpoint()).await
    }

    /// An S3 client.
    pub async fn s3(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::from(&self.settings().await).force_path_style(true).build();
        aws_sdk_s3::Client::from_conf(config)
    }

    /// A DynamoDB client.
    pub async fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.settings().await)
    }

    /// A client of DynamoDB's streams.
    pub async fn streams(&self) -> aws_sdk_dynamodbstreams::Client {
        aws_sdk_dynamodbstreams::Client::new(&self.settings().await)
    }

    /// Makes a bucket, with or without versioning.
    pub async fn make_bucket(&self, bucket: &str, versioned: bool) {
        let client = self.s3().await;
        client.create_bucket().bucket(bucket).send().await.unwrap();
        if versioned {
            let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
            client.put_bucket_versioning().bucket(bucket).versioning_configuration(enabled).send().await.unwrap();
        }
    }
}

/// The environment that leads a program to an endpoint.
#[must_use]
pub fn environment(endpoint: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
    ]
}

/// Settings for SDK clients of an endpoint.
pub async fn settings(endpoint: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .load()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::answers;

    #[tokio::test]
    async fn ministack_serves_s3_and_dynamodb_and_ends_when_dropped() {
        let Some(ministack) = MiniStack::start_or_skip("ministack_serves_s3_and_dynamodb_and_ends_when_dropped") else {
            return;
        };
        ministack.make_bucket("bucket", true).await;
        assert_eq!(ministack.s3().await.list_buckets().send().await.unwrap().buckets().len(), 1);
        assert!(ministack.dynamodb().await.list_tables().send().await.unwrap().table_names().is_empty());
        assert!(ministack.streams().await.list_streams().send().await.unwrap().streams().is_empty());
        let port = ministack.port();
        drop(ministack);
        assert!(!answers(port, "/_ministack/health"));
    }
}
