//! Whom the engine's own requests trust: nobody whose certificate is not in order, and there is no
//! switch for it.

use std::error::Error;
use std::time::{Duration, SystemTime};

use axum::Router;
use openmic_auth::{Discovery, KeySource};
use openmic_graph::{Credential, GraphClient, GraphConfig};
use openmic_listen::{Limits, Listener, Running, Tls};
use openmic_model::{AppId, CallId, TenantId};
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use reqwest::Certificate;
use tokio::time::Instant;
use url::Url;

/// A server that has nothing to give but its certificate.
struct Upstream {
    running: Running,
    certificate: Certificate,
}

impl Upstream {
    fn start(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        // Of one name they would be taken for each other's issuer.
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        std::fs::write(path("chain.pem"), certificate.pem()).unwrap();
        std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
        let tls = Tls::files(path("chain.pem"), path("key.pem")).unwrap();
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self {
            running: listener
                .tls(Some(tls))
                .serve(Router::new(), Limits::default()),
            certificate: Certificate::from_der(certificate.der()).unwrap(),
        }
    }

    fn url(&self) -> Url {
        let url = format!("https://{}", self.running.local_addr());
        Url::parse(&url).unwrap()
    }

    /// What the key fetch and the graph client say of it, trusting `authorities`.
    async fn tried(&self, authorities: &[Certificate]) -> [String; 2] {
        let mut discovery = Discovery::new(self.url());
        discovery.authorities = authorities.to_vec();
        let keys = KeySource::discover(discovery, openmic_auth::Metrics::new()).unwrap();
        let keys = keys.prefetch(SystemTime::now()).await.unwrap_err();
        let credential = Credential {
            tenant: TenantId::parse("t1").unwrap(),
            app: AppId::parse("a1").unwrap(),
            secret: "of-the-test".into(),
        };
        let config = GraphConfig {
            authorities: authorities.to_vec(),
            ..GraphConfig::new(self.url(), self.url(), credential)
        };
        let graph = GraphClient::new(&config, &openmic_graph::Metrics::new()).unwrap();
        let call = CallId::parse("c1").unwrap();
        let deadline = Instant::now() + Duration::from_secs(2);
        let graph = graph.get_call(&call, deadline).await.unwrap_err();
        [chain(&*keys), chain(&graph)]
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[tokio::test]
async fn a_certificate_that_is_not_in_order_is_refused_with_what_is_wrong() {
    let good = Upstream::start("127.0.0.1", |_| ());
    let expired = Upstream::start("127.0.0.1", |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let early = Upstream::start("127.0.0.1", |params| {
        params.not_before = date_time_ymd(4000, 1, 1);
    });
    let elsewhere = Upstream::start("elsewhere.example", |_| ());
    for (upstream, trusted, wrong) in [
        (&expired, true, "certificate expired"),
        (&early, true, "certificate not valid yet"),
        (&elsewhere, true, "certificate not valid for name"),
        // Signed by itself, and nobody said that it may.
        (&good, false, "UnknownIssuer"),
    ] {
        let authorities = [upstream.certificate.clone()];
        // Somebody else's is always trusted, so that a machine without any will do.
        let others = [elsewhere.certificate.clone()];
        let authorities = if trusted { &authorities } else { &others };
        for said in upstream.tried(authorities).await {
            assert!(said.contains("invalid peer certificate"), "{wrong}: {said}");
            assert!(said.contains(wrong), "{wrong}: {said}");
        }
    }
    // In order, it is spoken to; it only has nothing to say.
    for said in good.tried(std::slice::from_ref(&good.certificate)).await {
        assert!(!said.contains("certificate"), "{said}");
    }
}
