use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::UdpSocket;

use super::harness::{Bot, Rig, THREAD, config};

/// A participant's own RTP: one socket to send from and listen on, PCMU.
pub(super) struct Phone {
    socket: UdpSocket,
    to: SocketAddr,
    sequence: u16,
}

/// A datagram of 20 ms PCMU. The payload is `mark`, over and over.
fn packet(sequence: u16, ssrc: u32, mark: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend([mark; 160]);
    packet
}

pub(super) async fn even_socket() -> UdpSocket {
    loop {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if socket.local_addr().unwrap().port().is_multiple_of(2) {
            return socket;
        }
    }
}

pub(super) fn offer(port: u16, direction: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=t\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0\r\na={direction}\r\n"
    )
}

fn port_of(answer: &str) -> u16 {
    let line = answer
        .lines()
        .find(|line| line.starts_with("m=audio "))
        .unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

impl Phone {
    pub(super) fn new(socket: UdpSocket, answer: &str) -> Self {
        Self {
            socket,
            to: SocketAddr::from(([127, 0, 0, 1], port_of(answer))),
            sequence: 100,
        }
    }

    pub(super) async fn say(&mut self, mark: u8, packets: u16) {
        let ssrc = u32::from(self.socket.local_addr().unwrap().port());
        for _ in 0..packets {
            let packet = packet(self.sequence, ssrc, mark);
            self.socket.send_to(&packet, self.to).await.unwrap();
            self.sequence += 1;
        }
    }

    /// The first byte of the payload of the next packet.
    pub(super) async fn hear(&self) -> u8 {
        let mut buffer = [0; 2048];
        let got = self.socket.recv(&mut buffer);
        let length = tokio::time::timeout(Duration::from_secs(20), got).await;
        let length = length.expect("a packet comes").unwrap();
        assert_eq!(length, 172);
        buffer[12]
    }

    /// The marks of what has arrived already.
    fn heard(&self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let mut marks = Vec::new();
        while let Ok(length) = self.socket.try_recv(&mut buffer) {
            assert_eq!(length, 172);
            marks.push(buffer[12]);
        }
        marks
    }
}

/// Silence of PCMU.
const SILENCE: u8 = 0xff;

async fn caller<'a>(rig: &'a Rig, bot: &mut Bot<'a>) -> (String, Phone, String) {
    let socket = even_socket().await;
    let mut body = bot.join(THREAD);
    body["mediaConfig"] = json!({
        "@odata.type": "#microsoft.graph.appHostedMediaConfig",
        "blob": offer(socket.local_addr().unwrap().port(), "sendrecv"),
    });
    let (call, created) = bot.established(&body).await;
    let answer = created["mediaConfig"]["blob"].as_str().unwrap();
    assert!(answer.contains("a=sendrecv"), "{answer}");
    let own = created["myParticipantId"].as_str().unwrap();
    let location = rig.url(&format!(
        "/lab/v1/meetings/19%3Ameeting_test%40thread.v2/participants/{own}"
    ));
    (call, Phone::new(socket, answer), location)
}

async fn counted(rig: &Rig, location: &str, counter: &str, at_least: u64) -> Value {
    rig.until(counter, async |rig: &Rig| {
        let media = rig.look(location).await["media"].clone();
        media["counters"][counter].as_u64().unwrap() >= at_least
    })
    .await;
    rig.look(location).await["media"].clone()
}

#[tokio::test]
async fn a_muted_bot_is_not_heard_and_an_unmuted_one_is() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let (call, mut phone, own) = caller(&rig, &mut bot).await;
    let socket = even_socket().await;
    let port = socket.local_addr().unwrap().port();
    let (human, answer) = rig.human(THREAD, Some(offer(port, "sendrecv"))).await;
    let mut ear = Phone::new(socket, &answer);

    phone.say(1, 3).await;
    for _ in 0..3 {
        assert_eq!(ear.hear().await, 1, "bots start unmuted");
    }
    let mut gated = 0;
    for cycle in 0..5_u8 {
        let (muted, aloud) = (100 + cycle, 10 + cycle);
        bot.act(&call, "mute", "m").await;
        phone.say(muted, 20).await;
        gated += 20;
        let media = counted(&rig, &own, "gated", gated).await;
        assert_eq!(
            (media["gate"].as_str(), &media["counters"]["gated"]),
            (Some("closed"), &json!(gated))
        );
        let heard = ear.heard();
        assert!(
            !heard.is_empty() && heard.iter().all(|mark| *mark == SILENCE),
            "{heard:?}"
        );
        bot.act(&call, "unmute", "u").await;
        phone.say(aloud, 5).await;
        for _ in 0..5 {
            assert_eq!(ear.hear().await, aloud, "from the first packet on");
        }
    }
    rig.host(&own, true).await;
    phone.say(7, 5).await;
    counted(&rig, &own, "gated", gated + 5).await;
    assert!(ear.heard().iter().all(|mark| *mark == SILENCE));
    rig.host(&own, false).await;
    phone.say(8, 1).await;
    assert_eq!(ear.hear().await, 8);

    ear.say(50, 2).await;
    assert_eq!(phone.hear().await, 50, "the bot hears the human");
    assert_eq!(phone.hear().await, 50);
    rig.host(&human, true).await;
    ear.say(51, 5).await;
    counted(&rig, &human, "gated", 5).await;
    assert!(phone.heard().iter().all(|mark| *mark == SILENCE));

    let media = rig.look(&own).await["media"].clone();
    let latched = phone.socket.local_addr().unwrap().to_string();
    assert_eq!(media["latched"], latched);
    assert_eq!(media["evidence"]["receivers"], 1);

    let sdp = rig.http.get(format!("{human}/sdp")).send().await.unwrap();
    assert_eq!(sdp.headers()["content-type"], "application/sdp");
    let sdp = sdp.text().await.unwrap();
    assert!(
        sdp.contains(&format!("m=audio {port} RTP/AVP 0\r\n")),
        "{sdp}"
    );
    assert_eq!(rig.http.delete(&human).send().await.unwrap().status(), 204);
    assert_eq!(rig.http.get(&human).send().await.unwrap().status(), 404);
    rig.service.stop().await;
}

