//! The store from a configuration file.

use std::sync::Arc;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::future::ProvideCredentials as Providing;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Config, Credentials, ProvideCredentials, Region, SharedCredentialsProvider, SharedHttpClient,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use throttlekit::config::{DynamoDbSpec, StoreBackend, StoreKind, StoreSpec};
use throttlekit::policy::Connect;
use throttlekit::store::DynStore;
use throttlekit::{BuildError, Runtime, TokioRuntime};
use tokio::sync::OnceCell;

use crate::DynamoDbStore;

/// Opens [`DynamoDbStore`]s from `store: { dynamodb: { ... } }`, on the tokio runtime that is current at each call.
///
/// What the file leaves out comes from the environment: the region from `AWS_REGION` or `AWS_DEFAULT_REGION`, the
/// credentials from where AWS clients look for them (variables, profiles, web identity, container, instance) when the
/// first call needs them.
///
/// ```
/// use throttlekit::policy::LoadOptions;
/// use throttlekit_dynamodb::DynamoDbConnector;
///
/// let options = LoadOptions::new().connector(DynamoDbConnector::new());
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct DynamoDbConnector(());

impl DynamoDbConnector {
    /// There is nothing to choose.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Connect for DynamoDbConnector {
    fn kind(&self) -> StoreKind {
        StoreKind::DynamoDb
    }

    /// # Errors
    ///
    /// As [`build`](crate::DynamoDbStoreBuilder::build); a region that is neither given nor in the environment.
    fn open(&self, spec: &StoreSpec) -> Result<Arc<dyn DynStore>, BuildError> {
        let StoreBackend::DynamoDb(dynamodb) = &spec.backend else {
            return Err(BuildError::new("store", spec.kind().as_str(), "must be dynamodb"));
        };
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let store = DynamoDbStore::builder(client(dynamodb, variable)?, &dynamodb.table)
            .hash_key(&dynamodb.hash_key)
            .auto_create(dynamodb.auto_create)
            .max_retries(dynamodb.max_retries)
            // The caller gives up earlier; what it began to connect goes on.
            .timeout(spec.timeout.max(dynamodb.connect_timeout))
            .build()?;
        Ok(Arc::new(store))
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(TokioRuntime)
    }
}

fn client(spec: &DynamoDbSpec, variable: impl Fn(&str) -> Option<String>) -> Result<Client, BuildError> {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let region = spec.region.clone().or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
    // Another server only wants some region to be signed for.
    let region = region.or_else(|| spec.endpoint.as_ref().map(|_| "us-east-1".to_owned())).ok_or_else(|| {
        BuildError::new("dynamodb.region", "not given", "must be given, or in the environment as AWS_REGION")
    })?;
    let credentials = match &spec.credentials {
        None => SharedCredentialsProvider::new(FromEnvironment { http: http.clone(), chain: OnceCell::new() }),
        Some(given) => SharedCredentialsProvider::new(Credentials::new(
            given.access_key_id.expose(),
            given.secret_access_key.expose(),
            given.session_token.as_ref().map(|token| token.expose().to_owned()),
            None,
            "throttlekit",
        )),
    };
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .credentials_provider(credentials)
        .http_client(http)
        .timeout_config(TimeoutConfig::builder().connect_timeout(spec.connect_timeout).build());
    let config = match &spec.endpoint {
        Some(endpoint) => config.endpoint_url(endpoint),
        None => config,
    };
    Ok(Client::from_conf(config.build()))
}

/// Looks for credentials when they are first needed: looking waits, and a store is made without waiting.
#[derive(Debug)]
struct FromEnvironment {
    http: SharedHttpClient,
    chain: OnceCell<DefaultCredentialsChain>,
}

impl ProvideCredentials for FromEnvironment {
    fn provide_credentials<'a>(&'a self) -> Providing<'a>
    where
        Self: 'a,
    {
        Providing::new(async move {
            let look = || {
                let config = ProviderConfig::without_region().with_http_client(self.http.clone());
                DefaultCredentialsChain::builder().configure(config).build()
            };
            self.chain.get_or_init(look).await.provide_credentials().await
        })
    }
}

#[cfg(test)]
mod tests {
    use throttlekit::config::DynamoDbSpec;

    use super::client;

    fn region(spec: &DynamoDbSpec, variables: &[(&str, &str)]) -> Result<String, String> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let client = client(spec, variable).map_err(|error| error.to_string())?;
        Ok(client.config().region().unwrap().to_string())
    }

    #[test]
    fn the_region_comes_from_the_file_or_from_the_environment() {
        let spec = DynamoDbSpec::new("limits");
        let refused = region(&spec, &[]).unwrap_err();
        assert_eq!(refused, "dynamodb.region is not given: must be given, or in the environment as AWS_REGION");
        assert_eq!(region(&spec, &[("AWS_DEFAULT_REGION", "b")]).unwrap(), "b");
        assert_eq!(region(&spec, &[("AWS_DEFAULT_REGION", "b"), ("AWS_REGION", "a")]).unwrap(), "a");
        let mut given = spec.clone();
        given.region = Some("c".to_owned());
        assert_eq!(region(&given, &[("AWS_REGION", "a")]).unwrap(), "c");
        let mut local = spec;
        local.endpoint = Some("http://127.0.0.1:8000".to_owned());
        assert_eq!(region(&local, &[]).unwrap(), "us-east-1");
    }
}
