//! A connection of the pool for a while.

use deadpool_postgres::{Object, Pool};

use crate::trouble::Trouble;

/// A connection that goes back to the pool only if nothing is going on in it. Dropped at any other moment it is closed,
/// so that the server ends its transaction and frees its locks.
pub(crate) struct Lease {
    /// Always there, until the drop.
    client: Option<Object>,
    state: State,
}

/// What the connection is in the middle of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// A transaction with nothing to keep.
    Open,
    /// Waiting for an answer.
    Busy,
}

impl Lease {
    pub(crate) async fn take(pool: &Pool) -> Result<Self, Trouble> {
        Ok(Self { client: Some(pool.get().await?), state: State::Idle })
    }

    /// Whether the driver knows that the server has gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.as_ref().is_none_or(|client| client.is_closed())
    }

    /// How to begin a transaction, after what is left of the last one. The isolation level is said, since at a higher one
    /// the snapshot would be older than the lock.
    pub(crate) fn begin(&self) -> &'static str {
        match self.state {
            State::Idle => "BEGIN ISOLATION LEVEL READ COMMITTED",
            State::Open | State::Busy => "ROLLBACK; BEGIN ISOLATION LEVEL READ COMMITTED",
        }
    }

    /// The connection for an exchange. Until [`settle`](Self::settle) it is not fit to go back.
    pub(crate) fn client(&mut self) -> Result<&Object, Trouble> {
        self.state = State::Busy;
        self.client.as_ref().ok_or_else(Trouble::gone)
    }

    /// The exchange is over; `open` if it left a transaction.
    pub(crate) fn settle(&mut self, open: bool) {
        self.state = if open { State::Open } else { State::Idle };
    }

    /// Ends what is left of the last transaction.
    pub(crate) async fn end(&mut self) -> Result<(), Trouble> {
        if self.state == State::Open {
            self.client()?.batch_execute("ROLLBACK").await.map_err(|error| Trouble::before(&error))?;
            self.settle(false);
        }
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.state != State::Idle {
            // Taken out of the pool it is closed by its drop.
            drop(self.client.take().map(Object::take));
        }
    }
}
