//! Every interleaving of somebody who looks at a list of one place with somebody who changes it.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::DenyList;

/// A list that refuses `a` until 10, while `change` is made to it.
///
/// The thread that looks is the one that starts later: loom goes back to where a look could have come before a change, but not to
/// where a change could have come before a look if the one who changes had looked meanwhile as well.
fn changed(change: fn(&DenyList), look: fn(&DenyList)) {
    loom::model(move || {
        let list = Arc::new(DenyList::new(1).unwrap());
        assert_eq!(list.places(), 1);
        list.deny("a", 0.0, 10.0);
        let reader = {
            let list = Arc::clone(&list);
            thread::spawn(move || look(&list))
        };
        change(&list);
        reader.join().unwrap();
    });
}

#[test]
fn loom_no_key_is_refused_by_the_end_of_another() {
    changed(
        |list| list.deny("b", 0.0, 20.0),
        |list| {
            for (key, end) in [("a", 10.0), ("b", 20.0)] {
                assert!(list.denied_until(key, 0.0).is_none_or(|until_ms| until_ms == end), "{key}");
            }
        },
    );
}

#[test]
fn loom_no_key_is_refused_by_what_came_to_its_place_after_a_pardon() {
    changed(
        |list| {
            list.pardon("a");
            list.deny("b", 0.0, 20.0);
        },
        |list| {
            let before = list.denied_until("a", 0.0);
            assert!(before.is_none_or(|until_ms| until_ms == 10.0));
            let after = list.denied_until("a", 0.0);
            assert!(after.is_none_or(|until_ms| before == Some(until_ms)), "it is pardoned for good");
        },
    );
}

#[test]
fn loom_a_later_end_leaves_no_gap() {
    changed(
        |list| list.deny("a", 0.0, 20.0),
        |list| {
            let until_ms = list.denied_until("a", 0.0);
            assert!(until_ms == Some(10.0) || until_ms == Some(20.0), "{until_ms:?}");
        },
    );
}

#[test]
fn loom_who_was_denied_is_refused_from_then_on() {
    loom::model(|| {
        let (list, denied) = (Arc::new(DenyList::new(1).unwrap()), Arc::new(AtomicBool::new(false)));
        let reader = {
            let (list, denied) = (Arc::clone(&list), Arc::clone(&denied));
            thread::spawn(move || {
                let denied = denied.load(Ordering::Acquire);
                let until_ms = list.denied_until("a", 0.0);
                assert!(until_ms == Some(10.0) || (until_ms.is_none() && !denied), "{until_ms:?}");
            })
        };
        list.deny("a", 0.0, 10.0);
        denied.store(true, Ordering::Release);
        reader.join().unwrap();
    });
}
