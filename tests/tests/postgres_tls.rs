//! Encrypted connections of the PostgreSQL store, and stores from a configuration.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod postgres_support;

use std::fs;
use std::time::Duration;

use postgres_support::{SERVER, limiter, patient};
use tests::postgres::Postgres;
use tests::shared::Shared;
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::{Ask, Error, ErrorKind};
use throttlekit_postgres::{Mode, PostgresConnector, PostgresStore, PostgresStoreBuilder};

/// An authority, and what it signed: PEM texts.
struct Authority {
    pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: rcgen::Issuer::new(params, key) }
    }

    /// A certificate and its key.
    fn sign(&self, alternative: &str, common: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![alternative.to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, common);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A server with a certificate, and who signed it.
struct Secure {
    server: Postgres,
    authority: Authority,
}

static SECURE: Shared<Secure> = Shared::new();

fn secure() -> Secure {
    let authority = Authority::new();
    let (chain, key) = authority.sign("127.0.0.1", "server");
    let files = ["ssl_cert_file=../chain.pem", "ssl_key_file=../key.pem", "ssl_ca_file=../root.pem"];
    let settings = [&["fsync=off", "ssl=on"], &files[..]].concat();
    let files = [("chain.pem", chain.as_str()), ("key.pem", key.as_str()), ("root.pem", authority.pem.as_str())];
    let server = Postgres::start_with(&settings, &files);
    Secure { server, authority }
}

impl Secure {
    fn url(&self, user: &str, more: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/postgres{more}", self.server.port())
    }

    /// Whether all connections of `user` are encrypted; none if there are none.
    fn encrypted(&self, user: &str) -> Option<bool> {
        let sessions = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)";
        let answer = self.server.sql(&format!("{sessions} WHERE usename = '{user}'"));
        (!answer.is_empty()).then(|| answer == "t")
    }
}

async fn refused(builder: PostgresStoreBuilder) -> Error {
    let error = limiter(patient(builder).build().unwrap(), 10.0).check("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error}");
    error
}

