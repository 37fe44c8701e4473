//! The tower layer in front of a tonic server: what a client of gRPC sees of a limit, on a real connection.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use throttlekit::{Error, FailMode, FixedWindow, Guard, Limiter, ManualClock, Run, SystemClock};
use throttlekit_tower::{Framework, FrameworkLayer, Plain, RequestHead};
use tokio::sync::Semaphore;
use tonic::transport::Server;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tonic::{Code, Request, Response, Status};

/// tonic says who is at the other end of a connection by a type of its own.
#[derive(Debug)]
struct Tonic;

impl Framework for Tonic {
    type Bodies = Plain;

    fn peer(request: &RequestHead<'_, Self>) -> Option<SocketAddr> {
        request.extensions().get::<TcpConnectInfo>()?.remote_addr()
    }
}

type Layer = FrameworkLayer<Tonic>;

/// Answers every call.
#[derive(Clone, Copy, Default)]
struct Answers;

#[tonic::async_trait]
impl MetricsService for Answers {
    async fn export(
        &self,
        _: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// Answers a call for each permit that it is given.
#[derive(Clone, Debug)]
struct Holds(Arc<Semaphore>);

#[tonic::async_trait]
impl MetricsService for Holds {
    async fn export(
        &self,
        _: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.0.acquire().await.unwrap().forget();
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// Starts `service` behind `layer`, and says where.
fn start(layer: Layer, service: impl MetricsService) -> String {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = format!("http://{}", incoming.local_addr().unwrap());
    let service = MetricsServiceServer::new(service);
    tokio::spawn(Server::builder().layer(layer).add_service(service).serve_with_incoming(incoming));
    address
}

/// A client on a connection of its own.
async fn connect(address: &str) -> MetricsServiceClient<tonic::transport::Channel> {
    MetricsServiceClient::connect(address.to_owned()).await.unwrap()
}

async fn serve(layer: Layer) -> MetricsServiceClient<tonic::transport::Channel> {
    connect(&start(layer, Answers)).await
}

/// Looks until it is so. The patience ends only a test that hangs.
async fn until(is_so: impl Fn() -> bool) {
    let look = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), look).await.unwrap();
}

async fn call(
    client: &mut MetricsServiceClient<tonic::transport::Channel>,
) -> Result<Response<ExportMetricsServiceResponse>, Status> {
    client.export(ExportMetricsServiceRequest::default()).await
}

#[tokio::test]
async fn a_denial_is_resource_exhausted_with_its_fields_and_its_wait() {
    let limiter = Limiter::builder(FixedWindow::builder().limit(1.0).window_ms(60_000.0).build().unwrap())
        .clock(ManualClock::new(0.0))
        .build();
    let mut client = serve(Layer::new(limiter)).await;
    let admitted = call(&mut client).await.unwrap();
    assert_eq!(admitted.metadata().get("ratelimit-remaining").unwrap(), "0");

    let denied = call(&mut client).await.unwrap_err();
    assert_eq!(denied.code(), Code::ResourceExhausted);
    assert_eq!(denied.message(), "rate limit exceeded; retry after 60000ms");
    assert_eq!(denied.metadata().get("retry-after").unwrap(), "60");
    assert_eq!(denied.metadata().get("ratelimit-limit").unwrap(), "1");
    // `google.rpc.Status` { code 8, message, details [RetryInfo { retry_delay { 60 s } }] }.
    let details = denied.details();
    let url = b"type.googleapis.com/google.rpc.RetryInfo";
    let at = details.windows(url.len()).position(|window| window == url).unwrap();
    assert_eq!(details[at + url.len()..], [0x12, 0x06, 0x0a, 0x04, 0x08, 60, 0x10, 0]);
    assert_eq!(details[..2], [0x08, 8]);
}

#[tokio::test]
async fn a_closed_limit_without_its_store_is_unavailable() {
    struct Out;
    impl throttlekit::Admit for Out {
        fn admit(&self, _: &throttlekit::Ask<'_>) -> Run<Result<throttlekit::Admission, Error>> {
            Run::ready(Err(Error::store_unavailable("it is out")))
        }
    }
    let layer = |mode| Layer::builder_for(Out, SystemClock::new()).fail_mode(mode).build().unwrap();
    let mut client = serve(layer(FailMode::Closed)).await;
    let refused = call(&mut client).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "rate limiter unavailable"));
    let mut client = serve(layer(FailMode::Open)).await;
    call(&mut client).await.unwrap();
}

#[tokio::test]
async fn a_slot_is_held_by_a_call_and_comes_back_with_its_trailers() {
    let guard = Guard::builder().fixed(1).clock(ManualClock::new(0.0)).build().unwrap();
    let answers = Arc::new(Semaphore::new(0));
    let layer = Layer::builder_for(guard.clone(), ManualClock::new(0.0)).build().unwrap();
    let client = connect(&start(layer, Holds(Arc::clone(&answers)))).await;
    for _ in 0..3 {
        let mut caller = client.clone();
        let held = tokio::spawn(async move { call(&mut caller).await });
        until(|| guard.in_flight() == 1).await;
        let refused = call(&mut client.clone()).await.unwrap_err();
        assert_eq!((refused.code(), guard.in_flight()), (Code::ResourceExhausted, 1));

        answers.add_permits(1);
        held.await.unwrap().unwrap();
        // The client has its answer a moment before the server has dropped the body.
        until(|| guard.in_flight() == 0).await;
    }
    assert_eq!(guard.stats().dropped, 0);
}

#[tokio::test]
async fn a_peer_counts_without_its_port() {
    let limiter = Limiter::builder(FixedWindow::builder().limit(2.0).window_ms(60_000.0).build().unwrap())
        .clock(ManualClock::new(0.0))
        .build();
    let address = start(Layer::new(limiter), Answers);
    let (mut one, mut other, mut last) = (connect(&address).await, connect(&address).await, connect(&address).await);
    call(&mut one).await.unwrap();
    let admitted = call(&mut other).await.unwrap();
    assert_eq!(admitted.metadata().get("ratelimit-remaining").unwrap(), "0");
    assert_eq!(call(&mut last).await.unwrap_err().code(), Code::ResourceExhausted);
}
