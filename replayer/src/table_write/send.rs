//! One conditional write, sent once: who retries must know that an answer was lost, and what was there before.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use journal::model::{Attributes, TableName};
use journal::source::sdk::{SdkValueError, item_from_sdk, item_to_sdk, to_sdk};

use super::condition::Condition;
use crate::restore::{SdkItem, ServiceError, classify};

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

/// An item as a service gives it; none for one without attributes.
fn item(item: Option<&SdkItem>) -> Result<Option<Attributes>, ServiceError> {
    let wrong = |error: SdkValueError| ServiceError::Answer { reason: error.to_string() };
    item.filter(|item| !item.is_empty()).map(item_from_sdk).transpose().map_err(wrong)
}

/// A whole item of `table`, read strongly consistent.
pub(crate) async fn get(
    client: &Client,
    table: &TableName,
    key: &Attributes,
) -> Result<Option<Attributes>, ServiceError> {
    let request = client.get_item().table_name(table.as_str()).consistent_read(true);
    let answer = request.set_key(Some(item_to_sdk(key))).send().await.map_err(|error| classify(&error))?;
    item(answer.item.as_ref())
}

/// Writes or deletes an item of `table` if the condition holds. The client's own retries are switched off.
pub(crate) async fn send(client: &Client, table: &TableName, write: Write<'_>) -> Result<Wrote, ServiceError> {
    let once = aws_sdk_dynamodb::config::Builder::new().retry_config(RetryConfig::disabled());
    let names: HashMap<String, String> = write.condition.names.iter().cloned().collect();
    let values: SdkItem = write.condition.values.iter().map(|(name, value)| (name.clone(), to_sdk(value))).collect();
    let values = (!values.is_empty()).then_some(values);
    let (table, expression) = (table.as_str(), write.condition.expression.clone());
    let (old, told) = (ReturnValue::AllOld, ReturnValuesOnConditionCheckFailure::AllOld);
    if let Some(new) = write.item {
        let mut whole = item_to_sdk(new);
        whole.extend(item_to_sdk(write.key));
        let request = client.put_item().table_name(table).set_item(Some(whole)).condition_expression(expression);
        let request = request.set_expression_attribute_names(Some(names)).set_expression_attribute_values(values);
        let request = request.return_values(old).return_values_on_condition_check_failure(told);
        return match request.customize().config_override(once).send().await {
            Ok(answer) => Ok(Wrote::Done(item(answer.attributes.as_ref())?)),
            Err(error) => refused(&error, |error| match error {
                PutItemError::ConditionalCheckFailedException(failed) => Some(failed),
                _ => None,
            }),
        };
    }
    let request = client.delete_item().table_name(table).set_key(Some(item_to_sdk(write.key)));
    let request = request.condition_expression(expression).set_expression_attribute_names(Some(names));
    let request = request.set_expression_attribute_values(values);
    let request = request.return_values(old).return_values_on_condition_check_failure(told);
    match request.customize().config_override(once).send().await {
        Ok(answer) => Ok(Wrote::Done(item(answer.attributes.as_ref())?)),
        Err(error) => refused(&error, |error| match error {
            DeleteItemError::ConditionalCheckFailedException(failed) => Some(failed),
            _ => None,
        }),
    }
}

fn refused<E>(
    error: &SdkError<E>,
    failed: impl FnOnce(&E) -> Option<&ConditionalCheckFailedException>,
) -> Result<Wrote, ServiceError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match (error.as_service_error().and_then(failed), error.code()) {
        (Some(failed), _) => Ok(Wrote::Refused(item(failed.item())?)),
        (None, Some("ConditionalCheckFailedException")) => Ok(Wrote::Refused(None)),
        // Another transaction holds the item for a moment.
        (None, Some("TransactionConflictException" | "TransactionInProgressException")) => {
            Err(ServiceError::Throttled { reason: "the item is in another transaction".to_owned() })
        }
        (None, _) => Err(classify(error)),
    }
}
