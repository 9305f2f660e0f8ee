//! What should move from where to where.

use serde::{Deserialize, Serialize};

use crate::endpoint::EndpointKey;

use super::load::{Limits, Load};
use super::overload::percent;

/// The load at which urgency is highest: a quarter more than there is.
const MOST_URGENT: f64 = 1.25;

/// One thing to do. Moving it is up to whoever placed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Migration {
    /// Where it is.
    pub from: EndpointKey,
    /// Where it should be.
    pub to: EndpointKey,
    /// What should move.
    pub moving: Moving,
    /// How many of it.
    pub count: u32,
    /// From 1, when there is time, to 10, now.
    pub urgency: u8,
    /// In words.
    pub reason: String,
}

/// What can be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Moving {
    /// Work that has not begun. It moves first, because it leaves nothing behind.
    Work,
    /// Sessions, each with its share of the calls in flight.
    Sessions,
}

/// Where something can go: a healthy endpoint with room below the limit of relief.
struct Room<'a> {
    load: &'a Load,
    /// In calls.
    free: f64,
}

/// Who must get rid of how much.
struct Excess<'a> {
    load: &'a Load,
    /// In calls; all there is if the endpoint is not healthy.
    calls: f64,
    urgency: u8,
    why: String,
}

/// What should move so that no endpoint is overloaded and nothing stays at one that is not healthy; the most urgent first.
///
/// An overloaded endpoint is relieved down to [`Limits::relief`]. A target has every capability of the endpoint it takes from, and is
/// filled up to [`Limits::relief`] with all advice counted, so that none is the next to be overloaded; what finds no room stays. One session
/// counts as its share of the calls in flight, at least one; calls in flight themselves cannot move. Endpoints whose capacity is
/// neither known nor can be estimated take nothing.
///
/// Costs endpoints that give times endpoints that take.
pub fn suggest_migrations(limits: &Limits, loads: &[Load]) -> Vec<Migration> {
    let mut rooms: Vec<Room<'_>> = loads.iter().filter_map(|load| Room::of(limits, load)).collect();
    let mut excesses: Vec<Excess<'_>> = loads.iter().filter_map(|load| Excess::of(limits, load)).collect();
    excesses.sort_by(|one, other| other.urgency.cmp(&one.urgency).then_with(|| one.load.endpoint.cmp(&other.load.endpoint)));
    let mut migrations = Vec::new();
    for excess in excesses {
        let left = excess.move_out(Moving::Work, excess.calls, &mut rooms, &mut migrations);
        excess.move_out(Moving::Sessions, left, &mut rooms, &mut migrations);
    }
    migrations
}

impl<'a> Room<'a> {
    fn of(limits: &Limits, load: &'a Load) -> Option<Self> {
        let free = limits.relief * load.room_of_one()? - load.calls();
        // One that says it is busy is, whatever its calls say.
        let calm = load.share().is_some_and(|share| share < limits.relief);
        (load.healthy && calm && free >= 1.0).then_some(Self { load, free })
    }
}

impl<'a> Excess<'a> {
    fn of(limits: &Limits, load: &'a Load) -> Option<Self> {
        if !load.healthy {
            let calls = f64::INFINITY;
            return Some(Self { load, calls, urgency: 10, why: "not healthy".to_owned() });
        }
        let share = load.share().filter(|share| *share > limits.overload)?;
        let calls = at_least(load.calls() * (1.0 - limits.relief / share)).max(1.0);
        let over = (share - limits.overload) / (MOST_URGENT - limits.overload).max(0.01);
        let urgency = 1.0 + 9.0 * over.clamp(0.0, 1.0);
        let why = format!("load {} %, above {} %", percent(share), percent(limits.overload));
        Some(Self { load, calls, urgency: urgency.round() as u8, why })
    }

    /// Spreads what can move, of at most this many calls, over the rooms; the calls that are left.
    fn move_out(&self, moving: Moving, calls: f64, rooms: &mut [Room<'_>], migrations: &mut Vec<Migration>) -> f64 {
        let (there, each) = self.movable(moving);
        let mut left = f64::from(there).min(at_least(calls / each)) as u32;
        let mut moved = 0;
        while left > 0 {
            let Some((room, open)) = self.roomiest(rooms, each) else { break };
            // Evenly over those that have room, the roomiest first.
            let count = left.div_ceil(open).min((room.free / each) as u32);
            room.free -= f64::from(count) * each;
            (left, moved) = (left - count, moved + count);
            self.note(moving, count, room.load, migrations);
        }
        (calls - f64::from(moved) * each).max(0.0)
    }

    /// How many can move, and how many calls one of them is.
    fn movable(&self, moving: Moving) -> (u32, f64) {
        match moving {
            Moving::Work => (self.load.queued, 1.0),
            Moving::Sessions => {
                (self.load.sessions, (f64::from(self.load.in_flight) / f64::from(self.load.sessions.max(1))).max(1.0))
            }
        }
    }

    /// The room for one more with the most left, and how many there are.
    fn roomiest<'r, 'l>(&self, rooms: &'r mut [Room<'l>], each: f64) -> Option<(&'r mut Room<'l>, u32)> {
        let fits = |room: &Room<'_>| {
            room.free >= each
                && room.load.endpoint != self.load.endpoint
                && room.load.capabilities.is_superset(&self.load.capabilities)
        };
        let open = rooms.iter().filter(|room| fits(room)).count() as u32;
        let roomiest =
            rooms.iter_mut().filter(|room| fits(room)).reduce(|best, room| if room.free > best.free { room } else { best })?;
        Some((roomiest, open))
    }

    fn note(&self, moving: Moving, count: u32, to: &Load, migrations: &mut Vec<Migration>) {
        let (from, to_key) = (&self.load.endpoint, &to.endpoint);
        let known = migrations.iter_mut().find(|known| known.from == *from && known.to == *to_key && known.moving == moving);
        if let Some(known) = known {
            known.count += count;
            return;
        }
        let share = to.share().map_or(0, percent);
        migrations.push(Migration {
            from: from.clone(),
            to: to_key.clone(),
            moving,
            count,
            urgency: self.urgency,
            reason: format!("{from}: {}; {to_key} has room at {share} %", self.why),
        });
    }
}

