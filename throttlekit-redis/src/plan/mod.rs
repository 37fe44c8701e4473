//! From calls to script runs.
//!
//! The programs of all calls that wait go into as few runs as possible. A run reads every key once, takes all steps on it
//! in the order in which they were asked for, and writes every key at most once.

mod words;

use std::collections::HashMap;

use throttlekit::Error;
use throttlekit::store::script::{Script, ScriptRun as Wanted, Task};
use throttlekit::store::{Call, Effect, Rule};
use throttlekit::twin::Numbers;

use crate::link::{Link, ScriptRun};
use crate::replay::{Member, Places, Sent};
use crate::script::{FORGET, GUARD, Lua, Scripts};
use words::Words;

/// The most keys of a run, and the most steps, so that a run holds up the server for less than a millisecond. One joint
/// check may be larger.
const MOST_KEYS: usize = 128;
const MOST_STEPS: usize = 1_024;

/// Of the names of one run. There are so few that names that collide on purpose cost little.
type Hasher = foldhash::fast::RandomState;

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

/// What is asked of one key of a run, apart from reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Steps {
    /// Nothing.
    None,
    /// The same step, so many times.
    Same(Numbers, usize),
    /// Anything else.
    Mixed,
}

#[derive(Debug)]
struct Key<'a> {
    /// Its name below the prefix.
    name: &'a str,
    program: Program,
    steps: Steps,
}

/// Keys of a run that follow each other and belong to one program.
#[derive(Debug)]
struct Span {
    program: Program,
    /// Whether the keys are only read.
    pure: bool,
    /// The request of all of them, where each key takes one step or the same several times.
    request: Option<Numbers>,
    count: usize,
}

/// Steps that count each for itself, or together or not at all.
#[derive(Debug)]
struct Group {
    all: bool,
    asks: Vec<(usize, Ask)>,
}

/// One run in the making.
#[derive(Debug)]
struct Draft<'a> {
    keys: Vec<Key<'a>>,
    by_name: HashMap<&'a str, usize, Hasher>,
    groups: Vec<Group>,
    members: Vec<Member>,
    steps: usize,
}

/// One task of a call: the key in the call, its name below the prefix, what it belongs to and what is asked.
struct Item<'a> {
    key: usize,
    name: &'a str,
    program: Program,
    ask: Ask,
}

/// Plans the runs of a batch of calls.
#[derive(Debug)]
pub(crate) struct Planner<'a> {
    link: &'a Link,
    prefix: &'a str,
    /// How many calls there are to plan.
    calls: usize,
    drafts: Vec<Draft<'a>>,
    /// The draft that takes on more, for each slot of a cluster, or the one of a single server.
    open: HashMap<Option<u16>, usize>,
    /// The slot that was asked for last, and its draft.
    last: Option<(Option<u16>, usize)>,
}

impl<'a> Planner<'a> {
    /// A planner of so many calls.
    pub(crate) fn new(link: &'a Link, prefix: &'a str, calls: usize) -> Self {
        Self { link, prefix, calls, drafts: Vec::new(), open: HashMap::new(), last: None }
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
        call: &'a Call,
        tasks: &[Task],
        judged: &HashMap<usize, Judged>,
        takes: impl Fn(usize) -> bool,
    ) -> Result<(), Error> {
        let keys = call.keys().len();
        let mut items = tasks.iter().enumerate().filter(|(position, _)| takes(*position)).map(|(position, task)| {
            let (program, ask) = asked(task.script.as_ref(), judged.get(&position));
            Item { key: task.key, name: &call.keys()[task.key], program, ask }
        });
        if call.rule() == Rule::Each || tasks.len() == 1 {
            for item in items {
                self.one(index, keys, item);
            }
            return Ok(());
        }
        let items: Vec<_> = items.by_ref().collect();
        let Some(first) = items.first() else { return Ok(()) };
        if items.len() != keys {
            return Err(Error::invalid_argument("two programs of a joint check are on one key: must be one on each"));
        }
        let slot = self.slot(first.name);
        if items.iter().any(|item| self.slot(item.name) != slot) {
            return Err(Error::invalid_argument(
                "the keys of a joint check are in several hash slots of the cluster: must share a {tag}, such as one \
                 in the prefix",
            ));
        }
        let at = self.draft_for(slot, |draft| draft.accepts(&items));
        self.drafts[at].take_all(index, keys, items);
        Ok(())
    }

