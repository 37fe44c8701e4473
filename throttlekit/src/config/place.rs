//! Whether two `store` blocks name the same place.

use super::store::{DynamoDbSpec, PostgresSpec, RedisSpec, RedisTopology, StoreBackend, StoreSpec};

impl StoreSpec {
    /// Whether what this keeps is, for all that can be told, found by `other` too. How it is reached may differ: by which
    /// password, within which time, over how many connections.
    pub(crate) fn is_where(&self, other: &Self) -> bool {
        use StoreBackend as B;
        match (&self.backend, &other.backend) {
            (B::Memory, B::Memory) => true,
            (B::Redis(one), B::Redis(other)) => one.place() == other.place(),
            (B::Postgres(one), B::Postgres(other)) => one.place() == other.place(),
            (B::DynamoDb(one), B::DynamoDb(other)) => one.place() == other.place(),
            _ => false,
        }
    }
}

impl RedisSpec {
    /// Where its keys are. All who log in find the same.
    fn place(&self) -> impl PartialEq {
        let urls: Vec<_> = self.urls.iter().map(|url| location(url.expose()).1).collect();
        let topology = match &self.topology {
            RedisTopology::Single => (false, None),
            RedisTopology::Cluster => (true, None),
            RedisTopology::Sentinel { master, .. } => (false, Some(master.clone())),
        };
        (urls, topology)
    }
}

impl PostgresSpec {
    /// Where its rows are. Who logs in may have a database or a schema of his own.
    fn place(&self) -> impl PartialEq {
        let (user, rest) = location(self.url.expose());
        (user.to_owned(), rest, self.table.clone(), self.mode)
    }
}

impl DynamoDbSpec {
    /// Where its items are. Other credentials may be those of another account.
    fn place(&self) -> impl PartialEq {
        let account = self.credentials.as_ref().map(|credentials| credentials.access_key_id.clone());
        (self.table.clone(), self.region.clone(), self.endpoint.clone(), self.hash_key.clone(), account)
    }
}

/// The name of the user in a URL, and the URL without user and password.
fn location(url: &str) -> (&str, String) {
    let Some((scheme, rest)) = url.split_once("://") else { return ("", url.to_owned()) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let user = login.split_once(':').map_or(login, |(user, _)| user);
    (user, format!("{scheme}://{host}{path}"))
}

#[cfg(test)]
mod tests {
    use crate::config::{
        DynamoDbCredentials, DynamoDbSpec, PostgresMode, PostgresSpec, RedisSpec, StoreBackend, StoreSpec,
    };

    fn postgres(url: &str) -> StoreSpec {
        StoreSpec::new(StoreBackend::Postgres(PostgresSpec::new(url)))
    }

    #[test]
    fn a_password_does_not_tell_where_a_store_is_and_a_user_may() {
        let redis = |url: &str| StoreSpec::new(StoreBackend::Redis(RedisSpec::new(url)));
        let one = redis("redis://host:1/2");
        for url in ["redis://:pw@host:1/2", "redis://me@host:1/2", "redis://me:p@w@host:1/2"] {
            assert!(one.is_where(&redis(url)), "{url}");
        }
        for url in ["redis://host:1/3", "redis://host:1", "redis://host/2", "host:1/2", "redis://:p/w@host:1/2"] {
            assert!(!one.is_where(&redis(url)), "{url}");
        }
        let one = postgres("postgres://me@db/limits?sslmode=require");
        assert!(one.is_where(&postgres("postgres://me:pw@db/limits?sslmode=require")));
        for url in ["postgres://you@db/limits?sslmode=require", "postgres://me@db/other?sslmode=require"] {
            assert!(!one.is_where(&postgres(url)), "{url}");
        }
        assert!(!one.is_where(&redis("postgres://me@db/limits?sslmode=require")));
    }

    #[test]
    fn tables_are_places() {
        let StoreBackend::Postgres(base) = postgres("postgres://db").backend else { panic!("it says postgres") };
        let of = |spec| StoreSpec::new(StoreBackend::Postgres(spec));
        assert!(of(base.clone()).is_where(&of(PostgresSpec { pool_size: 9, ..base.clone() })));
        assert!(!of(base.clone()).is_where(&of(PostgresSpec { mode: PostgresMode::Fast, ..base.clone() })));
        assert!(!of(base.clone()).is_where(&of(PostgresSpec { table: "t".to_owned(), ..base })));

        let of = |spec| StoreSpec::new(StoreBackend::DynamoDb(spec));
        let base = DynamoDbSpec::new("t");
        let keyed = |id: &str, key: &str| {
            let credentials = Some(DynamoDbCredentials::new(id, key));
            of(DynamoDbSpec { credentials, max_retries: 1, ..base.clone() })
        };
        assert!(keyed("id", "key").is_where(&keyed("id", "another")));
        assert!(!keyed("id", "key").is_where(&keyed("other", "key")));
        assert!(!of(base.clone()).is_where(&of(DynamoDbSpec { region: Some("r".to_owned()), ..base.clone() })));
        assert!(!of(base.clone()).is_where(&of(DynamoDbSpec { hash_key: "id".to_owned(), ..base.clone() })));
    }
}
