//! Circuit breakers over real sockets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel::breaker::{
    BreakerConfig, BreakerForce, BreakerInfo, BreakerReason, BreakerState, MethodGroups, RemoteBreaker, RemoteError, RemoteReport,
    RemoteState, RemoteUpdate,
};
use evenkeel::retry::RetryPolicy;
use evenkeel::{CallError, ConnectivityState, LbChannel, LbEvent, Misfit, NoBreaker, PickOptions};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use lb_testkit::EchoServer;
use lb_testkit::pb::echo_client::EchoClient;
use tokio::sync::mpsc;
use tonic::{Code, Request};

use crate::support::{Load, PATIENCE, call, call_error, info, picked, ready, request, servers, soon, target_of, until};

/// The preset, but quick.
fn quick() -> BreakerConfig {
    BreakerConfig::default().open_time(Duration::from_millis(200)).jitter(0.0)
}

/// For what must not change again by itself while a test looks.
fn slow() -> BreakerConfig {
    BreakerConfig::default().open_time(Duration::from_secs(3600))
}

async fn channel(servers: &[EchoServer], config: BreakerConfig) -> LbChannel {
    let channel = LbChannel::builder(target_of(servers)).circuit_breaker(config).build().unwrap();
    ready(&channel, servers.len()).await;
    channel
}

/// The one breaker of an endpoint.
fn breaker(channel: &LbChannel, server: &EchoServer) -> BreakerInfo {
    let mut breakers = info(channel, server.addr()).breakers;
    assert_eq!(breakers.len(), 1, "{breakers:?}");
    breakers.remove(0)
}