    /// Adds the reading of one text, as call `index`.
    pub(crate) fn look(&mut self, index: usize, name: &'a str) {
        let (program, ask) = asked(None, None);
        self.one(index, 1, Item { key: 0, name, program, ask });
    }

    /// Adds one guarded write, as call `index`. It is a run of its own: a text that has changed undoes all of a run.
    pub(crate) fn write(&mut self, index: usize, name: &'a str, judged: &Judged) {
        let (program, ask) = asked(None, Some(judged));
        let mut draft = Draft::with_capacity(1);
        draft.begin(index, 1, false);
        draft.take(None, Item { key: 0, name, program, ask });
        self.drafts.push(draft);
    }

    /// Adds what counts for itself, of a call on so many keys.
    fn one(&mut self, index: usize, keys: usize, item: Item<'a>) {
        let slot = self.slot(item.name);
        let mut known = None;
        let at = self.draft_for(slot, |draft| {
            known = draft.by_name.get(item.name).copied();
            draft.has_room(1) && draft.fits(known, &item)
        });
        let draft = &mut self.drafts[at];
        // A new draft knows no key.
        let known = known.filter(|_| !draft.keys.is_empty());
        draft.begin(index, keys, false);
        draft.take(known, item);
    }

    fn slot(&self, name: &str) -> Option<u16> {
        self.link.slot(self.prefix, name)
    }

