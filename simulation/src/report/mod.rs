//! What is written down of the runs: files for pictures, tables for people.

pub mod document;
pub mod files;
pub mod plot;
pub mod tables;
pub mod targets;
