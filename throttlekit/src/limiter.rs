//! The limiter: a strategy on a keyspace.
