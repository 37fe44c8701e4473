//! What went out is counted exactly once, however the answer ends and however long the store takes.

mod support;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use bytes::Bytes;
use futures_util::FutureExt;
use support::streams::{USAGE, all, chat, messages};
use support::{Slow, Tasks, account, drive, meter_of, policy, poll, served};
use throttlekit::budget::{Budget, Gate, GateRule, ReservationOptions, ReservationPolicy, TokenBudget};
use throttlekit::{FailMode, FixedWindow, Gcra, Limiter, MAX_SAFE, ManualClock, Refund, Share};
use throttlekit_llm::{
    Account as _, BytesPerToken, CountTokens, Dialect, End, Exhausted, Framing, MeterAccount, StreamMeter,
    StreamPolicy, StreamPolicyBuilder, UsageOnly,
};

/// One byte of text is a token.
fn bytewise() -> StreamPolicyBuilder {
    policy().counter(|| BytesPerToken::new(1.0).expect("in range"))
}

/// The text in what went out, in bytes.
fn text_in(framing: Framing, chunks: &[Bytes]) -> u64 {
    let mut scanner = throttlekit_llm::Scanner::new(framing, BytesPerToken::new(1.0).expect("in range"));
    for chunk in chunks {
        scanner.feed(chunk);
    }
    scanner.output()
}

fn chunks(bytes: &[u8], size: usize) -> impl Iterator<Item = Bytes> + use<> {
    let chunks: Vec<_> = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
    chunks.into_iter()
}

#[test]
fn dropped_after_any_chunk_what_went_out_is_counted() {
    for exhausted in [Exhausted::Cut, Exhausted::Finish, Exhausted::NextOnly] {
        let policy = bytewise().exhausted(exhausted).granularity(16).build().expect("good options");
        for stream in all() {
            for size in [9, 100] {
                for after in 0..=stream.bytes.len() / size + 2 {
                    let (meter, _) = meter_of(10_000);
                    let opened = MeterAccount::reserve(meter.clone(), "k", 25).now().expect("ready").expect("works");
                    let mut answer = policy.start(stream.framing, opened.account.expect("there is enough"));
                    let (mut chunks, mut out) = (chunks(&stream.bytes, size), Vec::new());
                    while out.len() < after {
                        match poll(&mut answer, &mut chunks) {
                            Poll::Ready(Some(chunk)) => out.push(chunk),
                            _ => break,
                        }
                    }
                    drop(answer);
                    let (went_out, counted) = (text_in(stream.framing, &out), served(&meter));
                    let said = USAGE.1;
                    assert!(
                        // The start of a message says that there is one token before there is any.
                        counted == went_out
                            || counted == said
                            || counted == went_out + 1 && stream.dialect == Dialect::Messages,
                        "{went_out} went out, and {counted} are counted after {after} of {size} of {:?}",
                        stream.dialect
                    );
                }
            }
        }
    }
}

#[test]
fn dropped_beyond_the_budget_what_was_counted_stays_counted() {
    // It may cut, if the store is out, so lines are held and go out in pieces.
    let policy = bytewise().exhausted(Exhausted::NextOnly).fail_mode(FailMode::Closed).build().expect("good options");
    let stream = chat(&["12345"; 5], None);
    for after in 0..=stream.len() / 9 {
        let (meter, _) = meter_of(7);
        let mut answer = policy.start(Framing::Sse, account(&meter));
        let mut chunks = chunks(&stream, 9);
        let out: Vec<Bytes> = (0..after)
            .map_while(|_| match poll(&mut answer, &mut chunks) {
                Poll::Ready(chunk) => chunk,
                Poll::Pending => None,
            })
            .collect();
        drop(answer);
        assert_eq!(served(&meter), text_in(Framing::Sse, &out).min(10), "after {after}");
    }
}

