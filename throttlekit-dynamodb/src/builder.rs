//! The options of a store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use throttlekit::{BuildError, Clock};

use crate::inner::Parts;
use crate::item::{EXPIRES_AT, EXPIRES_AT_MS, STATE, VERSION};
use crate::store::DynamoDbStore;
use crate::table::Table;

const DEFAULT_HASH_KEY: &str = "pk";
const DEFAULT_MAX_RETRIES: u32 = 16;
/// Many times what a request takes, and well below what a client of the limited service waits for.
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);
/// About 3 MB with usual keys and states.
const DEFAULT_REMEMBERED_KEYS: usize = 10_000;

/// Makes a [`DynamoDbStore`].
#[must_use = "a builder does nothing until it is built"]
pub struct DynamoDbStoreBuilder {
    client: Client,
    table_name: String,
    hash_key: String,
    prefix: String,
    clock: Option<Arc<dyn Clock>>,
    max_retries: u32,
    timeout: Duration,
    auto_create: bool,
    remembered_keys: usize,
}

impl DynamoDbStoreBuilder {
    pub(crate) fn new(client: Client, table_name: String) -> Self {
        Self {
            client,
            table_name,
            hash_key: DEFAULT_HASH_KEY.to_owned(),
            prefix: String::new(),
            clock: None,
            max_retries: DEFAULT_MAX_RETRIES,
            timeout: DEFAULT_TIMEOUT,
            auto_create: false,
            remembered_keys: DEFAULT_REMEMBERED_KEYS,
        }
    }

    /// The name of the partition key, a text; `pk` by default. The table has no sort key.
    pub fn hash_key(mut self, name: impl Into<String>) -> Self {
        self.hash_key = name.into();
        self
    }

    /// A prefix of every key: `prefix:key`. None by default.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The time at which calls are stepped and states expire.
    ///
    /// By default that is the time of each call, which its limiter took from a clock of its own. The service offers no
    /// time of its own, so the clocks of processes that share a table should agree. Calls that overtake one another count as if they
    /// did not.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// How often a call is tried again after another process was faster; 16 by default. There is a short random wait
    /// before each.
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.max_retries = max_retries;
        self
    }

    /// How long a call may take in all, its waiting for others and its retries included; 500 ms by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether the first call makes the table unless it is there, as
    /// [`create_table`](DynamoDbStore::create_table) does. Off by default.
    ///
    /// Until the table can be used, calls fail with `store_unavailable` when their time is up.
    pub fn auto_create(mut self, auto_create: bool) -> Self {
        self.auto_create = auto_create;
        self
    }

    /// How many items this process remembers, to save reading them; 10,000 by default, none below 2.
    ///
    /// What is remembered decides nothing: a write over it is made on the condition that it is still so, and without a
    /// write the item is read.
    pub fn remembered_keys(mut self, remembered_keys: usize) -> Self {
        self.remembered_keys = remembered_keys;
        self
    }

    /// Makes the store. Sends nothing.
    ///
    /// The store uses the client's connections and settings, but never its retries: a write that was made and whose
    /// answer was lost would be charged again.
    ///
    /// # Errors
    ///
    /// If the name of the table or of its key is none, or the timeout is 0.
    pub fn build(self) -> Result<DynamoDbStore, BuildError> {
        if !is_table_name(&self.table_name) {
            return Err(BuildError::new(
                "dynamodb.table_name",
                format!("{:?}", self.table_name),
                "must have 3 to 255 characters of a-z, A-Z, 0-9, _, - and ., or be the ARN of a table",
            ));
        }
        let own = [STATE, EXPIRES_AT, EXPIRES_AT_MS, VERSION];
        if !(1..=255).contains(&self.hash_key.len()) || own.contains(&self.hash_key.as_str()) {
            return Err(BuildError::new(
                "dynamodb.hash_key",
                format!("{:?}", self.hash_key),
                "must have 1 to 255 bytes and not be state, expires_at, expires_at_ms or version",
            ));
        }
        if self.timeout.is_zero() || self.timeout > LONGEST_TIMEOUT {
            return Err(BuildError::new(
                "dynamodb.timeout",
                format!("{:?}", self.timeout),
                "must be above 0 and at most an hour",
            ));
        }
        let config = self.client.config().to_builder().retry_config(RetryConfig::disabled()).build();
        Ok(DynamoDbStore::from_parts(Parts {
            table: Table { client: Client::from_conf(config), name: self.table_name, hash_key: self.hash_key },
            prefix: self.prefix,
            clock: self.clock,
            max_retries: self.max_retries,
            timeout: self.timeout,
            auto_create: self.auto_create,
            remembered_keys: self.remembered_keys,
        }))
    }
}

/// Nobody waits longer for a decision; and a time that far ahead can be added to any other.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3_600);

fn is_table_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || ['_', '-', '.'].contains(&c);
    let is_plain = (3..=255).contains(&name.len()) && name.chars().all(is_allowed);
    is_plain || (name.starts_with("arn:") && name.len() <= 1_024)
}

impl fmt::Debug for DynamoDbStoreBuilder {
    /// Leaves out the client, which has credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDbStoreBuilder")
            .field("table_name", &self.table_name)
            .field("hash_key", &self.hash_key)
            .field("prefix", &self.prefix)
            .field("max_retries", &self.max_retries)
            .field("timeout", &self.timeout)
            .field("auto_create", &self.auto_create)
            .field("remembered_keys", &self.remembered_keys)
            .finish_non_exhaustive()
    }
}
