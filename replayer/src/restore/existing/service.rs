//! A service that replaces single items on a condition, and DynamoDB behind it.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{KeyType, KeysAndAttributes};
use journal::model::{Attributes, TableName};
use journal::source::sdk::item_from_sdk;

use super::super::service::{DynamoDb, SdkItem, ServiceError, TableService, classify};
use crate::table_write::{Write, Wrote, condition, send};

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
    /// The items of up to 100 keys that are there, read strongly consistent, and the keys that were not processed.
    async fn get_many(
        &self,
        table: &TableName,
        keys: Vec<SdkItem>,
    ) -> Result<(Vec<SdkItem>, Vec<SdkItem>), ServiceError>;
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

    async fn get_many(
        &self,
        table: &TableName,
        keys: Vec<SdkItem>,
    ) -> Result<(Vec<SdkItem>, Vec<SdkItem>), ServiceError> {
        let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
        let wanted = wanted.map_err(|error| ServiceError::Refused { reason: error.to_string() })?;
        let sent = self.client().batch_get_item().request_items(table.as_str(), wanted).send().await;
        let answer = sent.map_err(|error| classify(&error))?;
        let left = answer.unprocessed_keys.unwrap_or_default().into_values().flat_map(|left| left.keys).collect();
        Ok((answer.responses.unwrap_or_default().into_values().flatten().collect(), left))
    }

    async fn replace(
        &self,
        table: &TableName,
        key: &SdkItem,
        expected: Option<&SdkItem>,
        wanted: Option<&SdkItem>,
    ) -> Result<Option<bool>, ServiceError> {
        let own =
            |item: &SdkItem| item_from_sdk(item).map_err(|error| ServiceError::Answer { reason: error.to_string() });
        let key = own(key)?;
        let other = |item: Option<&SdkItem>| -> Result<Option<Attributes>, ServiceError> {
            let mut item = item.map(own).transpose()?;
            if let Some(item) = &mut item {
                item.retain(|name, _| !key.contains_key(name));
            }
            Ok(item)
        };
        let (expected, wanted) = (other(expected)?, other(wanted)?);
        let name = key.keys().next().map_or("", String::as_str);
        let condition = condition(name, expected.as_ref(), wanted.as_ref());
        let write = Write { key: &key, item: wanted.as_ref(), condition: &condition };
        match send(self.client(), table, write).await? {
            Wrote::Done(_) => Ok(Some(condition.whole)),
            Wrote::Refused(_) => Ok(None),
        }
    }
}
