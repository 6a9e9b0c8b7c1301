//! The table that is rewound, as a rewind needs it: a narrow trait, and DynamoDB behind it.
//!
//! Every write is conditional and gives back the item that it replaced. Nothing is tried twice here: who retries must know
//! that an answer was lost, so the client's own retries are switched off.

use std::collections::HashMap;
use std::fmt;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
use aws_sdk_dynamodb::types::{ProvisionedThroughputDescription, ReturnValue, ReturnValuesOnConditionCheckFailure};
use journal::model::{Attributes, KeyAttribute, KeyAttributes, KeyType, TableName};
use journal::source::sdk::{item_from_sdk, item_to_sdk, to_sdk};

use super::condition::Condition;
use crate::restore::{SdkItem, ServiceError, classify};

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

/// What became of a conditional write.
#[derive(Debug, Clone, PartialEq)]
pub enum Wrote {
    /// It was done. The whole item that was there before, if there was one.
    Done(Option<Attributes>),
    /// The condition did not hold, and nothing was done. The item that is there, where the service told.
    Refused(Option<Attributes>),
}

/// One conditional write.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// The item's key.
    pub key: &'a Attributes,
    /// The item without its key; none deletes it.
    pub item: Option<&'a Attributes>,
    /// What must hold.
    pub condition: &'a Condition,
}

/// What a rewind asks of a table.
#[async_trait]
pub trait ItemTable: Send + Sync + fmt::Debug {
    /// The table as it is; none when there is none.
    async fn describe(&self) -> Result<Option<LiveTable>, ServiceError>;
    /// A whole item, read strongly consistent.
    async fn get(&self, key: &Attributes) -> Result<Option<Attributes>, ServiceError>;
    /// Writes or deletes an item if the condition holds, once.
    async fn write(&self, write: Write<'_>) -> Result<Wrote, ServiceError>;
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

fn item(item: Option<&SdkItem>) -> Result<Option<Attributes>, ServiceError> {
    let wrong = |error: journal::source::sdk::SdkValueError| ServiceError::Answer { reason: error.to_string() };
    item.filter(|item| !item.is_empty()).map(item_from_sdk).transpose().map_err(wrong)
}

type Parts = (HashMap<String, String>, Option<SdkItem>);

fn parts(condition: &Condition) -> Parts {
    let values: SdkItem = condition.values.iter().map(|(name, value)| (name.clone(), to_sdk(value))).collect();
    (condition.names.iter().cloned().collect(), (!values.is_empty()).then_some(values))
}

#[async_trait]
impl ItemTable for DynamoDbTable {
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
            stream_label: table.latest_stream_label().map(str::to_owned),
            key,
            status: table.table_status().map_or_else(|| "unknown".to_owned(), |status| status.as_str().to_owned()),
            indexes: table.global_secondary_indexes().len() + table.local_secondary_indexes().len(),
            write_units_per_second: units.and_then(|units| u64::try_from(units).ok()).filter(|units| *units > 0),
        }))
    }

    async fn get(&self, key: &Attributes) -> Result<Option<Attributes>, ServiceError> {
        let request = self.client.get_item().table_name(self.table.as_str()).consistent_read(true);
        let answer = request.set_key(Some(item_to_sdk(key))).send().await.map_err(|error| classify(&error))?;
        item(answer.item.as_ref())
    }

    async fn write(&self, write: Write<'_>) -> Result<Wrote, ServiceError> {
        let (names, values) = parts(write.condition);
        let (table, expression) = (self.table.as_str(), write.condition.expression.clone());
        if let Some(new) = write.item {
            let mut whole = item_to_sdk(new);
            whole.extend(item_to_sdk(write.key));
            let request =
                self.client.put_item().table_name(table).set_item(Some(whole)).condition_expression(expression);
            let sent = request
                .set_expression_attribute_names(Some(names))
                .set_expression_attribute_values(values)
                .return_values(ReturnValue::AllOld)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send()
                .await;
            return match sent {
                Ok(answer) => Ok(Wrote::Done(item(answer.attributes.as_ref())?)),
                Err(error) => {
                    let failed = error.as_service_error().and_then(|service| match service {
                        aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(
                            failed,
                        ) => Some(failed),
                        _ => None,
                    });
                    refused(failed.cloned(), error.code(), || classify(&error))
                }
            };
        }
        let request = self.client.delete_item().table_name(table).set_key(Some(item_to_sdk(write.key)));
        let sent = request
            .condition_expression(expression)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(values)
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match sent {
            Ok(answer) => Ok(Wrote::Done(item(answer.attributes.as_ref())?)),
            Err(error) => {
                let failed = error.as_service_error().and_then(|service| match service {
                    aws_sdk_dynamodb::operation::delete_item::DeleteItemError::ConditionalCheckFailedException(
                        failed,
                    ) => Some(failed),
                    _ => None,
                });
                refused(failed.cloned(), error.code(), || classify(&error))
            }
        }
    }
}

fn refused(
    failed: Option<ConditionalCheckFailedException>,
    code: Option<&str>,
    other: impl FnOnce() -> ServiceError,
) -> Result<Wrote, ServiceError> {
    match (failed, code) {
        (Some(failed), _) => Ok(Wrote::Refused(item(failed.item())?)),
        (None, Some("ConditionalCheckFailedException")) => Ok(Wrote::Refused(None)),
        // Another transaction holds the item for a moment.
        (None, Some("TransactionConflictException" | "TransactionInProgressException")) => {
            Err(ServiceError::Throttled { reason: "the item is in another transaction".to_owned() })
        }
        (None, _) => Err(other()),
    }
}
