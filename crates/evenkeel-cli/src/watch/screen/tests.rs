use std::time::Duration;
use std::time::UNIX_EPOCH;

use evenkeel::Address;
use evenkeel::Locality;
use evenkeel::RegistryHealth;
use evenkeel::ResolveError;
use evenkeel::ResolveErrorKind;
use evenkeel::ResolverUpdate;

use super::*;

fn endpoint(text: &str) -> Endpoint {
    Endpoint::new(text.parse::<Address>().unwrap())
}

fn fleet() -> Vec<Endpoint> {
    let mut all: Vec<Endpoint> = (1..=3).map(|at| endpoint(&format!("10.0.0.{at}:50051"))).collect();
    for (at, endpoint) in all.iter_mut().enumerate() {
        endpoint.attributes.id = Some(format!("orders-{at}").into());
        endpoint.attributes.locality = Locality::new("eu-west-1", "eu-west-1b", "");
        endpoint.attributes.metadata = [("version".into(), "1.2.3".into())].into();
    }
    all[1].attributes.health = RegistryHealth::Draining;
    all[2].attributes.weight = 300;
    all[2].attributes.capabilities = ["gpu".into()].into();
    all
}

fn take(known: &mut Known, endpoints: Vec<Endpoint>) {
    known.take(Ok(ResolverUpdate::new(endpoints)), UNIX_EPOCH + Duration::from_secs(45_296));
}

fn drawn(known: &Known, size: (usize, usize)) -> String {
    Screen::new("consul:///orders").draw(known, size)
}

#[test]
fn wide() {
    let mut known = Known::default();
    take(&mut known, fleet());
    assert_eq!(
        drawn(&known, (100, 24)),
        "\
consul:///orders: 3 endpoints at 12:34:56Z
  ENDPOINT        WEIGHT  HEALTH    LOCALITY              ID        CAPABILITIES  METADATA
  10.0.0.1:50051       1            eu-west-1/eu-west-1b  orders-0                version=1.2.3
  10.0.0.2:50051       1  draining  eu-west-1/eu-west-1b  orders-1                version=1.2.3
  10.0.0.3:50051     300            eu-west-1/eu-west-1b  orders-2  gpu           version=1.2.3
"
    );
}

#[test]
fn narrow_and_after_a_change() {
    let mut known = Known::default();
    take(&mut known, fleet()[..2].to_vec());
    let mut next = fleet();
    next.remove(0);
    next[0].attributes.weight = 2;
    take(&mut known, next);
    assert_eq!(
        drawn(&known, (60, 24)),
        "\
consul:///orders: 2 endpoints at 12:34:56Z
  ENDPOINT        WEIGHT  HEALTH    LOCALITY        ID
~ 10.0.0.2:50051       2  draining  eu-west…est-1b  orders-1
+ 10.0.0.3:50051     300            eu-west…est-1b  orders-2
  … 2 more columns
- 10.0.0.1:50051
"
    );
}

#[test]
fn failures_stand_above_the_set_that_stands() {
    let mut known = Known::default();
    assert_eq!(drawn(&known, (60, 24)), "consul:///orders: resolving\n");
    let error = || Err(ResolveError::new(ResolveErrorKind::Unavailable, "refused\x1b[2J"));
    known.take(error(), UNIX_EPOCH);
    assert_eq!(
        drawn(&known, (80, 24)),
        "consul:///orders: not resolved\n! since 00:00:00Z: could not resolve: refused\u{fffd}[2J\n"
    );
    take(&mut known, vec![endpoint("10.0.0.1:1")]);
    known.take(error(), UNIX_EPOCH + Duration::from_secs(60));
    known.take(error(), UNIX_EPOCH + Duration::from_secs(120));
    let text = drawn(&known, (80, 24));
    assert!(text.contains("1 endpoint at") && text.contains("since 00:01:00Z") && text.contains("10.0.0.1:1"), "{text}");
}

#[test]
fn it_draws_over_what_it_drew_and_never_beyond_the_terminal() {
    let mut known = Known::default();
    let mut screen = Screen::new("consul:///orders");
    take(&mut known, (0..500).map(|port| endpoint(&format!("10.0.0.1:{port}"))).collect());
    let mut before = 0;
    for height in [24, 10, 4, 2, 1, 50] {
        let text = screen.draw(&known, (40, height));
        let back = if before == 0 { String::new() } else { format!("\x1b[{before}F\x1b[J") };
        let lines: Vec<&str> = text.strip_prefix(back.as_str()).unwrap().lines().collect();
        assert!(lines.len() < height.max(2), "{height}: {lines:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 40));
        before = lines.len();
    }
    assert!(screen.draw(&known, (40, 24)).contains("… 480 more endpoints"));
    assert!(screen.draw_anew(&known, (40, 24)).starts_with("\x1b[H\x1b[2Jconsul"));
}
