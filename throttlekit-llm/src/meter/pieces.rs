//! Pieces of the stream that are not copied: a line that is not complete, and what goes out.

use std::collections::VecDeque;

use bytes::Bytes;

/// Pieces of one line that are kept as they came; more are joined.
const MAX_PIECES: usize = 64;

/// The next pieces come where the first ones were: a server with many answers has that place in its cache.
fn restart_if_empty<T>(pieces: &mut VecDeque<T>) {
    if pieces.is_empty() {
        pieces.clear();
    }
}

/// A line as far as it came.
pub(super) struct Tail {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl Tail {
    pub(super) fn new(capacity: usize) -> Self {
        Self { pieces: VecDeque::with_capacity(capacity), len: 0 }
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        self.pieces.push_back(piece);
        if self.pieces.len() > MAX_PIECES {
            let joined: Vec<u8> = self.pieces.drain(..).flatten().collect();
            self.pieces.push_back(joined.into());
        }
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front()?;
        self.len -= piece.len();
        restart_if_empty(&mut self.pieces);
        Some(piece)
    }

    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.len = 0;
    }
}

/// What goes out, each piece with what was counted up to its end; first what may, then what waits to be counted.
pub(super) struct Queue {
    pieces: VecDeque<(Bytes, u64)>,
    ready: usize,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { pieces: VecDeque::with_capacity(capacity), ready: 0 }
    }

    /// How many bytes are in it.
    pub(super) fn bytes(&self) -> usize {
        self.pieces.iter().map(|(piece, _)| piece.len()).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// A piece that waits.
    pub(super) fn push(&mut self, piece: Bytes, counted: u64) {
        self.pieces.push_back((piece, counted));
    }

    /// All that waits may go out.
    pub(super) fn pass(&mut self) {
        self.ready = self.pieces.len();
    }

    /// The next piece; nothing waits.
    pub(super) fn pop(&mut self) -> Option<(Bytes, u64)> {
        self.ready = self.ready.saturating_sub(1);
        let piece = self.pieces.pop_front();
        restart_if_empty(&mut self.pieces);
        piece
    }

    /// What was counted up to the end of the last piece.
    pub(super) fn last(&self) -> Option<u64> {
        self.pieces.back().map(|(_, counted)| *counted)
    }

    /// What was counted up to the end of the last piece that may go out.
    pub(super) fn last_ready(&self) -> Option<u64> {
        let last = self.ready.checked_sub(1)?;
        self.pieces.get(last).map(|(_, counted)| *counted)
    }

    pub(super) fn drop_waiting(&mut self) {
        self.pieces.truncate(self.ready);
    }

    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.ready = 0;
    }
}
