//! The algorithms, as pure programs.
