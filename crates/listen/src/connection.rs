use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::guarded::Guarded;
use crate::metrics::{Closed, ListenMetrics};
use crate::paced::Paced;
use crate::rest::{Whole, expects_continue};
use crate::timer::HeaderTimer;
use crate::{Limits, Scheme, host, plain};

/// How a client of a TLS port began.
enum Hello {
    Tls(Box<TlsStream<TcpStream>>),
    Plain,
    Gone,
}

/// What one connection is served with.
pub(crate) struct Serving {
    pub(crate) router: Router,
    pub(crate) limits: Limits,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) metrics: ListenMetrics,
    pub(crate) stopping: CancellationToken,
}

impl Serving {
    /// Serves one connection to its end: closed, failed, timed out or upgraded.
    pub(crate) async fn serve(self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            // Answers still arrive, later.
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let begun = Instant::now();
        let Some(acceptor) = self.tls.clone() else {
            return self.http(stream, peer, Scheme::Http, begun).await;
        };
        let until = begun + self.limits.header_timeout;
        let hello = async {
            match plain::first_byte(&stream).await? {
                // As probes do that only want to know whether the port is open.
                None => Ok(Hello::Gone),
                Some(byte) if plain::is_http(byte) => {
                    plain::turn_away(stream).await;
                    Ok(Hello::Plain)
                }
                Some(_) => acceptor.accept(stream).await.map(Box::new).map(Hello::Tls),
            }
        };
        let shaken = tokio::select! {
            shaken = tokio::time::timeout_at(until, hello) => shaken,
            // Nothing was asked for yet.
            () = self.stopping.cancelled() => return,
        };
        match shaken {
            Ok(Ok(Hello::Tls(stream))) => self.http(*stream, peer, Scheme::Https, begun).await,
            Ok(Ok(Hello::Plain)) => self.metrics.closed(Closed::PlainHttp),
            Ok(Ok(Hello::Gone)) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                self.metrics.closed(Closed::Handshake);
            }
            Err(_) => self.metrics.closed(Closed::SlowHandshake),
        }
    }

    /// HTTP/1 over `stream`; what the time since `begun` took is off the time for the first header.
    async fn http<S>(self, stream: S, peer: SocketAddr, scheme: Scheme, begun: Instant)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Self {
            router,
            limits,
            metrics,
            stopping,
            ..
        } = self;
        let left = limits.header_timeout.saturating_sub(begun.elapsed());
        let left = left.max(Duration::from_millis(1));
        let timer = HeaderTimer::new(limits.keep_alive.saturating_sub(left));
        let mut http = http1::Builder::new();
        http.timer(timer.clone())
            .header_read_timeout(left)
            .max_header_size(limits.max_header_bytes);
        let stream = Guarded::new(
            stream,
            limits.max_header_bytes,
            limits.stuck_after,
            metrics.clone(),
        );
        let body_metrics = metrics.clone();
        let stopped = stopping.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            timer.first_header_is_in();
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(scheme);
            let expects = expects_continue(request.version(), request.headers());
            let mut follow = None;
            let request = request.map(|body| {
                if body.is_end_stream() {
                    return Body::empty();
                }
                let body = Whole::new(Paced::new(body, &limits, body_metrics.clone()));
                follow = Some(body.follow(expects, limits.header_timeout, &stopped));
                Body::new(body)
            });
            let router = router.clone();
            async move {
                let mut answer = if host::is_good(&request) {
                    router.oneshot(request).await?
                } else {
                    let refusal = host::refusal(request.headers());
                    drop(request);
                    refusal
                };
                if let Some(follow) = follow {
                    follow.answered(&mut answer);
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let mut connection = pin!(
            http.serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            // A client that leaves or dawdles is its own business.
            tracing::debug!(%error, "a connection ended early");
            if error.is_timeout() {
                metrics.closed(Closed::SlowHeader);
            }
        }
    }
}