#[tokio::test]
async fn a_call_that_ends_takes_its_sound_with_it() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let (call, mut phone, own) = caller(&rig, &mut bot).await;
    let socket = even_socket().await;
    let port = socket.local_addr().unwrap().port();
    let (human, answer) = rig.human(THREAD, Some(offer(port, "recvonly"))).await;
    assert!(answer.contains("a=sendonly"), "{answer}");
    let ear = Phone::new(socket, &answer);
    assert_eq!(rig.look(&human).await["isMuted"], false);
    phone.say(1, 1).await;
    assert_eq!(ear.hear().await, 1);
    bot.send(reqwest::Method::DELETE, &call, None).await;
    // The port is closed, so the kernel may say so instead of taking the packets.
    for _ in 0..5 {
        let packet = packet(200, 1, 2);
        let _refused = phone.socket.send_to(&packet, phone.to).await;
    }
    let answer = rig.http.get(&own).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    assert!(ear.heard().iter().all(|mark| *mark == SILENCE));
}

#[tokio::test]
async fn nobody_hears_a_bot_before_it_is_established() {
    let mut config = config();
    config.timing.establish = Duration::from_hours(1);
    let rig = Rig::start(config).await;
    let bot = rig.bot().await;
    let socket = even_socket().await;
    let port = socket.local_addr().unwrap().port();
    let (human, answer) = rig.human(THREAD, Some(offer(port, "recvonly"))).await;
    let ear = Phone::new(socket, &answer);
    let mut body = bot.join(THREAD);
    body["mediaConfig"] = json!({
        "@odata.type": "#microsoft.graph.appHostedMediaConfig", "blob": offer(9, "sendonly") });
    let created = bot.create(&body).await;
    let blob = created["mediaConfig"]["blob"].as_str().unwrap();
    let mut phone = Phone::new(even_socket().await, blob);
    phone.say(1, 10).await;
    // Answered after what came before it: the media thread takes one thing after the other.
    let heard = rig.look(&human).await;
    assert_eq!(
        heard["media"]["gate"], "open",
        "it is the bot's that is closed"
    );
    assert!(ear.heard().iter().all(|mark| *mark == SILENCE));
}

#[tokio::test]
async fn split_lines_take_one_source_each() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let (_, mut phone, _) = caller(&rig, &mut bot).await;
    let socket = even_socket().await;
    let port = socket.local_addr().unwrap().port();
    let (_, answer) = rig.human(THREAD, Some(offer(port, "sendrecv"))).await;
    let mut human = Phone::new(socket, &answer);
    let ears = [even_socket().await, even_socket().await];
    let lines = ears.each_ref().map(|ear| {
        let port = ear.local_addr().unwrap().port();
        format!("m=audio {port} RTP/AVP 0\r\na=recvonly\r\n")
    });
    let split = offer(9, "sendonly") + &lines.concat();
    let (listener, answer) = rig.human(THREAD, Some(split)).await;
    let mut lines = answer.split("m=audio ").skip(2);
    let ears = ears.map(|ear| {
        let answer = format!("m=audio {}", lines.next().unwrap());
        assert!(answer.contains("a=sendonly"), "{answer}");
        Phone::new(ear, &answer)
    });
    phone.say(1, 3).await;
    human.say(2, 3).await;
    let mut heard = Vec::new();
    for ear in &ears {
        let first = ear.hear().await;
        assert_eq!([ear.hear().await, ear.hear().await], [first; 2]);
        heard.push(first);
    }
    heard.sort_unstable();
    assert_eq!(heard, [1, 2]);
    let sdp = rig
        .http
        .get(format!("{listener}/sdp"))
        .send()
        .await
        .unwrap();
    let sdp = sdp.text().await.unwrap();
    assert_eq!(sdp.matches("m=audio ").count(), 2, "{sdp}");
}

#[tokio::test]
async fn ports_run_out_by_name() {
    let mut config = config();
    let free = even_socket().await.local_addr().unwrap().port();
    config.rtp_ports = Some((free, free + 1));
    let rig = Rig::start(config).await;
    let bot = rig.bot().await;
    let (human, _) = rig.human(THREAD, Some(offer(9, "sendonly"))).await;
    let sdp = rig.http.get(format!("{human}/sdp")).send().await.unwrap();
    assert_eq!(bot.refused(sdp).await, (409, "8583".to_owned()));
    let url = rig.url("/lab/v1/meetings/19%3Ax/participants");
    let request = rig.http.post(url).header("content-type", "application/sdp");
    let answer = request.body(offer(9, "sendonly")).send().await.unwrap();
    assert_eq!(
        bot.refused(answer).await,
        (503, "serviceNotAvailable".to_owned())
    );
    assert_eq!(rig.metric("openmic_local_meetings", None), 1);
}