fn state(channel: &LbChannel, server: &EchoServer) -> Option<BreakerState> {
    info(channel, server.addr()).breakers.first().map(|breaker| breaker.state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_endpoint_opens_its_breaker_others_serve_and_trials_bring_it_back() {
    let servers = servers(3).await;
    let channel = channel(&servers, quick()).await;
    let mut events = channel.subscribe();
    servers[0].fail(Code::Unavailable);
    let load = Load::start(&channel, 4, &request("x"));
    until("it is open", || state(&channel, &servers[0]) == Some(BreakerState::Open)).await;
    load.goes_on(500).await;
    let seen = info(&channel, servers[0].addr());
    assert_eq!(
        (seen.state, servers[0].connections(), servers[0].accepted()),
        (ConnectivityState::Ready, 1, 1),
        "it stays connected"
    );

    servers[0].heal();
    until("it is closed", || state(&channel, &servers[0]) == Some(BreakerState::Closed)).await;
    let before = servers[0].calls();
    until("it serves", || servers[0].calls() > before + 20).await;
    let tally = load.stop().await;
    // Five open it, with those of the three other callers under way; then at most three trials each 200 ms.
    let trials = 3 * (1 + breaker(&channel, &servers[0]).opened as usize);
    assert!((5..=8 + trials).contains(&tally.failures.len()), "{} failures", tally.failures.len());
    assert!(tally.failures.iter().all(|status| status.code() == Code::Unavailable && call_error(status).is_none()), "the server's");

    let key = info(&channel, servers[0].addr()).key;
    let changes = async {
        let mut told = Vec::new();
        loop {
            if let Some(LbEvent::BreakerChanged { endpoint, group, from, to, reason }) = events.next().await {
                assert_eq!((&endpoint, &*group), (&key, "*"));
                told.push((from, to, reason));
                if to == BreakerState::Closed {
                    return told;
                }
            }
        }
    };
    let told = soon("every change is told", changes).await;
    assert_eq!(told[0], (BreakerState::Closed, BreakerState::Open, BreakerReason::FailuresInARow(5)));
    assert_eq!(told[1], (BreakerState::Open, BreakerState::HalfOpen, BreakerReason::TimeOver));
    assert!(told.windows(2).all(|pair| pair[0].1 == pair[1].0), "in order, none missing: {told:?}");
    assert_eq!(told.last().unwrap().2, BreakerReason::TrialsSucceeded(2));
}

#[tokio::test]
async fn pick_first_goes_to_the_next_one_while_the_breaker_of_its_own_is_open() {
    let servers = servers(2).await;
    let builder = LbChannel::builder(target_of(&servers)).policy("pick_first").circuit_breaker(slow());
    let channel = builder.build().unwrap();
    servers[0].fail(Code::Unavailable);
    for _ in 0..5 {
        call(&channel).await.unwrap_err();
    }
    let mut waiting = Request::new(request("x"));
    waiting.extensions_mut().insert(PickOptions::new().wait_for_ready(true));
    let reply = soon("another one is connected", EchoClient::new(channel.clone()).unary(waiting)).await.unwrap();
    assert_eq!(reply.get_ref().server, "s1");
    assert_eq!((call(&channel).await.unwrap().get_ref().server.as_str(), servers[0].calls()), ("s1", 5), "and is stayed with");
}

#[tokio::test]
async fn when_all_are_open_the_error_says_so_and_when_the_next_trial_is() {
    let servers = servers(2).await;
    let channel = channel(&servers, slow()).await;
    servers.iter().for_each(|server| server.fail(Code::Internal));
    for _ in 0..10 {
        assert_eq!(call(&channel).await.unwrap_err().code(), Code::Internal);
    }
    let calls = servers[0].calls() + servers[1].calls();
    let status = call(&channel).await.unwrap_err();
    assert_eq!((status.code(), servers[0].calls() + servers[1].calls()), (Code::Unavailable, calls), "nobody was asked");
    let Some(CallError::BreakersOpen { open: 2, next_trial: Some(next), unfit, .. }) = call_error(&status) else {
        panic!("{status:?}")
    };
    assert!(*next > Duration::from_secs(3500) && *next < Duration::from_secs(3970), "{next:?}");
    assert_eq!(unfit.removed_by(&Misfit::BreakerOpen), 2);
    assert!(status.message().contains("2 breaker open (next in 3"), "{status:?}");

    let explained = channel.explain(&PickOptions::new()).unwrap();
    assert!(explained.iter().all(|row| row.excluded == Some(Misfit::BreakerOpen)), "{explained:?}");
    // A pinned call, and one that excludes the other, find it open as well.
    let pinned = PickOptions::new().pin(info(&channel, servers[0].addr()).key);
    assert!(matches!(channel.pick(pinned).await, Err(CallError::BreakersOpen { open: 1, .. })));
    // What no breaker is to blame for is not put on one.
    let impossible = PickOptions::new().require("gpu");
    assert!(matches!(channel.pick(impossible).await, Err(CallError::NothingFits { .. })));
}

#[tokio::test]
async fn a_call_that_waits_for_ready_waits_for_the_next_trial() {
    let servers = servers(1).await;
    let channel = channel(&servers, quick()).await;
    servers[0].fail_next(5, Code::Unavailable);
    for _ in 0..5 {
        call(&channel).await.unwrap_err();
    }
    assert!(matches!(call_error(&call(&channel).await.unwrap_err()), Some(CallError::BreakersOpen { .. })));
    let mut waiting = Request::new(request("x"));
    waiting.extensions_mut().insert(PickOptions::new().wait_for_ready(true));
    soon("the trial", EchoClient::new(channel.clone()).unary(waiting)).await.unwrap();
    assert_eq!(state(&channel, &servers[0]), Some(BreakerState::HalfOpen), "one of two successes");
}

#[tokio::test]
async fn a_cancelled_trial_and_a_stream_that_is_dropped_give_their_places_back() {
    let servers = servers(1).await;
    let channel = channel(&servers, quick().trials(1, 1)).await;
    let mut client = EchoClient::new(channel.clone());
    servers[0].fail_next(5, Code::Unavailable);
    for _ in 0..5 {
        call(&channel).await.unwrap_err();
    }
    servers[0].hang();
    until("it is time for a trial", || breaker(&channel, &servers[0]).next_trial == Some(Duration::ZERO)).await;
    let before = servers[0].active();
    let trial = tokio::spawn({
        let mut client = client.clone();
        async move { client.unary(request("x")).await }
    });
    until("the trial is there", || servers[0].active() > before).await;
    assert_eq!(breaker(&channel, &servers[0]).trials, 1);
    assert!(matches!(call_error(&call(&channel).await.unwrap_err()), Some(CallError::BreakersOpen { .. })), "one at once");
    trial.abort();
    until("its place is free", || breaker(&channel, &servers[0]).trials == 0).await;
    servers[0].heal();

    let stream = soon("a stream", client.server_stream(request("x"))).await;
    let stream = stream.expect("the trial");
    assert_eq!(breaker(&channel, &servers[0]).trials, 1, "a stream is under way until its trailers");
    drop(stream);
    until("its place is free too", || breaker(&channel, &servers[0]).trials == 0).await;
    assert_eq!(state(&channel, &servers[0]), Some(BreakerState::HalfOpen), "nothing is known yet");
    call(&channel).await.unwrap();
    assert_eq!(state(&channel, &servers[0]), Some(BreakerState::Closed));
}

#[tokio::test]
async fn what_is_the_callers_fault_opens_nothing_and_deadlines_do() {
    let servers = servers(1).await;
    let channel = channel(&servers, slow()).await;
    servers[0].fail(Code::NotFound);
    for _ in 0..20 {
        call(&channel).await.unwrap_err();
    }
    assert_eq!(state(&channel, &servers[0]), Some(BreakerState::Closed));
    servers[0].hang();
    for _ in 0..5 {
        let mut late = Request::new(request("x"));
        late.set_timeout(Duration::from_millis(20));
        let status = EchoClient::new(channel.clone()).unary(late).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
    assert_eq!(state(&channel, &servers[0]), Some(BreakerState::Open));
}

#[tokio::test]
async fn groups_of_methods_break_apart() {
    let servers = servers(1).await;
    let channel = channel(&servers, slow().groups(MethodGroups::PerMethod)).await;
    let mut client = EchoClient::new(channel.clone());
    servers[0].fail(Code::Internal);
    for _ in 0..5 {
        call(&channel).await.unwrap_err();
    }
    servers[0].heal();
    assert!(matches!(call_error(&call(&channel).await.unwrap_err()), Some(CallError::BreakersOpen { .. })));
    let mut stream = client.server_stream(request("x")).await.expect("another method").into_inner();
    while stream.message().await.unwrap().is_some() {}
    let groups: Vec<(String, BreakerState)> = {
        let mut groups: Vec<_> =
            info(&channel, servers[0].addr()).breakers.iter().map(|info| (info.group.to_string(), info.state)).collect();
        groups.sort();
        groups
    };
    let service = "evenkeel.echo.v1.Echo";
    let expected = [(format!("{service}/ServerStream"), BreakerState::Closed), (format!("{service}/Unary"), BreakerState::Open)];
    assert_eq!(groups, expected);
}

#[tokio::test]
async fn retries_go_elsewhere_and_an_open_endpoint_costs_no_attempt() {
    let servers = servers(3).await;
    let retry = RetryPolicy::retries(2).unwrap().with_initial_backoff(Duration::from_millis(1)).unwrap();
    let channel = LbChannel::builder(target_of(&servers)).circuit_breaker(slow()).retry(retry).build().unwrap();
    ready(&channel, 3).await;
    servers[0].fail(Code::Unavailable);
    let mut attempts = 0;
    for calls in 1..=60 {
        attempts += picked(&call(&channel).await.unwrap()).1;
        if state(&channel, &servers[0]) == Some(BreakerState::Open) {
            assert_eq!(attempts, calls + 5, "each failure was made good elsewhere");
            break;
        }
    }
    for _ in 0..30 {
        assert_eq!(picked(&call(&channel).await.unwrap()).1, 1);
    }
    assert_eq!(servers[0].calls(), 5);
}

#[tokio::test]
async fn forced_by_hand() {
    let servers = servers(2).await;
    let channel = channel(&servers, slow()).await;
    let keys: Vec<_> = servers.iter().map(|server| info(&channel, server.addr()).key).collect();
    channel.force_breaker(keys[0].clone(), None, BreakerForce::Open).unwrap();
    for _ in 0..20 {
        call(&channel).await.unwrap();
    }
    assert_eq!((servers[0].calls(), servers[1].calls()), (0, 20));
    channel.force_breaker(keys[1].clone(), Some("*"), BreakerForce::Open).unwrap();
    let status = call(&channel).await.unwrap_err();
    assert!(matches!(call_error(&status), Some(CallError::BreakersOpen { open: 2, next_trial: None, .. })), "{status:?}");

    channel.force_breaker(keys[0].clone(), None, BreakerForce::Closed).unwrap();
    servers[0].fail(Code::Internal);
    for _ in 0..20 {
        assert_eq!(call(&channel).await.unwrap_err().code(), Code::Internal);
    }
    assert_eq!(state(&channel, &servers[0]), Some(BreakerState::ForcedClosed));
    keys.iter().for_each(|key| channel.force_breaker(key.clone(), None, BreakerForce::Reset).unwrap());
    assert_eq!(state(&channel, &servers[1]), Some(BreakerState::Closed));
    let no_group = channel.force_breaker(keys[0].clone(), Some("no.such"), BreakerForce::Open).unwrap_err();
    assert_eq!(no_group, NoBreaker::NoGroup { group: "no.such".into() });
    let plain = LbChannel::builder(target_of(&servers)).build().unwrap();
    assert_eq!(plain.force_breaker(keys[0].clone(), None, BreakerForce::Open), Err(NoBreaker::NotConfigured));
}

#[tokio::test]
async fn what_was_forced_holds_for_an_endpoint_that_is_listed_later() {
    let servers = servers(2).await;
    let channel = LbChannel::builder(target_of(&servers)).circuit_breaker(slow()).build().unwrap();
    channel.force_breaker(servers[0].addr().to_string(), None, BreakerForce::Open).unwrap();
    ready(&channel, 2).await;
    for _ in 0..10 {
        call(&channel).await.unwrap();
    }
    assert_eq!((servers[0].calls(), state(&channel, &servers[0])), (0, Some(BreakerState::ForcedOpen)));
}

/// A breaker elsewhere that is a test: it says what it is fed, and keeps what it hears.
#[derive(Debug)]
struct Elsewhere {
    says: Mutex<Option<mpsc::UnboundedReceiver<RemoteUpdate>>>,
    heard: Arc<Mutex<Vec<RemoteReport>>>,
    /// How many reports it refuses first.
    refuses: Mutex<u32>,
}

impl RemoteBreaker for Elsewhere {
    fn states(&self) -> BoxStream<'static, RemoteUpdate> {
        let says = self.says.lock().unwrap().take().expect("asked once");
        futures_util::stream::unfold(says, |mut says| async move { says.recv().await.map(|update| (update, says)) }).boxed()
    }

    fn report(&self, reports: Vec<RemoteReport>) -> BoxFuture<'static, Result<(), RemoteError>> {
        let mut refuses = self.refuses.lock().unwrap();
        if *refuses > 0 {
            *refuses -= 1;
            return Box::pin(async { Err(RemoteError::new("busy")) });
        }
        self.heard.lock().unwrap().extend(reports);
        Box::pin(async { Ok(()) })
    }

    fn report_every(&self) -> Duration {
        Duration::from_millis(10)
    }
}

#[tokio::test]
async fn a_remote_breaker_opens_and_closes_and_hears_every_outcome_once() {
    let servers = servers(2).await;
    let (say, says) = mpsc::unbounded_channel();
    let heard = Arc::new(Mutex::new(Vec::<RemoteReport>::new()));
    let remote = Elsewhere { says: Mutex::new(Some(says)), heard: Arc::clone(&heard), refuses: Mutex::new(3) };
    let key = servers[0].addr().to_string();
    // Before the channel knows the endpoint: what was said first must hold when it does.
    say.send(RemoteUpdate::new(key.clone(), RemoteState::Open).open_for(Duration::from_secs(3600))).unwrap();
    let channel = LbChannel::builder(target_of(&servers)).remote_breaker(remote).build().unwrap();
    ready(&channel, 2).await;
    until("it is open", || state(&channel, &servers[0]) == Some(BreakerState::Open)).await;
    for _ in 0..10 {
        call(&channel).await.unwrap();
    }
    assert_eq!((servers[0].calls(), servers[1].calls()), (0, 10), "its state is read before routing");

    say.send(RemoteUpdate::new(key.clone(), RemoteState::Closed)).unwrap();
    until("it is closed", || state(&channel, &servers[0]) == Some(BreakerState::Closed)).await;
    servers[0].fail_next(2, Code::Unavailable);
    servers[1].fail_next(1, Code::NotFound);
    for _ in 0..20 {
        drop(call(&channel).await);
    }
    let counts = |server: &EchoServer| {
        let key = server.addr().to_string();
        let heard = heard.lock().unwrap();
        let of = heard.iter().filter(|report| report.endpoint.as_str() == key);
        of.fold((0, 0), |(ok, bad), report| (ok + report.succeeded, bad + report.failed))
    };
    until("every outcome is heard", || {
        let (one, other) = (counts(&servers[0]), counts(&servers[1]));
        one.0 + one.1 + other.0 + other.1 >= 30
    })
    .await;
    let calls = (servers[0].calls(), servers[1].calls());
    assert_eq!(
        (counts(&servers[0]), counts(&servers[1])),
        ((calls.0 - 2, 2), (calls.1, 0)),
        "NOT_FOUND is no failure of the server"
    );
}

#[tokio::test]
async fn the_task_of_a_remote_breaker_ends_with_the_channel() {
    let servers = servers(1).await;
    let (say, says) = mpsc::unbounded_channel();
    let remote = Elsewhere { says: Mutex::new(Some(says)), heard: Arc::default(), refuses: Mutex::new(0) };
    let channel = LbChannel::builder(target_of(&servers)).remote_breaker(remote).build().unwrap();
    ready(&channel, 1).await;
    call(&channel).await.unwrap();
    drop(channel);
    tokio::time::timeout(PATIENCE, say.closed()).await.expect("nobody listens any more");
}

#[tokio::test]
async fn a_configuration_that_makes_no_sense_builds_no_channel() {
    let servers = servers(1).await;
    let error = LbChannel::builder(target_of(&servers)).circuit_breaker(quick().trials(0, 1)).build().unwrap_err();
    assert!(error.to_string().contains("circuitBreaker.trialCalls is 0, allowed is 1 to 63"), "{error}");
}
