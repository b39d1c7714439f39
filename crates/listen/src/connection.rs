use std::net::SocketAddr;
use std::pin::pin;

use axum::Router;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::Limits;
use crate::timer::HeaderTimer;

/// Serves one connection to its end: closed, failed, timed out or upgraded.
pub(crate) fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: &Limits,
    stopping: CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let timer = HeaderTimer::new(limits.keep_alive.saturating_sub(limits.header_timeout));
    let mut http = http1::Builder::new();
    http.timer(timer.clone())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(limits.max_header_bytes);
    async move {
        if let Err(error) = stream.set_nodelay(true) {
            // Answers still arrive, later.
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let service = service_fn(move |mut request: Request<Incoming>| {
            timer.first_header_is_in();
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request)
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
        }
    }
}
