//! AWS's own DynamoDB Local, for those who accept its licence.
//!
//! Its licence allows use only by holders of an AWS account, so its tests are opt-in: the test command installs it only
//! when told that the licence is accepted, and names its folder in `JOURNAL_TEST_DYNAMODB_LOCAL`. It cannot be told to
//! bind loopback alone, so it is started only where there is nothing but loopback: in a network namespace of its own,
//! which the test command makes around the whole test program.

use std::path::{Path, PathBuf};

use aws_config::SdkConfig;

use crate::supervisor::{Supervised, free_port, without_settings};

/// The variable that names the folder of `DynamoDBLocal.jar`.
pub const VARIABLE: &str = "JOURNAL_TEST_DYNAMODB_LOCAL";

/// A running DynamoDB Local, in memory. It ends when this is dropped, or with the process.
#[derive(Debug)]
pub struct DynamoDbLocal {
    port: u16,
    _process: Supervised,
}

impl DynamoDbLocal {
    /// Starts one with nothing in it, or says that `test` is skipped and why.
    #[must_use]
    pub fn start_or_skip(test: &str) -> Option<Self> {
        let Some(folder) = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty()).map(PathBuf::from) else {
            crate::skip(test, "DynamoDB Local is opt-in: DYNAMODB_LOCAL_ACCEPT_LICENSE=yes accepts its licence");
            return None;
        };
        let interfaces = interfaces();
        if interfaces != ["lo"] {
            let interfaces = interfaces.join(", ");
            crate::skip(test, &format!("DynamoDB Local would listen on {interfaces}: it is run on loopback alone"));
            return None;
        }
        Some(Self::start(&folder))
    }

    fn start(folder: &Path) -> Self {
        for _ in 0..3 {
            let port = free_port();
            let number = port.to_string();
            let arguments =
                ["-Djava.library.path=./DynamoDBLocal_lib", "-jar", "DynamoDBLocal.jar", "-inMemory", "-port", &number];
            let mut process = Supervised::start("java", arguments, |command| {
                without_settings(command).current_dir(folder);
            });
            // It answers no plain GET with 200.
            if process.wait_until(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()) {
                return Self { port, _process: process };
            }
            let log = process.log();
            assert!(log.contains("in use"), "DynamoDB Local ended while it started; its log:\n{log}");
        }
        panic!("no port stayed free for DynamoDB Local");
    }

    /// Its URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The environment that leads our programs to it. It keeps apart the tables of each access key and region.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        crate::ministack::environment(&self.endpoint())
    }

    /// Settings for SDK clients.
    pub async fn settings(&self) -> SdkConfig {
        crate::ministack::settings(&self.endpoint()).await
    }
}

/// The names of this machine's network interfaces, as this process sees them.
fn interfaces() -> Vec<String> {
    let listing = std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    listing.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn dynamodb_local_answers() {
        let Some(local) = DynamoDbLocal::start_or_skip("dynamodb_local_answers") else { return };
        let client = aws_sdk_dynamodb::Client::new(&local.settings().await);
        assert!(client.list_tables().send().await.unwrap().table_names().is_empty());
    }

    #[test]
    fn the_interfaces_of_this_machine_are_seen() {
        assert!(interfaces().contains(&"lo".to_owned()));
    }
}