#[test]
fn what_was_taken_and_not_used_is_given_back() {
    for (reserved, granularity) in [(0, 1), (100, 1), (0, 64), (10, 7), (100, 500)] {
        let (meter, _) = meter_of(10_000);
        let policy = bytewise().granularity(granularity).build().expect("good options");
        let opened = MeterAccount::reserve(meter.clone(), "k", reserved).now().expect("ready").expect("works");
        let answer = policy.start(Framing::Sse, opened.account.expect("there is enough")).with_input(40);
        let mut most = 0;
        let stream = chat(&["12345", "67890"], Some((12, 9)));
        let meter_of = meter.clone();
        drive(answer, stream.chunks(20).inspect(|_| most = most.max(served(&meter_of))));
        assert_eq!(served(&meter), 12 + 9);
        assert!(most >= reserved.max(50), "{most}: input and text were taken before they went out");
    }
}

/// A key that used most of its budget asks for more than there ever is.
#[test]
fn a_reservation_of_any_size_gives_back_what_it_took() {
    for most in [100_001, MAX_SAFE - 99_000, MAX_SAFE - 1, MAX_SAFE, u64::MAX] {
        for cost in [0, 5] {
            let (meter, _) = meter_of(100_000);
            meter.debit("k", 99_000).expect("works");
            let opened = MeterAccount::reserve(meter.clone(), "k", most).now().expect("ready").expect("works");
            let account = opened.account.expect("something is left");
            assert_eq!(account.prepaid(), 100_000, "no more than the budget");
            Box::new(account).settle(cost).now().expect("ready").expect("works");
            assert_eq!(served(&meter), 99_000 + cost, "of {most}");

            let admitted = meter.debit("k", 1).expect("works");
            let mut account = MeterAccount::with_taken(meter.clone(), "k", Refund::new(1.0).of(&admitted));
            let reserved = account.reserve_up_to(most).now_or_never().expect("ready").expect("works");
            assert!(reserved.expect("asked").allowed);
            assert_eq!(account.prepaid(), 100_000);
            Box::new(account).settle(cost).now().expect("ready").expect("works");
            assert_eq!(served(&meter), 99_000 + 2 * cost, "of {most}");
        }
    }
}

#[test]
fn what_has_to_fit_is_not_reserved_in_part() {
    let budget = Budget::builder().budget(100.0).window_ms(60_000.0).whole_debits(true).build().expect("good options");
    let meter = Arc::new(TokenBudget::builder(budget).clock(ManualClock::new(0.0)).build());
    for most in [101, u64::MAX] {
        let opened = MeterAccount::reserve(meter.clone(), "k", most).now().expect("ready").expect("works");
        assert!(opened.account.is_none() && !opened.decision.allowed);
    }
    assert_eq!(served(&meter), 0);
}

#[test]
fn a_debit_covers_so_many_tokens_ahead() {
    let (meter, _) = meter_of(10_000);
    let slow = Slow::new(&meter);
    slow.allow(1_000);
    for (granularity, calls) in [(1, 20), (10, 10), (50, 2), (1_000, 1)] {
        slow.store.calls.store(0, Ordering::Relaxed);
        let policy = bytewise().granularity(granularity).build().expect("good options");
        let stream = chat(&["12345"; 20], None);
        drive_slow(policy.start(Framing::Sse, MeterAccount::new(Arc::new(slow.clone()), "k")), &stream);
        let refunds = u64::from(granularity == 1_000);
        assert_eq!(slow.store.calls.load(Ordering::Relaxed), calls + refunds, "granularity {granularity}");
    }
    assert_eq!(served(&meter), 400);
}

/// Each event in a chunk of its own, as they stream.
fn drive_slow(mut answer: StreamMeter, stream: &[u8]) -> Vec<Bytes> {
    let text = String::from_utf8(stream.to_vec()).expect("text");
    let events: Vec<Bytes> =
        text.split_inclusive("\n\n").map(|event| Bytes::copy_from_slice(event.as_bytes())).collect();
    let mut events = events.into_iter();
    let mut out = Vec::new();
    while let Poll::Ready(Some(chunk)) = poll(&mut answer, &mut events) {
        out.push(chunk);
    }
    out
}

#[test]
fn where_a_block_is_not_left_what_is_needed_may_be() {
    let clock = ManualClock::new(0.0);
    let budget = Budget::builder().budget(12.0).window_ms(60_000.0).whole_debits(true).build().expect("good options");
    let meter = Arc::new(TokenBudget::builder(budget).clock(clock).build());
    let policy = bytewise().granularity(8).build().expect("good options");
    let got = drive(policy.start(Framing::Sse, account(&meter)), chat(&["1234"; 5], None).chunks(50));
    assert_eq!((got.end, served(&meter)), (End::Cut, 12));
}

