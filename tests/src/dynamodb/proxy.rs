//! What stands between a client and a server: it counts requests, and lets some go wrong.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is passed on, and so is its answer.
    Pass,
    /// It is not passed on; the answer is an error of this name, such as `ThrottlingException`.
    Refuse(&'static str),
    /// It is not passed on; this is the answer, in JSON.
    Answer(String),
    /// It is passed on; instead of the answer the connection ends.
    Cut,
    /// It is passed on, and never answered.
    Hang,
}

/// Decides by the name of the operation and by how many requests of that name came before.
type Rule = dyn Fn(&str, usize) -> Verdict + Send + Sync;

/// A proxy for HTTP/1.1 requests of an AWS client. Dropping it ends its connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: SocketAddr,
    rule: Mutex<Arc<Rule>>,
    seen: Mutex<Vec<String>>,
    open: Mutex<Option<Vec<TcpStream>>>,
}

impl Proxy {
    /// Passes requests on to `upstream`, all of them until [`set_rule`](Self::set_rule) says otherwise.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("cannot listen: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("listens nowhere: {error}"));
        let rule: Arc<Rule> = Arc::new(|_, _| Verdict::Pass);
        let shared = Arc::new(Shared {
            upstream,
            rule: Mutex::new(rule),
            seen: Mutex::default(),
            open: Mutex::new(Some(Vec::new())),
        });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if !for_thread.keep(&stream) {
                    return;
                }
                let shared = Arc::clone(&for_thread);
                // A connection that breaks is what a client has to bear.
                thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Decides what becomes of requests from now on.
    pub fn set_rule(&self, rule: impl Fn(&str, usize) -> Verdict + Send + Sync + 'static) {
        *lock(&self.shared.rule) = Arc::new(rule);
        lock(&self.shared.seen).clear();
    }

    /// How many requests came since the last look or the last new rule.
    pub fn count(&self) -> usize {
        lock(&self.shared.seen).len()
    }

    /// The names of the operations that were asked for since the last look or the last new rule.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.shared.seen))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for stream in lock(&self.shared.open).take().unwrap_or_default() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The thread that accepts sees that all is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Shared {
    /// Remembers a connection so that it can be ended; false if all is over.
    fn keep(&self, stream: &TcpStream) -> bool {
        match (lock(&self.open).as_mut(), stream.try_clone()) {
            (Some(open), Ok(twin)) => {
                open.push(twin);
                true
            }
            _ => false,
        }
    }

    fn serve(&self, client: TcpStream) -> io::Result<()> {
        let mut client = BufReader::new(client);
        let mut server: Option<BufReader<TcpStream>> = None;
        while let Some(request) = Message::read(&mut client)? {
            let target = request.header("x-amz-target").unwrap_or_default();
            let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
            let before = {
                let mut seen = lock(&self.seen);
                seen.push(operation.clone());
                seen.iter().filter(|name| **name == operation).count() - 1
            };
            let rule = Arc::clone(&lock(&self.rule));
            let verdict = rule(&operation, before);
            let own = match &verdict {
                Verdict::Refuse(name) => {
                    let kind = format!("com.amazonaws.dynamodb.v20120810#{name}");
                    Some(("400 Bad Request", format!("{{\"__type\":\"{kind}\",\"message\":\"no\"}}")))
                }
                Verdict::Answer(body) => Some(("200 OK", body.clone())),
                Verdict::Pass | Verdict::Cut | Verdict::Hang => None,
            };
            if let Some((status, body)) = own {
                let head = "content-type: application/x-amz-json-1.0\r\ncontent-length:";
                write!(client.get_mut(), "HTTP/1.1 {status}\r\n{head} {}\r\n\r\n{body}", body.len())?;
                continue;
            }
            if server.is_none() {
                let stream = TcpStream::connect(self.upstream)?;
                stream.set_nodelay(true)?;
                if !self.keep(&stream) {
                    return Ok(());
                }
                server = Some(BufReader::new(stream));
            }
            let Some(upstream) = server.as_mut() else { return Ok(()) };
            upstream.get_mut().write_all(&request.bytes)?;
            let Some(answer) = Message::read(upstream)? else { return client.get_mut().shutdown(Shutdown::Both) };
            match verdict {
                Verdict::Cut => return client.get_mut().shutdown(Shutdown::Both),
                // Until the client goes away, or this proxy does.
                Verdict::Hang => return client.read_to_end(&mut Vec::new()).map(drop),
                _ => client.get_mut().write_all(&answer.bytes)?,
            }
        }
        Ok(())
    }
}

/// A request or an answer, as it came.
struct Message {
    bytes: Vec<u8>,
    head: String,
}

impl Message {
    /// The next one; `None` at the end of the connection.
    fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            if from.read_until(b'\n', &mut bytes)? == 0 {
                return Ok(None);
            }
        }
        let mut message = Self { head: String::from_utf8_lossy(&bytes).into_owned(), bytes };
        let length = message.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        from.take(length).read_to_end(&mut message.bytes)?;
        Ok(Some(message))
    }

    /// The value of a field, whatever the case of its name.
    fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
