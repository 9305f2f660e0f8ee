//! What is read, and what is refused how.

use super::*;

const LEAST: &str = "about = 'x'\nloads = [0.5]\n";

fn error(more: &str) -> String {
    Scenario::parse("x", &format!("{LEAST}{more}")).unwrap_err().to_string()
}

#[test]
fn every_shipped_scenario_is_sound_and_says_what_it_is() {
    assert!(shipped().len() >= 12);
    for (name, _) in shipped() {
        let scenario = Scenario::load(name).unwrap();
        assert!(scenario.about.ends_with('.') && scenario.about.len() > 30, "{name}");
        let last = scenario.events.iter().map(|incident| incident.at).fold(0.0, f64::max);
        assert!(last < scenario.end(), "{name}: an event after the end");
    }
}

#[test]
fn the_defaults_are_the_testbed() {
    let scenario = Scenario::parse("x", LEAST).unwrap();
    assert_eq!((scenario.clients, scenario.servers.count, scenario.servers.cores), (100, 100, 6.5));
    // 0.75 of the allocation is 5.6 thousand calls a second, as the paper says.
    assert!((scenario.rate(0.75) - 5_625.0).abs() < 5.0, "{}", scenario.rate(0.75));
}

#[test]
fn a_value_out_of_range_is_named_with_what_is_allowed() {
    for (text, message) in [
        ("clients = 0", "x: clients is 0, allowed is a whole number from 1 to 10000"),
        ("network_ms = -1", "x: network_ms is -1, allowed is a number from 0 to 1000"),
        ("deadline = nan", "x: deadline is NaN, allowed is a number from 0.001 to 1000"),
        (
            "clients = 10000\nservers = { count = 10000 }",
            "x: clients × servers is 100000000, allowed is a whole number from 1 to 4000000",
        ),
        ("seconds = inf", "x: seconds is inf, allowed is a number from 0.000001 to 10000"),
        ("servers = { cores = 0 }", "x: servers.cores is 0, allowed is a number from 0.001 to 10000"),
        (
            "servers = { kinds = [{ share = 0.7, speed = 1 }, { share = 0.7, speed = 2 }] }",
            "x: servers.kinds is 1.4, allowed is shares that add up to at most 1",
        ),
        (
            "[[events]]\nat = 1\nwhat = { fail = { share = 2, ms = 1 } }",
            "x: events[0].what.fail.share is 2, allowed is a number from 0 to 1",
        ),
        (
            "[[events]]\nat = 1\nwhat = 'kill'\nservers = [0, 101]",
            "x: events[0].servers[1] is 101, allowed is a whole number from 1 to 100",
        ),
        (
            "[[events]]\nat = 1\nwhat = { stall = { seconds = 2, every = 1 } }",
            "x: events[0].what.stall.every is 1, allowed is a number from 2 to 1000",
        ),
        ("[[events]]\nat = 1\nwhat = 'kill'\nzone = 1", "x: events[0].zone is 1, allowed is a whole number from 0 to 0"),
    ] {
        assert_eq!(error(text), message);
    }
}

#[test]
fn what_cannot_be_read_is_shown_with_its_place() {
    for (text, parts) in [
        ("client = 1", ["unknown field `client`", "line 3"]),
        ("clients = 'many'", ["invalid type: string \"many\"", "line 3"]),
        ("[[events]]\nat = 1\nwhat = 'explode'", ["unknown variant `explode`", "line 5"]),
        ("clients =", ["TOML parse error", "line 3"]),
    ] {
        let error = error(text);
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    let unknown = Scenario::load("no_such_thing").unwrap_err().to_string();
    assert!(unknown.starts_with("scenario is \"no_such_thing\", allowed is a file or one of prequal_fig7, "), "{unknown}");
}

#[test]
fn the_mean_work_is_that_of_the_cut_normal() {
    let mean = |mean_ms, deviation_ms| Work { mean_ms, deviation_ms }.mean_seconds();
    // 80 (Φ(1) + φ(1)).
    assert!((mean(80.0, 80.0) - 0.086_665).abs() < 1e-6, "{}", mean(80.0, 80.0));
    assert_eq!(mean(5.0, 0.0), 0.005);
}
