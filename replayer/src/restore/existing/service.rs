//! A service that writes single items on a condition, and DynamoDB behind it.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{KeyType, KeysAndAttributes};
use journal::model::{Attributes, TableName};

use super::super::service::{DynamoDb, SdkItem, ServiceError, TableService, classify};
use crate::table_write::{Write, Wrote, get, send};

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
    async fn get(&self, table: &TableName, key: &Attributes) -> Result<Option<Attributes>, ServiceError>;
    /// The items of up to 100 keys that are there, read strongly consistent, and the keys that were not processed.
    async fn get_many(
        &self,
        table: &TableName,
        keys: Vec<SdkItem>,
    ) -> Result<(Vec<SdkItem>, Vec<SdkItem>), ServiceError>;
    /// Writes or deletes an item if the condition holds, once, and gives back the item that it replaced.
    async fn write(&self, table: &TableName, write: Write<'_>) -> Result<Wrote, ServiceError>;
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

    async fn get(&self, table: &TableName, key: &Attributes) -> Result<Option<Attributes>, ServiceError> {
        get(self.client(), table, key).await
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

    async fn write(&self, table: &TableName, write: Write<'_>) -> Result<Wrote, ServiceError> {
        send(self.client(), table, write).await
    }
}
