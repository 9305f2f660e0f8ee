//! When a call is sent again: as the server says, in its deadline, and not while an attempt may take longer.

use super::*;

#[tokio::test]
async fn a_server_that_forbids_it_is_obeyed() {
    for values in [&["-1"][..], &["xxx"], &["1", "2"]] {
        let server = Scripted::doing([Act::Fail(pushing_back(Code::Unavailable, values))]).await;
        let status = call(&channel(&[&server], quick(3)).await).await.unwrap_err();
        assert_eq!((status.code(), server.calls()), (Code::Unavailable, 1), "{values:?}");
    }
}

#[tokio::test]
async fn a_server_that_says_when_is_obeyed_and_the_delays_begin_anew() {
    // By the policy itself it would be 30 s.
    let slow = RetryPolicy::default().with_initial_backoff(ms(30_000)).unwrap().with_max_backoff(ms(30_000)).unwrap();
    let server = Scripted::doing([Act::Fail(pushing_back(Code::Unavailable, &["1000"]))]).await;
    let began = Instant::now();
    call(&channel(&[&server], slow).await).await.unwrap();
    assert!(began.elapsed() >= ms(1000), "{:?}", began.elapsed());

    // 2 s come after 200 ms, but not after a pushback.
    let growing = RetryPolicy::default().with_initial_backoff(ms(200)).unwrap().with_multiplier(1000.0).unwrap();
    let growing = growing.with_max_backoff(ms(100_000)).unwrap();
    let pushing = Act::Fail(pushing_back(Code::Unavailable, &["10"]));
    let server = Scripted::doing([unavailable(), pushing, unavailable()]).await;
    call(&channel(&[&server], growing).await).await.unwrap();
    let times: Vec<Instant> = server.seen().iter().map(|seen| seen.at).collect();
    assert!(times[1] - times[0] >= ms(160) && times[2] - times[1] >= ms(10) && times[3] - times[2] >= ms(160), "{times:?}");
}

#[tokio::test]
async fn a_deadline_in_the_backoff_ends_the_call_and_says_so() {
    let server = Scripted::start(|_| unavailable()).await;
    let slow = RetryPolicy::default().with_initial_backoff(ms(60_000)).unwrap().with_max_backoff(ms(60_000)).unwrap();
    let channel = channel(&[&server], slow).await;
    let mut asked = Request::new(request("x"));
    asked.set_timeout(ms(300));
    let began = Instant::now();
    let status = soon("the deadline", EchoClient::new(channel.clone()).unary(asked)).await.unwrap_err();
    assert!(began.elapsed() >= ms(300));
    assert_eq!((status.code(), server.calls(), in_flight(&channel)), (Code::DeadlineExceeded, 1, 0));
    let Some(CallError::DeadlineExceeded { waiting_for: WaitingFor::Backoff { attempt, last } }) = call_error(&status) else {
        panic!("{status:?}")
    };
    assert_eq!(*attempt, 2);
    assert!(last.contains("not now") && status.message().contains("backoff before attempt 2"), "{status}");
}

#[tokio::test]
async fn a_call_dropped_in_the_backoff_starts_nothing() {
    let server = Scripted::start(|_| unavailable()).await;
    let policy = RetryPolicy::default().with_initial_backoff(ms(100)).unwrap();
    let channel = channel(&[&server], policy).await;
    let calling = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel).await }
    });
    until("the first attempt has failed", || channel.endpoints()[0].failed == 1).await;
    calling.abort();
    assert!(calling.await.unwrap_err().is_cancelled());
    // Twice as long as it would have waited.
    tokio::time::sleep(ms(250)).await;
    assert_eq!((server.calls(), in_flight(&channel)), (1, 0));
}

#[tokio::test]
async fn the_server_is_told_what_is_left_of_the_deadline_retries_included() {
    let server = Scripted::doing([unavailable(), unavailable()]).await;
    let policy = quick(3).with_initial_backoff(ms(250)).unwrap().with_max_backoff(ms(250)).unwrap();
    let channel = channel(&[&server], policy).await;
    let mut asked = Request::new(request("x"));
    asked.set_timeout(ms(60_000));
    EchoClient::new(channel).unary(asked).await.unwrap();
    let told: Vec<u64> = server
        .seen()
        .iter()
        .map(|seen| {
            let value = seen.header("grpc-timeout").unwrap();
            let (amount, unit) = value.split_at(value.len() - 1);
            let amount: u64 = amount.parse().unwrap();
            amount * if unit == "m" { 1000 } else { 1 }
        })
        .collect();
    // At least 200 ms each, the least of a delay of 250.
    assert!(told[0] <= 60_000_000 && told[1] + 200_000 <= told[0] && told[2] + 200_000 <= told[1], "{told:?}");
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_given_up_and_another_one_made() {
    let (stuck, good) = (Scripted::start(|_| Act::Hang).await, Scripted::doing([]).await);
    let policy = quick(2).with_attempt_timeout(ms(100)).unwrap();
    let channel = channel(&[&stuck, &good], policy.clone()).await;
    for _ in 0..4 {
        let reply = call(&channel).await.unwrap();
        assert_eq!(picked(&reply).0, good.addr().to_string());
    }
    assert!(stuck.calls() > 0);
    until("the server has heard of it", || stuck.active() == 0).await;

    let channel = self::channel(&[&stuck], policy).await;
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("no response within the 100ms"), "{status}");
    let Some(CallError::RetriesExhausted { attempts, .. }) = call_error(&status) else { panic!("{status:?}") };
    assert_eq!((attempts.len(), in_flight(&channel)), (2, 0));
}
