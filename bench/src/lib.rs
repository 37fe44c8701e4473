//! What the benchmark programs share: the rivals, the keys, the rounds and the tables. The README says what is measured
//! and how.

pub mod args;
pub mod clock;
pub mod cores;
pub mod gauge;
pub mod keys;
pub mod measure;
pub mod model;
pub mod overload;
pub mod plot;
pub mod regret;
pub mod report;
pub mod rival;
pub mod schedule;
pub mod simulate;
pub mod turns;
