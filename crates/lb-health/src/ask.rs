//! The two questions of grpc.health.v1, without the type of the connection.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use tonic::client::GrpcService;
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus as Wire;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::poll::Verdict;

/// More of a server's message would help nobody, and is not ours to keep.
const LONGEST_MESSAGE: usize = 256;

pub(crate) type Answer<'a, A> = Pin<Box<dyn Future<Output = Result<A, Status>> + Send + 'a>>;

/// Asks one connection.
pub(crate) trait Ask: Send + 'static {
    /// One answer, within this time as far as the server knows.
    fn check(&mut self, service: &str, timeout: Duration) -> Answer<'_, HealthCheckResponse>;

    /// An answer for every change.
    fn watch(&mut self, service: &str) -> Answer<'_, Streaming<HealthCheckResponse>>;
}

impl<T> Ask for HealthClient<T>
where
    T: GrpcService<tonic::body::Body> + Send + 'static,
    T::Future: Send,
    T::Error: Into<Box<dyn Error + Send + Sync>>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    fn check(&mut self, service: &str, timeout: Duration) -> Answer<'_, HealthCheckResponse> {
        let mut request = Request::new(HealthCheckRequest { service: service.to_owned() });
        request.set_timeout(timeout);
        Box::pin(async { Self::check(self, request).await.map(tonic::Response::into_inner) })
    }

    fn watch(&mut self, service: &str) -> Answer<'_, Streaming<HealthCheckResponse>> {
        let request = HealthCheckRequest { service: service.to_owned() };
        Box::pin(async { Self::watch(self, request).await.map(tonic::Response::into_inner) })
    }
}

/// What an answer means. Only SERVING is good; a number nobody defined is not.
pub(crate) fn verdict(response: &HealthCheckResponse) -> Verdict {
    match Wire::try_from(response.status) {
        Ok(Wire::Serving) => Ok(()),
        Ok(other) => Err(format!("health check: {}", other.as_str_name()).into()),
        Err(_) => Err(format!("health check: unknown status {}", response.status).into()),
    }
}

/// Why there is no answer, for people.
pub(crate) fn failure(status: &Status) -> Arc<str> {
    // Check has no SERVICE_UNKNOWN and says it with this code.
    if status.code() == Code::NotFound {
        return "health check: SERVICE_UNKNOWN".into();
    }
    let message: String = status.message().chars().take(LONGEST_MESSAGE).collect();
    format!("health check: {:?}: {message}", status.code()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_serving_is_good() {
        let of = |status| verdict(&HealthCheckResponse { status });
        assert_eq!(of(1), Ok(()));
        for (status, reason) in [(0, "UNKNOWN"), (2, "NOT_SERVING"), (3, "SERVICE_UNKNOWN"), (-7, "unknown status -7")] {
            assert_eq!(of(status), Err(format!("health check: {reason}").into()));
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let reason = failure(&Status::internal("é".repeat(100_000)));
        assert_eq!(reason.chars().count(), "health check: Internal: ".len() + LONGEST_MESSAGE);
    }
}