#[test]
fn a_store_that_takes_its_time_holds_the_chunk_and_no_more() {
    let (meter, _) = meter_of(1_000);
    let slow = Slow::new(&meter);
    let policy = bytewise().build().expect("good options");
    let mut answer = policy.start(Framing::Sse, MeterAccount::new(Arc::new(slow.clone()), "k"));
    let stream = chat(&["12345", "67890"], None);
    let text = String::from_utf8(stream).expect("text");
    let mut asked = 0;
    let mut events =
        text.split_inclusive("\n\n").map(|event| Bytes::copy_from_slice(event.as_bytes())).inspect(|_| asked += 1);
    assert!(matches!(poll(&mut answer, &mut events), Poll::Ready(Some(_))), "the first event has no text");
    for _ in 0..5 {
        assert_eq!(poll(&mut answer, &mut events), Poll::Pending);
    }
    slow.allow(1);
    assert!(matches!(poll(&mut answer, &mut events), Poll::Ready(Some(_))));
    assert_eq!(poll(&mut answer, &mut events), Poll::Pending);
    assert_eq!(asked, 3, "no more than the chunk that waits");
    assert_eq!(served(&meter), 5);
}

#[test]
fn dropped_while_the_store_answers_the_rest_is_settled_in_the_background() {
    // After so many answers of the store the client goes away.
    for answers in 0..8 {
        for granularity in [1, 7, 100] {
            let (meter, _) = meter_of(1_000);
            let (slow, tasks) = (Slow::new(&meter), Tasks::default());
            let policy = bytewise().granularity(granularity).runtime(tasks.clone()).build().expect("good options");
            let answer = policy.start(Framing::Sse, MeterAccount::new(Arc::new(slow.clone()), "k"));
            slow.allow(answers);
            let out = drive_slow(answer, &chat(&["12345"; 5], None));
            slow.allow(1_000);
            assert_eq!(tasks.run(), 0);
            assert_eq!(served(&meter), text_in(Framing::Sse, &out), "after {answers}");
        }
    }
}

#[test]
fn dropped_without_a_runtime_nothing_is_counted_twice() {
    let (meter, _) = meter_of(1_000);
    let slow = Slow::new(&meter);
    let policy = bytewise().granularity(10).build().expect("good options");
    slow.allow(1);
    let out = drive_slow(
        policy.start(Framing::Sse, MeterAccount::new(Arc::new(slow.clone()), "k")),
        &chat(&["12345"; 5], None),
    );
    slow.allow(1_000);
    assert_eq!((text_in(Framing::Sse, &out), served(&meter)), (10, 10));
}

#[test]
fn a_reservation_of_a_gate_is_settled_and_teaches_its_policy() {
    for (cut_after, learnt) in [(usize::MAX, true), (2, true)] {
        let (meter, _) = meter_of(1_000);
        let policy = ReservationPolicy::learned(ReservationOptions::new(1.0, 4.0, 512.0)).expect("good options");
        let gate = Gate::builder((*meter).clone(), policy).rule(GateRule::Fits).build().expect("good options");
        let reserved = gate.reserve("k", None).now().expect("ready").expect("works");
        let work = reserved.reservation.expect("it fits");
        let kept = work.tokens();
        assert!(work.debit(12).now().expect("ready").expect("works").allowed);
        assert_eq!(gate.outstanding("k"), kept - 12);
        let mut answer = bytewise().build().expect("good options").start(Framing::Sse, work).with_input(12);
        let mut chunks = chunks(&chat(&["12345", "67890"], Some((11, 8))), 60);
        let mut out = 0;
        while out < cut_after {
            let Poll::Ready(Some(_)) = poll(&mut answer, &mut chunks) else { break };
            out += 1;
        }
        assert!(served(&meter) >= 12);
        drop(answer);
        assert_eq!((gate.outstanding("k"), gate.policy() != policy), (0, learnt));
        assert_eq!(served(&meter), if cut_after == 2 { 12 } else { 19 });
    }
}

