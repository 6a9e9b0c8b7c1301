//! Quarantine Notes: the app that writes notes, and its deployments. It keeps what it wrote, to compare with later.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType,
};

use super::error::DemoError;
use super::notes::{Note, Write};
use crate::error::Result;
use crate::model::{StreamArn, TableName};
use crate::table::TableError;

/// The app's table in its stage `dev`.
pub(super) const TABLE: &str = "notes-table-dev";
/// The key.
pub(super) const NOTE_ID: &str = "noteId";
const CONTENT: &str = "content";
const AUTHOR: &str = "author";
const COUNTRY: &str = "country";
const CREATED_AT: &str = "createdAt";
const REPLIES: &str = "replies";

/// The app.
#[derive(Debug)]
pub(super) struct App {
    client: Client,
    table: TableName,
    /// What the table holds, by note id, as far as the app knows.
    wrote: BTreeMap<String, Note>,
}

impl App {
    pub(super) fn new(client: Client) -> Result<Self> {
        Ok(Self { client, table: TableName::parse(TABLE)?, wrote: BTreeMap::new() })
    }

    pub(super) fn wrote(&self) -> &BTreeMap<String, Note> {
        &self.wrote
    }

    /// What a deploy does for a table that its template names.
    pub(super) async fn make_table(&self) -> Result<()> {
        let incomplete = |error: BuildError| TableError::Refused {
            action: "CreateTable",
            table: self.table.clone(),
            reason: error.to_string(),
        };
        let key = AttributeDefinition::builder().attribute_name(NOTE_ID).attribute_type(ScalarAttributeType::S);
        let schema = KeySchemaElement::builder().attribute_name(NOTE_ID).key_type(KeyType::Hash);
        let stream =
            StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewAndOldImages);
        self.client
            .create_table()
            .table_name(TABLE)
            .attribute_definitions(key.build().map_err(incomplete)?)
            .key_schema(schema.build().map_err(incomplete)?)
            .billing_mode(BillingMode::PayPerRequest)
            .stream_specification(stream.build().map_err(incomplete)?)
            .send()
            .await
            .map_err(|error| TableError::of("CreateTable", &self.table, &error))?;
        Ok(())
    }

    /// What a deploy does with a table that its template does not name any more.
    pub(super) async fn delete_table(&self) -> Result<()> {
        let deleted = self.client.delete_table().table_name(TABLE).send().await;
        deleted.map_err(|error| TableError::of("DeleteTable", &self.table, &error))?;
        Ok(())
    }

    /// The table's stream.
    pub(super) async fn stream(&self) -> Result<StreamArn> {
        let answer = self.client.describe_table().table_name(TABLE).send().await;
        let answer = answer.map_err(|error| TableError::of("DescribeTable", &self.table, &error))?;
        let arn = answer.table.and_then(|table| table.latest_stream_arn);
        let arn = arn.ok_or_else(|| TableError::NoStream { table: self.table.clone() })?;
        Ok(StreamArn::parse(&arn)?)
    }

    /// Does one write, then remembers it.
    pub(super) async fn write(&mut self, write: Write) -> Result<()> {
        let key = AttributeValue::S(write.id().to_owned());
        match &write {
            Write::Post { note, .. } => {
                let mut item = to_item(note);
                item.insert(NOTE_ID.to_owned(), key);
                let put = self.client.put_item().table_name(TABLE).set_item(Some(item)).send().await;
                put.map_err(|error| TableError::of("PutItem", &self.table, &error))?;
            }
            Write::Reply { reply, .. } => {
                let appended = AttributeValue::L(vec![AttributeValue::M(to_item(reply))]);
                self.update(key, "SET #a = list_append(#a, :v)", REPLIES, appended).await?;
            }
            Write::Edit { content, .. } => {
                self.update(key, "SET #a = :v", CONTENT, AttributeValue::S(content.clone())).await?;
            }
            Write::TakeBack { .. } => {
                let deleted = self.client.delete_item().table_name(TABLE).key(NOTE_ID, key).send().await;
                deleted.map_err(|error| TableError::of("DeleteItem", &self.table, &error))?;
            }
        }
        self.remember(write);
        Ok(())
    }

    async fn update(
        &self,
        key: AttributeValue,
        expression: &str,
        attribute: &str,
        value: AttributeValue,
    ) -> Result<()> {
        let update = self
            .client
            .update_item()
            .table_name(TABLE)
            .key(NOTE_ID, key)
            .update_expression(expression)
            .expression_attribute_names("#a", attribute)
            .expression_attribute_values(":v", value);
        update.send().await.map_err(|error| TableError::of("UpdateItem", &self.table, &error))?;
        Ok(())
    }

    fn remember(&mut self, write: Write) {
        match write {
            Write::Post { id, note } => {
                self.wrote.insert(id, note);
            }
            Write::Reply { id, reply } => {
                if let Some(note) = self.wrote.get_mut(&id) {
                    note.replies.push(reply);
                }
            }
            Write::Edit { id, content } => {
                if let Some(note) = self.wrote.get_mut(&id) {
                    note.content = content;
                }
            }
            Write::TakeBack { id } => {
                self.wrote.remove(&id);
            }
        }
    }

    /// Everything that a table holds.
    pub(super) async fn read(&self, table: &str) -> Result<BTreeMap<String, Note>> {
        let name = TableName::parse(table)?;
        let mut notes = BTreeMap::new();
        let mut items = self.client.scan().table_name(table).consistent_read(true).into_paginator().items().send();
        while let Some(item) = items.next().await {
            let mut item = item.map_err(|error| TableError::of("Scan", &name, &error))?;
            let id = match item.remove(NOTE_ID) {
                Some(AttributeValue::S(id)) => id,
                _ => String::new(),
            };
            let note = from_item(item, true).map_err(|reason| DemoError::NotANote {
                table: table.to_owned(),
                id: id.clone(),
                reason,
            })?;
            notes.insert(id, note);
        }
        Ok(notes)
    }
}

