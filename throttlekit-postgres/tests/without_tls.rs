//! Without the feature `tls`, whoever asks for encryption is refused and not served in the clear.
#![cfg(not(feature = "tls"))]
#![allow(clippy::unwrap_used)] // a failing unwrap is a failing test

use throttlekit_postgres::PostgresStore;

const REASON: &str = "needs the feature `tls` of throttlekit-postgres";

#[test]
fn a_connection_string_that_requires_it_is_refused() {
    let error = PostgresStore::builder("postgres://app:s3cret@localhost/app?sslmode=require").build().map(drop);
    let error = error.unwrap_err();
    assert_eq!((error.option(), error.allowed()), ("postgres.url", REASON));
    assert!(!format!("{error:?}{error}").contains("s3cret"), "{error:?}");
    assert!(PostgresStore::builder("postgres://app:s3cret@localhost/app?sslmode=disable").build().is_ok());
}

#[cfg(feature = "config")]
#[test]
fn certificates_in_a_file_are_refused() {
    use throttlekit::config::{PostgresSpec, StoreBackend, StoreSpec};
    use throttlekit::policy::Connect as _;
    use throttlekit_postgres::PostgresConnector;

    let open = |change: fn(&mut PostgresSpec)| {
        let mut spec = PostgresSpec::new("postgres://app@localhost/app");
        change(&mut spec);
        PostgresConnector::new().open(&StoreSpec::new(StoreBackend::Postgres(spec))).map(drop)
    };
    assert!(open(|_| {}).is_ok());
    let asked: [fn(&mut PostgresSpec); 3] = [
        |spec| spec.tls.ca_file = Some("ca.pem".into()),
        |spec| spec.tls.cert_file = Some("cert.pem".into()),
        |spec| spec.tls.key_file = Some("key.pem".into()),
    ];
    for change in asked {
        let error = open(change).unwrap_err();
        assert_eq!((error.option(), error.allowed()), ("postgres.tls", REASON));
    }
}
