//! TLS, and what knocks on its port besides.

use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

fn connector(pem: &str, versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config).into()
}

fn trusting(pem: &str) -> TlsConnector {
    connector(pem, rustls::ALL_VERSIONS)
}

fn serve(tls: &Tls, router: Router, limits: Limits) -> Running {
    Listener::bind(([127, 0, 0, 1], 0).into())
        .unwrap()
        .tls(Some(tls.clone()))
        .serve(router, limits)
}

async fn shake(
    running: &Running,
    connector: &TlsConnector,
    name: &'static str,
) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(running.local_addr()).await?;
    connector
        .connect(ServerName::try_from(name).unwrap(), socket)
        .await
}

async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    // An end without the alert of TLS is an error here.
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn scheme(request: Request) -> String {
    format!("{:?}", request.extensions().get::<Scheme>().unwrap())
}

#[tokio::test]
async fn dev_serves_loopback_names_and_those_it_was_given() {
    let names = ["bot.example".to_owned(), "192.0.2.7".to_owned()];
    let tls = Tls::dev(names).unwrap();
    let authority = tls.authority().unwrap();
    assert!(authority.starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(!authority.contains("PRIVATE"));
    let running = serve(
        &tls,
        Router::new().route("/", get(scheme)),
        Limits::default(),
    );
    let client = trusting(authority);
    for name in ["localhost", "127.0.0.1", "::1", "bot.example", "192.0.2.7"] {
        let mut stream = shake(&running, &client, name).await.unwrap();
        let (_, session) = stream.get_ref();
        assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert!(ask(&mut stream).await.ends_with("Https"));
    }
    let old = connector(authority, &[&rustls::version::TLS12]);
    let stream = shake(&running, &old, "localhost").await.unwrap();
    let version = stream.get_ref().1.protocol_version();
    assert_eq!(version, Some(ProtocolVersion::TLSv1_2));
    drop(stream);

    let refused = shake(&running, &client, "elsewhere.example").await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("not valid for name"), "{error}");
    let others = Tls::dev([]).unwrap();
    let wrong = trusting(others.authority().unwrap());
    let error = shake(&running, &wrong, "localhost").await.unwrap_err();
    assert!(
        error.to_string().contains("invalid peer certificate"),
        "{error}"
    );
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn who_speaks_plain_http_is_told_and_nobody_waits_for_who_does_not_speak() {
    let tls = Tls::dev([]).unwrap();
    let limits = Limits {
        header_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let running = serve(&tls, hello(), limits);
    let silent = connect(&running).await;
    let mut half = connect(&running).await;
    half.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00])
        .await
        .unwrap();
    let mut rubbish = connect(&running).await;
    rubbish.write_all(&[0, 1, 2, 3, 4, 5, 6, 7]).await.unwrap();

    let mut plain = connect(&running).await;
    send(&mut plain, "/").await;
    let answer = read_to_end(&mut plain).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("https://"), "{answer}");

    let client = trusting(tls.authority().unwrap());
    let mut good = shake(&running, &client, "localhost").await.unwrap();
    assert!(ask(&mut good).await.ends_with("hello"));
    // After its handshake a client has what is left of the time, and no more.
    let mut idle = shake(&running, &client, "localhost").await.unwrap();
    let mut byte = [0];
    let end = tokio::time::timeout(PATIENCE, idle.read(&mut byte))
        .await
        .unwrap();
    assert_eq!(end.unwrap_or(0), 0);
    for mut client in [silent, half, rubbish] {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(PATIENCE, client.read_to_end(&mut rest)).await;
        drop(end.expect("the server closes"));
    }
    assert_eq!(running.stop(PATIENCE).await, 0);
}

/// A pair signed by itself, in two files.
fn write(directory: &TempDir, name: &str) -> String {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    put(&directory.path().join("key.pem"), &key.serialize_pem());
    put(&directory.path().join("chain.pem"), &certificate);
    certificate
}

fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

fn files(directory: &TempDir) -> Result<Tls, TlsError> {
    let path = |name| directory.path().join(name);
    Tls::files(path("chain.pem"), path("key.pem"))
}

#[test]
fn files_that_are_no_good_are_named_with_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let error = files(&directory).unwrap_err().to_string();
    assert!(error.starts_with("cannot read"), "{error}");
    write(&directory, "one.example");
    files(&directory).unwrap();
    let chain = directory.path().join("chain.pem");
    let key = directory.path().join("key.pem");
    put(&key, &KeyPair::generate().unwrap().serialize_pem());
    let error = files(&directory).unwrap_err();
    assert!(matches!(error, TlsError::Pair { .. }), "{error}");
    put(&key, "rubbish");
    let error = files(&directory).unwrap_err().to_string();
    assert!(
        error.contains("key.pem holds no PEM private key"),
        "{error}"
    );
    put(&chain, "rubbish");
    let error = files(&directory).unwrap_err().to_string();
    assert!(
        error.contains("chain.pem holds no PEM certificate"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_pair_is_shown_and_no_request_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let first = write(&directory, "one.example");
    let tls = files(&directory).unwrap();
    let limits = Limits {
        header_timeout: PATIENCE,
        ..Limits::default()
    };
    let running = Arc::new(serve(&tls, hello(), limits));

    // A good client that trusts the first certificate and the one that comes.
    let second = {
        let elsewhere = tempfile::tempdir().unwrap();
        let pem = write(&elsewhere, "one.example");
        (elsewhere, pem)
    };
    let both = trusting(&format!("{first}{}", second.1));
    let (stop, stopped) = watch::channel(false);
    let load = tokio::spawn({
        let running = Arc::clone(&running);
        let both = both.clone();
        async move {
            let mut asked = 0;
            while !*stopped.borrow() {
                let mut stream = shake(&running, &both, "one.example").await.unwrap();
                assert!(ask(&mut stream).await.ends_with("hello"));
                asked += 1;
            }
            asked
        }
    });
    // Kept open across the change.
    let mut kept = shake(&running, &both, "one.example").await.unwrap();

    // A bad pair first: the key does not fit. The old one stays, which the load would notice.
    let key = KeyPair::generate().unwrap().serialize_pem();
    put(&directory.path().join("key.pem"), &key);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(
        shake(&running, &trusting(&first), "one.example")
            .await
            .is_ok()
    );

    for name in ["key.pem", "chain.pem"] {
        let text = std::fs::read_to_string(second.0.path().join(name)).unwrap();
        put(&directory.path().join(name), &text);
    }
    let only_second = trusting(&second.1);
    let changed = async {
        while shake(&running, &only_second, "one.example").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, changed)
        .await
        .expect("the new pair is shown");
    assert!(
        shake(&running, &trusting(&first), "one.example")
            .await
            .is_err()
    );
    assert!(ask(&mut kept).await.ends_with("hello"));
    stop.send_replace(true);
    assert!(load.await.unwrap() > 0);
    let running = Arc::into_inner(running).unwrap();
    assert_eq!(running.stop(PATIENCE).await, 0);
}
