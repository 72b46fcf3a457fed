//! The namespace bed.
