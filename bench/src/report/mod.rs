//! What is shown and written.

pub mod chart;
pub mod table;
