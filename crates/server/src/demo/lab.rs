//! How the demo's bot and humans agree on audio: SDP over HTTP, plain RTP, PCMU.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Context as _, bail};

use openmic_local::{DEV_APP, DEV_SECRET, DEV_TENANT};

use super::human::Ear;

/// A fresh socket for audio and the offer that names it.
pub(crate) fn offer() -> anyhow::Result<(UdpSocket, String)> {
    let (socket, port) = loop {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no UDP port for audio")?;
        let port = socket.local_addr()?.port();
        // RTP takes an even port, RTCP the one above (RFC 3550 §11).
        if port.is_multiple_of(2) {
            break (socket, port);
        }
    };
    let offer = format!(
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=openmic demo\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"
    );
    Ok((socket, offer))
}

/// Where the service wants and sends the audio, from its answer.
pub(crate) fn service_address(answer: &str) -> anyhow::Result<SocketAddr> {
    let line = |start: &str| answer.lines().find_map(|line| line.strip_prefix(start));
    let host = line("c=IN IP4 ")
        .context("the SDP answer has no c= line")?
        .trim();
    let port = line("m=audio ")
        .and_then(|rest| rest.split(' ').next())
        .context("the SDP answer has no m=audio line")?;
    Ok(SocketAddr::new(host.parse()?, port.parse()?))
}

/// Lets a human join the meeting and listen.
pub(crate) async fn human_joins(
    http: &reqwest::Client,
    local: &str,
    thread: &str,
    name: &str,
) -> anyhow::Result<Ear> {
    let (socket, offer) = offer()?;
    let mut url = url::Url::parse(local)?;
    url.path_segments_mut()
        .map_err(|()| anyhow::anyhow!("{local} is no base URL"))?
        .extend(["lab", "v1", "meetings", thread, "participants"]);
    url.query_pairs_mut().append_pair("displayName", name);
    let request = http
        .post(url)
        .header("content-type", "application/sdp")
        .body(offer);
    let answer = request.send().await.context("the lab does not answer")?;
    if answer.status() != reqwest::StatusCode::CREATED {
        bail!(
            "{name} may not join: {}",
            answer.text().await.unwrap_or_default()
        );
    }
    Ear::open(socket, service_address(&answer.text().await?)?)
}

/// A token of the dev credentials.
pub(crate) async fn dev_token(http: &reqwest::Client, local: &str) -> anyhow::Result<String> {
    let url = format!("{local}/{DEV_TENANT}/oauth2/v2.0/token");
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", DEV_APP),
        ("client_secret", DEV_SECRET),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    let answer = http
        .post(url)
        .form(&form)
        .send()
        .await
        .context("no answer for a token")?;
    let body: serde_json::Value = answer
        .json()
        .await
        .context("the token's answer is no JSON")?;
    let token = body["access_token"]
        .as_str()
        .context("the token endpoint refused")?;
    Ok(token.to_owned())
}
