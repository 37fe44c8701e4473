//! Programs without a twin: read, step here, and write if nobody else did.
//!
//! A script reads the texts and the server's time. The programs are stepped at that time, and a second script makes the
//! writes if every text is still the one that was seen; comparing texts is safe however often they changed in between,
//! since a step depends on nothing else. Calls that wait for one key are stepped one after the other and written once,
//! so that only other processes are ever raced.

use std::collections::HashMap;
use std::time::Duration;

use throttlekit::Error;
use throttlekit::store::script::{ScriptRun as Wanted, Task};
use throttlekit::store::{Call, Effect};
use throttlekit::twin::Raw;

use crate::plan::{Judged, Planner, Terms};
use crate::replay::Found;
use crate::store::Inner;

/// The longest first pause after a lost race; it doubles with each further one, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

/// What was found under a key.
struct Seen {
    text: Option<String>,
    now_ms: f64,
}

/// The positions of the programs of a call that have no script. One that forgets a key has none where another one on
/// that key has none.
pub(crate) fn unscripted(tasks: &[Task]) -> Vec<usize> {
    let bare = |key| tasks.iter().any(|task| task.key == key && task.script.is_none());
    let is_unscripted = |&position: &usize| match &tasks[position].script {
        None => true,
        Some(script) => script.run == Wanted::Remove && bare(tasks[position].key),
    };
    (0..tasks.len()).filter(is_unscripted).collect()
}

