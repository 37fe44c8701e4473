//! Tests that cross crates. The library holds nothing; the tests are in `tests/`.

/// The code in the guide for contributors compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../CONTRIBUTING.md")]
struct Contributing;

/// The code in the core's introduction compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../throttlekit/README.md")]
struct Core;
