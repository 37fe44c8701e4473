//! A file that is read again when it changes.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use throttlekit::policy::Policies;
use throttlekit::{BoxFuture, Runtime, TaskHandle};

use super::registry::Folder;

/// Runs its one task by hand, each time until it sleeps.
#[derive(Clone, Default)]
struct ByHand {
    task: Arc<Mutex<Option<BoxFuture<()>>>>,
    slept: Arc<Mutex<Vec<Duration>>>,
}

impl ByHand {
    /// Lets the task run until it sleeps again; whether there is still one.
    fn look(&self) -> bool {
        let mut task = self.task.lock().unwrap();
        let Some(running) = task.as_mut() else { return false };
        if running.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            *task = None;
        }
        task.is_some()
    }
}

impl Runtime for ByHand {
    fn spawn(&self, task: BoxFuture<()>) -> TaskHandle {
        *self.task.lock().unwrap() = Some(task);
        let spawned = Arc::clone(&self.task);
        TaskHandle::new(move || drop(spawned.lock().unwrap().take()))
    }

    fn sleep(&self, span: Duration) -> BoxFuture<()> {
        self.slept.lock().unwrap().push(span);
        let mut over = false;
        Box::pin(poll_fn(move |_| if std::mem::replace(&mut over, true) { Poll::Ready(()) } else { Poll::Pending }))
    }
}

fn limits(limit: u32) -> String {
    format!("limiters: {{ x: {{ strategy: fixedWindow, limit: {limit}, period: 1h }} }}")
}

fn limit(policies: &Policies) -> u64 {
    policies.get("x").unwrap().limiter().unwrap().limit()
}

#[test]
fn a_file_that_changes_is_read_once_it_stays_the_same() {
    let folder = Folder::new("watched");
    let file = folder.write("limits.yaml", limits(2));
    let policies = Policies::load_file(&file).unwrap();
    // Before anybody looks: that is seen too.
    folder.write("limits.yaml", limits(3));
    let (runtime, told) = (ByHand::default(), Arc::new(Mutex::new(Vec::new())));
    let tell = Arc::clone(&told);
    let watching = policies.watch_file(runtime.clone(), Duration::from_secs(5), move |result| {
        tell.lock().unwrap().push(result.map_or_else(|errors| errors.to_string(), |report| report.to_string()));
    });
    let news = || std::mem::take(&mut *told.lock().unwrap());
    assert!(runtime.look());
    assert!(runtime.look());
    assert_eq!((news(), limit(&policies)), (vec!["version 2\nx: changed, state kept".to_owned()], 3));

    // Two steps of whoever writes it, each seen once.
    folder.write("limits.yaml", "limiters: { x: { strat");
    assert!(runtime.look());
    folder.write("limits.yaml", limits(4));
    assert!(runtime.look());
    assert_eq!((news(), limit(&policies)), (vec![], 3), "it may change still");
    assert!(runtime.look());
    assert_eq!((news().len(), limit(&policies)), (1, 4));

    // What is wrong is told once, and so is a file that is gone.
    folder.write("limits.yaml", limits(0));
    assert!((0..5).all(|_| runtime.look()));
    let problem = "1:48: config.limiters[x].limit: must be a finite number above 0 (found 0)";
    assert_eq!((news(), limit(&policies)), (vec![format!("{}:{problem}", file.display())], 4));
    std::fs::remove_file(&file).unwrap();
    assert!((0..5).all(|_| runtime.look()));
    let gone = news();
    assert!(gone.len() == 1 && gone[0].contains("cannot read the file"), "{gone:?}");

    // Other words of the same meaning are no news.
    folder.write("limits.yaml", format!("# as before\n{}", limits(4)));
    assert!((0..5).all(|_| runtime.look()));
    assert_eq!((news(), policies.version()), (vec![], 3));
    assert!(runtime.slept.lock().unwrap().iter().all(|span| *span == Duration::from_secs(5)));
    drop(watching);
    assert!(!runtime.look(), "nobody watches");
}

#[test]
fn watching_keeps_no_policies_alive() {
    let folder = Folder::new("unwatched");
    let policies = Policies::load_file(folder.write("limits.yaml", limits(2))).unwrap();
    let runtime = ByHand::default();
    let watching = policies.watch_file(runtime.clone(), Duration::ZERO, |_| panic!("nothing changes"));
    assert!(runtime.look() && runtime.look());
    drop(policies);
    assert!(!runtime.look());
    assert!(watching.is_ok());
    assert!(runtime.slept.lock().unwrap().iter().all(|span| !span.is_zero()), "it is no busy loop");
}

#[test]
fn what_came_from_no_file_cannot_be_watched() {
    let policies = Policies::from_yaml(&limits(2)).unwrap();
    let errors = policies.watch_file(ByHand::default(), Duration::from_secs(1), |_| {}).unwrap_err();
    assert_eq!(errors.to_string(), "config: these policies were not loaded from a file");
}
