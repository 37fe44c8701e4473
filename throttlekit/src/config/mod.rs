//! Limits from a file: YAML, JSON or TOML.
//!
//! A configuration names limiters and says where they apply. It is read into a [`Config`], which is plain data;
//! [`Policies`](crate::policy::Policies) builds limiters from it and replaces them when the file changes.
//!
//! ```
//! use throttlekit::config::{Config, StrategySpec};
//!
//! let config = Config::from_yaml(
//!     r#"
//! version: 1
//! defaults:
//!   prefix: shop
//! limiters:
//!   api: { strategy: gcra, limit: 100, period: 1m, burst: 20 }
//!   uploads:
//!     strategy: tokenBucket
//!     capacity: 10
//!     refillPerSec: 0.5
//! http:
//!   defaults: { failMode: open }
//!   rules:
//!     - { path: "/api/{*rest}", policy: api, key: { header: x-tenant } }
//!     - { path: /api/upload, methods: [POST], policies: [api, uploads], cost: 2 }
//! "#,
//! )?;
//! let bucket = StrategySpec::TokenBucket { capacity: 10.0, refill_per_sec: 0.5 };
//! assert_eq!(config.limiters[1].strategy, Some(bucket));
//! assert_eq!(config.effective_prefix(&config.limiters[0]), "shop:api");
//! # Ok::<(), throttlekit::config::ConfigErrors>(())
//! ```
//!
//! # The file
//!
//! | key | value |
//! |---|---|
//! | `version` | 1, or absent |
//! | `defaults.prefix` | namespace of the stored keys: `prefix:name:key` |
//! | `compat.sharedDefaultsPrefix` | `true`: store below `prefix:key`, as Node releases of the family do; only for fleets that mix both on one store |
//! | `store` | `memory`, or a map with one of `redis`, `postgres` and `dynamodb`; see [`StoreSpec`] |
//! | `limiters` | a map from names to limiters; required |
//! | `http` | where they apply |
//!
//! # A limiter
//!
//! | key | used by | value | default |
//! |---|---|---|---|
//! | `strategy` | all | `gcra`, `tokenBucket`, `fixedWindow`, `slidingWindow`, `slidingWindowLog` or `quota` | required, unless a block below says what is limited |
//! | `concurrency` | all, or alone | how much work may be in flight, see below | no limit |
//! | `twoTier` | all | a tier in process before the store, see below | none |
//! | `tokenBudget`, `fleetBudget`, `fairEscrow`, `sketch` | alone | a limiter of another kind, see below | none |
//! | `screen` | all | a sketch before the keys, in memory, see below | none |
//! | `denyList` | all that limit units, also alone | keys that are denied again and again are refused for a while, see below | none |
//! | `limit` | all but `tokenBucket` | units per span | required |
//! | `period` | all but `tokenBucket` and calendar quotas | a duration | required |
//! | `burst` | `gcra` | units at once | the limit |
//! | `exact` | `gcra` | `true`: whole-number arithmetic | `false` |
//! | `capacity`, `refillPerSec` | `tokenBucket` | units, units per second | required |
//! | `buckets` | `slidingWindow`, rolling quotas | 1 to 1000 | 10 |
//! | `resetCadence` | `quota` | `calendar-month`, `calendar-week`, `calendar-day`, `fixed` or `rolling` | required |
//! | `offsetMinutes` | calendar quotas | offset from UTC, -840 to 840 | 0 |
//! | `weekStartsOn` | `calendar-week` | 0 (Sunday) to 6 | 1 |
//! | `anchor` | `fixed` quotas | an instant in ms since the Unix epoch at which a period starts | 0 |
//! | `prefix` | all | what precedes its stored keys, instead of the default | see above |
//! | `maxKeys` | all | how many keys are kept in memory, 1 to 2^32 | 1,000,000 |
//! | `failMode` | all | when the store is unavailable: `open`, `closed`, `local` or `{ local: { share: 0.5 } }` | `open` |
//!
//! A duration is a number of milliseconds or a text such as `30s`; see [`parse_duration_ms`](crate::parse_duration_ms).
//! A number of milliseconds may also be called `periodMs` (`gcra`, `quota`) or `windowMs` (`gcra` and the windows); if
//! several are given, `period` counts before `periodMs`, and that before `windowMs`.
//!
//! Without a prefix of its own and without `defaults.prefix` a limiter's keys are stored below its name. No prefix may
//! equal another or continue it at a colon, since keys could then meet; an empty prefix is only possible for a limiter
//! that is alone.
//!
//! # Work in flight
//!
//! `concurrency`, alone or beside a strategy, is a map:
//!
//! | key | used by | value | default |
//! |---|---|---|---|
//! | `limit` | a fixed limit | 1 to 16,777,215; no key of a learnt limit is then allowed | a learnt limit |
//! | `profile` | learnt limits | `steady`, `gradient2` or `aimd`; see [`Algorithm`](crate::Algorithm). Other members of the family call the latter two `algorithm` | `steady` |
//! | `minLimit`, `maxLimit` | learnt limits | bounds of the limit, from 1 | 4, 512 |
//! | `initialLimit` | learnt limits | where it starts | `minLimit` |
//! | `rttWindow`, `tolerance` | `gradient2`, `aimd` | samples, and how many times the least latency is good | 100, 2 |
//! | `smoothing` | `gradient2` | above 0, at most 1 | 0.2 |
//! | `backoffRatio` | `aimd` | from 0.5, below 1 | 0.9 |
//! | `recalibration` | `gradient2`, `aimd` | `intervalMs`, `probeLimit`, `probeSamples`; `{}` takes the defaults | none |
//! | `keyed` | all | shares of the slots for each key: `maxKeys`, `maxPerKey`, `activeMs`, `weights` (a map from keys to numbers); `{}` takes the defaults | no shares |
//! | `queue` | all | `max` requests wait for a slot, each for `timeoutMs`; needs a [runtime](crate::policy::LoadOptions::runtime) | none waits |
//! | `priorities` | all without a queue | `critical`, `high`, `normal`, `low`: the share of the slots that each may use | `low` 0.8, others 1 |
//! | `shadow` | all | `true` admits everything, and only tells the decisions | `false` |
//!
//! # Other kinds
//!
//! A limiter has at most one of the blocks `concurrency`, `twoTier`, `screen`, `tokenBudget`, `fleetBudget`, `fairEscrow`
//! and `sketch`. The last four need no strategy. Their keys are the fields of [`TwoTierSpec`] and [`LeaseSpec`], of
//! [`ScreenSpec`], of [`BudgetSpec`] and [`FleetBudgetSpec`], of [`FairEscrowSpec`], and of [`SketchSpec`], written like
//! `windowMs`:
//!
//! ```
//! use throttlekit::config::Config;
//!
//! let text = "
//! limiters:
//!   api: { strategy: fixedWindow, limit: 10000, period: 1m, twoTier: { batch: 100, windowCoupled: true } }
//!   tokens: { tokenBudget: { budget: 100000, windowMs: 60000 } }
//!   fleet: { fleetBudget: { budget: 1000000, windowMs: 60000, leased: { batch: 5000 } } }
//!   tenants: { fairEscrow: { limit: 500, windowMs: 1000, weights: { gold: 4 } } }
//! ";
//! let kinds: Vec<_> = Config::from_yaml(text)?.limiters.iter().map(|limiter| limiter.kind.name()).collect();
//! assert_eq!(kinds, ["twoTier", "tokenBudget", "fleetBudget", "fairEscrow"]);
//! # Ok::<(), throttlekit::config::ConfigErrors>(())
//! ```
//!
//! `tokenBudget`, `fairEscrow` and `sketch` count in this process, whatever the store; a `screen` is for limiters in memory.
//! Of those that take no units back (`slidingWindowLog`, also with `twoTier`, `screen`, `sketch`, `fairEscrow`) a rule names at
//! most one, or several that one place holds.
//!
//! A `denyList` may be beside any of them, and has the fields of [`DenyListSpec`]. The size of a sketch is `epsilon` and `delta`,
//! or `width` and `depth`; see [`SketchSize`]. So may be `advertise`, with the fields of [`AdvertiseSpec`].
//!
//! # The `http` section
//!
//! `http.rules` is a list. For a request the most specific pattern counts among the rules that cover its method; a
//! request without a rule is not limited. `http.defaults` gives other defaults to the keys of a rule from `key` on, but
//! `costs`.
//!
//! | key | value | default |
//! |---|---|---|
//! | `path` | a pattern in axum's syntax: `/users/{id}`, `/files/{*rest}` | required |
//! | `methods` | a list of methods; `GET` includes `HEAD` | all but `OPTIONS` |
//! | `policy`, `policies` | the name of a limiter, or a list of them that are admitted together | required |
//! | `key` | whom the request counts for, see below | `clientIp` where that is configured, else `peer` |
//! | `clientIp` | how a client's address is found behind proxies, see below | nobody is believed |
//! | `plans` | other policies for some of the requests, see below; `none` | none |
//! | `missing` | what happens without that key: `peer`, `shared`, `reject` or `skip` | `peer` |
//! | `cost` | units per request | 1 |
//! | `costs` | units per request of some of the policies: a map from their names | `cost` |
//! | `priority` | how much its requests matter where slots are short: `critical`, `high`, `normal` or `low` | `normal` |
//! | `failMode` | as that of a limiter, and before it | that of the limiters |
//! | `headers` | `draft`, `structured`, `legacy`, `openai`, a list of these (`[]`: only `Retry-After` on a denial), or `none` | `draft` |
//! | `options` | whether `OPTIONS` is limited too | `false` |
//! | `shadow` | `true` lets every request pass, and only tells the decisions; none stands in a queue | `false` |
//! | `problemJson` | `true` answers refusals with `application/problem+json` (RFC 9457) | `false` |
//! | `dropOn5xx` | `true` takes a 5xx for a sign of overload, from which a learnt limit of work in flight falls | `false` |
//! | `onDisconnect` | what a client that hangs up counts as there: `dropped` or `ignored` | `dropped` |
//!
//! A `key` is a word or a map with one member:
//!
//! | key | counts for |
//! |---|---|
//! | `peer` | the address of the connection |
//! | `clientIp` | the address of the client, as `clientIp` finds it |
//! | `{ header: name }`, `{ query: name }`, `{ cookie: name }` | a value that the client sends |
//! | `{ pathParam: name }` | what a parameter of the rule's path stands for |
//! | `{ claim: name }` | what the program has verified of the client, and calls by this name |
//! | `{ constant: text }` | everybody |
//! | `{ apiKey: { bearer: true, keyId, secret } }` | an API key, hashed; instead of `bearer` also `header`, `query` or `cookie` with a name. `previous` is a list of `{ keyId, secret }`, `truncated: true` halves the hash |
//! | `{ all: [ ... ] }` | 2 to 8 of these together |
//!
//! `clientIp` is a map of `trustProxy` (`false`, a number of proxies, or a list of networks), `header`, `ipv6Prefix`,
//! `lenient`, `unwrapNat64` and `peerHidden`; see [`ClientIp`](crate::identity::ClientIp).
//!
//! `plans` is a map of `from` and `table`. `from` is `{ claim: name }`, `{ trustedHeader: name }` or `key`, and tells the
//! name of the plan; see [`PlanSource`]. `table` is a map from names of plans to maps:
//!
//! | key | value | default |
//! |---|---|---|
//! | `policy`, `policies` | as in a rule: what counts in place of the rule's own | required |
//! | `cost`, `costs`, `priority` | as in a rule | those of the rule |
//! | `keys` | with `from: key`: a list of the keys of its clients, as they are counted; of an API key that is `keyId:hash` | required there |
//!
//! # The store
//!
//! The map of a store has the fields of [`RedisSpec`], [`PostgresSpec`] or [`DynamoDbSpec`], written like `connectTimeout`.
//! Beside it are `timeout`, `breaker: { failures, probeInterval }` and `requireAtStart`. In every text of the block `${NAME}`
//! is a variable of the environment, and no text of it shows in an error.
//!
//! # What is refused
//!
//! Everything that is not understood: unknown fields, fields that the strategy does not use, repeated names, values of
//! another type or out of range. All problems of a file are reported at once, each with its path, line and column and,
//! where a name looks misspelt, the nearest known one. A text may have [`MAX_CONFIG_BYTES`] and 64 levels; YAML's
//! anchors, aliases, tags and further documents are refused too.