/// All attributes but the key.
fn to_item(note: &Note) -> HashMap<String, AttributeValue> {
    let replies = note.replies.iter().map(|reply| AttributeValue::M(to_item(reply))).collect();
    HashMap::from([
        (CONTENT.to_owned(), AttributeValue::S(note.content.clone())),
        (AUTHOR.to_owned(), AttributeValue::S(note.author.clone())),
        (COUNTRY.to_owned(), AttributeValue::S(note.country.clone())),
        (CREATED_AT.to_owned(), AttributeValue::S(note.created_at.clone())),
        (REPLIES.to_owned(), AttributeValue::L(replies)),
    ])
}

fn from_item(mut item: HashMap<String, AttributeValue>, may_have_replies: bool) -> Result<Note, &'static str> {
    let mut text = |name: &str| match item.remove(name) {
        Some(AttributeValue::S(text)) => Ok(text),
        _ => Err("a text is missing"),
    };
    let (content, author) = (text(CONTENT)?, text(AUTHOR)?);
    let (country, created_at) = (text(COUNTRY)?, text(CREATED_AT)?);
    let Some(AttributeValue::L(replies)) = item.remove(REPLIES) else { return Err("its replies are no list") };
    if !item.is_empty() {
        return Err("it has an attribute that the app does not write");
    }
    if !may_have_replies && !replies.is_empty() {
        return Err("a reply has replies");
    }
    let replies = replies.into_iter().map(|reply| match reply {
        AttributeValue::M(reply) => from_item(reply, false),
        _ => Err("a reply is no map"),
    });
    Ok(Note { content, author, country, created_at, replies: replies.collect::<Result<_, _>>()? })
}

/// What is not the same in two tables' notes; none when all is.
pub(super) fn difference(wrote: &BTreeMap<String, Note>, found: &BTreeMap<String, Note>) -> Option<String> {
    let lost = wrote.keys().filter(|id| !found.contains_key(*id)).count();
    let foreign = found.keys().filter(|id| !wrote.contains_key(*id)).count();
    let changed = wrote.iter().filter(|(id, note)| found.get(*id).is_some_and(|found| found != *note)).count();
    (lost + foreign + changed > 0).then(|| format!("{lost} notes lost, {foreign} foreign, {changed} changed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(content: &str, replies: Vec<Note>) -> Note {
        let text = str::to_owned;
        Note { content: text(content), author: text("a"), country: text("c"), created_at: text("t"), replies }
    }

    #[test]
    fn a_note_with_replies_reads_back_and_a_foreign_attribute_is_noticed() {
        let written = note("one", vec![note("two", vec![]), note("three", vec![])]);
        let mut item = to_item(&written);
        assert_eq!(from_item(item.clone(), true), Ok(written));
        item.insert("x".to_owned(), AttributeValue::Null(true));
        assert!(from_item(item, true).is_err());
    }

    #[test]
    fn lost_foreign_and_changed_notes_are_counted() {
        let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, Note> {
            pairs.iter().map(|(id, content)| ((*id).to_owned(), note(content, vec![]))).collect()
        };
        let wrote = of(&[("1", "a"), ("2", "b"), ("3", "c")]);
        assert_eq!(difference(&wrote, &wrote.clone()), None);
        let found = of(&[("1", "a"), ("2", "x"), ("4", "d")]);
        assert_eq!(difference(&wrote, &found).as_deref(), Some("1 notes lost, 1 foreign, 1 changed"));
    }
}
