//! The registry: the current [`PolicySet`], and how it is replaced.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::options::LoadOptions;
use super::policy::Policy;
use super::reload::ReloadReport;
use super::set::PolicySet;
use crate::config::{Config, ConfigErrors, Format, content_of, parse_content};
use crate::error::Error;
use crate::observe::{Gauges, GuardReport, GuardStats, Observer, TableReport, told};

/// Policies by name. Clones are handles to the same registry.
///
/// Reading never waits, not even for a reload: a reader sees all of one configuration or all of the next.
#[derive(Clone, Debug)]
pub struct Policies {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    current: ArcSwap<PolicySet>,
    /// The version of `current`, for readers who only want to know whether something changed.
    version: AtomicU64,
    options: LoadOptions,
    file: Option<PathBuf>,
    /// Held while a configuration is read and put in place, so that the last one asked for is the one that stays.
    reloading: Mutex<()>,
}

/// The gauges of the policies that this gives.
struct WhileHeld<F>(F);

impl<F: Fn() -> Option<Arc<PolicySet>> + Send + Sync + 'static> Gauges for WhileHeld<F> {
    fn guards(&self, tell: &mut dyn FnMut(&str, GuardReport, GuardStats)) {
        for policy in self.0().iter().flat_map(|set| set.iter()) {
            if let Some((report, stats)) = policy.guard().and_then(|guard| guard.guard_state()) {
                tell(policy.name(), report, stats);
            }
        }
    }

    fn tables(&self, tell: &mut dyn FnMut(&str, TableReport)) {
        for policy in self.0().iter().flat_map(|set| set.iter()) {
            if let Some(report) = policy.table_report() {
                tell(policy.name(), report);
            }
        }
    }

    fn is_gone(&self) -> bool {
        self.0().is_none()
    }
}

