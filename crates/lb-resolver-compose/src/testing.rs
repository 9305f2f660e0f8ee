//! What the tests of this crate share.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::StreamExt;
use lb_core::Address;
use lb_core::Endpoint;
use lb_core::ResolveError;
use lb_core::Resolver;
use lb_core::ResolverStream;
use lb_core::Target;
use lb_core::Trigger;
use lb_testkit::FakeResolver;
use lb_testkit::FakeResolverHandle;

use crate::Answer;
use crate::source::Source;

pub(crate) fn endpoint(text: &str) -> Endpoint {
    Endpoint::new(text.parse::<Address>().unwrap())
}

pub(crate) fn endpoints(texts: &[&str]) -> Vec<Endpoint> {
    texts.iter().map(|text| endpoint(text)).collect()
}

/// A fake source of a scheme, asked for `scheme:///orders`.
pub(crate) fn fake(scheme: &'static str) -> (Source, FakeResolverHandle) {
    let (resolver, handle) = FakeResolver::new(scheme);
    (Source::parse(resolver, &format!("{scheme}:///orders")).unwrap(), handle)
}

pub(crate) fn open(resolver: &impl Resolver) -> (ResolverStream, Trigger) {
    let (again, heard) = Trigger::pair();
    let target = Target::parse("mine:///orders", &|_| true).unwrap();
    (resolver.resolve(&target, heard), again)
}

/// What is ready now.
pub(crate) fn now(stream: &mut ResolverStream) -> Option<Answer> {
    stream.next().now_or_never().map(Option::unwrap)
}

pub(crate) fn keys(answer: Option<Answer>) -> Vec<String> {
    answer.unwrap().unwrap().endpoints.iter().map(|endpoint| endpoint.key().to_string()).collect()
}

pub(crate) fn error(answer: Option<Answer>) -> ResolveError {
    answer.unwrap().unwrap_err()
}

/// Lets so many milliseconds pass on a paused clock, the stream being polled before and after.
pub(crate) async fn pass(stream: &mut ResolverStream, milliseconds: u64) -> Option<Answer> {
    if let Some(answer) = now(stream) {
        return Some(answer);
    }
    tokio::time::advance(Duration::from_millis(milliseconds)).await;
    now(stream)
}