mod blocks;
mod concurrency;
mod decode;
mod decode_blocks;
mod decode_concurrency;
mod decode_http;
mod decode_key;
mod decode_plans;
mod decode_sketches;
mod decode_store;
mod error;
mod fields;
mod http;
mod json;
mod key;
mod node;
mod place;
mod plans;
mod routes;
mod secret;
mod sketches;
mod source;
mod spec;
mod store;
mod strategy;
mod toml;
mod validate;
mod validate_blocks;
mod validate_key;
mod validate_plans;
mod validate_store;
mod yaml;

use std::path::Path;

pub use blocks::{AdaptiveSpec, BudgetSpec, FairEscrowSpec, FleetBudgetSpec, LeaseSpec, LimiterKind, TwoTierSpec};
pub use concurrency::{ConcurrencySpec, KeyedSpec, LearntLimit, QueueSpec, RecalibrationSpec, SlotLimit};
pub use error::{ConfigErrors, Position, Problem};
pub use http::{HttpRule, HttpSpec};
pub use key::{ApiKeySource, ApiKeySpec, ClientIpSpec, KeySource, TrustProxy};
pub use plans::{PlanSource, PlanSpec, PlansSpec};
pub use secret::Secret;
pub use sketches::{DenyListSpec, ScreenSpec, SketchSize, SketchSpec};
pub use source::{Format, MAX_CONFIG_BYTES};
pub use spec::{AdvertiseSpec, Config, LimiterSpec, QuotaPeriod, StrategySpec};
pub use store::{
    DynamoDbCredentials, DynamoDbSpec, PostgresMode, PostgresSpec, RedisSpec, RedisTopology, StoreBackend, StoreKind,
    StoreSpec, TlsSpec,
};
pub use strategy::{AnyStrategy, build_strategy};

