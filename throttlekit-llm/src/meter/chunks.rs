//! A chunk that came: which of it is read and may go out, and which of it is held.

use std::hint::black_box;

use bytes::Bytes;
use memchr::{memchr2, memrchr2};

use super::StreamMeter;
use crate::answer::Event;

impl StreamMeter {
    /// A chunk came.
    pub(super) fn take(&mut self, mut chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        if self.scanner.framing().has_lines() {
            fetch(&chunk);
        }
        if !self.may_cut() {
            self.release(chunk);
            return self.ask();
        }
        if !self.scanner.answer().shape.is_at_line_start() {
            // A line that was too long to be held goes on; after it the answer can be cut again.
            if let Some(end) = memchr2(b'\n', b'\r', &chunk) {
                self.rest = chunk.split_off(end + 1);
            }
            self.release(chunk);
            return self.ask();
        }
        // A document of which lines went out goes on by each, so that the answer can be cut after it.
        let goes_on = self.shape.event == Event::Open;
        // Most chunks end with a line.
        let end = match chunk.last() {
            _ if goes_on => memchr2(b'\n', b'\r', &chunk),
            Some(b'\n' | b'\r') => Some(chunk.len() - 1),
            _ => memrchr2(b'\n', b'\r', &chunk),
        };
        match end {
            Some(end) => {
                self.release_tail();
                let rest = (end + 1 < chunk.len()).then(|| chunk.split_off(end + 1));
                self.release(chunk);
                match rest {
                    Some(rest) if goes_on || rest.len() > self.policy.max_line() => self.rest = rest,
                    Some(rest) => self.tail.push(rest),
                    None => {}
                }
                self.ask();
            }
            None if self.tail.len().saturating_add(chunk.len()) <= self.policy.max_line() => self.tail.push(chunk),
            None => {
                self.release_tail();
                self.release(chunk);
                self.ask();
            }
        }
    }

    /// To go out as soon as it is counted.
    fn release(&mut self, chunk: Bytes) {
        self.scanner.feed(&chunk);
        self.produced = self.scanner.tokens();
        self.queue.push(chunk, self.produced);
    }

    pub(super) fn release_tail(&mut self) {
        while let Some(piece) = self.tail.pop() {
            self.release(piece);
        }
    }
}

/// Has the processor fetch lines that will be read, all at once. What comes from a socket is not in its nearest cache, and
/// where an event begins is known when the one before it was read: it would wait for each anew.
fn fetch(bytes: &[u8]) {
    const CACHE_LINE: usize = 64;
    /// More would drive out what came first.
    const MOST: usize = 16 * 1_024;
    let bytes = bytes.get(..MOST).unwrap_or(bytes);
    let lines = bytes.chunks_exact(CACHE_LINE);
    let last = lines.remainder().first().copied().unwrap_or(0);
    black_box(lines.fold(last, |all, line| all | line[0]));
}