#[test]
fn an_exhausted_gate_charges_its_reservation() {
    let (meter, _) = meter_of(20);
    let gate =
        Gate::builder((*meter).clone(), ReservationPolicy::max(15).expect("in range")).build().expect("good options");
    let work = gate.reserve("k", None).now().expect("ready").expect("works").reservation.expect("it fits");
    meter.debit("k", 20).expect("others take all");
    let policy = bytewise().exhausted(Exhausted::Finish).build().expect("good options");
    drive(policy.start(Framing::Sse, work), chat(&["12345", "67890"], Some((1, 11))).chunks(60));
    assert_eq!((served(&meter), gate.outstanding("k")), (31, 0));
}

#[test]
fn an_open_policy_lets_pass_and_counts_when_the_store_is_back() {
    let (meter, _) = meter_of(1_000);
    let slow = Slow::new(&meter);
    slow.allow(1_000);
    let policy = bytewise().build().expect("good options");
    let mut answer = policy.start(Framing::Sse, MeterAccount::new(Arc::new(slow.clone()), "k"));
    let stream = chat(&["12345"; 5], None);
    let mut chunks = chunks(&stream, 150);
    let mut out = Vec::new();
    slow.store.down.store(true, Ordering::Relaxed);
    while let Poll::Ready(Some(chunk)) = poll(&mut answer, &mut chunks) {
        out.push(chunk);
        if out.len() == 4 {
            assert_eq!(served(&meter), 0);
            slow.store.down.store(false, Ordering::Relaxed);
        }
    }
    assert_eq!((out.concat() == stream, served(&meter)), (true, 25));
}

#[test]
fn a_closed_policy_cuts_when_the_store_is_out() {
    for exhausted in [Exhausted::Cut, Exhausted::Finish, Exhausted::NextOnly] {
        let (meter, _) = meter_of(1_000);
        let slow = Slow::new(&meter);
        slow.allow(1_000);
        slow.store.down.store(true, Ordering::Relaxed);
        let policy = bytewise().exhausted(exhausted).fail_mode(FailMode::Closed).build().expect("good options");
        let mut answer = policy.start(Framing::Sse, MeterAccount::new(Arc::new(slow.clone()), "k"));
        let mut chunks = chunks(&chat(&["12345"; 5], None), 33);
        let mut out = Vec::new();
        while let Poll::Ready(Some(chunk)) = poll(&mut answer, &mut chunks) {
            out.push(chunk);
        }
        assert!(answer.is_cut() && out.concat().ends_with(b"[DONE]\n\n"));
        assert_eq!(text_in(Framing::Sse, &out), 0);
    }
}

#[test]
fn tokens_of_a_window_that_is_over_are_not_given_back() {
    let (meter, clock) = meter_of(1_000);
    let policy = bytewise().granularity(100).build().expect("good options");
    let mut answer = policy.start(Framing::Sse, account(&meter));
    let mut chunks = chunks(&chat(&["12345", "67890"], None), 60);
    for _ in 0..6 {
        assert!(poll(&mut answer, &mut chunks).is_ready());
    }
    assert_eq!(served(&meter), 100);
    clock.advance(60_000.0);
    meter.debit("k", 200).expect("another request");
    drop(answer);
    assert_eq!(served(&meter), 200, "95 of another window");
}

#[test]
fn limits_of_other_kinds_get_back_what_was_too_much() {
    let clock = ManualClock::new(1_000_000.0);
    let gcra = Gcra::builder().limit(1_000.0).period_ms(60_000.0).build().expect("good options");
    let window = FixedWindow::builder().limit(1_000.0).window_ms(60_000.0).build().expect("good options");
    let policy = policy().counter(|| BytesPerToken::new(0.1).expect("in range")).build().expect("good options");
    let stream = chat(&["12345"; 8], Some((1, 40)));
    let gcra = Arc::new(Limiter::builder(gcra).clock(clock.clone()).build());
    drive(policy.start(Framing::Sse, MeterAccount::new(gcra.clone(), "k")), stream.chunks(200));
    assert_eq!(gcra.peek("k").expect("works").remaining, 960);
    let window = Arc::new(Limiter::builder(window).clock(clock).build());
    drive(policy.start(Framing::Sse, MeterAccount::new(window.clone(), "k")), stream.chunks(200));
    assert_eq!(window.peek("k").expect("works").remaining, 960);
}

