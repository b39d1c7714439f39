use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use openmic_auth::{
    ConfigError, Discovery, KeySource, KeySourceError, Metrics as AuthMetrics, Validator,
    ValidatorConfig,
};
use openmic_edge::EdgeMetrics;
use openmic_engine::{BuildError, Engine, EngineBuilder, Owner};
use openmic_graph::{BuildError as GraphBuildError, Credential, GraphClient, GraphConfig, Metrics};
use openmic_model::TenantId;
use url::Url;

/// Where Microsoft's calling platform publishes the keys of its notifications.
const PUBLIC_OPENID: &str = "https://api.aps.skype.com/v1/.well-known/OpenIdConfiguration";
/// Who signs them. Source: Microsoft's calling samples accept both.
const PUBLIC_ISSUERS: [&str; 2] = [
    "https://api.botframework.com",
    "https://graph.microsoft.com",
];

/// What a bot must know before it can join anything.
#[derive(Debug, Clone)]
pub struct BotConfig {
    /// How to reach Graph, and as whom.
    pub graph: GraphConfig,
    /// Under which URL Graph reaches the bot's HTTP server; `/callbacks/{key}` is added.
    pub public_url: Url,
    /// The `OpenID` configuration whose keys sign notifications.
    pub openid_configuration: Url,
    /// The issuers that may sign them.
    pub issuers: Vec<String>,
    /// Keys may come over plain http from loopback: for the local service only.
    pub allow_loopback_http: bool,
    /// Mute as the first act of an established call. Default true.
    pub join_muted: bool,
}

impl BotConfig {
    /// For Microsoft Graph in the public cloud.
    pub fn public_cloud(credential: Credential, public_url: Url) -> Self {
        Self {
            graph: GraphConfig::public_cloud(credential),
            public_url,
            openid_configuration: Url::parse(PUBLIC_OPENID).expect("the constant is a URL"),
            issuers: PUBLIC_ISSUERS.map(str::to_owned).to_vec(),
            allow_loopback_http: false,
            join_muted: true,
        }
    }

    /// For a local calling service, with its dev credentials. `public_url` is where the bot's own
    /// server listens on loopback.
    #[cfg(feature = "local")]
    pub fn local(service: &openmic_local::LocalService, public_url: Url) -> Self {
        use openmic_local::{DEV_APP, DEV_SECRET, DEV_TENANT};
        use openmic_model::AppId;
        let credential = Credential {
            tenant: TenantId::parse(DEV_TENANT).expect("the constant is a GUID"),
            app: AppId::parse(DEV_APP).expect("the constant is a GUID"),
            secret: DEV_SECRET.into(),
        };
        let url = |text: &str| Url::parse(text).expect("the service's own URLs are URLs");
        Self {
            graph: GraphConfig::new(
                url(&service.graph_url()),
                url(service.authority()),
                credential,
            ),
            public_url,
            openid_configuration: service.openid_configuration_url(),
            issuers: vec![PUBLIC_ISSUERS[0].to_owned()],
            allow_loopback_http: true,
            join_muted: true,
        }
    }
}

