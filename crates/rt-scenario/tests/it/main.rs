//! The crate from outside: shipped scenarios, diagnostics, views, hostile input.

mod shipped;
