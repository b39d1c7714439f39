//! A signer with keys made for the test run, and an issuer on a real socket.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RsaEncoding};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use openmic_listen::{Limits, Listener, Running};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use url::Url;

use crate::{Discovery, PublicKey};

pub(crate) const ISSUER: &str = "https://graph.microsoft.com";
pub(crate) const APP: &str = "22222222-2222-4222-8222-222222222222";
pub(crate) const TENANT: &str = "11111111-1111-4111-8111-111111111111";

/// Seconds since 1970 that all tests take for now.
pub(crate) const NOW: u64 = 1_800_000_000;

pub(crate) fn now() -> SystemTime {
    at(0)
}

/// `now` and so many seconds.
pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW + seconds)
}

/// A key that signs, and its `kid`.
pub(crate) struct Signer {
    pub(crate) kid: &'static str,
    pair: KeyPair,
}

pub(crate) static FIRST: LazyLock<Signer> = LazyLock::new(|| Signer::generate("first"));
pub(crate) static SECOND: LazyLock<Signer> = LazyLock::new(|| Signer::generate("second"));

impl Signer {
    fn generate(kid: &'static str) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        Self { kid, pair }
    }

    fn numbers(&self) -> (Vec<u8>, Vec<u8>) {
        let key = self.pair.public_key();
        (
            key.modulus().big_endian_without_leading_zero().to_vec(),
            key.exponent().big_endian_without_leading_zero().to_vec(),
        )
    }

    pub(crate) fn public(&self) -> PublicKey {
        let (n, e) = self.numbers();
        PublicKey::rsa(self.kid, &n, &e).unwrap()
    }

    /// The public key as an issuer publishes it, with members of Microsoft's own.
    pub(crate) fn jwk(&self) -> Value {
        let (n, e) = self.numbers();
        json!({
            "kty": "RSA", "use": "sig", "kid": self.kid, "x5t": self.kid, "x5c": ["MIIC"],
            "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e),
            "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0",
            "endorsements": ["msteams"],
        })
    }

    /// The private key as PEM, for jsonwebtoken.
    pub(crate) fn pem(&self) -> String {
        let der = self.pair.as_der().unwrap();
        let body = STANDARD.encode(der.as_ref());
        format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
    }

    /// The public key's own bytes, as somebody would take them for an HMAC secret.
    pub(crate) fn public_der(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    /// Signs any header and payload, also nonsense.
    pub(crate) fn sign(&self, header: &str, payload: &str) -> String {
        self.sign_with(&RSA_PKCS1_SHA256, header, payload)
    }

    pub(crate) fn sign_rs384(&self, header: &str, payload: &str) -> String {
        self.sign_with(&RSA_PKCS1_SHA384, header, payload)
    }

    fn sign_with(&self, how: &'static dyn RsaEncoding, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(payload));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                how,
                &SystemRandom::new(),
                message.as_bytes(),
                &mut signature,
            )
            .unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub(crate) fn header(&self) -> String {
        json!({"alg": "RS256", "typ": "JWT", "kid": self.kid}).to_string()
    }

    /// A token with a good header and these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(&self.header(), &claims.to_string())
    }
}

pub(crate) fn encode(part: &str) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

/// Claims that pass every check for three days from [`NOW`].
pub(crate) fn good() -> Value {
    json!({
        "iss": ISSUER, "aud": APP, "tid": TENANT, "azp": APP,
        "iat": NOW - 60, "nbf": NOW - 60, "exp": NOW + 3 * 86_400,
        "roles": ["Calls.JoinGroupCall.All", "Calls.Initiate.All"],
    })
}

/// [`good`] with one claim set, or taken out by null.
pub(crate) fn with(claim: &str, value: Value) -> Value {
    let mut claims = good();
    let map = claims.as_object_mut().unwrap();
    if value.is_null() {
        map.remove(claim);
    } else {
        map.insert(claim.to_owned(), value);
    }
    claims
}

/// What the issuer answers, and how often it was asked.
pub(crate) struct Issuer {
    running: Running,
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    /// Answer to the configuration's address.
    pub(crate) configuration: Mutex<Reply>,
    /// Answer to the keys' address.
    pub(crate) keys: Mutex<Reply>,
    /// How often the keys were asked for.
    pub(crate) asked: watch::Sender<usize>,
    /// Answers are held back while this is true.
    pub(crate) hold: watch::Sender<bool>,
}

#[derive(Clone)]
pub(crate) struct Reply(pub(crate) StatusCode, pub(crate) String);

pub(crate) fn keys_of(signers: &[&Signer]) -> Reply {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    Reply(StatusCode::OK, json!({ "keys": keys }).to_string())
}

impl Issuer {
    /// Starts one with `signers`' keys on a free port.
    pub(crate) fn start(signers: &[&Signer]) -> Self {
        Self::start_on("127.0.0.1:0", signers)
    }

    pub(crate) fn start_on(addr: &str, signers: &[&Signer]) -> Self {
        let listener = Listener::bind(addr.parse().unwrap()).unwrap();
        let keys = format!("http://{}/keys", listener.local_addr());
        let configuration = json!({ "issuer": ISSUER, "jwks_uri": keys }).to_string();
        let shared = Arc::new(Shared {
            configuration: Mutex::new(Reply(StatusCode::OK, configuration)),
            keys: Mutex::new(keys_of(signers)),
            asked: watch::channel(0).0,
            hold: watch::channel(false).0,
        });
        let router = Router::new()
            .route("/configuration", get(configuration_of))
            .route("/keys", get(keys_asked))
            .with_state(Arc::clone(&shared));
        Self {
            running: listener.serve(router, Limits::default()),
            shared,
        }
    }

    pub(crate) fn discovery(&self) -> Discovery {
        discovery(&self.running.local_addr().to_string())
    }

    pub(crate) fn publish(&self, signers: &[&Signer]) {
        *self.shared.keys.lock() = keys_of(signers);
    }

    pub(crate) fn asked(&self) -> usize {
        *self.shared.asked.borrow()
    }

    pub(crate) async fn stop(self) {
        self.running.stop(Duration::from_secs(5)).await;
    }
}

/// Where an issuer at `host` keeps its configuration.
pub(crate) fn discovery(host: &str) -> Discovery {
    let url = Url::parse(&format!("http://{host}/configuration")).unwrap();
    let mut discovery = Discovery::new(url);
    discovery.allow_loopback_http = true;
    discovery
}

async fn configuration_of(State(shared): State<Arc<Shared>>) -> Response {
    reply(shared.configuration.lock().clone())
}

async fn keys_asked(State(shared): State<Arc<Shared>>) -> Response {
    shared.asked.send_modify(|asked| *asked += 1);
    let mut hold = shared.hold.subscribe();
    hold.wait_for(|held| !held).await.unwrap();
    reply(shared.keys.lock().clone())
}

fn reply(Reply(status, body): Reply) -> Response {
    if status.is_redirection() {
        return (status, [(header::LOCATION, body)]).into_response();
    }
    (
        status,
        [(header::CONTENT_TYPE, "application/json".to_owned())],
        body,
    )
        .into_response()
}
