//! The incident re-enacted: a bad deploy deletes the notes, and one command brings them back. And what keeps tables protected: `journal protect`,
//! `journal guard`, both as commands and as the stack's own function.
//!
//! All of it on MiniStack: its CloudFormation deletes the table as AWS's does, its event source mappings feed the built functions, which run as
//! local processes. Its metrics know nothing of tables, so write activity is a matter of the guard's own tests.

#[path = "incident/cloud.rs"]
mod cloud;
#[path = "incident/commands.rs"]
mod commands;
#[path = "incident/story.rs"]
mod story;