    /// The draft that is to take what `accepts` asks for: that which is open for the slot, if it says so.
    fn draft_for(&mut self, slot: Option<u16>, accepts: impl FnOnce(&Draft<'a>) -> bool) -> usize {
        let open = match self.last {
            Some((last, at)) if last == slot => Some(at),
            _ => self.open.get(&slot).copied(),
        };
        let at = open.filter(|&open| accepts(&self.drafts[open])).unwrap_or(self.drafts.len());
        if at == self.drafts.len() {
            // The calls of a slot are few.
            let keys = if slot.is_none() { self.calls.min(MOST_KEYS) } else { 1 };
            self.drafts.push(Draft::with_capacity(keys));
            self.open.insert(slot, at);
        }
        self.last = Some((slot, at));
        at
    }

    /// The runs, and what to do with their answers.
    pub(crate) fn finish(self, scripts: &Scripts, terms: Terms) -> (Vec<ScriptRun>, Vec<Sent>) {
        let prefix = self.prefix;
        self.drafts.into_iter().map(|draft| draft.finish(prefix, scripts, terms)).unzip()
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

impl<'a> Draft<'a> {
    fn with_capacity(keys: usize) -> Self {
        Self {
            keys: Vec::with_capacity(keys),
            by_name: HashMap::with_capacity_and_hasher(keys, Hasher::default()),
            groups: Vec::with_capacity(1),
            members: Vec::with_capacity(keys),
            steps: 0,
        }
    }

    fn has_room(&self, more: usize) -> bool {
        self.keys.len() + more <= MOST_KEYS && self.steps + more <= MOST_STEPS
    }

    /// Whether the item may be on the key that it names, if that is `known`: a key belongs to one program in a run.
    fn fits(&self, known: Option<usize>, item: &Item<'_>) -> bool {
        known.and_then(|known| self.keys.get(known)).is_none_or(|Key { program, .. }| {
            *program == item.program || program.lua == FORGET || item.program.lua == FORGET
        })
    }

    /// Whether these fit in.
    fn accepts(&self, items: &[Item<'_>]) -> bool {
        self.has_room(items.len()) && items.iter().all(|item| self.fits(self.by_name.get(item.name).copied(), item))
    }

    fn take_all(&mut self, call: usize, keys: usize, items: Vec<Item<'a>>) {
        self.begin(call, keys, true);
        for item in items {
            let known = self.by_name.get(item.name).copied();
            self.take(known, item);
        }
    }

    /// Makes room for what a call on so many keys asks.
    fn begin(&mut self, call: usize, keys: usize, all: bool) {
        if self.members.last().is_none_or(|member| member.call != call) {
            self.members.push(Member { call, places: Places::of(keys) });
        }
        if all || self.groups.last().is_none_or(|group| group.all) {
            let asks = if self.groups.is_empty() { self.keys.capacity() } else { 0 };
            self.groups.push(Group { all, asks: Vec::with_capacity(asks) });
        }
    }

    /// Takes an item whose key is `known` already, or not.
    fn take(&mut self, known: Option<usize>, item: Item<'a>) {
        let Item { key, name, program, ask } = item;
        let at = known.unwrap_or(self.keys.len());
        if known.is_none() {
            self.by_name.insert(name, at);
            self.keys.push(Key { name, program, steps: Steps::None });
        }
        let known = &mut self.keys[at];
        if known.program.lua == FORGET {
            known.program = program;
        }
        if let Some(place) = self.members.last_mut().and_then(|member| member.places.as_mut().get_mut(key)) {
            *place = Some(at);
        }
        self.steps += 1;
        known.steps = match (known.steps, &ask) {
            (steps, Ask::Read) => {
                known.steps = steps;
                return;
            }
            (Steps::None, Ask::Step(request)) => Steps::Same(*request, 1),
            (Steps::Same(same, times), Ask::Step(request)) if same == *request => Steps::Same(same, times + 1),
            _ => Steps::Mixed,
        };
        if let Some(group) = self.groups.last_mut() {
            group.asks.push((at, ask));
        }
    }

    fn finish(mut self, prefix: &str, scripts: &Scripts, terms: Terms) -> (ScriptRun, Sent) {
        let run = match self.single() {
            Some((program, request)) => {
                let mut run = ScriptRun::new(scripts.single(program.lua), prefix, self.names());
                let mut words = Words(&mut run);
                words.terms(terms);
                words.numbers(&program.args);
                for number in request.as_slice() {
                    words.number(*number);
                }
                run
            }
            None => self.any(prefix, scripts, terms),
        };
        (run, Sent { keys: self.keys.len(), members: self.members })
    }

    /// The program and the request, if all there is to do is one step.
    fn single(&self) -> Option<(Program, Numbers)> {
        match (&self.keys[..], &self.groups[..]) {
            ([Key { program, steps: Steps::Same(request, 1), .. }], [_]) => Some((*program, *request)),
            _ => None,
        }
    }

    /// Whether no step has to know of another, but for those before it on its key.
    fn is_plain(&self) -> bool {
        self.groups.iter().all(|group| !group.all) && self.keys.iter().all(|key| key.steps != Steps::Mixed)
    }

    fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.keys.iter().map(|key| key.name)
    }

    fn any(&mut self, prefix: &str, scripts: &Scripts, terms: Terms) -> ScriptRun {
        let plain = self.is_plain();
        let spans = self.spans(plain);
        let mut twins: Vec<Lua> = spans.iter().map(|span| span.program.lua).collect();
        // In one order, so that the same twins make the same script.
        twins.sort_unstable_by_key(|twin| twin.0);
        twins.dedup();
        let index = |lua: Lua| 1 + twins.iter().position(|twin| *twin == lua).unwrap_or(0);
        let indices: Vec<_> = spans.iter().map(|span| index(span.program.lua)).collect();
        let mut run = ScriptRun::new(scripts.any(twins), prefix, self.names());
        let mut words = Words(&mut run);
        words.terms(terms);
        // No spans are announced where they are all there is.
        words.count(if plain { 0 } else { spans.len() });
        let mut first = 0;
        for (span, index) in spans.iter().zip(indices) {
            words.count(index);
            words.count(span.count);
            words.count(span.pure.into());
            words.numbers(&span.program.args);
            if plain {
                words.plain(span, &self.keys[first..first + span.count]);
            }
            first += span.count;
        }
        if !plain {
            for group in &mut self.groups {
                words.group(group, &spans);
            }
        }
        run
    }

    /// Puts the keys of one program, and in a `plain` run of one request, next to each other, and says how they lie.
    fn spans(&mut self, plain: bool) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let mut of_key = Vec::with_capacity(self.keys.len());
        for &Key { program, steps, .. } in &self.keys {
            let pure = steps == Steps::None;
            let request = match steps {
                Steps::Same(request, _) if plain => Some(request),
                _ => None,
            };
            let same = |span: &Span| span.program == program && span.pure == pure && span.request == request;
            let at = spans.iter().position(same).unwrap_or_else(|| {
                spans.push(Span { program, pure, request, count: 0 });
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
            let places = self.members.iter_mut().flat_map(|member| member.places.as_mut().iter_mut().flatten());
            for key in asks.chain(places) {
                *key = moved[*key];
            }
        }
        spans
    }
}
