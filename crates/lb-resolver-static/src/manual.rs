//! Endpoints that the program adds and removes at run time.
//!
//! A [`ManualResolver`] goes into a channel, its [`ManualHandle`] stays with the program. What was pushed last wins: a channel
//! that is slow to read skips what lies between, so nothing queues up. A channel made later begins with the latest set.

use futures_util::StreamExt;
use futures_util::stream;
use lb_core::Endpoint;
use lb_core::EndpointKey;
use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::ResolveNow;
use lb_core::Resolver;
use lb_core::ResolverStream;
use lb_core::ResolverUpdate;
use lb_core::Target;
use tokio::sync::watch;

/// A resolver fed by the program through its [`ManualHandle`]. Any number of channels may use it; all see the same endpoints.
/// Every path of its scheme is served.
#[derive(Debug, Clone)]
pub struct ManualResolver {
    schemes: [&'static str; 1],
    state: watch::Receiver<State>,
}

/// Sets the endpoints of a [`ManualResolver`]. Cheap to clone; calls never block for long and may come from any thread.
///
/// Once all handles are dropped the last set stands; if there never was one, channels get an error.
#[derive(Debug, Clone)]
pub struct ManualHandle(watch::Sender<State>);

/// The latest of each kind, with numbers that say in which order they came; 0 is never.
#[derive(Debug, Default)]
struct State {
    sequence: u64,
    update: Option<(u64, ResolverUpdate)>,
    error: Option<(u64, ResolveError)>,
}

impl ManualResolver {
    /// A resolver for this scheme (lower case) and its handle. Channels wait until the handle is used for the first time.
    pub fn new(scheme: &'static str) -> (Self, ManualHandle) {
        let (sender, state) = watch::channel(State::default());
        (Self { schemes: [scheme], state }, ManualHandle(sender))
    }
}

impl Resolver for ManualResolver {
    fn schemes(&self) -> &[&'static str] {
        &self.schemes
    }

    fn validate(&self, _target: &Target) -> Result<(), ResolveError> {
        Ok(())
    }

    /// The latest set and then every newer one. `again` is ignored: there is nobody to ask.
    fn resolve(&self, _target: &Target, _again: ResolveNow) -> ResolverStream {
        let reader = Reader { state: self.state.clone(), seen: 0, ended: false };
        let states = stream::unfold(reader, |mut reader| async move { reader.next().await.map(|item| (item, reader)) });
        Box::pin(states.chain(stream::pending()))
    }
}

impl ManualHandle {
    /// Replaces the endpoints; none means the service has none.
    pub fn set(&self, endpoints: impl IntoIterator<Item = Endpoint>) {
        self.update(ResolverUpdate::new(endpoints.into_iter().collect()));
    }

    /// Replaces everything: endpoints, service config and note.
    pub fn update(&self, update: ResolverUpdate) {
        self.change(|state| state.update = Some((state.sequence, update)));
    }

    /// Adds an endpoint, or replaces the one with the same key.
    pub fn add(&self, endpoint: Endpoint) {
        self.change(|state| {
            let (_, mut update) = state.update.take().unwrap_or_default();
            match update.endpoints.iter_mut().find(|known| known.key() == endpoint.key()) {
                Some(known) => *known = endpoint,
                None => update.endpoints.push(endpoint),
            }
            state.update = Some((state.sequence, update));
        });
    }

    /// Removes an endpoint; false if there is none with this key.
    pub fn remove(&self, key: &EndpointKey) -> bool {
        self.0.send_if_modified(|state| {
            let Some((sequence, update)) = &mut state.update else { return false };
            let before = update.endpoints.len();
            update.endpoints.retain(|endpoint| endpoint.key() != key);
            let removed = update.endpoints.len() < before;
            if removed {
                state.sequence += 1;
                *sequence = state.sequence;
                state.error = None;
            }
            removed
        })
    }

    /// Tells the channels that the endpoints cannot be known at present; they keep what they have.
    pub fn fail(&self, error: ResolveError) {
        self.0.send_modify(|state| {
            state.sequence += 1;
            state.error = Some((state.sequence, error));
        });
    }

    /// The endpoints as last set.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.0.borrow().update.as_ref().map(|(_, update)| update.endpoints.clone()).unwrap_or_default()
    }

    /// A newer set ends the error that came before it.
    fn change(&self, change: impl FnOnce(&mut State)) {
        self.0.send_modify(|state| {
            state.sequence += 1;
            state.error = None;
            change(state);
        });
    }
}

