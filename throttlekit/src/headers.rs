//! Decisions as header fields.
