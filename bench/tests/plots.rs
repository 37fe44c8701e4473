//! The pictures of the documentation are those that the simulations draw.
#![allow(clippy::unwrap_used)] // a helper of a test is a test too

use std::fs;

use bench::plot::Plot;
use bench::simulate::plots::plots;

#[test]
fn the_pictures_are_current() {
    for (name, plot) in plots().unwrap() {
        let path = Plot::path(name);
        let shown = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            shown == plot.svg().unwrap(),
            "docs/plots/{name}.svg is old: cargo bench -p bench --bench proofs -- plots"
        );
    }
}