/// Where one stream is in the sequence.
#[derive(Debug)]
struct Reader {
    state: watch::Receiver<State>,
    seen: u64,
    ended: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<ResolverUpdate, ResolveError>> {
        while !self.ended {
            if let Some(item) = self.unseen() {
                return Some(item);
            }
            self.ended = self.state.changed().await.is_err();
        }
        let never = self.seen == 0;
        self.seen = self.seen.max(1);
        let message = "the handle was dropped before it gave any endpoints";
        never.then(|| Err(ResolveError::new(ResolveErrorKind::Unavailable, message)))
    }

    fn unseen(&mut self) -> Option<Result<ResolverUpdate, ResolveError>> {
        let state = self.state.borrow_and_update();
        // The set comes before the error: an error is cleared by a newer set, so one that is here is the newer of the two.
        let (sequence, item) = match (&state.update, &state.error) {
            (Some((sequence, update)), _) if *sequence > self.seen => (*sequence, Ok(update.clone())),
            (_, Some((sequence, error))) if *sequence > self.seen => (*sequence, Err(error.clone())),
            _ => return None,
        };
        self.seen = sequence;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use lb_core::Address;
    use lb_core::Trigger;

    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        Endpoint::new(text.parse::<Address>().unwrap())
    }

    fn open(resolver: &ManualResolver) -> ResolverStream {
        let target = Target::parse("fleet:///orders", &|_| true).unwrap();
        resolver.resolve(&target, Trigger::pair().1)
    }

    fn now(stream: &mut ResolverStream) -> Option<Result<ResolverUpdate, ResolveError>> {
        stream.next().now_or_never().map(Option::unwrap)
    }

    fn keys(item: Option<Result<ResolverUpdate, ResolveError>>) -> Vec<String> {
        item.unwrap().unwrap().endpoints.iter().map(|endpoint| endpoint.key().to_string()).collect()
    }

    #[test]
    fn waits_for_the_first_set_then_follows() {
        let (resolver, handle) = ManualResolver::new("fleet");
        let mut stream = open(&resolver);
        assert!(now(&mut stream).is_none());
        handle.set([endpoint("a:1")]);
        assert_eq!(keys(now(&mut stream)), ["a:1"]);
        handle.add(endpoint("b:1"));
        assert_eq!(keys(now(&mut stream)), ["a:1", "b:1"]);
        assert!(handle.remove(&EndpointKey::from("a:1")));
        assert!(!handle.remove(&EndpointKey::from("a:1")));
        assert_eq!(keys(now(&mut stream)), ["b:1"]);
        assert!(now(&mut stream).is_none());
    }

    #[test]
    fn adding_a_known_endpoint_replaces_it() {
        let (_resolver, handle) = ManualResolver::new("fleet");
        handle.add(endpoint("a:1"));
        handle.add(endpoint("a:1").with_weight(7));
        assert_eq!(handle.endpoints(), [endpoint("a:1").with_weight(7)]);
    }

    #[test]
    fn the_latest_wins_and_nothing_queues() {
        let (resolver, handle) = ManualResolver::new("fleet");
        let mut stream = open(&resolver);
        for port in 1..=2000 {
            handle.set([endpoint(&format!("a:{port}"))]);
        }
        assert_eq!(keys(now(&mut stream)), ["a:2000"]);
        assert!(now(&mut stream).is_none());
    }

    #[test]
    fn an_error_follows_the_set_it_came_after_and_a_newer_set_ends_it() {
        let (resolver, handle) = ManualResolver::new("fleet");
        handle.set([endpoint("a:1")]);
        handle.fail(ResolveError::new(ResolveErrorKind::Refused, "no"));
        let mut stream = open(&resolver);
        assert_eq!(keys(now(&mut stream)), ["a:1"]);
        assert_eq!(now(&mut stream).unwrap().unwrap_err().kind(), ResolveErrorKind::Refused);
        handle.fail(ResolveError::new(ResolveErrorKind::Refused, "no"));
        handle.set([]);
        assert_eq!(keys(now(&mut stream)), [""; 0]);
        assert!(now(&mut stream).is_none());
    }

    #[test]
    fn the_last_set_stands_when_the_handle_is_gone() {
        let (resolver, handle) = ManualResolver::new("fleet");
        handle.set([endpoint("a:1")]);
        drop(handle);
        let mut stream = open(&resolver);
        assert_eq!(keys(now(&mut stream)), ["a:1"]);
        assert!(now(&mut stream).is_none());
    }

    #[test]
    fn a_handle_dropped_unused_is_an_error() {
        let (resolver, handle) = ManualResolver::new("fleet");
        drop(handle);
        let mut stream = open(&resolver);
        assert_eq!(now(&mut stream).unwrap().unwrap_err().kind(), ResolveErrorKind::Unavailable);
        assert!(now(&mut stream).is_none());
    }
}
