//! Whole conversations made by other people's code (rustls, hyper, `domain`), put into frames, read back.

mod datagrams;
mod frames;
mod hostile;
mod http;
mod pump;
mod ssh;
mod tls;
