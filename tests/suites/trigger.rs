//! The stream trigger: the real binary, fed with events as Lambda gives them, by a stand-in for the Runtime API and by a
//! simulator of an event source mapping with everything that goes wrong with one.

#[path = "trigger/events.rs"]
mod events;
#[path = "trigger/fixtures.rs"]
mod fixtures;
#[path = "trigger/function.rs"]
mod function;
#[path = "trigger/hostile.rs"]
mod hostile;
#[path = "trigger/mapping.rs"]
mod mapping;
#[path = "trigger/redrive.rs"]
mod redrive;
