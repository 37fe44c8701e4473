//! From calls to script runs.
//!
//! The programs of all calls that wait go into as few runs as possible. A run reads every key once, takes all steps on it
//! in the order in which they were asked for, and writes every key at most once.

use std::collections::HashMap;

use throttlekit::Error;
use throttlekit::store::script::{Script, ScriptRun as Wanted, Task};
use throttlekit::store::{Call, Effect, Rule, prefixed};
use throttlekit::twin::Numbers;

use crate::link::{Link, ScriptRun};
use crate::replay::{Member, Sent};
use crate::script::{FORGET, GUARD, Lua, Scripts};

/// The most keys of a run, and the most steps, so that a run holds up the server for less than a millisecond. One joint
/// check may be larger.
const MOST_KEYS: usize = 128;
const MOST_STEPS: usize = 1_024;

/// What holds for all runs of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// The instant to judge at, in milliseconds since the Unix epoch; 0 for the server's own.
    pub(crate) now_ms: f64,
    /// The least life of a written state, in milliseconds.
    pub(crate) ttl_floor_ms: f64,
}

/// A program without a twin, stepped here: what it saw and what it wants.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) expected: Option<String>,
    pub(crate) effect: Effect,
}

/// What is asked of one key.
#[derive(Clone, Debug, PartialEq)]
enum Ask {
    Read,
    Remove,
    Step(Numbers),
    /// The words of a guarded write.
    Guarded(Vec<String>),
}

/// What the keys of a span have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Program {
    lua: Lua,
    args: Numbers,
}

#[derive(Debug)]
struct Key {
    name: String,
    program: Program,
    /// Whether it is only read.
    pure: bool,
}

/// Keys of a run that follow each other and belong to one program.
#[derive(Debug)]
struct Span {
    program: Program,
    pure: bool,
    count: usize,
}

/// Steps that count each for itself, or together or not at all.
#[derive(Debug)]
struct Group {
    all: bool,
    asks: Vec<(usize, Ask)>,
}

/// One run in the making.
#[derive(Debug, Default)]
struct Draft {
    keys: Vec<Key>,
    by_name: HashMap<String, usize>,
    groups: Vec<Group>,
    members: Vec<Member>,
    steps: usize,
}

/// One task of a call: the key in the call, its name in the server, what it belongs to and what is asked.
struct Item {
    key: usize,
    name: String,
    program: Program,
    ask: Ask,
}

/// Plans the runs of a batch of calls.
#[derive(Debug)]
pub(crate) struct Planner<'a> {
    link: &'a Link,
    prefix: &'a str,
    drafts: Vec<Draft>,
    /// The draft that takes on more, for each slot of a cluster, or the one of a single server.
    open: HashMap<Option<u16>, usize>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(link: &'a Link, prefix: &'a str) -> Self {
        Self { link, prefix, drafts: Vec::new(), open: HashMap::new() }
    }

    /// Adds those `tasks` of the call at `index` of the batch whose positions `takes` accepts. `judged` has an entry for
    /// each of them without a script.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if the keys of a joint call are in several slots, or two of its programs are on one key.
    pub(crate) fn add(
        &mut self,
        index: usize,
        call: &Call,
        tasks: &[Task],
        judged: &HashMap<usize, Judged>,
        takes: impl Fn(usize) -> bool,
    ) -> Result<(), Error> {
        let items: Vec<_> = tasks
            .iter()
            .enumerate()
            .filter(|(position, _)| takes(*position))
            .map(|(position, task)| {
                let (program, ask) = asked(task.script.as_ref(), judged.get(&position));
                Item { key: task.key, name: prefixed(self.prefix, &call.keys()[task.key]), program, ask }
            })
            .collect();
        let keys = call.keys().len();
        if call.rule() == Rule::All && items.len() > 1 {
            if items.len() != keys {
                return Err(Error::invalid_argument(
                    "two programs of a joint check are on one key: must be one on each",
                ));
            }
            let slot = self.link.slot(&items[0].name);
            if items.iter().any(|item| self.link.slot(&item.name) != slot) {
                return Err(Error::invalid_argument(
                    "the keys of a joint check are in several hash slots of the cluster: must share a {tag}, such as one \
                     in the prefix",
                ));
            }
            self.draft_for(slot, &items).take(index, keys, true, items);
        } else {
            for item in items {
                let slot = self.link.slot(&item.name);
                let items = [item];
                self.draft_for(slot, &items).take(index, keys, false, items);
            }
        }
        Ok(())
    }

    /// Adds the reading of one text, as call `index`.
    pub(crate) fn look(&mut self, index: usize, name: &str) {
        self.single(index, name, None);
    }

    /// Adds one guarded write, as call `index`.
    pub(crate) fn write(&mut self, index: usize, name: &str, judged: &Judged) {
        self.single(index, name, Some(judged));
    }

    fn single(&mut self, index: usize, name: &str, judged: Option<&Judged>) {
        let (program, ask) = asked(None, judged);
        let items = [Item { key: 0, name: name.to_owned(), program, ask }];
        self.draft_for(self.link.slot(name), &items).take(index, 1, false, items);
    }

    /// The draft that is to take these.
    fn draft_for(&mut self, slot: Option<u16>, items: &[Item]) -> &mut Draft {
        let open = self.open.get(&slot).copied().filter(|&open| self.drafts[open].accepts(items));
        let at = open.unwrap_or(self.drafts.len());
        if open.is_none() {
            self.drafts.push(Draft::default());
            self.open.insert(slot, at);
        }
        &mut self.drafts[at]
    }

    /// The runs, and what to do with their answers.
    pub(crate) fn finish(self, scripts: &Scripts, terms: Terms) -> (Vec<ScriptRun>, Vec<Sent>) {
        self.drafts.into_iter().map(|draft| draft.finish(scripts, terms)).unzip()
    }
}

