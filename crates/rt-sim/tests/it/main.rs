//! The engine before its laws: exact times, faults by seed, conservation, the same run twice.

mod faults;
mod laws;
mod nodes;
mod order;
mod outside;
mod timing;
