//! Weights that follow latency: the control law as a machine without clock, socket or map.
//!
//! For each service a [`Controller`] takes samples and time, and gives effective weights for the slot table with the
//! reason of each. [`ChurnCap`] says how many slots may move for them. docs/latency-control.md has the law, its
//! reasons, and what a simulation says of it.

mod churn;
mod controller;
mod decisions;
mod figures;
mod govern;
mod governor;
mod law;
mod member;
mod normalise;
mod output;
mod passive;
mod publish;
mod rows;
mod sample;
mod standing;

pub use churn::{Cause, ChurnCap};
pub use controller::Controller;
pub use decisions::{BackendDecision, Decision, What};
pub use figures::{CapacityGain, Figures};
pub use governor::{Governed, Governor, Shown, ShownBackend, Step};
pub use law::{Law, LawError, LawProblem};
pub use member::{Health, Member};
pub use output::{BackendWeight, Mode, WEIGHT_SCALE, Weights};
pub use passive::{Passive, Waiting};
pub use publish::{Published, publish};
pub use rows::{LatencyRow, WeightsRow};
pub use sample::{Outcome, Sample};
pub use standing::{Clamp, Freeze, Standing};

#[cfg(test)]
mod tests;
