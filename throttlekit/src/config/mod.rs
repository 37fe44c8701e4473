//! Limits from a file: YAML, JSON or TOML.

mod decode;
mod decode_http;
mod error;
mod fields;
mod http;
mod json;
mod node;
mod routes;
mod source;
mod spec;
mod strategy;
mod toml;
mod validate;
mod yaml;

use std::path::Path;

pub use error::{ConfigErrors, Position, Problem};
pub use http::{HttpRule, HttpSpec, KeySource};
pub use source::{Format, MAX_CONFIG_BYTES};
pub use spec::{Config, LimiterSpec, QuotaPeriod, StrategySpec};
pub use strategy::{AnyStrategy, build_strategy};

pub(crate) use routes::Routes;
pub(crate) use source::read_file;

impl Config {
    /// Reads `text` as `format` and checks it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(text: &str, format: Format) -> Result<Self, ConfigErrors> {
        let root = source::parse(text, format)?;
        let decode::Decoded { config, cx, broken } = decode::decode(&root);
        let fields::Context { mut problems, positions } = cx;
        problems.extend(validate::validate(&config, &broken, &positions, &problems));
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
        read_file(path, None)
            .and_then(|(text, format)| Self::parse(&text, format))
            .map_err(|errors| errors.in_file(path.display().to_string()))
    }

    /// Checks a configuration that was made in code: names, ranges, prefixes, rules.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, without positions.
    pub fn check(&self) -> Result<(), ConfigErrors> {
        let problems = validate::validate(self, &[], &std::collections::HashMap::new(), &[]);
        if problems.is_empty() { Ok(()) } else { Err(ConfigErrors::new(problems)) }
    }
}

/// The path of a limiter in messages.
fn limiter_path(name: &str) -> String {
    format!("config.limiters[{}]", node::shown_name(name))
}