#[test]
fn usage_that_comes_twice_counts_once() {
    let (meter, _) = meter_of(1_000);
    let mut stream = chat(&["12345"], Some((1, 7)));
    stream.extend_from_slice(b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":9}}\n\n");
    drive(bytewise().build().expect("good options").start(Framing::Sse, account(&meter)), stream.chunks(60));
    assert_eq!(served(&meter), 9);
}

#[test]
fn input_costs_the_same_whether_a_cache_had_it_or_not() {
    let written = "\"cache_creation_input_tokens\":7,\"cache_read_input_tokens\"";
    let message = String::from_utf8(messages(&["12345"])).expect("text");
    let message = message.replace("\"cache_read_input_tokens\"", written).into_bytes();
    // The 4 tokens from a cache are among those that the first names, and not among those of the second.
    for (stream, input) in [(chat(&["12345"], Some(USAGE)), USAGE.0), (message, USAGE.0 + 4 + 7)] {
        let policy = bytewise().build().expect("good options");
        let (meter, _) = meter_of(1_000);
        drive(policy.start(Framing::Sse, account(&meter)).with_input(1), stream.chunks(60));
        assert_eq!(served(&meter), input + USAGE.1);
        let (meter, _) = meter_of(1_000);
        drive(policy.start(Framing::Sse, account(&meter)), stream.chunks(60));
        assert_eq!(served(&meter), USAGE.1, "input is not counted");
    }
}

#[test]
fn a_counter_of_usage_alone_charges_at_the_end() {
    let (meter, _) = meter_of(10);
    let policy = StreamPolicy::builder().counter(|| UsageOnly).build().expect("good options");
    let stream = chat(&["12345"; 9], Some((1, 15)));
    let got = drive(policy.start(Framing::Sse, account(&meter)), stream.chunks(60));
    assert_eq!((got.bytes == stream, served(&meter)), (true, 15));
}

#[test]
fn an_answer_is_reported_once_with_what_it_cost() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let kept = log.clone();
    let policy = bytewise().on_end(move |report| {
        kept.lock().expect("whole").push((
            report.end,
            report.estimated,
            report.tokens,
            report.usage.output,
            report.model.to_owned(),
        ));
        panic!("of the hook's own");
    });
    let policy = policy.build().expect("good options");
    let (meter, _) = meter_of(1_000);
    let stream = chat(&["12345", "67890"], Some((3, 8)));
    drive(policy.start(Framing::Sse, account(&meter)).with_input(4), stream.chunks(50));
    let mut answer = policy.start(Framing::Sse, account(&meter));
    // Event by event, so that what is counted goes out in one piece.
    let text = std::str::from_utf8(&stream).expect("text");
    let mut some = text.split_inclusive("\n\n").map(|event| Bytes::copy_from_slice(event.as_bytes()));
    while answer.counted() < 5 {
        assert!(poll(&mut answer, &mut some).is_ready());
    }
    drop(answer);
    let log = log.lock().expect("whole").clone();
    let model = "m-1".to_owned();
    assert_eq!(log, [(End::Completed, 10, 11, Some(8), model.clone()), (End::Dropped, 5, 5, None, model)]);
}

#[test]
fn options_out_of_range_are_refused() {
    let option = |builder: StreamPolicyBuilder| builder.build().expect_err("refused").to_string();
    assert_eq!(option(policy().granularity(0)), "stream.granularity is 0: must be from 1 to 2^53 - 1");
    assert_eq!(
        option(policy().granularity(1 << 53)),
        "stream.granularity is 9007199254740992: must be from 1 to 2^53 - 1"
    );
    assert_eq!(option(policy().max_line(0)), "stream.maxLine is 0: must be at least 1");
    let local = FailMode::Local(Share::new(0.5).expect("in range"));
    assert!(option(policy().fail_mode(local)).starts_with("stream.failMode is local"));
    assert_eq!(BytesPerToken::new(f64::NAN).expect_err("refused").option(), "bytesPerToken");
    assert_eq!(BytesPerToken::default().tokens(), 0);
}