#[tokio::test]
async fn certificates_encrypt_and_are_checked() {
    let secure = SECURE.get(secure);
    let app = format!("app:{}", Postgres::PASSWORD);
    let url = secure.url(&app, "");
    // With the password, bound to the channel by SCRAM.
    let trusting = PostgresStore::builder(&url).table("trusting").root_certificates(secure.authority.pem.as_bytes());
    let limiter = limiter(patient(trusting).build().unwrap(), 10.0);
    assert!(limiter.check("k").await.unwrap().allowed);
    assert_eq!(secure.encrypted("app"), Some(true));

    let stranger = Authority::new();
    let error = refused(PostgresStore::builder(&url).root_certificates(stranger.pem.as_bytes())).await;
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(!error.to_string().contains(Postgres::PASSWORD));
    // By what the system trusts; it does not know this authority.
    let error = refused(PostgresStore::builder(&secure.url(&app, "?sslmode=require"))).await;
    assert!(error.to_string().contains("certificate"), "{error}");
    // The name counts, too.
    let elsewhere = url.replace("127.0.0.1", "localhost");
    let error = refused(PostgresStore::builder(&elsewhere).root_certificates(secure.authority.pem.as_bytes())).await;
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn without_certificates_the_connection_string_decides() {
    let secure = SECURE.get(secure);
    let plain =
        limiter(patient(PostgresStore::builder(&secure.url("postgres", "")).table("plain")).build().unwrap(), 10.0);
    assert!(plain.check("plain").await.unwrap().allowed);
    let plain = "SELECT bool_or(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE usename = 'postgres' AND application_name = 'throttlekit'";
    assert_eq!(secure.server.sql(plain), "f");
}

#[tokio::test]
async fn a_server_without_tls_is_not_talked_to_in_the_clear() {
    let server = SERVER.get(postgres_support::start);
    let authority = Authority::new();
    for sslmode in ["", "?sslmode=prefer", "?sslmode=disable"] {
        let url = format!("{}{sslmode}", server.url());
        let error = refused(PostgresStore::builder(&url).root_certificates(authority.pem.as_bytes())).await;
        assert!(error.to_string().contains("TLS"), "{sslmode}: {error}");
    }
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let secure = SECURE.get(secure);
    let url = secure.url("certified", "");
    let trusting = || PostgresStore::builder(&url).root_certificates(secure.authority.pem.as_bytes());
    let error = refused(trusting()).await;
    assert!(error.to_string().contains("28000"), "{error}");
    let (chain, key) = secure.authority.sign("certified", "certified");
    let limiter =
        limiter(patient(trusting().client_certificate(chain.as_bytes(), key.as_bytes())).build().unwrap(), 10.0);
    assert!(limiter.check("certified").await.unwrap().allowed);
    assert_eq!(secure.encrypted("certified"), Some(true));
}

#[test]
fn options_that_cannot_be_are_refused_when_built() {
    let url = "postgres://app:open-sesame@localhost/app";
    let build = |builder: PostgresStoreBuilder| {
        let shown = format!("{builder:?}");
        assert!(!shown.contains("sesame"), "{shown}");
        builder.build().map(drop).unwrap_err()
    };
    let store = || PostgresStore::builder(url);
    for table in ["", "1a", "a b", "a-b", "a.b.c", ".a", "a.", "a;drop table x", "\"a\"", "\u{e4}", &"x".repeat(64)] {
        let error = build(store().table(table));
        assert_eq!(error.option(), "postgres.table");
        assert!(error.to_string().contains(&format!("{table:?}")), "{error}");
    }
    for (builder, option) in [
        (store().prefix("a\0b"), "postgres.prefix"),
        (store().pool_size(0), "postgres.poolSize"),
        (store().pool_size(1_025), "postgres.poolSize"),
        (store().max_waiting(0), "postgres.maxWaiting"),
        (store().timeout(Duration::ZERO), "postgres.timeoutMs"),
        (store().statement_timeout(Duration::from_nanos(1)), "postgres.statementTimeoutMs"),
        (store().connect_timeout(Duration::MAX), "postgres.connectTimeoutMs"),
        (store().acquire_timeout(Duration::ZERO), "postgres.acquireTimeoutMs"),
        (store().root_certificates("no certificate"), "postgres.tls.caFile"),
        (store().client_certificate("no certificate", "no key"), "postgres.tls.certFile"),
    ] {
        assert_eq!(build(builder).option(), option);
    }
    // A pool has been told already how to connect.
    let pool = || {
        let manager = deadpool_postgres::Manager::new("host=localhost".parse().unwrap(), tokio_postgres::NoTls);
        PostgresStore::with_pool(deadpool_postgres::Pool::builder(manager).build().unwrap())
    };
    assert!(pool().build().is_ok());
    for builder in [pool().root_certificates("any"), pool().client_certificate("any", "any")] {
        assert_eq!(build(builder).option(), "postgres.tls");
    }
    for url in
        ["", "redis://localhost", "postgres://app:open-sesame@localhost:port/app", "host=localhost open-sesame=1"]
    {
        let error = build(PostgresStore::builder(url));
        assert_eq!(error.option(), "postgres.url");
        assert!(!error.to_string().contains("sesame"), "{error}");
    }
    assert!(store().table("_a1").table("Schema_1.table_2").build().is_ok());
}

/// The server cuts longer names, and the index of the table would have the name of something else.
#[test]
fn a_table_has_room_for_the_name_of_its_index() {
    let build = |mode, name: &str| {
        PostgresStore::builder("postgres://app@localhost/app").mode(mode).table(name).build().map(drop)
    };
    let (longest, too_long) = ("x".repeat(51), "x".repeat(52));
    for (mode, fits, refused, bound) in [
        (Mode::Shared, longest.clone(), too_long, "51 bytes in all"),
        (Mode::Shared, format!("{}.t", &longest[2..]), format!("{longest}.t"), "51 bytes in all"),
        (Mode::Fast, format!("{longest}.{}", "x".repeat(58)), "x".repeat(59), "58 bytes each"),
    ] {
        assert!(build(mode, &fits).is_ok(), "{fits}");
        let error = build(mode, &refused).unwrap_err();
        assert!(error.to_string().contains(bound), "{error}");
    }
}

#[tokio::test]
async fn a_file_names_the_store() {
    let secure = SECURE.get(secure);
    let folder = tests::folder::Folder::new("postgres-config");
    let authority = folder.join("root.pem");
    fs::write(&authority, &secure.authority.pem).unwrap();
    let text = |authority: &str| {
        format!(
            "store:\n  postgres:\n    url: 'postgres://app@127.0.0.1:{port}/postgres'\n    password: '{password}'\n    \
             table: from_file\n    mode: fast\n    tls: {{ caFile: '{authority}' }}\n  timeout: 30s\n\
             limiters:\n  api: {{ strategy: gcra, limit: 3, period: 1h }}\n",
            port = secure.server.port(),
            password = Postgres::PASSWORD,
        )
    };
    let options = || LoadOptions::new().connector(PostgresConnector::new());
    let policies = Policies::load(&text(&authority.display().to_string()), options()).unwrap();
    let api = policies.get("api").unwrap();
    for remaining in [2, 1, 0] {
        assert_eq!(api.limiter().unwrap().admit(&Ask::new("k")).await.unwrap().decision.remaining, remaining);
    }
    assert!(!api.limiter().unwrap().admit(&Ask::new("k")).await.unwrap().decision.allowed);
    assert_eq!(secure.server.sql("SELECT count(*) FROM from_file_fast"), "1");
    let error = Policies::load(&text("/nowhere/root.pem"), options()).unwrap_err();
    assert!(error.to_string().contains("caFile"), "{error}");
    assert!(!error.to_string().contains(Postgres::PASSWORD), "{error}");
}
