//! The ways to a Redis server: passwords, databases, TLS, sockets, both protocols.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod redis_support;

use redis_support::{counting, patient, used};
use tests::redis::{Redis, Settings};
use throttlekit::{BuildError, Error};
use throttlekit_redis::{RedisOptions, RedisStore, Tls};

fn open(options: Result<RedisOptions, BuildError>) -> RedisStore {
    RedisStore::new(&patient(options.unwrap())).unwrap()
}

/// Checks once over the store.
async fn check(store: RedisStore) -> Result<(), Error> {
    store.ready().await?;
    counting(store, 10.0).check("k").await.map(|decision| assert!(decision.allowed))
}

#[track_caller]
fn assert_refused(outcome: Result<(), Error>, reason: &str) {
    let error = outcome.unwrap_err();
    assert!(error.is_store_unavailable(), "{error}");
    assert!(error.to_string().contains(reason), "{error}");
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains("s3cret") && !text.contains("wr0ng"), "{text}");
    }
}

#[tokio::test]
async fn a_password_and_a_database() {
    let server = Redis::with(Settings { password: Some("s3cret".into()), ..Settings::default() });
    let address = server.address();
    check(open(RedisOptions::single(format!("redis://:s3cret@{address}/3")))).await.unwrap();
    assert_eq!(used(&server.cli(&["-n", "3", "HGET", "k", "c"])), 1);
    let options = RedisOptions::single(format!("redis://{address}")).unwrap().password("s3cret").database(3);
    check(open(options)).await.unwrap();
    assert_eq!(used(&server.cli(&["-n", "3", "HGET", "k", "c"])), 2);

    assert_refused(check(open(RedisOptions::single(format!("redis://{address}")))).await, "NOAUTH");
    let wrong = RedisOptions::single(format!("redis://:wr0ng@{address}"));
    assert!(!format!("{wrong:?}").contains("wr0ng"));
    let store = open(wrong);
    assert!(!format!("{store:?}").contains("wr0ng"));
    assert_refused(check(store).await, "authentication failed");
    assert_refused(check(open(RedisOptions::single(format!("redis://:s3cret@{address}/99")))).await, "database");
}

#[tokio::test]
async fn a_user_of_the_access_list() {
    let server = Redis::start();
    server.cli(&["ACL", "SETUSER", "limits", "on", ">s3cret", "~tk:*", "+@all"]);
    let options = RedisOptions::single(server.url()).unwrap().username("limits").password("s3cret");
    let store = RedisStore::builder(&options).prefix("tk").build().unwrap();
    check(store).await.unwrap();
    assert_eq!(used(&server.cli(&["HGET", "tk:k", "c"])), 1);
    // A key outside of what the user may touch.
    assert_refused(check(RedisStore::new(&options).unwrap()).await, "NOPERM");
    assert_refused(check(open(Ok(options.password("wr0ng")))).await, "authentication failed");
}

#[tokio::test]
async fn a_server_that_repeats_what_it_was_sent_gives_no_secret_away() {
    // An old server, or one where commands have other names: it answers with the arguments that it did not expect.
    let server = Redis::with(Settings {
        arguments: ["--rename-command", "AUTH", "", "--rename-command", "HELLO", ""].map(str::to_owned).to_vec(),
        ..Settings::default()
    });
    let options = || RedisOptions::single(format!("redis://limits:s3cret@{}", server.address()));
    assert_refused(check(open(options())).await, "authentication failed");
    assert_refused(check(open(options().map(RedisOptions::resp3))).await, "");
}

#[tokio::test]
async fn the_newer_protocol() {
    let server = Redis::with(Settings { password: Some("s3cret".into()), ..Settings::default() });
    check(open(RedisOptions::single(format!("{}?protocol=resp3", server.url())))).await.unwrap();
    check(open(RedisOptions::single(server.url()).map(RedisOptions::resp3))).await.unwrap();
    let store = open(RedisOptions::single(server.url()).map(RedisOptions::resp3));
    check(store.clone()).await.unwrap();
    assert!(server.cli(&["CLIENT", "LIST"]).lines().any(|client| client.contains("resp=3")));
    assert_eq!(used(&server.cli(&["HGET", "k", "c"])), 3);
}

