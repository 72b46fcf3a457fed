//! Health.

pub mod iso8583;
pub mod machine;
pub mod schedule;
pub mod threshold;
