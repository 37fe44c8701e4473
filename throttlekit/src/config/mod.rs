//! Limits from a file.
