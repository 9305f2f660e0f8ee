//! What the four endpoints do, and how they are called.

use std::time::Duration;

use super::service::Profile;

/// Endpoints of every scenario.
pub(crate) const ENDPOINTS: usize = 4;

/// What happens to the last endpoint; the others stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disturbance {
    None,
    /// It is ten times as slow and as usual, in turn, so long each.
    Flaps(Duration),
    /// Its process is stopped for the first so long of every second so long, as a garbage collector or a neighbour does it.
    Pauses(Duration, Duration),
    /// Its process is killed, and started again on the same port after the first, so often as the second says.
    Dies(Duration, Duration),
}

/// How calls come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Arrivals {
    /// At random, so many a second, whatever becomes of those before: an endpoint that is slow does not slow the load.
    Open(f64),
    /// So many callers, each with one call after the other: what CPU-bound servers can do is what is asked.
    Closed(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) usual: Profile,
    /// The last endpoint's.
    pub(crate) odd: Profile,
    pub(crate) disturbance: Disturbance,
    pub(crate) arrivals: Arrivals,
}

/// Calls a second of the open scenarios: some tenth of one core for client and servers together.
const RATE: f64 = 2000.0;

/// Half a cycle of what comes and goes. A measured window holds whole cycles.
const HALF_CYCLE: Duration = Duration::from_millis(500);

/// What is measured unless other names are asked for, so that it takes ten minutes.
pub(crate) const USUAL: [&str; 6] = ["slow", "flap", "pause", "failing", "mixed", "busy"];

pub(crate) fn all() -> Vec<Scenario> {
    let usual = Profile::taking(Duration::from_millis(5));
    let scenario = |name, what, odd, disturbance| Scenario {
        name,
        what,
        usual: usual.clone(),
        odd,
        disturbance,
        arrivals: Arrivals::Open(RATE),
    };
    let slow = Profile { mean: usual.mean * 10, ..usual.clone() };
    let failing = Profile { fails: true, ..usual.clone() };
    let mixed =
        Profile { slots: 4, costly_one_in: 20, costly: Duration::from_millis(60), ..Profile::taking(Duration::from_millis(2)) };
    let pausing = Disturbance::Pauses(HALF_CYCLE / 5, HALF_CYCLE);
    let dying = Disturbance::Dies(HALF_CYCLE / 2, HALF_CYCLE * 2);
    let flapping = Disturbance::Flaps(HALF_CYCLE);
    let busy = Profile { mean: Duration::ZERO, burn: Duration::from_micros(20), slots: usize::MAX >> 4, ..usual.clone() };
    vec![
        scenario("even", "four alike, a call takes 5 ms ± half", usual.clone(), Disturbance::None),
        scenario("slow", "one of four is ten times as slow", slow, Disturbance::None),
        scenario("flap", "one of four is ten times as slow every other half second", usual.clone(), flapping),
        scenario("pause", "one of four is stopped for 100 ms of every 500 ms", usual.clone(), pausing),
        scenario("killed", "one of four is killed every second and back after 250 ms", usual.clone(), dying),
        scenario("failing", "one of four fails every call at once", failing, Disturbance::None),
        Scenario {
            usual: mixed.clone(),
            ..scenario("mixed", "one call of 20 takes 60 ms, the others 2 ms; four at once per endpoint", mixed, Disturbance::None)
        },
        Scenario {
            arrivals: Arrivals::Closed(16),
            usual: busy.clone(),
            ..scenario("busy", "CPU-bound endpoints, cheap calls, 16 callers without a pause", busy, Disturbance::None)
        },
    ]
}

impl Scenario {
    /// What endpoint number `index` does.
    pub(crate) fn profile(&self, index: usize) -> &Profile {
        if index + 1 == ENDPOINTS { &self.odd } else { &self.usual }
    }
}
