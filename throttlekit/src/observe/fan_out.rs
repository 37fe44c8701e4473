//! Several observers as one.

use std::sync::Arc;

use super::{AdmissionEvent, Disconnect, Event, Gauges, LeaseEvent, Observer, Wait, tell_panic, told};

/// Hands everything on to each of `$each`; the first that has a stopwatch gives the time.
macro_rules! hand_on {
    ($self:ident => $each:expr) => {
        #[inline]
        fn observe(&$self, event: &Event<'_>) {
            $each(&mut |observer: &dyn Observer| told($self, || observer.observe(event)));
        }

        #[inline]
        fn stopwatch_ns(&$self) -> Option<u64> {
            let mut reading = None;
            $each(&mut |observer: &dyn Observer| {
                if reading.is_none() {
                    told($self, || reading = observer.stopwatch_ns());
                }
            });
            reading
        }

        fn admitted(&$self, admission: &AdmissionEvent<'_>) {
            $each(&mut |observer: &dyn Observer| told($self, || observer.admitted(admission)));
        }

        fn waited(&$self, wait: &Wait<'_>) {
            $each(&mut |observer: &dyn Observer| told($self, || observer.waited(wait)));
        }

        fn leased(&$self, lease: &LeaseEvent<'_>) {
            $each(&mut |observer: &dyn Observer| told($self, || observer.leased(lease)));
        }

        fn disconnected(&$self, disconnect: &Disconnect<'_>) {
            $each(&mut |observer: &dyn Observer| told($self, || observer.disconnected(disconnect)));
        }

        fn attach(&$self, gauges: Arc<dyn Gauges>) {
            $each(&mut |observer: &dyn Observer| told($self, || observer.attach(Arc::clone(&gauges))));
        }

        fn panicked(&$self) {
            $each(&mut |observer: &dyn Observer| tell_panic(observer));
        }

        fn is_blind(&$self) -> bool {
            let mut blind = true;
            $each(&mut |observer: &dyn Observer| blind &= observer.is_blind());
            blind
        }
    };
}

macro_rules! tuple {
    ($($name:ident $index:tt),+) => {
        impl<$($name: Observer),+> Observer for ($($name,)+) {
            hand_on!(self => |call: &mut dyn FnMut(&dyn Observer)| { $(call(&self.$index);)+ });
        }
    };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);

impl<O: Observer> Observer for [O] {
    hand_on!(self => |call: &mut dyn FnMut(&dyn Observer)| self.iter().for_each(|observer| call(observer)));
}

impl<O: Observer> Observer for Option<O> {
    hand_on!(self => |call: &mut dyn FnMut(&dyn Observer)| self.iter().for_each(|observer| call(observer)));
}
