//! The engine: virtual time, a totally ordered event queue, links; sees nodes only by [`Node`].

mod node;

pub use node::Node;
