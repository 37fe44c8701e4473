//! Depth first through all schedules.

use std::collections::HashSet;

use throttlekit::BuildError;

use super::{Fleet, Setting, Step};

/// How much there was to see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Searched {
    /// States with different futures.
    pub states: usize,
    /// Steps taken from a state, those to a state met before included.
    pub steps: usize,
    /// The longest schedule.
    pub longest: usize,
    /// The most units admitted in a window.
    pub most: f64,
}

/// A schedule after which something is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    /// What.
    pub what: String,
    /// The steps from the start.
    pub schedule: Vec<Step>,
}

/// Takes every schedule of `setting`. `most` is the most that may be admitted in a window.
///
/// # Errors
///
/// If the setting is refused.
pub fn search(setting: Setting, most: f64) -> Result<Result<Searched, Broken>, BuildError> {
    let mut seen = HashSet::new();
    let mut searched = Searched { states: 1, steps: 0, longest: 0, most: 0.0 };
    let mut fleet = Fleet::new(setting)?;
    seen.insert(fleet.digest());
    let mut schedule: Vec<Step> = Vec::new();
    // For each state of the schedule, the first one included, the steps from it that are still to be taken.
    let mut open = vec![fleet.steps()];
    // Whether `fleet` is the one that `schedule` leads to.
    let mut here = true;
    while let Some(steps) = open.last_mut() {
        let Some(step) = steps.pop() else {
            open.pop();
            schedule.pop();
            here = false;
            continue;
        };
        if !here {
            fleet = Fleet::new(setting)?;
            for step in &schedule {
                fleet.happen(*step);
            }
        }
        fleet.happen(step);
        schedule.push(step);
        searched.steps += 1;
        searched.longest = searched.longest.max(schedule.len());
        searched.most = searched.most.max(fleet.admitted());
        if let Some(what) = fleet.wrong(most) {
            return Ok(Err(Broken { what, schedule }));
        }
        if seen.insert(fleet.digest()) {
            searched.states += 1;
            open.push(fleet.steps());
            here = true;
        } else {
            schedule.pop();
            here = false;
        }
    }
    Ok(Ok(searched))
}
