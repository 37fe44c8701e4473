//! One call switches observation on: limits without an observer tell that of their door.

use throttlekit::{FixedWindow, Guard, Limiter, ManualClock, Queue, TokioRuntime, Unified};

use crate::client::read;
use crate::servers::{Framework, PATIENCE, Server};
use crate::setup::{Code, Setup};
use crate::story::Story;

fn limiter()
-> Limiter<FixedWindow, throttlekit::store::memory::Table<throttlekit::strategy::fixed_window::Count>, ManualClock> {
    let window = FixedWindow::builder().limit(2.0).window_ms(60_000.0).build().expect("good options");
    Limiter::builder(window).name("api").clock(ManualClock::new(0.0)).build()
}

/// What the lines begin with, up to the key.
fn beginnings(story: &Story) -> Vec<String> {
    let lines = story.take().into_iter();
    lines.map(|line| line.split(" for ").next().unwrap_or_default().to_owned()).collect()
}

pub(crate) async fn a_limiter_tells_the_observer_of_its_door<F: Framework>() {
    let (story, limiter) = (Story::default(), limiter());
    let server = Server::<F>::start(Setup::code(Code::Limiter(limiter.clone())).observed(&story)).await;
    let mut client = server.client().await;
    for status in [200, 200, 429] {
        assert_eq!(client.get("/hello").await.status(), status);
    }
    let told = story.take();
    assert_eq!(told.len(), 3, "{told:?}");
    for (line, result) in told.iter().zip(["Ok((true, 1))", "Ok((true, 0))", "Ok((false, 0))"]) {
        assert!(
            line.starts_with("decided api by fixedWindow on Rate for \"127.0.0.1\"") && line.contains(result),
            "{line}"
        );
    }
    // Who asks the limiter itself is seen by nobody, and meets the same limit.
    assert!(!limiter.check("127.0.0.1").expect("memory answers").allowed);
    assert!(story.take().is_empty());
}

pub(crate) async fn a_guard_tells_of_those_who_wait<F: Framework>() {
    let story = Story::default();
    let guard = Guard::builder().fixed(1).name("work").clock(ManualClock::new(0.0));
    let guard = guard.queue(Queue::new(1, 600_000.0), TokioRuntime).build().expect("good options");
    let server = Server::<F>::start(Setup::code(Code::Guard(guard.clone())).observed(&story)).await;
    let parts = server.site.stream();
    let (mut first, mut second) = (server.client().await, server.client().await);
    let held = first.get("/stream").await;
    let waits = tokio::spawn(async move { second.get("/hello").await.status().as_u16() });
    let waiting = async {
        while guard.waiting() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the second one waits");
    drop(parts);
    assert_eq!(read(held).await.expect("the end"), "");
    assert_eq!(waits.await.expect("no panic"), 200);
    let decided = "decided work by fixed on Concurrency";
    assert_eq!(beginnings(&story), [decided, decided, "waited work by fixed: 0 Admitted"]);
}

pub(crate) async fn a_unified_admission_tells_of_its_parts_and_of_the_whole<F: Framework>() {
    let (story, clock) = (Story::default(), ManualClock::new(0.0));
    let guard = Guard::builder().fixed(8).clock(clock.clone()).build().expect("good options");
    let unified = Unified::builder().concurrency(guard).rate(limiter()).name("all").clock(clock);
    let unified = unified.build().expect("good options");
    let server = Server::<F>::start(Setup::code(Code::Unified(unified)).observed(&story)).await;
    let mut client = server.client().await;
    for status in [200, 200, 429] {
        assert_eq!(client.get("/hello").await.status(), status);
        let parts = ["decided all by unified on Concurrency", "decided all by unified on Rate", "admitted all"];
        assert_eq!(beginnings(&story), parts);
    }
}

pub(crate) async fn a_file_tells_also_of_what_is_loaded_later<F: Framework>() {
    let story = Story::default();
    let server = Server::<F>::start(Setup::rules().observed(&story)).await;
    let mut client = server.client().await;
    let mut told = async |path: &str| {
        read(client.get(path).await).await.expect("a whole body");
        beginnings(&story)
    };
    let chat = [
        "decided work by fixed on Concurrency",
        "decided tokens by tokenBudget on Cost",
        "decided wide by fixedWindow on Rate",
        "admitted wide+work+tokens",
    ];
    for reloaded in [false, true] {
        if reloaded {
            server.setup.reload();
        }
        assert_eq!(told("/rate/hello").await, ["decided rate by fixedWindow on Rate"]);
        assert_eq!(told("/both/hello").await, ["decided wide+rate by all on Rate"]);
        assert_eq!(told("/slots/hello").await, ["decided work by fixed on Concurrency", "admitted work"]);
        let mut of_chat = told("/chat/hello").await;
        of_chat.sort();
        let mut chat = chat.map(str::to_owned);
        chat.sort();
        assert_eq!(of_chat, chat);
        assert_eq!(told("/free").await, [""; 0]);
    }
}

pub(crate) async fn a_file_with_an_observer_tells_that_one_once<F: Framework>() {
    let (own, other) = (Story::default(), Story::default());
    let server = Server::<F>::start(Setup::rules_told_to(&own).observed(&other)).await;
    let mut client = server.client().await;
    for reloaded in [false, true] {
        if reloaded {
            server.setup.reload();
        }
        read(client.get("/rate/hello").await).await.expect("a whole body");
        read(client.get("/slots/hello").await).await.expect("a whole body");
        let told = ["decided rate by fixedWindow on Rate", "decided work by fixed on Concurrency", "admitted work"];
        assert_eq!(beginnings(&own), told);
        assert_eq!(beginnings(&other), [""; 0]);
    }
}
