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
    /// Most chunks go out before the next one comes, and need no more than this.
    first: Option<Piece>,
    more: VecDeque<Piece>,
    ready: usize,
}

type Piece = (Bytes, u64);

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { first: None, more: VecDeque::with_capacity(capacity), ready: 0 }
    }

    /// How many bytes are in it.
    pub(super) fn bytes(&self) -> usize {
        self.first.iter().chain(&self.more).map(|(piece, _)| piece.len()).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// A piece that waits.
    #[inline]
    pub(super) fn push(&mut self, piece: Bytes, counted: u64) {
        if self.first.is_none() {
            self.first = Some((piece, counted));
        } else {
            self.more.push_back((piece, counted));
        }
    }

    /// All that waits may go out.
    #[inline]
    pub(super) fn pass(&mut self) {
        self.ready = usize::from(self.first.is_some()) + self.more.len();
    }

    /// The next piece; nothing waits.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Piece> {
        self.ready = self.ready.saturating_sub(1);
        let piece = self.first.take();
        if !self.more.is_empty() {
            self.first = self.more.pop_front();
            restart_if_empty(&mut self.more);
        }
        piece
    }

    /// What was counted up to the end of the last piece.
    pub(super) fn last(&self) -> Option<u64> {
        self.more.back().or(self.first.as_ref()).map(|(_, counted)| *counted)
    }

    /// What was counted up to the end of the last piece that may go out.
    pub(super) fn last_ready(&self) -> Option<u64> {
        self.first.iter().chain(&self.more).take(self.ready).last().map(|(_, counted)| *counted)
    }

    pub(super) fn drop_waiting(&mut self) {
        match self.ready.checked_sub(1) {
            Some(more) => self.more.truncate(more),
            None => self.clear(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.first = None;
        self.more.clear();
        self.ready = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;

    /// Pieces of 1, 2, ... bytes with as much counted, the first `ready` of which may go out.
    fn queue(ready: u8, waiting: u8) -> Queue {
        let mut queue = Queue::new(1);
        for piece in 1..=ready + waiting {
            queue.push(vec![0; piece.into()].into(), piece.into());
            if piece == ready {
                queue.pass();
            }
        }
        queue
    }

    fn popped(queue: &mut Queue) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop()).map(|(_, counted)| counted).collect()
    }

    #[test]
    fn it_knows_what_is_ready_and_drops_what_waits() {
        for (ready, waiting) in (0..4).flat_map(|ready| (0..4).map(move |waiting| (ready, waiting))) {
            let mut queue = queue(ready, waiting);
            let all = ready + waiting;
            let some = |number: u8| Some(u64::from(number)).filter(|number| *number > 0);
            assert_eq!(queue.bytes(), (1..=usize::from(all)).sum::<usize>(), "{ready} and {waiting}");
            assert_eq!((queue.last(), queue.last_ready()), (some(all), some(ready)), "{ready} and {waiting}");
            queue.drop_waiting();
            assert_eq!((queue.last(), queue.is_empty()), (some(ready), ready == 0), "{ready} and {waiting}");
            assert_eq!(popped(&mut queue), (1..=ready.into()).collect::<Vec<u64>>(), "{ready} and {waiting}");
            assert!(queue.is_empty(), "{ready} and {waiting}");
        }
    }

    #[test]
    fn pieces_that_come_while_others_go_out_follow_them() {
        let mut queue = queue(2, 0);
        assert_eq!(queue.pop().map(|(_, counted)| counted), Some(1));
        queue.push(vec![0; 3].into(), 3);
        assert_eq!(queue.last_ready(), Some(2));
        queue.pass();
        assert_eq!(popped(&mut queue), [2, 3]);
    }
}
