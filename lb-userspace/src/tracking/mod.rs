//! Flows that are remembered: the sweep that reads the flow tables, deletes what is not needed, and lets slots advance.
//! docs/connection-consistency.md has the argument.
//!
//! * [`judge`](self): what becomes of one entry, and of one slot; pure
//! * [`Sweep`]: passes over both tables in bounded steps
//! * [`Census`]: what a pass saw of the backends, for the planner
//! * [`Figures`]: what it saw, for operators

mod census;
mod figures;
mod judge;
mod loads;
mod pass;
mod sweep;
#[cfg(test)]
mod tests;
mod time;
mod view;

pub use census::{Census, Count};
pub use figures::{Figures, ServiceFigures};
pub use sweep::{AT_MOST, Progress, Sweep};
pub use time::Now;