/// Why there is no bot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BotError {
    /// Notifications name the tenant by its directory id, so none would ever be taken.
    #[error("the tenant {0} is a domain name; give its directory (tenant) id")]
    Tenant(TenantId),
    /// The upstream's addresses cannot be used.
    #[error("Graph cannot be spoken to as configured")]
    Graph(#[source] GraphBuildError),
    /// The address of the signing keys cannot be used.
    #[error("the notifications' signing keys cannot be had as configured")]
    Keys(#[source] KeySourceError),
    /// No notification could ever be valid.
    #[error("notifications cannot be validated as configured")]
    Validation(#[source] ConfigError),
    /// The engine's threads could not be started.
    #[error("the engine cannot start")]
    Engine(#[source] BuildError),
}

/// A bot: the engine of its calls and the webhook that feeds it.
///
/// Everything an [`Engine`] can do it does too.
pub struct Bot {
    engine: Engine,
    notifiers: Arc<Validator>,
    edge: EdgeMetrics,
    auth: AuthMetrics,
    graph: Metrics,
}

impl Bot {
    /// Puts the parts together. Nothing is sent yet.
    ///
    /// # Errors
    /// [`BotError`] names the part of the configuration.
    pub fn new(config: BotConfig) -> Result<Self, BotError> {
        Self::with(config, |builder| builder)
    }

    /// As [`Bot::new`], with changes to the engine's own settings.
    ///
    /// # Errors
    /// [`BotError`] names the part of the configuration.
    pub fn with(
        config: BotConfig,
        settle: impl FnOnce(EngineBuilder) -> EngineBuilder,
    ) -> Result<Self, BotError> {
        let tenant = &config.graph.credential.tenant;
        if tenant.as_str().contains('.') {
            return Err(BotError::Tenant(tenant.clone()));
        }
        let (auth, graph) = (AuthMetrics::new(), Metrics::new());
        let mut discovery = Discovery::new(config.openid_configuration);
        discovery.allow_loopback_http = config.allow_loopback_http;
        let keys = KeySource::discover(discovery, auth.clone()).map_err(BotError::Keys)?;
        let credential = &config.graph.credential;
        let owner = Owner {
            app: credential.app.clone(),
            tenant: credential.tenant.clone(),
        };
        let audience = owner.app.to_string();
        let accepted = ValidatorConfig::notifications(config.issuers, vec![audience]);
        let notifiers =
            Validator::new(accepted, keys, auth.clone()).map_err(BotError::Validation)?;
        let client = GraphClient::new(&config.graph, &graph).map_err(BotError::Graph)?;
        let builder = Engine::builder(client, owner, config.public_url);
        let engine = settle(builder.join_muted(config.join_muted)).build();
        Ok(Self {
            engine: engine.map_err(BotError::Engine)?,
            notifiers: Arc::new(notifiers),
            edge: EdgeMetrics::new(),
            auth,
            graph,
        })
    }

    /// `POST /callbacks/{key}`, to be merged into the bot's own HTTP server. Every notification's
    /// token is validated before its body is read.
    pub fn callback_routes(&self) -> axum::Router {
        openmic_edge::callback_routes(self.engine.clone(), Arc::clone(&self.notifiers), &self.edge)
    }

    /// The engine of its calls.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Makes all metrics visible to `registry`.
    ///
    /// # Errors
    /// When the registry holds one of the names already.
    pub fn register(&self, registry: &prometheus::Registry) -> prometheus::Result<()> {
        self.engine.metrics().register(registry)?;
        self.engine.hub().metrics().register(registry)?;
        if let Some(journal) = self.engine.journal() {
            journal.metrics().register(registry)?;
        }
        self.edge.register(registry)?;
        self.auth.register(registry)?;
        self.graph.register(registry)
    }
}

impl Deref for Bot {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl fmt::Debug for Bot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bot")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use openmic_model::AppId;

    use super::*;

    fn made(tenant: &str) -> Result<Bot, BotError> {
        let credential = Credential {
            tenant: TenantId::parse(tenant).unwrap(),
            app: AppId::parse("22222222-2222-4222-8222-222222222222").unwrap(),
            secret: "s".into(),
        };
        let url = |text| Url::parse(text).unwrap();
        Bot::new(BotConfig {
            graph: GraphConfig::new(
                url("http://127.0.0.1:9/v1.0"),
                url("http://127.0.0.1:9"),
                credential,
            ),
            public_url: url("http://127.0.0.1:9"),
            openid_configuration: url("http://127.0.0.1:9/keys"),
            issuers: vec!["issuer".to_owned()],
            allow_loopback_http: true,
            join_muted: true,
        })
    }

    #[test]
    fn a_tenant_that_no_notification_names_is_refused() {
        assert!(made("11111111-1111-4111-8111-111111111111").is_ok());
        let error = made("contoso.onmicrosoft.com").unwrap_err();
        assert!(matches!(error, BotError::Tenant(_)), "{error:?}");
    }

    #[test]
    fn its_metrics_can_be_registered_once() {
        let bot = made("11111111-1111-4111-8111-111111111111").unwrap();
        let registry = prometheus::Registry::new();
        bot.register(&registry).unwrap();
        assert!(bot.register(&registry).is_err());
        let names: Vec<_> = registry
            .gather()
            .iter()
            .map(|f| f.name().to_owned())
            .collect();
        assert!(
            names.iter().all(|name| name.starts_with("openmic_")),
            "{names:?}"
        );
        assert!(names.contains(&"openmic_calls".to_owned()));
    }
}
