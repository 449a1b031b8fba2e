//! YAML to a checked, lowered [`Model`]: plain data that is simulated, proved and drawn.

pub mod model;

pub use model::Model;
