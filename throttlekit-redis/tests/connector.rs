//! What the `store` block of a file opens, and what is refused.
#![cfg(feature = "config")]

use std::time::Duration;

use throttlekit::config::{PostgresSpec, RedisSpec, RedisTopology, Secret, StoreBackend, StoreKind, StoreSpec};
use throttlekit::policy::{Connect, LoadOptions, Policies};
use throttlekit_redis::RedisConnector;
#[cfg(feature = "tls")]
use throttlekit_redis::{RedisOptions, Tls};

#[track_caller]
fn refused(change: impl FnOnce(&mut RedisSpec)) -> String {
    let mut spec = RedisSpec::new("redis://:s3cret@host");
    change(&mut spec);
    let Err(error) = RedisConnector.open(&StoreSpec::new(StoreBackend::Redis(spec))) else { panic!("it opens") };
    assert!(!format!("{error:?}{error}").contains("s3cret"), "{error:?}");
    error.to_string()
}

fn opens(change: impl FnOnce(&mut RedisSpec)) -> bool {
    let mut spec = RedisSpec::new("redis://:s3cret@host");
    change(&mut spec);
    RedisConnector.open(&StoreSpec::new(StoreBackend::Redis(spec))).is_ok()
}

#[test]
fn every_kind_of_redis_opens_without_a_server_and_without_a_runtime() {
    assert_eq!(RedisConnector.kind(), StoreKind::Redis);
    assert!(opens(|_| {}));
    assert!(opens(|spec| spec.resp3 = true));
    assert!(opens(|spec| {
        spec.topology = RedisTopology::Cluster;
        spec.urls.push(Secret::new("redis://other"));
    }));
    assert!(opens(|spec| {
        let password = Some(Secret::new("pw"));
        spec.topology = RedisTopology::Sentinel { master: "limits".into(), username: Some("me".into()), password };
        spec.username = Some("me".into());
        spec.password = Some(Secret::new("pw"));
    }));
}

#[test]
fn what_makes_no_store_is_refused() {
    assert_eq!(refused(|spec| spec.urls.clear()), "redis.url: required");
    let two = refused(|spec| spec.urls.push(Secret::new("redis://other")));
    assert_eq!(two, "redis.urls is 2: must be one, or be with cluster or sentinel");
    let bad = refused(|spec| spec.urls = vec![Secret::new("http://:s3cret@host")]);
    assert!(bad.starts_with("redis.url is http://***: must be "), "{bad}");
    let database = refused(|spec| {
        spec.topology = RedisTopology::Cluster;
        spec.urls = vec![Secret::new("redis://:s3cret@host/1")];
    });
    assert_eq!(database, "redis.database is 1: must be 0 in a cluster");
    let postgres = StoreSpec::new(StoreBackend::Postgres(PostgresSpec::new("postgres://host")));
    let Err(error) = RedisConnector.open(&postgres) else { panic!("it opens") };
    assert_eq!(error.to_string(), "store is postgres: must be redis for this connector");
    let mut slow = StoreSpec::new(StoreBackend::Redis(RedisSpec::new("redis://host")));
    slow.timeout = Duration::from_secs(61);
    let Err(error) = RedisConnector.open(&slow) else { panic!("it opens") };
    assert_eq!(error.option(), "redis.responseTimeout");
}

#[cfg(feature = "tls")]
#[test]
fn files_for_tls_are_read_at_once() {
    let refused = |change: fn(&mut RedisSpec)| {
        refused(|spec| {
            spec.urls = vec![Secret::new("rediss://:s3cret@host")];
            change(spec);
        })
    };
    let missing = refused(|spec| spec.tls.ca_file = Some("/nowhere/ca.pem".into()));
    assert!(missing.starts_with("redis.tls is caFile /nowhere/ca.pem: cannot be read: "), "{missing}");
    let half = refused(|spec| spec.tls.cert_file = Some("/nowhere/cert.pem".into()));
    assert_eq!(half, "redis.tls is one of them: must have both certFile and keyFile");
    let nonsense = refused(|spec| spec.tls.ca_file = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into()));
    assert_eq!(nonsense, "redis.tls is caFile: must be certificates in PEM form");
}

/// Whoever names certificates wants encryption, and would not get it.
#[cfg(feature = "tls")]
#[test]
fn certificates_are_refused_where_nothing_would_be_encrypted() {
    let plain = refused(|spec| spec.tls.ca_file = Some("/nowhere/ca.pem".into()));
    assert_eq!(plain, "redis.tls is given: must be with rediss:// in place of redis://");
    let options = RedisOptions::cluster(&["redis://:s3cret@host"]).unwrap();
    assert_eq!(options.tls(Tls::new()).unwrap_err().option(), "redis.tls");
    assert!(RedisOptions::single("rediss://host").unwrap().tls(Tls::new()).is_ok());
}

#[cfg(not(feature = "tls"))]
#[test]
fn without_the_feature_tls_is_refused() {
    let files = refused(|spec| spec.tls.ca_file = Some("/nowhere/ca.pem".into()));
    assert!(files.contains("the feature `tls` of throttlekit-redis"), "{files}");
    let url = refused(|spec| spec.urls = vec![Secret::new("rediss://:s3cret@host")]);
    assert!(url.contains("the feature `tls` of throttlekit-redis"), "{url}");
}

#[test]
fn a_problem_is_reported_where_the_file_has_it() {
    let text = "store: { redis: { url: 'http://:s3cret@host' } }\nlimiters: {}\n";
    let errors = Policies::load(text, LoadOptions::new().connector(RedisConnector)).unwrap_err();
    assert_eq!(errors.problems()[0].path, "config.store.redis.url");
    assert!(!format!("{errors:?}{errors}").contains("s3cret"));
}
