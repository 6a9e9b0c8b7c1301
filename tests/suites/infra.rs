//! The templates: what they say, what refuses a worse one, and what a stack made of them does.
//!
//! The tools (cfn-guard, cfn-lint, the SAM CLI) and MiniStack are installed by the test command. What the emulator does not
//! enforce (stack policies, Object Lock, conditional puts in a bucket's policy) is checked in the template itself.

#[path = "infra/check_deploy.rs"]
mod check_deploy;
#[path = "infra/deploy.rs"]
mod deploy;
#[path = "infra/documents.rs"]
mod documents;
#[path = "infra/mutations.rs"]
mod mutations;
#[path = "infra/roles.rs"]
mod roles;
#[path = "infra/tools.rs"]
mod tools;
