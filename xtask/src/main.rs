//! The tasks of this project: test, bench, services.

fn main() {}