#[tokio::test]
async fn a_socket() {
    let folder = tests::folder::Folder::new("socket");
    let path = folder.join("redis.sock").display().to_string();
    let server = Redis::with(Settings { arguments: vec!["--unixsocket".into(), path.clone()], ..Settings::default() });
    check(open(RedisOptions::single(format!("unix://{path}")))).await.unwrap();
    assert_eq!(used(&server.cli(&["HGET", "k", "c"])), 1);
}

#[tokio::test]
async fn tls_with_an_authority_of_ones_own() {
    let server = Redis::with(Settings { tls: true, password: Some("s3cret".into()), ..Settings::default() });
    let options = || RedisOptions::single(server.url()).unwrap();
    check(open(options().tls(Tls::new().authority(server.authority())))).await.unwrap();
    let by_name = RedisOptions::single(format!("rediss://:s3cret@localhost:{}", server.port())).unwrap();
    check(open(by_name.tls(Tls::new().authority(server.authority())))).await.unwrap();
    assert_eq!(used(&server.cli(&["HGET", "k", "c"])), 2);
}

#[tokio::test]
async fn tls_trusts_nobody_unasked() {
    let server = Redis::with(Settings { tls: true, password: Some("s3cret".into()), ..Settings::default() });
    let other = Redis::with(Settings { tls: true, ..Settings::default() });
    let options = || RedisOptions::single(server.url()).unwrap();
    assert_refused(check(open(options().tls(Tls::new().authority(other.authority())))).await, "certificate");
    // The certificate is for another name.
    let by_number = RedisOptions::single(format!("rediss://:s3cret@127.0.0.2:{}", server.port())).unwrap();
    let by_number = by_number.tls(Tls::new().authority(server.authority()));
    assert!(check(open(by_number)).await.is_err());

    check(open(options().tls(Tls::new().danger_accept_any_certificate()))).await.unwrap();
    check(open(RedisOptions::single(format!("{}#insecure", server.url())))).await.unwrap();
}

#[tokio::test]
async fn in_the_clear_a_server_with_tls_is_an_outage() {
    let server = Redis::with(Settings { tls: true, ..Settings::default() });
    assert_refused(check(open(RedisOptions::single(format!("redis://{}", server.address())))).await, "");
}

#[test]
fn what_is_no_address_is_refused_without_its_secrets() {
    let refused = |url: &str| {
        let error = RedisOptions::single(url).unwrap_err();
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains("s3cret"), "{text}");
        }
        assert_eq!(error.option(), "redis.url", "{url}");
    };
    for url in [
        "",
        "s3cret",
        "host:6379",
        "http://:s3cret@host",
        "redis://:s3cret@",
        "redis://:s3cret@host:port",
        "redis://:s3cret@host/database",
        "redis://:s3#cret@host",
        "redis://:s3cret@host#insecure",
        "rediss://:s3cret@host#certain",
        "redis://:s3cret@host?protocol=resp9",
    ] {
        refused(url);
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let none: [&str; 0] = [];
    assert_eq!(RedisOptions::cluster(&none).unwrap_err().to_string(), "redis.url: required");
    let error = RedisOptions::cluster(&["redis://a", "rediss://b"]).unwrap_err();
    assert_eq!(error.to_string(), "redis.url is a mixture: must be all with TLS or all without");
    let error = RedisOptions::cluster(&["redis://a/2"]).unwrap_err();
    assert_eq!(error.to_string(), "redis.database is 2: must be 0 in a cluster");
    let error = RedisOptions::cluster(&["redis://a"]).unwrap().database(2).unwrap_err();
    assert_eq!(error.to_string(), "redis.database is 2: must be 0 in a cluster");
    let error = RedisOptions::sentinel("", &["redis://a"]).unwrap_err();
    assert_eq!(error.to_string(), "redis.sentinel is \"\": must be the name of a master");
    let single = || RedisOptions::single("redis://a").unwrap();
    let error = single().connect_timeout(std::time::Duration::ZERO).unwrap_err();
    assert_eq!(error.to_string(), "redis.connectTimeout is 0 ms: must be between 1 ms and 60 s");
    let error = single().response_timeout(std::time::Duration::from_secs(61)).unwrap_err();
    assert_eq!(error.to_string(), "redis.responseTimeout is 61000 ms: must be between 1 ms and 60 s");
}
