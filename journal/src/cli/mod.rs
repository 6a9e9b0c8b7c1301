//! The command line of `journal`: reads arguments, builds clients, calls the library, prints.
