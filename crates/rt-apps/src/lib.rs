//! Under construction.
pub mod entropy;
pub mod http;
pub mod tls;
