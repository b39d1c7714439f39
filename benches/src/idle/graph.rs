use std::io::{self, Write as _};

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A Graph that lets everybody in and says nothing by itself, until its standard input ends. It
/// writes the port it listens on as its first line.
///
/// A call's id is its callback's key as a GUID, so that whoever has the one has the other.
///
/// # Errors
/// When there is no port.
pub async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let mut out = io::stdout();
    writeln!(out, "{}", listener.local_addr()?.port())?;
    out.flush()?;
    let call = "/v1.0/communications/calls/{call}";
    let router = Router::new()
        .route("/{tenant}/oauth2/v2.0/token", post(token))
        .route("/v1.0/communications/calls", post(create))
        .route(call, get(read))
        .route(&format!("{call}/keepAlive"), post(async || StatusCode::OK))
        .fallback(async || StatusCode::NOT_IMPLEMENTED);
    tokio::select! {
        served = axum::serve(listener, router).into_future() => served?,
        ended = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink())) => {
            ended??;
        }
    }
    Ok(())
}

async fn token() -> Json<Value> {
    Json(json!({"token_type": "Bearer", "expires_in": 86_399, "access_token": "t".repeat(1200)}))
}

async fn read(Path(call): Path<String>) -> Json<Value> {
    Json(json!({"id": call, "state": "established", "myParticipantId": call}))
}

/// What Graph's documentation shows as the answer to `POST /communications/calls`.
async fn create(body: Bytes) -> Result<(StatusCode, Json<Value>), StatusCode> {
    let bad = StatusCode::BAD_REQUEST;
    let asked: Value = serde_json::from_slice(&body).map_err(|_| bad)?;
    let callback = asked["callbackUri"].as_str().ok_or(bad)?;
    let id = super::openmic::guid(callback.rsplit('/').next().unwrap_or_default()).ok_or(bad)?;
    let answer = json!({
        "@odata.type": "#microsoft.graph.call",
        "state": "establishing",
        "direction": "outgoing",
        "callbackUri": callback,
        "callRoutes": [],
        "source": {
            "@odata.type": "#microsoft.graph.participantInfo",
            "identity": {
                "@odata.type": "#microsoft.graph.identitySet",
                "application": {
                    "@odata.type": "#microsoft.graph.identity",
                    "displayName": "Bot",
                    "id": "22222222-2222-4222-8222-222222222222"
                }
            },
            "region": null,
            "languageId": null
        },
        "targets": [],
        "requestedModalities": ["audio"],
        "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
        "chatInfo": asked["chatInfo"],
        "meetingInfo": asked["meetingInfo"],
        "tenantId": asked["tenantId"],
        "myParticipantId": null,
        "id": id,
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#communications/calls/$entity",
        "resultInfo": null
    });
    Ok((StatusCode::CREATED, Json(answer)))
}
