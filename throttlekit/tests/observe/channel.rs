//! Events for another thread: what is copied, what is dropped.

use std::thread;

use throttlekit::store::Remote;
use throttlekit::{
    Admit, Ask, Axis, CallKind, ErrorKind, Gcra, Lane, Limiter, ManualClock, Meter, Record, Unified, event_channel,
};

use crate::support::{DownStore, polled};

fn gcra(limit: f64) -> Gcra {
    Gcra::builder().limit(limit).period_ms(3_600_000.0).build().unwrap()
}

#[test]
fn a_record_is_a_copy_of_the_event() {
    let (sender, receiver) = event_channel(9).unwrap();
    let clock = ManualClock::new(5_000.0);
    let limiter = Limiter::builder(gcra(3.0)).name("api").clock(clock).observer(sender.clone()).build();
    let decision = limiter.check_cost("alice", 2.0).unwrap();
    let Some(Record::Decision(record)) = receiver.try_recv() else { panic!("there is a record") };
    assert_eq!((&*record.policy, record.strategy, record.key(), record.cost), ("api", "gcra", "alice", 2.0));
    assert_eq!((record.axis, record.now_ms, record.kind), (Axis::Rate, 5_000.0, CallKind::CheckSync));
    assert_eq!((record.decision, record.part, record.took_ms), (Ok(decision), false, None));

    let unified = Unified::builder().rate(Limiter::new(gcra(1.0))).name("chat").observer(sender).build().unwrap();
    let ask = || unified.admit(&Ask::new("bob").value(7.0)).now().unwrap().unwrap();
    drop(ask());
    let denied = ask();
    let records: Vec<_> = receiver.try_iter().collect();
    let [Record::Decision(part), Record::Admission(first), Record::Decision(_), Record::Admission(second)] =
        &records[..]
    else {
        panic!("{records:?}")
    };
    assert_eq!((part.part, part.key(), first.lane), (true, "bob", None));
    assert_eq!((&*second.policy, second.key(), second.value), ("chat", "bob", 7.0));
    assert_eq!((second.lane, second.decision, second.axes), (Some(Lane::Rate), denied.decision, denied.axes));
}

#[test]
fn an_error_is_copied_as_its_kind() {
    let (sender, receiver) = event_channel(9).unwrap();
    let limiter = Limiter::builder(gcra(3.0)).keyspace(Remote::new(DownStore)).observer(sender).build();
    assert!(polled(limiter.check("alice"), 9).unwrap().is_err());
    let Some(Record::Decision(record)) = receiver.try_recv() else { panic!("there is a record") };
    assert_eq!((record.decision, record.key()), (Err(ErrorKind::StoreUnavailable), "alice"));
}

#[test]
fn nobody_waits_for_a_channel_that_is_full_or_closed() {
    let (sender, receiver) = event_channel(4).unwrap();
    let limiter = Limiter::builder(gcra(1e6)).observer(sender).build();
    let check = |times: u32| (0..times).for_each(|_| assert!(limiter.debit("k", 1.0).now().is_ok()));
    check(10);
    assert_eq!((receiver.dropped(), receiver.try_iter().count()), (6, 4));
    check(1);
    assert_eq!((receiver.dropped(), receiver.try_iter().count()), (6, 1));
    drop(receiver);
    check(10);
}

#[test]
fn another_thread_gets_all_there_is_and_learns_of_the_end() {
    let (sender, receiver) = event_channel(1_000).unwrap();
    let limiter = Limiter::builder(gcra(1e6)).observer(sender).build();
    let counting = thread::spawn(move || std::iter::from_fn(|| receiver.recv()).count());
    (0..1_000).for_each(|_| assert!(limiter.debit("k", 1.0).now().is_ok()));
    drop(limiter);
    assert_eq!(counting.join().unwrap(), 1_000);
}

#[test]
fn capacity_is_checked() {
    for capacity in [0, 1_000_001] {
        let error = event_channel(capacity).unwrap_err();
        assert_eq!((error.option(), error.value()), ("eventChannel.capacity", Some(capacity.to_string().as_str())));
    }
}

#[test]
fn keys_are_cut_and_not_shown() {
    let (sender, receiver) = event_channel(9).unwrap();
    let unified = Unified::builder().rate(Limiter::new(gcra(9.0))).observer(sender).build().unwrap();
    for key in ["the-key-itself".to_owned(), "x".repeat(512), format!("{}ä", "x".repeat(511))] {
        drop(unified.admit(&Ask::new(&key)).now().unwrap().unwrap());
    }
    let records: Vec<_> = receiver.try_iter().collect();
    assert!(!format!("{records:?} {receiver:?}").contains("the-key"));
    let lengths = records.iter().filter_map(|record| match record {
        Record::Admission(record) => Some(record.key().len()),
        _ => None,
    });
    assert_eq!(lengths.collect::<Vec<_>>(), [14, 512, 511]);
}
