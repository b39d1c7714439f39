//! `--keep`: what can be done with a demo that stays up.

use openmic_engine::Call;

use crate::banner::Addresses;
use crate::demo::show::Show;

/// Prints commands to play with.
pub(crate) fn keep(show: Show, addresses: &Addresses, call: &Call) {
    let text = |address: &Option<String>| address.clone().unwrap_or_default();
    let (public, admin, local) = (
        text(&addresses.public),
        text(&addresses.admin),
        text(&addresses.local),
    );
    let url = format!("{public}/v1.0/communications/calls/{}", call.id());
    let thread = "19%3Ameeting_demo%40thread.v2";
    let (tenant, app) = (&call.owner().tenant, &call.owner().app);
    show.block(&format!(
        r#"
Still running; Ctrl-C ends it. In another terminal:

TOKEN=$(curl -s {local}/{tenant}/oauth2/v2.0/token -d grant_type=client_credentials \
  -d client_id={app} -d client_secret=local-dev-secret \
  -d scope=https://graph.microsoft.com/.default | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
curl -si -X POST {url}/unmute -H "Authorization: Bearer $TOKEN" \
  -H 'Content-Type: application/json' -d '{{"clientContext": "from curl"}}'
curl -s {public}/v1/calls -H "Authorization: Bearer $TOKEN"
curl -s {admin}/metrics | grep openmic_commands_total

# speak into the meeting with ffmpeg: join, then send to the port that the answer names
PORT=$(printf 'v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 111\r\na=rtpmap:111 opus/48000/2\r\na=sendonly\r\n' |
  curl -s -H 'Content-Type: application/sdp' --data-binary @- \
  '{local}/lab/v1/meetings/{thread}/participants?displayName=ffmpeg' |
  sed -n 's/^m=audio \([0-9]*\).*/\1/p')
ffmpeg -re -f lavfi -i sine=frequency=440 -ac 1 -c:a libopus -payload_type 111 \
  -f rtp rtp://127.0.0.1:$PORT
"#
    ));
}
