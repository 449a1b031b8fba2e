//! The crate from outside: shipped scenarios, diagnostics, views, schema, hostile input.

#![allow(clippy::disallowed_methods, reason = "tests read the shipped files")]

mod faulty;
mod fine;
mod guards;
mod hostile;
mod language;
mod nat;
mod schema;
mod shipped;
mod tokens;
mod views;
mod web_browsing;
mod websocket;
