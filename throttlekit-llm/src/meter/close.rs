//! How an answer ends: what is still to be said, and what it is settled as.

use std::str;

use throttlekit::{BoxFuture, Error};

use super::{Counts, Phase, StreamMeter};
use crate::account::Account;
use crate::answer::Dialect;
use crate::last::{Tokens, last_events};
use crate::policy::Opaque;
use crate::report::{End, Report};
use crate::scan::Framing;

impl StreamMeter {
    /// Only what may go out does, and a last event.
    pub(super) fn cut_off(&mut self) {
        self.queue.drop_waiting();
        self.tail.clear();
        self.rest.clear();
        let dialect = self.dialect();
        let tokens = Tokens { input: self.input_tokens(), output: self.output_tokens() };
        let last = last_events(self.scanner.answer(), dialect, self.scanner.framing(), self.shape, tokens);
        if !last.is_empty() {
            // It is not the model's.
            self.queue.push(last.into(), self.leaving());
        }
        (self.end, self.phase) = (End::Cut, Phase::Ended);
    }

    /// As the answer shows, or else as it was said.
    fn dialect(&self) -> Option<Dialect> {
        match (self.scanner.dialect(), self.dialect) {
            // Choices of which nothing came yet are of both.
            (Some(Dialect::Chat), Some(Dialect::Completions)) if !self.scanner.answer().has_deltas() => self.dialect,
            (found, said) => found.or(said),
        }
    }

    fn input_tokens(&self) -> u64 {
        let said = self.told.usage.whole_input(self.dialect());
        said.or(self.input).unwrap_or(0)
    }

    /// Of what went out.
    fn output_tokens(&self) -> u64 {
        self.told.output(self.leaving())
    }

    /// What the scanner had counted after what goes out last, as far as that is known.
    fn leaving(&self) -> u64 {
        self.queue.last().unwrap_or(self.passed)
    }

    /// Closes the account, and reports. Of what may go out, `lost` does not.
    pub(super) fn close(&mut self, lost: u64) -> Option<(Box<dyn Account>, u64)> {
        let account = self.account.take()?;
        let tokens = if self.counts == Counts::Nothing {
            0
        } else if self.scanner.framing() == Framing::Opaque && self.policy.opaque() == Opaque::Reservation {
            account.reserved()
        } else {
            let input = if self.input.is_some() { self.input_tokens() } else { 0 };
            let used = input.saturating_add(self.output_tokens());
            // What was forgiven is in tokens of the counter, and not to be taken off those of the provider.
            if self.forgiven > 0 { used.min(self.paid) } else { used }
        };
        let answer = self.scanner.answer();
        self.policy.ended(&Report {
            end: self.end,
            framing: self.scanner.framing(),
            dialect: self.dialect(),
            model: str::from_utf8(&answer.model).unwrap_or_default(),
            usage: answer.told.usage,
            estimated: self.leaving(),
            tokens,
            forgiven: self.forgiven.saturating_sub(lost),
            error: self.error.as_ref(),
        });
        Some((account, tokens))
    }

    /// Nobody asks for more.
    pub(super) fn abandon(&mut self) {
        let asked = self.asked.take();
        // What waited does not go out; nor what may, and that was counted or forgiven.
        let lost = self.queue.last_ready().unwrap_or(self.passed).saturating_sub(self.passed);
        self.queue.clear();
        let run = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Over => return,
            Phase::Settling(run) => run,
            Phase::Open | Phase::Ended => {
                let Some((mut account, tokens)) = self.close(lost) else { return };
                match (asked, self.policy.background()) {
                    (Some(asked), Some(_)) => {
                        let unsettled = self.policy.unsettled().clone();
                        return self.settle_later(Box::pin(async move {
                            if let Ok(decision) = asked.run.await {
                                if decision.allowed || asked.charge {
                                    account.counted(asked.tokens, &decision);
                                }
                            }
                            unsettled.tell(account.settle(tokens).await);
                        }));
                    }
                    _ => account.settle(tokens),
                }
            }
        };
        match run.now() {
            Ok(settled) => self.policy.unsettled().tell(settled),
            Err(run) => {
                let unsettled = self.policy.unsettled().clone();
                self.settle_later(Box::pin(async move { unsettled.tell(run.await) }));
            }
        }
    }

    /// Lets the runtime settle, or tells that nobody does.
    fn settle_later(&self, task: BoxFuture<()>) {
        let taken = match self.policy.background() {
            Some(background) => background.spawn(task),
            None => {
                Err(Error::unsupported("the answer was dropped before its store answered, and there is no runtime"))
            }
        };
        self.policy.unsettled().tell(taken.map(|()| None));
    }
}

impl Drop for StreamMeter {
    fn drop(&mut self) {
        self.abandon();
    }
}
