//! Ports that stay with one server, also while that server is down.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rustix::fs::{FlockOperation, flock};

/// Ports are taken from here. It lies below the range from which systems take ports for outgoing connections, so that none
/// of those sits on the port of a server that was killed. So does each port plus 10000, the default of a Redis node's
/// cluster bus.
const RANGE: std::ops::Range<u16> = 12_000..22_000;

/// A free port on the loopback address. No other test process takes it until this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    // Locked as long as it is open.
    _lock: File,
}

impl Port {
    /// Takes a free one.
    ///
    /// # Panics
    ///
    /// If none is free.
    pub fn free() -> Self {
        let folder = std::env::temp_dir().join("throttlekit-ports");
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        for number in RANGE {
            let path = folder.join(number.to_string());
            let lock = File::create(&path).unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()));
            let is_free = || TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok();
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() && is_free() {
                return Self { number, _lock: lock };
            }
        }
        panic!("no port in {RANGE:?} is free")
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The address `127.0.0.1:number`.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}