impl Policies {
    /// Loads YAML, with the default options.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigErrors> {
        Self::load(text, LoadOptions::new().format(Format::Yaml))
    }

    /// Loads JSON, with the default options.
    ///
    /// # Errors
    ///
    /// As [`from_yaml`](Self::from_yaml).
    pub fn from_json(text: &str) -> Result<Self, ConfigErrors> {
        Self::load(text, LoadOptions::new().format(Format::Json))
    }

    /// Loads TOML, with the default options.
    ///
    /// # Errors
    ///
    /// As [`from_yaml`](Self::from_yaml).
    pub fn from_toml(text: &str) -> Result<Self, ConfigErrors> {
        Self::load(text, LoadOptions::new().format(Format::Toml))
    }

    /// Loads a text. Unless the options name its format, it is JSON if it starts with `{`, and YAML otherwise.
    ///
    /// # Errors
    ///
    /// As [`from_yaml`](Self::from_yaml).
    pub fn load(text: &str, options: LoadOptions) -> Result<Self, ConfigErrors> {
        let config = options.parse(text, options.format.unwrap_or_else(|| Format::of_text(text)))?;
        Self::from_config(config, options)
    }

    /// Loads a file with the default options; see [`Config::load_file`] for the format.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it; also if it cannot be read, is too large or is not UTF-8.
    pub fn load_file(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        Self::load_file_with(path, LoadOptions::new())
    }

    /// Loads a file.
    ///
    /// # Errors
    ///
    /// As [`load_file`](Self::load_file).
    pub fn load_file_with(path: impl AsRef<Path>, options: LoadOptions) -> Result<Self, ConfigErrors> {
        let path = path.as_ref();
        let config = read(path, content_of(path), &options)?;
        Self::new(config, options, Some(path.to_owned()))
    }

    /// Builds the policies of a configuration that was made in code.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, without positions.
    pub fn from_config(config: Config, options: LoadOptions) -> Result<Self, ConfigErrors> {
        Self::new(config, options, None)
    }

    fn new(config: Config, options: LoadOptions, file: Option<PathBuf>) -> Result<Self, ConfigErrors> {
        let (set, _) = PolicySet::new(config, &options, None)?;
        let inner = Inner {
            version: AtomicU64::new(set.version()),
            current: ArcSwap::from_pointee(set),
            options,
            file,
            reloading: Mutex::new(()),
        };
        let policies = Self { inner: Arc::new(inner) };
        if let Some(observer) = policies.observer() {
            told(observer, || observer.attach(policies.gauges()));
        }
        Ok(policies)
    }

    /// The guards and tables of what is in effect, also after a reload, for as long as somebody holds these policies. The
    /// observer of the options has them already.
    pub fn gauges(&self) -> Arc<dyn Gauges> {
        // What it is given to may be held by the policies, as their observer, and would never end if it held them.
        Arc::new(WhileHeld(self.while_held()))
    }

    /// What is in effect now, all of it.
    pub fn current(&self) -> Arc<PolicySet> {
        self.inner.current.load_full()
    }

    /// The [`version`](PolicySet::version) that is in effect now: one atomic read. Once it shows a version,
    /// [`current`](Self::current) gives that one or a later one.
    #[inline]
    pub fn version(&self) -> u64 {
        self.inner.version.load(Ordering::Acquire)
    }

    /// Who sees the decisions of all policies: the observer of the options.
    pub fn observer(&self) -> Option<&Arc<dyn Observer>> {
        self.inner.options.observer.as_ref()
    }

    /// Asks the store once whether it is there. Do this at the start of a server.
    ///
    /// Gives `None` if it is there, or if the policies are in memory; and otherwise why it is not, which is worth a
    /// warning: the fail modes apply until it is. Connecting may take the time that the `store` block gives to it.
    ///
    /// # Errors
    ///
    /// `store_unavailable` if the store is not there and the `store` block says `requireAtStart`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping it.
    pub async fn ready(&self) -> Result<Option<Error>, Error> {
        let set = self.current();
        let spec = &set.config().store;
        let Some(store) = set.store() else { return Ok(None) };
        match store.ready(spec).await {
            Ok(()) => Ok(None),
            Err(error) if spec.require_at_start => Err(error),
            Err(error) => Ok(Some(error)),
        }
    }

    /// The file that they came from.
    pub(super) fn file(&self) -> Result<&Path, ConfigErrors> {
        let file = self.inner.file.as_deref();
        file.ok_or_else(|| ConfigErrors::single(None, "these policies were not loaded from a file"))
    }

    /// These policies, as long as somebody else holds them.
    pub(super) fn downgrade(&self) -> impl Fn() -> Option<Self> + Send + Sync + use<> {
        let inner = Arc::downgrade(&self.inner);
        move || inner.upgrade().map(|inner| Self { inner })
    }

    /// What is in effect whenever it is asked for, as long as somebody holds these policies. Does not hold them itself.
    fn while_held(&self) -> impl Fn() -> Option<Arc<PolicySet>> + Send + Sync + use<> {
        let policies = self.downgrade();
        move || policies().map(|policies| policies.current())
    }

    /// The policy of this name.
    pub fn get(&self, name: &str) -> Option<Arc<Policy>> {
        self.inner.current.load().get(name).cloned()
    }

    /// The names, in the order of the configuration.
    pub fn names(&self) -> Vec<String> {
        self.inner.current.load().names().map(str::to_owned).collect()
    }

    /// Puts another text in place of the current configuration, at once for all readers. Its format is found in the same
    /// way as that of the first text.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it; also if it has no rules and the current one does, since nothing would be limited
    /// then. The current configuration stays in effect.
    pub fn reload(&self, text: &str) -> Result<ReloadReport, ConfigErrors> {
        self.replace(|inner| {
            let guessed = || match &inner.file {
                Some(file) => Format::of_file(file, text),
                None => Format::of_text(text),
            };
            inner.options.parse(text, inner.options.format.unwrap_or_else(guessed))
        })
    }

    /// Reads the file again that the policies came from.
    ///
    /// # Errors
    ///
    /// As [`reload`](Self::reload); also if they came from no file, or the file cannot be read.
    pub fn reload_file(&self) -> Result<ReloadReport, ConfigErrors> {
        self.replace(|inner| {
            let file = self.file()?;
            read(file, content_of(file), &inner.options)
        })
    }

    /// As [`reload_file`](Self::reload_file), with what was found in the file.
    pub(super) fn reload_content(&self, content: Result<Vec<u8>, ConfigErrors>) -> Result<ReloadReport, ConfigErrors> {
        self.replace(|inner| read(self.file()?, content, &inner.options))
    }

    /// As [`reload`](Self::reload), for a configuration that was made in code.
    ///
    /// # Errors
    ///
    /// As [`reload`](Self::reload), without positions.
    pub fn reload_config(&self, config: Config) -> Result<ReloadReport, ConfigErrors> {
        self.replace(|_| Ok(config))
    }

    fn replace(
        &self,
        config: impl FnOnce(&Inner) -> Result<Config, ConfigErrors>,
    ) -> Result<ReloadReport, ConfigErrors> {
        let inner = &*self.inner;
        // Nothing under the lock leaves anything half done, so a panic in there does no harm.
        let _alone = inner.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let config = config(inner)?;
        let old = inner.current.load_full();
        if config.http.rules.is_empty() && !old.rules().is_empty() {
            return Err(ConfigErrors::no_rules(old.rules().len()));
        }
        let http_changed = config.http != old.config().http;
        let store_changed = config.store != old.config().store;
        let (set, policies) = PolicySet::new(config, &inner.options, Some(&old))?;
        let mut report = ReloadReport { version: old.version(), policies, http_changed, store_changed };
        let reordered = !set.names().eq(old.names());
        if reordered || report.is_changed() {
            report.version = set.version();
            let set = Arc::new(set);
            inner.current.store(Arc::clone(&set));
            // After the set, so that whoever sees the version finds the set.
            inner.version.store(report.version, Ordering::Release);
            // After both, so that no check by the options before gives a key back the shorter life.
            set.prolong(&old, inner.options.clock_of_all().now_ms());
        }
        Ok(report)
    }
}

fn read(path: &Path, content: Result<Vec<u8>, ConfigErrors>, options: &LoadOptions) -> Result<Config, ConfigErrors> {
    parse_content(path, content, options.format, |text, format| options.parse(text, format))
}
