//! Tests of the program as people use it.

mod docs;
mod library;
