//! The table that is rewound, as a rewind needs it: a narrow trait, and DynamoDB behind it.
//!
//! Items are read and written as any [`ItemTable`] does; the client's own retries are switched off.

use std::collections::HashMap;
use std::fmt;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::types::{ProvisionedThroughputDescription, TableDescription};
use journal::model::{Attributes, KeyAttribute, KeyAttributes, KeyType, StreamArn, TableName};

use crate::restore::{ServiceError, classify};
use crate::table_write::{ItemTable, Write, Wrote, get, send};

/// What is known of the live table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveTable {
    /// The service's own id; some emulators give none.
    pub id: Option<String>,
    /// The label of its stream, if one is on.
    pub stream_label: Option<String>,
    /// Names and types of its key.
    pub key: KeyAttributes,
    /// `TableStatus`.
    pub status: String,
    /// Secondary indexes, which are written to as well.
    pub indexes: usize,
    /// Provisioned write capacity units a second; none on demand.
    pub write_units_per_second: Option<u64>,
}

/// What a rewind asks of a table.
#[async_trait]
pub trait DescribedTable: ItemTable + fmt::Debug {
    /// The table as it is; none when there is none.
    async fn describe(&self) -> Result<Option<LiveTable>, ServiceError>;
}

/// A table of DynamoDB, or of what speaks its protocol.
#[derive(Debug, Clone)]
pub struct DynamoDbTable {
    client: Client,
    table: TableName,
}

impl DynamoDbTable {
    /// The table of this name.
    #[must_use]
    pub fn new(settings: &SdkConfig, table: TableName) -> Self {
        let config = aws_sdk_dynamodb::config::Builder::from(settings).retry_config(RetryConfig::disabled()).build();
        Self { client: Client::from_conf(config), table }
    }
}

#[async_trait]
impl DescribedTable for DynamoDbTable {
    async fn describe(&self) -> Result<Option<LiveTable>, ServiceError> {
        let answer = match self.client.describe_table().table_name(self.table.as_str()).send().await {
            Ok(answer) => answer,
            Err(error) => {
                return match classify(&error) {
                    ServiceError::NotFound => Ok(None),
                    other => Err(other),
                };
            }
        };
        let wrong = |reason: String| ServiceError::Answer { reason };
        let table = answer.table.ok_or_else(|| wrong("DescribeTable describes no table".to_owned()))?;
        let types: HashMap<&str, &str> = table
            .attribute_definitions()
            .iter()
            .map(|definition| (definition.attribute_name(), definition.attribute_type().as_str()))
            .collect();
        let key = table.key_schema().iter().map(|element| {
            let name = element.attribute_name();
            let key_type = types.get(name).copied().and_then(KeyType::from_letter);
            let key_type = key_type.ok_or_else(|| wrong(format!("key attribute {name:?} has no type")))?;
            Ok(KeyAttribute { name: name.to_owned(), key_type })
        });
        let key = KeyAttributes::new(key.collect::<Result<_, ServiceError>>()?).map_err(|e| wrong(e.to_string()))?;
        let units = table.provisioned_throughput().and_then(ProvisionedThroughputDescription::write_capacity_units);
        Ok(Some(LiveTable {
            id: table.table_id().map(str::to_owned),
            stream_label: stream_label(&table).map_err(wrong)?,
            key,
            status: table.table_status().map_or_else(|| "unknown".to_owned(), |status| status.as_str().to_owned()),
            indexes: table.global_secondary_indexes().len() + table.local_secondary_indexes().len(),
            write_units_per_second: units.and_then(|units| u64::try_from(units).ok()).filter(|units| *units > 0),
        }))
    }
}

/// The label of a table's newest stream: the last part of its ARN, as everywhere in the journal. `LatestStreamLabel` says the same on AWS; of a table
/// of a stack MiniStack takes it at another moment than the ARN, so that the two differ by a millisecond now and then.
fn stream_label(table: &TableDescription) -> Result<Option<String>, String> {
    let Some(arn) = table.latest_stream_arn().filter(|arn| !arn.is_empty()) else { return Ok(None) };
    let arn = StreamArn::parse(arn).map_err(|error| error.to_string())?;
    Ok(Some(arn.timeline().label.as_str().to_owned()))
}

#[async_trait]
impl ItemTable for DynamoDbTable {
    async fn get(&self, key: &Attributes) -> Result<Option<Attributes>, ServiceError> {
        get(&self.client, &self.table, key).await
    }

    async fn write(&self, write: Write<'_>) -> Result<Wrote, ServiceError> {
        send(&self.client, &self.table, write).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_is_the_last_part_of_the_arn() {
        let arn = "arn:aws:dynamodb:us-east-1:000000000000:table/notes/stream/2026-11-26T18:00:00.123";
        let described = TableDescription::builder().latest_stream_label("2026-11-26T18:00:00.124");
        assert_eq!(stream_label(&described.clone().build()), Ok(None));
        assert_eq!(stream_label(&described.clone().latest_stream_arn("").build()), Ok(None));
        let label = stream_label(&described.clone().latest_stream_arn(arn).build());
        assert_eq!(label, Ok(Some("2026-11-26T18:00:00.123".to_owned())));
        let refused = stream_label(&described.latest_stream_arn("arn:aws:dynamodb:notes").build()).unwrap_err();
        assert!(refused.contains("arn:aws:dynamodb:notes"), "{refused}");
    }
}