/// What a task belongs to, and what it asks.
fn asked(script: Option<&Script>, judged: Option<&Judged>) -> (Program, Ask) {
    let guard = Program { lua: GUARD, args: Numbers::from([]) };
    match (script, judged) {
        (Some(&Script { lua, args, run, .. }), _) => match run {
            Wanted::Remove => (Program { lua: FORGET, args }, Ask::Remove),
            Wanted::Step(request) => (Program { lua: Lua(lua), args }, Ask::Step(request)),
            Wanted::Read => (Program { lua: Lua(lua), args }, Ask::Read),
        },
        (None, Some(Judged { expected, effect })) => {
            let (known, text) = expected.as_ref().map_or(("0", ""), |text| ("1", text));
            let mut words = vec![known.to_owned(), text.to_owned()];
            match effect {
                Effect::Keep => words.push("0".to_owned()),
                Effect::Write(text, ttl_ms) => words.extend(["1".to_owned(), text.clone(), ttl_ms.to_string()]),
                Effect::Remove => words.push("2".to_owned()),
            }
            (guard, Ask::Guarded(words))
        }
        (None, None) => (guard, Ask::Read),
    }
}

impl Draft {
    /// Whether these fit in: a key belongs to one program in a run.
    fn accepts(&self, items: &[Item]) -> bool {
        self.keys.len() + items.len() <= MOST_KEYS
            && self.steps + items.len() <= MOST_STEPS
            && items.iter().all(|item| match self.by_name.get(&item.name) {
                Some(&known) => {
                    let program = self.keys[known].program;
                    program == item.program || program.lua == FORGET || item.program.lua == FORGET
                }
                None => true,
            })
    }

    fn take(&mut self, call: usize, keys: usize, all: bool, items: impl IntoIterator<Item = Item>) {
        if self.members.last().is_none_or(|member| member.call != call) {
            self.members.push(Member { call, places: vec![None; keys] });
        }
        if all || self.groups.last().is_none_or(|group| group.all) {
            self.groups.push(Group { all, asks: Vec::new() });
        }
        for Item { key, name, program, ask } in items {
            let pure = ask == Ask::Read;
            let at = self.by_name.get(&name).copied().unwrap_or(self.keys.len());
            if let Some(known) = self.keys.get_mut(at) {
                known.pure &= pure;
                if known.program.lua == FORGET {
                    known.program = program;
                }
            } else {
                self.by_name.insert(name.clone(), at);
                self.keys.push(Key { name, program, pure });
            }
            if let Some(place) = self.members.last_mut().and_then(|member| member.places.get_mut(key)) {
                *place = Some(at);
            }
            if let (false, Some(group)) = (pure, self.groups.last_mut()) {
                group.asks.push((at, ask));
            }
            self.steps += 1;
        }
    }

    fn finish(mut self, scripts: &Scripts, terms: Terms) -> (ScriptRun, Sent) {
        let run = match self.single() {
            Some((program, request)) => {
                let mut run = ScriptRun::new(scripts.single(program.lua), self.names());
                let mut words = Words(&mut run);
                words.terms(terms);
                words.numbers(&program.args);
                for number in request.as_slice() {
                    words.number(*number);
                }
                run
            }
            None => self.any(scripts, terms),
        };
        (run, Sent { keys: self.keys.len(), members: self.members })
    }

    /// The program and the request, if all there is to do is one step.
    fn single(&self) -> Option<(Program, Numbers)> {
        let ([key], [Group { asks, .. }]) = (&self.keys[..], &self.groups[..]) else { return None };
        match &asks[..] {
            [(_, Ask::Step(request))] => Some((key.program, *request)),
            _ => None,
        }
    }

    fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.keys.iter().map(|key| key.name.as_str())
    }

    fn any(&mut self, scripts: &Scripts, terms: Terms) -> ScriptRun {
        let spans = self.spans();
        let mut twins: Vec<Lua> = spans.iter().map(|span| span.program.lua).collect();
        // In one order, so that the same twins make the same script.
        twins.sort_unstable_by_key(|twin| twin.0);
        twins.dedup();
        let index = |lua: Lua| 1 + twins.iter().position(|twin| *twin == lua).unwrap_or(0);
        let indices: Vec<_> = spans.iter().map(|span| index(span.program.lua)).collect();
        let mut run = ScriptRun::new(scripts.any(twins), self.names());
        let mut words = Words(&mut run);
        words.terms(terms);
        words.count(spans.len());
        for (span, index) in spans.iter().zip(indices) {
            words.count(index);
            words.count(span.count);
            words.count(span.pure.into());
            words.numbers(&span.program.args);
        }
        for group in &mut self.groups {
            words.group(group, &spans);
        }
        run
    }

    /// Puts the keys of one program next to each other, and says how they lie.
    fn spans(&mut self) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let mut of_key = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            let same = |span: &Span| span.program == key.program && span.pure == key.pure;
            let at = spans.iter().position(same).unwrap_or_else(|| {
                spans.push(Span { program: key.program, pure: key.pure, count: 0 });
                spans.len() - 1
            });
            spans[at].count += 1;
            of_key.push(at);
        }
        if spans.len() > 1 {
            let mut order: Vec<_> = (0..self.keys.len()).collect();
            order.sort_by_key(|&key| of_key[key]);
            let mut moved = vec![0; order.len()];
            for (to, &from) in order.iter().enumerate() {
                moved[from] = to;
            }
            let mut keys: Vec<_> = self.keys.drain(..).zip(&moved).collect();
            keys.sort_by_key(|(_, to)| **to);
            self.keys = keys.into_iter().map(|(key, _)| key).collect();
            let asks = self.groups.iter_mut().flat_map(|group| &mut group.asks).map(|(key, _)| key);
            let places = self.members.iter_mut().flat_map(|member| member.places.iter_mut().flatten());
            for key in asks.chain(places) {
                *key = moved[*key];
            }
        }
        spans
    }
}

/// The arguments of a run. Numbers are written with the fewest digits that read back exactly.
struct Words<'a>(&'a mut ScriptRun);

impl Words<'_> {
    fn terms(&mut self, terms: Terms) {
        self.number(terms.now_ms);
        self.number(terms.ttl_floor_ms.max(1.0));
    }

    fn number(&mut self, number: f64) {
        self.0.arg(number.to_string());
    }

    fn count(&mut self, count: usize) {
        self.0.arg(count);
    }

    fn numbers(&mut self, numbers: &Numbers) {
        self.count(numbers.as_slice().len());
        for number in numbers.as_slice() {
            self.number(*number);
        }
    }

    /// A group as runs: the same step on keys of a span that follow each other, or several times on one key.
    fn group(&mut self, group: &mut Group, spans: &[Span]) {
        if group.asks.is_empty() {
            return;
        }
        if !group.all {
            // Stable: the steps on one key stay in their order.
            group.asks.sort_by_key(|(key, _)| *key);
        }
        let sum = |end: &mut usize, span: &Span| {
            *end += span.count;
            Some(*end)
        };
        let ends: Vec<usize> = spans.iter().scan(0, sum).collect();
        let mut runs: Vec<(usize, usize, usize, usize, &Ask)> = Vec::new();
        for (key, ask) in &group.asks {
            let span = ends.partition_point(|end| end <= key);
            match runs.last_mut() {
                Some((_, first, 1, times, same)) if key == first && ask == *same && *ask != Ask::Remove => *times += 1,
                Some((of, first, count, 1, same)) if span == *of && *key == *first + *count && ask == *same => {
                    *count += 1;
                }
                _ => runs.push((span, *key, 1, 1, ask)),
            }
        }
        self.count(group.all.into());
        self.count(runs.len());
        for (span, first, count, times, ask) in runs {
            // The server counts from 1.
            self.count(span + 1);
            self.count(first + 1);
            self.count(count);
            match ask {
                Ask::Step(request) => {
                    self.count(times);
                    self.numbers(request);
                }
                Ask::Guarded(words) => {
                    self.count(times);
                    self.count(words.len());
                    for word in words {
                        self.0.arg(word);
                    }
                }
                // No step at all forgets the keys. What is only read is in no group.
                Ask::Remove | Ask::Read => {
                    self.count(0);
                    self.count(0);
                }
            }
        }
    }
}
