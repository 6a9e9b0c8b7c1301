//! A service that replaces single items on a condition, and DynamoDB behind it.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::types::{AttributeValue, KeyType};
use journal::model::TableName;

use super::super::service::{DynamoDb, SdkItem, ServiceError, TableService, classify};
use super::super::write::sdk_value_bytes;

/// Bytes of names and values that a condition may have: DynamoDB allows 4 KB with the expression.
const CONDITION_BYTES_MAX: usize = 3000;
/// Attributes that a condition compares: an expression has at most 300 operators.
const CONDITION_ATTRIBUTES_MAX: usize = 90;

/// An attribute of a table's key, the partition key first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyElement {
    /// Its name.
    pub name: String,
    /// `S`, `N` or `B`.
    pub key_type: String,
}

/// What a restore into a table asks of the service, beside what every restore asks.
#[async_trait]
pub trait ItemService: TableService {
    /// The table's key.
    async fn key(&self, table: &TableName) -> Result<Vec<KeyElement>, ServiceError>;
    /// An item, read strongly consistent.
    async fn get(&self, table: &TableName, key: &SdkItem) -> Result<Option<SdkItem>, ServiceError>;
    /// Puts `wanted`, or deletes the item where it is none, on the condition that the item is `expected`. None when the
    /// condition did not hold; else whether it covered the whole item.
    async fn replace(
        &self,
        table: &TableName,
        key: &SdkItem,
        expected: Option<&SdkItem>,
        wanted: Option<&SdkItem>,
    ) -> Result<Option<bool>, ServiceError>;
}

/// An expression that an item is as expected, as far as one has room.
struct Condition {
    expression: String,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
    whole: bool,
}

fn condition(key: &SdkItem, expected: Option<&SdkItem>) -> Condition {
    let mut condition =
        Condition { expression: String::new(), names: HashMap::new(), values: HashMap::new(), whole: true };
    let Some(expected) = expected else {
        if let Some(name) = key.keys().min() {
            condition.names.insert("#k".to_owned(), name.clone());
        }
        "attribute_not_exists(#k)".clone_into(&mut condition.expression);
        return condition;
    };
    let mut bytes = 0;
    let mut attributes: Vec<(&String, &AttributeValue)> =
        expected.iter().filter(|(name, _)| !key.contains_key(*name)).collect();
    attributes.sort_by_key(|(name, _)| *name);
    let mut parts = Vec::new();
    if let Some(name) = key.keys().min() {
        condition.names.insert("#k".to_owned(), name.clone());
        parts.push("attribute_exists(#k)".to_owned());
    }
    for (at, (name, value)) in attributes.into_iter().enumerate() {
        let more = name.len() + sdk_value_bytes(value) + 24;
        if bytes + more > CONDITION_BYTES_MAX || parts.len() >= CONDITION_ATTRIBUTES_MAX {
            condition.whole = false;
            continue;
        }
        bytes += more;
        condition.names.insert(format!("#n{at}"), name.clone());
        condition.values.insert(format!(":v{at}"), value.clone());
        parts.push(format!("#n{at} = :v{at}"));
    }
    condition.expression = parts.join(" AND ");
    condition
}

#[async_trait]
impl ItemService for DynamoDb {
    async fn key(&self, table: &TableName) -> Result<Vec<KeyElement>, ServiceError> {
        let answer =
            self.client().describe_table().table_name(table.as_str()).send().await.map_err(|error| classify(&error))?;
        let answer = answer.table.unwrap_or_else(|| aws_sdk_dynamodb::types::TableDescription::builder().build());
        let mut elements = answer.key_schema().to_vec();
        elements.sort_by_key(|element| element.key_type != KeyType::Hash);
        let type_of = |name: &str| {
            let found = answer.attribute_definitions().iter().find(|one| one.attribute_name == name);
            found.map_or_else(|| "?".to_owned(), |one| one.attribute_type.as_str().to_owned())
        };
        let element = |name: String| KeyElement { key_type: type_of(&name), name };
        Ok(elements.into_iter().map(|one| element(one.attribute_name)).collect())
    }

    async fn get(&self, table: &TableName, key: &SdkItem) -> Result<Option<SdkItem>, ServiceError> {
        let request =
            self.client().get_item().table_name(table.as_str()).set_key(Some(key.clone())).consistent_read(true);
        let answer = request.send().await.map_err(|error| classify(&error))?;
        Ok(answer.item.filter(|item| !item.is_empty()))
    }

    async fn replace(
        &self,
        table: &TableName,
        key: &SdkItem,
        expected: Option<&SdkItem>,
        wanted: Option<&SdkItem>,
    ) -> Result<Option<bool>, ServiceError> {
        let Condition { expression, names, values, whole } = condition(key, expected);
        let values = (!values.is_empty()).then_some(values);
        // Whoever asks must know of a lost answer, and looks at the item before the next attempt.
        let once = || aws_sdk_dynamodb::config::Builder::new().retry_config(RetryConfig::disabled());
        let refused = "ConditionalCheckFailedException";
        let failed = if let Some(item) = wanted {
            let request = self.client().put_item().table_name(table.as_str()).set_item(Some(item.clone()));
            let request = request.condition_expression(expression).set_expression_attribute_names(Some(names));
            let request = request.set_expression_attribute_values(values).customize().config_override(once());
            match request.send().await {
                Ok(_) => return Ok(Some(whole)),
                Err(error) if error.code() == Some(refused) => return Ok(None),
                Err(error) => classify(&error),
            }
        } else {
            let request = self.client().delete_item().table_name(table.as_str()).set_key(Some(key.clone()));
            let request = request.condition_expression(expression).set_expression_attribute_names(Some(names));
            let request = request.set_expression_attribute_values(values).customize().config_override(once());
            match request.send().await {
                Ok(_) => return Ok(Some(whole)),
                Err(error) if error.code() == Some(refused) => return Ok(None),
                Err(error) => classify(&error),
            }
        };
        Err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_covers_the_whole_item_or_says_that_it_does_not() {
        let text = |bytes: usize| AttributeValue::S("x".repeat(bytes));
        let key = SdkItem::from([("noteId".to_owned(), text(3))]);
        let absent = condition(&key, None);
        assert_eq!((absent.expression.as_str(), absent.whole), ("attribute_not_exists(#k)", true));
        let mut item = key.clone();
        item.insert("author".to_owned(), text(3));
        item.insert("content".to_owned(), text(100));
        let small = condition(&key, Some(&item));
        assert_eq!(small.expression, "attribute_exists(#k) AND #n0 = :v0 AND #n1 = :v1");
        assert!(small.whole);
        item.insert("body".to_owned(), text(5000));
        let large = condition(&key, Some(&item));
        assert!(!large.whole);
        assert_eq!(large.values.len(), 2, "what fits is compared");
    }
}
