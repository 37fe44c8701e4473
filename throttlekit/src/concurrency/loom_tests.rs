//! Every interleaving, up to three preemptions, of taking, giving back and changing the limit.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::share::Share;
use super::word::Word;

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn loom_no_more_than_the_limit_is_in_flight_and_all_comes_back() {
    explore(|| {
        let word = Arc::new(Word::new(1));
        let workers = [(); 2].map(|()| {
            let word = Arc::clone(&word);
            thread::spawn(move || {
                for _ in 0..2 {
                    if let Ok(view) = word.take(Share::ALL) {
                        assert!(view.in_flight() <= view.limit(), "a slot beyond the limit");
                        word.give();
                    }
                }
            })
        });
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!((word.view().in_flight(), word.view().generation()), (0, 0));
    });
}

#[test]
fn loom_a_change_of_the_limit_loses_no_slot() {
    explore(|| {
        let word = Arc::new(Word::new(2));
        let workers = [(); 2].map(|()| {
            let word = Arc::clone(&word);
            thread::spawn(move || {
                if let Ok(view) = word.take(Share::ALL) {
                    assert!(view.in_flight() <= view.limit(), "a slot beyond the limit of that moment");
                    word.give();
                }
            })
        });
        word.install(1, None);
        word.install(3, Some(1));
        for worker in workers {
            worker.join().unwrap();
        }
        let view = word.view();
        assert_eq!((view.in_flight(), view.limit(), view.probing(), view.generation()), (0, 3, true, 2));
    });
}

#[test]
fn loom_a_report_counts_every_slot_of_an_earlier_generation() {
    explore(|| {
        let word = Arc::new(Word::new(2));
        let worker = {
            let word = Arc::clone(&word);
            thread::spawn(move || word.take(Share::ALL).map(super::word::View::generation).ok())
        };
        // Once a generation is installed, a slot that was given under an earlier one is in the count of any report.
        word.install(1, None);
        let report = word.view();
        assert_eq!(report.generation(), 1);
        let generation = worker.join().unwrap();
        if generation == Some(0) {
            assert_eq!(report.in_flight(), 1, "the report tears");
        }
    });
}

#[test]
fn loom_what_was_done_under_a_slot_is_seen_by_who_takes_it_next() {
    explore(|| {
        let word = Arc::new(Word::new(1));
        let done = Arc::new(AtomicBool::new(false));
        assert!(word.take(Share::ALL).is_ok());
        let next = {
            let (word, done) = (Arc::clone(&word), Arc::clone(&done));
            // Relaxed: that it is seen must come from the slot.
            thread::spawn(move || word.take(Share::ALL).is_err() || done.load(Ordering::Relaxed))
        };
        done.store(true, Ordering::Relaxed);
        word.give();
        assert!(next.join().unwrap());
    });
}