impl Inner {
    /// Runs the programs without a script of calls under [`Rule::Each`].
    pub(crate) async fn each_guarded(
        &self,
        calls: &mut [(usize, &mut Call)],
        errors: &mut [Option<Error>],
        terms: Terms,
    ) {
        // The call, the position of the program, the key's name.
        let mut open: Vec<(usize, usize, String)> = Vec::new();
        for (at, (_, call)) in calls.iter().enumerate() {
            let tasks: Vec<_> = call.tasks().collect();
            let names = unscripted(&tasks).into_iter().map(|task| (at, task, self.name(&call.keys()[tasks[task].key])));
            open.extend(names);
        }
        for attempt in 0..=self.options.max_retries {
            let mut names: Vec<&str> = open.iter().map(|(.., name)| name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            let seen = self.look(&names, terms).await;
            let mut judged: HashMap<&str, Result<(Judged, f64), Error>> = HashMap::with_capacity(seen.len());
            for (name, seen) in names.iter().zip(seen) {
                let fresh = |seen: Seen| (Judged { expected: seen.text, effect: Effect::Keep }, seen.now_ms);
                judged.insert(name, seen.map(fresh));
            }
            // What each comes to, unless its race is lost.
            let mut outcomes: Vec<Result<(), Error>> = Vec::with_capacity(open.len());
            for (at, task, name) in &open {
                let (_, call) = &mut calls[*at];
                let mut judge = |(judged, now_ms): &mut (Judged, f64)| -> Result<(), Error> {
                    let effect = call.step_one(*task, judged.text(), *now_ms)?;
                    if effect != Effect::Keep {
                        judged.effect = effect;
                    }
                    Ok(())
                };
                outcomes.push(match judged.get_mut(name.as_str()) {
                    Some(Ok(known)) => judge(known),
                    Some(Err(error)) => Err(error.clone()),
                    None => Ok(()),
                });
            }
            let writes: Vec<_> = judged
                .into_iter()
                .filter_map(|(name, judged)| Some((name, judged.ok()?.0)))
                .filter(|(_, judged)| judged.effect != Effect::Keep)
                .collect();
            let mut lost: Vec<String> = Vec::new();
            for (name, outcome) in self.write(writes, terms).await {
                match outcome {
                    Ok(true) => {}
                    Ok(false) => lost.push(name),
                    Err(error) => {
                        let of_name = open.iter().zip(&mut outcomes).filter(|((.., of), _)| *of == name);
                        for (_, outcome) in of_name.filter(|(_, outcome)| outcome.is_ok()) {
                            *outcome = Err(error.clone());
                        }
                    }
                }
            }
            let mut again = Vec::with_capacity(lost.len());
            for (one, outcome) in open.into_iter().zip(outcomes) {
                if lost.contains(&one.2) {
                    again.push(one);
                } else if let Err(error) = outcome {
                    errors[calls[one.0].0].get_or_insert(error);
                }
            }
            open = again;
            if open.is_empty() {
                return;
            }
            pause(attempt).await;
        }
        for (at, ..) in &open {
            errors[calls[*at].0].get_or_insert_with(too_many_races);
        }
    }

    /// Runs a call under [`Rule::All`] with a program that has no script.
    ///
    /// # Errors
    ///
    /// What a program fails with; `store_unavailable` also if all races are lost.
    pub(crate) async fn all_guarded(&self, call: &mut Call, terms: Terms) -> Result<(), Error> {
        let tasks: Vec<_> = call.tasks().collect();
        let unscripted = unscripted(&tasks);
        let names: Vec<_> = unscripted.iter().map(|&task| self.name(&call.keys()[tasks[task].key])).collect();
        for attempt in 0..=self.options.max_retries {
            let looked: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut judged = HashMap::with_capacity(unscripted.len());
            for (&task, seen) in unscripted.iter().zip(self.look(&looked, terms).await) {
                let Seen { text, now_ms } = seen?;
                let effect = call.step_one(task, text.as_deref(), now_ms)?;
                judged.insert(task, Judged { expected: text, effect });
            }
            let mut planner = Planner::new(&self.link, &self.options.prefix, tasks.len());
            planner.add(0, call, &tasks, &judged, |_| true)?;
            let (runs, sent) = planner.finish(&self.scripts, terms);
            let reply = self.link.send(runs).await.pop();
            let (Some(reply), Some(sent)) = (reply, sent.first()) else { return Ok(()) };
            let found = Found::read(reply?, sent.keys)?;
            if !found.lost() {
                let mut errors = [None];
                sent.replay(Ok(found), std::slice::from_mut(call), &mut errors);
                return errors[0].take().map_or(Ok(()), Err);
            }
            pause(attempt).await;
        }
        Err(too_many_races())
    }

    /// The texts under the names, and when they were read.
    async fn look(&self, names: &[&str], terms: Terms) -> Vec<Result<Seen, Error>> {
        let mut planner = Planner::new(&self.link, "", names.len());
        for (index, name) in names.iter().enumerate() {
            planner.look(index, name);
        }
        let (runs, sent) = planner.finish(&self.scripts, terms);
        let mut seen: Vec<_> = names.iter().map(|_| Err(Error::store_unavailable("no answer"))).collect();
        for (reply, sent) in self.link.send(runs).await.into_iter().zip(sent) {
            let found = reply.and_then(|reply| Found::read(reply, sent.keys));
            for member in &sent.members {
                let &[Some(at)] = member.places.as_slice() else { continue };
                seen[member.call] = match &found {
                    Ok(found) => text(&found.cells[at]).map(|text| Seen { text, now_ms: found.now_ms }),
                    Err(error) => Err(error.clone()),
                };
            }
        }
        seen
    }

    /// Makes writes that do not depend on each other, and says of each whether its text was still the expected one.
    async fn write(&self, writes: Vec<(&str, Judged)>, terms: Terms) -> Vec<(String, Result<bool, Error>)> {
        let mut planner = Planner::new(&self.link, "", writes.len());
        for (index, (name, judged)) in writes.iter().enumerate() {
            planner.write(index, name, judged);
        }
        let (runs, sent) = planner.finish(&self.scripts, terms);
        let mut outcomes = Vec::with_capacity(writes.len());
        for (reply, sent) in self.link.send(runs).await.into_iter().zip(sent) {
            let found = reply.and_then(|reply| Found::read(reply, sent.keys));
            for member in &sent.members {
                let made = found.as_ref().map(|found| !found.lost()).map_err(Error::clone);
                outcomes.push((writes[member.call].0.to_owned(), made));
            }
        }
        outcomes
    }
}

impl Judged {
    /// The text as the next program on the key finds it.
    fn text(&self) -> Option<&str> {
        match &self.effect {
            Effect::Keep => self.expected.as_deref(),
            Effect::Write(text, _) => Some(text),
            Effect::Remove => None,
        }
    }
}

fn text(raw: &Raw) -> Result<Option<String>, Error> {
    match raw {
        Raw::Nothing => Ok(None),
        Raw::Failed(code) => Err(Error::state_invalid(code)),
        raw => raw.text().map(|text| Some(text.to_owned())).ok_or_else(|| Error::state_invalid("not a text")),
    }
}

async fn pause(attempt: u32) {
    let longest = FIRST_PAUSE.saturating_mul(1 << attempt.min(16)).min(LONGEST_PAUSE);
    tokio::time::sleep(longest.mul_f64(fastrand::f64())).await;
}

fn too_many_races() -> Error {
    Error::store_unavailable("other processes changed the key in between each time")
}
