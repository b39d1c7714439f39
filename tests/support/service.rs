//! A local calling service and what a bot and a lab say to it over HTTP.

use std::time::Duration;

use axum::routing::post;
use openmic_listen::{Limits, Listener, Running};
use openmic_local::{DEV_APP, DEV_TENANT, LocalConfig, LocalService};
use serde_json::{Value, json};

use crate::CANARY;
use crate::audio::service_address;

/// The service on free ports, with a token and a place for its notifications.
#[derive(Debug)]
pub struct Service {
    /// The service.
    pub local: LocalService,
    /// A client.
    pub http: reqwest::Client,
    token: String,
    callbacks: Running,
}

/// One bot's call.
#[derive(Debug, Clone)]
pub struct Bot {
    /// The call's URL.
    pub url: String,
    /// The created call.
    pub call: Value,
}

/// One human in a meeting.
#[derive(Debug, Clone)]
pub struct Person {
    /// Its URL in the lab.
    pub url: String,
    /// The service's SDP answer.
    pub answer: String,
}

/// The bot's client secret.
fn secret() -> String {
    format!("{CANARY}-client-secret")
}

impl Service {
    /// Starts it.
    ///
    /// # Panics
    /// When anything of it does not start.
    pub async fn start() -> Self {
        let registry = prometheus::Registry::new();
        // Tests send faster than people speak.
        let mut config = LocalConfig {
            rtp_rate: None,
            ..LocalConfig::ephemeral()
        };
        config.apps[0].secret = secret();
        let local = LocalService::start(config, &registry)
            .await
            .expect("the service starts");
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .build()
            .expect("a client");
        let sink = axum::Router::new().route("/", post(async || http::StatusCode::ACCEPTED));
        let callbacks = Listener::bind(([127, 0, 0, 1], 0).into())
            .expect("a port")
            .serve(sink, Limits::default());
        let mut service = Self {
            local,
            http,
            token: String::new(),
            callbacks,
        };
        service.token = service.fetch_token().await;
        service
    }

    async fn fetch_token(&self) -> String {
        let url = format!("{}/{DEV_TENANT}/oauth2/v2.0/token", self.local.authority());
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", DEV_APP),
            ("client_secret", &secret()),
            ("scope", "https://graph.microsoft.com/.default"),
        ];
        let answer = self
            .http
            .post(url)
            .form(&form)
            .send()
            .await
            .expect("an answer");
        let body: Value = answer.json().await.expect("JSON");
        body["access_token"]
            .as_str()
            .unwrap_or_else(|| panic!("no token: {body}"))
            .to_owned()
    }

    /// A POST as the bot, with a JSON body; the status and the JSON answered.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn post(&self, url: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(url).bearer_auth(&self.token).json(body);
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// A bot with app-hosted media joins and is established; `offer` is its SDP.
    ///
    /// # Panics
    /// When it may not.
    pub async fn bot_joins(&self, thread: &str, offer: &str) -> Bot {
        let body = json!({
            "@odata.type": "#microsoft.graph.call",
            "callbackUri": format!("http://{}/", self.callbacks.local_addr()),
            "requestedModalities": ["audio"],
            "mediaConfig": {"@odata.type": "#microsoft.graph.appHostedMediaConfig", "blob": offer},
            "chatInfo": {"threadId": thread, "messageId": "0"},
            "meetingInfo": {
                "@odata.type": "#microsoft.graph.organizerMeetingInfo",
                "organizer": {"user": {"id": "33333333-3333-4333-8333-333333333333"}}
            },
            "tenantId": DEV_TENANT
        });
        let calls = format!("{}/communications/calls", self.local.graph_url());
        let (status, call) = self.post(&calls, &body).await;
        assert_eq!(status, 201, "{call}");
        let id = call["id"].as_str().expect("a call has an id").to_owned();
        let bot = Bot {
            url: format!("{calls}/{id}"),
            call,
        };
        let established = async {
            loop {
                let request = self.http.get(&bot.url).bearer_auth(&self.token);
                let call: Value = request
                    .send()
                    .await
                    .expect("an answer")
                    .json()
                    .await
                    .expect("JSON");
                if call["state"] == "established" {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), established)
            .await
            .expect("established");
        bot
    }

    /// Mutes or unmutes the bot and asserts that the operation is completed.
    ///
    /// # Panics
    /// When it is not.
    pub async fn act(&self, bot: &Bot, action: &str) {
        let (status, operation) = self
            .post(
                &format!("{}/{action}", bot.url),
                &json!({"clientContext": action}),
            )
            .await;
        assert_eq!(
            (status, operation["status"].as_str()),
            (200, Some("completed")),
            "{operation}"
        );
    }

    /// A human joins with an SDP offer.
    ///
    /// # Panics
    /// When it may not.
    pub async fn person_joins(&self, thread: &str, name: &str, offer: &str) -> Person {
        let mut url = url::Url::parse(self.local.base_url()).expect("a base URL");
        url.path_segments_mut().expect("http has a path").extend([
            "lab",
            "v1",
            "meetings",
            thread,
            "participants",
        ]);
        url.query_pairs_mut().append_pair("displayName", name);
        let request = self
            .http
            .post(url)
            .header("content-type", "application/sdp");
        let answer = request
            .body(offer.to_owned())
            .send()
            .await
            .expect("an answer");
        let status = answer.status().as_u16();
        let place = answer
            .headers()
            .get("location")
            .and_then(|place| place.to_str().ok());
        let url = place.unwrap_or_default().to_owned();
        let answer = answer.text().await.expect("a body");
        assert_eq!(status, 201, "{answer}");
        Person { url, answer }
    }

    /// A ready SDP file of what the human receives, for a player.
    ///
    /// # Panics
    /// When there is none.
    pub async fn sdp_of(&self, person: &Person) -> String {
        let answer = self
            .http
            .get(format!("{}/sdp", person.url))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status().as_u16(), 200);
        answer.text().await.expect("a body")
    }
}

impl Bot {
    /// Where its audio goes.
    ///
    /// # Panics
    /// When the call was created without media.
    pub fn media(&self) -> std::net::SocketAddr {
        let blob = self.call["mediaConfig"]["blob"]
            .as_str()
            .expect("an SDP answer");
        service_address(blob)
    }
}
