//! Embedded DynamoDB for the local commands.