pub(crate) use routes::Routes;
pub(crate) use source::{content_of, parse_content};

impl Config {
    /// Reads `text` as `format` and checks it. In the `store` block and in each `apiKey`, `${NAME}` is a variable of the
    /// environment.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(text: &str, format: Format) -> Result<Self, ConfigErrors> {
        Self::parse_with(text, format, &|name| std::env::var(name).ok())
    }

    /// As [`parse`](Self::parse), but `env` looks up what `${NAME}` stands for.
    ///
    /// ```
    /// use throttlekit::config::{Config, Format, StoreBackend};
    ///
    /// let text = "{ store: { redis: { url: 'redis://:${PASSWORD}@cache' } }, limiters: {} }";
    /// let env = |name: &str| (name == "PASSWORD").then(|| "hunter2".to_owned());
    /// let config = Config::parse_with(text, Format::Yaml, &env)?;
    /// let StoreBackend::Redis(redis) = &config.store.backend else { panic!("it says redis") };
    /// assert_eq!(redis.urls[0].expose(), "redis://:hunter2@cache");
    ///
    /// let error = Config::parse_with(text, Format::Yaml, &|_| None).unwrap_err();
    /// assert_eq!(error.to_string(), r#"1:26: config.store.redis.url: the environment has no variable "PASSWORD""#);
    /// # Ok::<(), throttlekit::config::ConfigErrors>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn parse_with(text: &str, format: Format, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut root = source::parse(text, format)?;
        decode_store::hide(&mut root);
        decode_key::hide(&mut root);
        let decode::Decoded { config, cx, broken } = decode::decode(&root, env);
        let fields::Context { problems, positions, unread, .. } = cx;
        let problems = validate::validate(&config, &broken, &positions, &unread, problems);
        if problems.is_empty() { Ok(config) } else { Err(ConfigErrors::new(problems)) }
    }

    /// Reads YAML.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn from_yaml(text: &str) -> Result<Self, ConfigErrors> {
        Self::parse(text, Format::Yaml)
    }

    /// Reads JSON.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn from_json(text: &str) -> Result<Self, ConfigErrors> {
        Self::parse(text, Format::Json)
    }

    /// Reads TOML.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn from_toml(text: &str) -> Result<Self, ConfigErrors> {
        Self::parse(text, Format::Toml)
    }

    /// Reads a file in the format that its name tells; without a telling name, JSON if the text starts with `{` and
    /// YAML otherwise. In a YAML file too, a text that starts with `{` is JSON.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse); also if the file cannot be read, is larger than [`MAX_CONFIG_BYTES`] or is not UTF-8.
    pub fn load_file(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        let path = path.as_ref();
        parse_content(path, content_of(path), None, Self::parse)
    }

    /// Checks a configuration that was made in code: names, ranges, prefixes, rules.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, without positions.
    pub fn check(&self) -> Result<(), ConfigErrors> {
        let problems = validate::validate(self, &[], &std::collections::HashMap::new(), &[], Vec::new());
        if problems.is_empty() { Ok(()) } else { Err(ConfigErrors::new(problems)) }
    }
}

/// The path of a limiter in messages.
fn limiter_path(name: &str) -> String {
    format!("config.limiters[{}]", node::shown_name(name))
}