/// The whole number that covers this one, forgiving the last digits of a division.
fn at_least(number: f64) -> f64 {
    (number - 1e-6).ceil()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn load(key: &str, in_flight: u32, sessions: u32) -> Load {
        Load { in_flight, sessions, capacity: Some(100), ..Load::new(key) }
    }

    fn counts(migrations: &[Migration]) -> Vec<(&str, &str, Moving, u32)> {
        migrations.iter().map(|advice| (advice.from.as_str(), advice.to.as_str(), advice.moving, advice.count)).collect()
    }

    #[test]
    fn sessions_move_evenly_to_those_with_room() {
        let loads = [load("a:1", 100, 50), load("b:1", 40, 0), load("c:1", 40, 0), load("d:1", 75, 0)];
        let advice = suggest_migrations(&Limits::default(), &loads);
        // 30 calls over the limit of relief are 15 sessions; d is not overloaded, but has no room below 70 either.
        assert_eq!(counts(&advice), [("a:1", "b:1", Moving::Sessions, 8), ("a:1", "c:1", Moving::Sessions, 7)]);
        assert_eq!((advice[0].urgency, &*advice[0].reason), (5, "a:1: load 100 %, above 80 %; b:1 has room at 40 %"));
    }

    #[test]
    fn work_that_waits_moves_before_sessions() {
        let loads = [Load { queued: 10, ..load("a:1", 85, 85) }, load("b:1", 0, 0)];
        let advice = suggest_migrations(&Limits::default(), &loads);
        assert_eq!(counts(&advice), [("a:1", "b:1", Moving::Work, 10), ("a:1", "b:1", Moving::Sessions, 15)]);
    }

    #[test]
    fn everything_leaves_an_endpoint_that_is_not_healthy_and_that_first() {
        let ill = Load { healthy: false, queued: 3, ..load("ill:1", 0, 20) };
        let loads = [load("a:1", 90, 90), ill, load("b:1", 10, 0)];
        let advice = suggest_migrations(&Limits::default(), &loads);
        assert_eq!(
            counts(&advice),
            [("ill:1", "b:1", Moving::Work, 3), ("ill:1", "b:1", Moving::Sessions, 20), ("a:1", "b:1", Moving::Sessions, 20),]
        );
        assert_eq!(advice.iter().map(|advice| advice.urgency).collect::<Vec<_>>(), [10, 10, 3]);
    }

    #[test]
    fn a_target_has_the_capabilities_and_a_known_capacity() {
        let gpu = |load: Load| Load { capabilities: ["gpu".into()].into(), ..load };
        let unknown = Load { capacity: None, ..load("u:1", 5, 0) };
        let busy = Load { utilization: Some(0.9), ..gpu(load("busy:1", 5, 0)) };
        let loads = [gpu(load("a:1", 90, 90)), load("b:1", 0, 0), gpu(unknown), busy];
        assert!(suggest_migrations(&Limits::default(), &loads).is_empty());
        let loads = [loads[0].clone(), gpu(load("g:1", 69, 0))];
        assert_eq!(counts(&suggest_migrations(&Limits::default(), &loads)), [("a:1", "g:1", Moving::Sessions, 1)]);
    }

    proptest! {
        #[test]
        fn no_target_becomes_the_next_overload(
            parts in prop::collection::vec((0_u32..300, 0_u32..50, 0_u32..100, 1_u32..200, any::<bool>()), 2..20),
        ) {
            let limits = Limits::default();
            let load = |(at, (in_flight, queued, sessions, capacity, healthy)): (usize, (u32, u32, u32, u32, bool))| Load {
                queued, sessions, healthy, capacity: Some(capacity), in_flight, ..Load::new(&*format!("e{at}:1"))
            };
            let loads: Vec<Load> = parts.into_iter().enumerate().map(load).collect();
            let advice = suggest_migrations(&limits, &loads);
            for to in &loads {
                let gets = |advice: &&Migration| advice.to == to.endpoint;
                let each = |advice: &Migration| match advice.moving {
                    Moving::Work => 1.0,
                    Moving::Sessions => {
                        let from = loads.iter().find(|load| load.endpoint == advice.from).unwrap();
                        (f64::from(from.in_flight) / f64::from(from.sessions)).max(1.0)
                    }
                };
                let gained: f64 = advice.iter().filter(gets).map(|advice| f64::from(advice.count) * each(advice)).sum();
                let share = (to.calls() + gained) / f64::from(to.capacity.unwrap());
                prop_assert!(gained == 0.0 || (to.healthy && share <= limits.relief + 1e-9), "{share} {advice:?}");
                let gives = |moving| -> u32 {
                    advice.iter().filter(|advice| advice.from == to.endpoint && advice.moving == moving).map(|advice| advice.count).sum()
                };
                prop_assert!(gives(Moving::Work) <= to.queued && gives(Moving::Sessions) <= to.sessions);
            }
            prop_assert!(advice.iter().all(|advice| (1..=10).contains(&advice.urgency) && advice.count > 0));
        }
    }
}
