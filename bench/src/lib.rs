//! Benchmarks, rivals in the same run.
