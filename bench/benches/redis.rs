//! Checks on a Redis server: one script per check as anybody would send it, and ours.

use std::error::Error;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use throttlekit::store::Remote;
use throttlekit::{Gcra, Limiter};
use throttlekit_redis::{RedisOptions, RedisStore};

const PLAIN: &str = include_str!("redis/plain.lua");

async fn plain(connection: &MultiplexedConnection, script: &redis::Script, key: &str) -> bool {
    let mut connection = connection.clone();
    let reply: Vec<i64> =
        script.key(key).arg(0).arg(60_000).arg(6_000_000).arg(100).arg(1).invoke_async(&mut connection).await.unwrap();
    reply[0] == 1
}

async fn load<F: Future<Output = bool> + Send>(
    flight: usize,
    total: usize,
    keys: usize,
    check: impl Fn(String) -> F + Send + Sync + 'static,
) -> (f64, Duration, Duration) {
    let check = Arc::new(check);
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = (0..flight)
        .map(|_| {
            let (check, next) = (check.clone(), next.clone());
            tokio::spawn(async move {
                let mut spans = Vec::new();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= total {
                        return spans;
                    }
                    let key = format!("user-{}", (n.wrapping_mul(2_654_435_761)) % keys);
                    let begin = Instant::now();
                    check(key).await;
                    spans.push(begin.elapsed());
                }
            })
        })
        .collect();
    let mut spans = Vec::new();
    for task in tasks {
        spans.extend(task.await.unwrap());
    }
    let rate = total as f64 / start.elapsed().as_secs_f64();
    spans.sort_unstable();
    (rate, spans[spans.len() / 2], spans[spans.len() * 99 / 100])
}

struct Server(Child);
impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = 7790;
    let _server = Server(
        Command::new("taskset")
            .args(["-c", "0", "redis-server", "--port", "7790", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()?,
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    let url = format!("redis://127.0.0.1:{port}");
    let client = redis::Client::open(url.as_str())?;
    let connection = client.get_multiplexed_async_connection().await?;
    let script = Arc::new(redis::Script::new(PLAIN));
    let store = RedisStore::builder(&RedisOptions::single(&url)?).build()?;
    let gcra = Gcra::builder().limit(6_000_000.0).period_ms(60_000.0).burst(100.0).build()?;
    let limiter = Limiter::builder(gcra).prefix("o").keyspace(Remote::new(store)).build();
    let limiter = Arc::new(limiter);
    for round in 0..2 {
        for (flight, total, keys) in
            [(1, 20_000, 10_000), (64, 200_000, 10_000), (512, 200_000, 10_000), (512, 200_000, 1)]
        {
            let (c, s) = (connection.clone(), script.clone());
            let a = load(flight, total, keys, move |key| {
                let (c, s) = (c.clone(), s.clone());
                async move { plain(&c, &s, &key).await }
            })
            .await;
            let l = limiter.clone();
            let b = load(flight, total, keys, move |key| {
                let l = l.clone();
                async move { l.check(&key).await.unwrap().allowed }
            })
            .await;
            println!("{round} flight {flight} keys {keys}: plain {a:?} ours {b:?} x{:.2}", b.0 / a.0);
        }
    }
    Ok(())
}
