//! The stream trigger: the real binary, fed with events as Lambda gives them, by a stand-in for the Runtime API and by a
//! simulator of an event source mapping with everything that goes wrong with one.

mod events;
mod fixtures;
mod function;
mod hostile;
mod mapping;
mod redrive;
