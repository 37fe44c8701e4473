//! From a file or a text to nodes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::{ConfigErrors, Problem};
use super::node::{Node, Source};
use super::{json, toml, yaml};

/// The largest text that is read, in bytes: 1 MiB.
pub const MAX_CONFIG_BYTES: usize = 1 << 20;

/// How a configuration is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// YAML 1.2, one document, without anchors, aliases and tags.
    Yaml,
    /// JSON, as RFC 8259 has it.
    Json,
    /// TOML 1.0 or later.
    Toml,
}

impl Format {
    /// The format that a file's name tells: `.yaml`, `.yml`, `.json` or `.toml`, in any case.
    ///
    /// ```
    /// use throttlekit::config::Format;
    ///
    /// assert_eq!(Format::of_path("conf/throttle.yml"), Some(Format::Yaml));
    /// assert_eq!(Format::of_path("throttle"), None);
    /// ```
    pub fn of_path(path: impl AsRef<Path>) -> Option<Self> {
        let extension = path.as_ref().extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }

    /// The format of a text of which nothing else is known: JSON if it starts with `{`, otherwise YAML.
    ///
    /// ```
    /// use throttlekit::config::Format;
    ///
    /// assert_eq!(Format::of_text("  {\"limiters\": {}}"), Format::Json);
    /// assert_eq!(Format::of_text("limiters: {}"), Format::Yaml);
    /// ```
    pub fn of_text(text: &str) -> Self {
        if text.trim_start_matches('\u{feff}').trim_start().starts_with('{') { Self::Json } else { Self::Yaml }
    }

    /// The format of a text from a file. The name decides, but a text that starts with `{` in a YAML file is JSON.
    pub(crate) fn of_file(path: &Path, text: &str) -> Self {
        match Self::of_path(path) {
            None | Some(Self::Yaml) => Self::of_text(text),
            Some(format) => format,
        }
    }
}

/// Parses `text` as `format`.
pub(super) fn parse(text: &str, format: Format) -> Result<Node, ConfigErrors> {
    if text.len() > MAX_CONFIG_BYTES {
        return Err(too_large());
    }
    let source = Source::new(text);
    let one = |problem: Problem| vec![problem];
    match format {
        Format::Yaml => yaml::parse(&source).map_err(one),
        Format::Json => json::parse(&source).map_err(one),
        Format::Toml => toml::parse(&source),
    }
    .map_err(ConfigErrors::new)
}

/// What is in a file, as far as a configuration may reach, or why it cannot be read.
pub(crate) fn content_of(path: &Path) -> Result<Vec<u8>, ConfigErrors> {
    let unreadable = |error: std::io::Error| ConfigErrors::single(None, format!("cannot read the file: {error}"));
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_CONFIG_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).map_err(unreadable)?.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// What `parse` makes of the content of the file at `path`, whose name says the format unless that is told.
pub(crate) fn parse_content<T>(
    path: &Path,
    content: Result<Vec<u8>, ConfigErrors>,
    told: Option<Format>,
    parse: impl FnOnce(&str, Format) -> Result<T, ConfigErrors>,
) -> Result<T, ConfigErrors> {
    let parsed = content.and_then(text_of).and_then(|text| {
        let format = told.unwrap_or_else(|| Format::of_file(path, &text));
        parse(&text, format).map_err(|errors| match (told, Format::of_path(path)) {
            (None, None) => {
                errors.of_guessed(format, "the name of the file ends in none of .yaml, .yml, .json and .toml")
            }
            (None, Some(named)) if named != format => errors.of_guessed(format, "the text begins with {"),
            _ => errors,
        })
    });
    parsed.map_err(|errors| errors.in_file(path.display().to_string()))
}

fn text_of(bytes: Vec<u8>) -> Result<String, ConfigErrors> {
    if bytes.len() > MAX_CONFIG_BYTES {
        return Err(too_large());
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let position = std::str::from_utf8(good).ok().map(|good| Source::new(good).position(good.len()));
        ConfigErrors::single(position, "not UTF-8")
    })
}

fn too_large() -> ConfigErrors {
    ConfigErrors::single(None, format!("too large, at most {MAX_CONFIG_BYTES} bytes are read"))
}
