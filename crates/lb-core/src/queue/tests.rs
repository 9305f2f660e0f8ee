use proptest::prelude::*;

use super::*;
use crate::policies::testing::start;
use crate::scratch::Scratch;

/// A call with a number that needs one endpoint, or any.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call(u32, Option<u8>);

impl Waiter for Call {
    type Place = u8;

    fn fits(&self, place: &u8) -> bool {
        self.1.is_none_or(|needed| needed == *place)
    }

    fn takes_any(&self) -> bool {
        self.1.is_none()
    }
}

fn queue(max_pending: usize) -> Queue<Call> {
    Queue::new(QueueConfig::new(max_pending))
}

/// Joins and looks once in vain.
fn join(queue: &mut Queue<Call>, priority: u8, call: Call) -> Ticket {
    let joined = queue.join(start(), priority, call).unwrap();
    if joined.look {
        assert_eq!(queue.pass(joined.ticket), Passed::Wait(None));
    }
    joined.ticket
}

#[test]
fn the_higher_priority_first_and_then_who_came_first() {
    let mut queue = queue(10);
    let tickets: Vec<(u32, Ticket)> =
        [(0, 1), (1, 5), (2, 1), (3, 5)].map(|(call, priority)| (call, join(&mut queue, priority, Call(call, None)))).into();
    assert_eq!(queue.position(tickets[2].1), Some((4, 4)));
    for expected in [1, 3, 0, 2] {
        assert_eq!(queue.freed(0), Some(Call(expected, None)));
        queue.serve(tickets[expected as usize].1, start(), &0);
    }
    assert!(queue.is_empty() && queue.reserved() == 0);
    assert_eq!(queue.freed(0), None);
}

#[test]
fn every_eighth_place_is_the_oldest_ones() {
    let mut queue = queue(1_000);
    let low: Vec<Ticket> = (0..3).map(|call| join(&mut queue, 0, Call(call, None))).collect();
    let mut high: Vec<Ticket> = (0..100).map(|call| join(&mut queue, 9, Call(100 + call, None))).collect();
    high.reverse();
    for (place, expected) in [(8, 0), (16, 1), (24, 2)] {
        for _ in 0..7 {
            assert!(queue.freed(0).unwrap().0 >= 100);
            queue.serve(high.pop().unwrap(), start(), &0);
        }
        assert_eq!(queue.freed(0), Some(Call(expected, None)), "place {place}");
        queue.serve(low[expected as usize], start(), &0);
    }
    let mut never = Queue::new(QueueConfig::new(1_000).oldest_every(0));
    join(&mut never, 0, Call(0, None));
    for call in 1..100 {
        let ticket = join(&mut never, 1, Call(call, None));
        assert_eq!(never.freed(0), Some(Call(call, None)));
        never.serve(ticket, start(), &0);
    }
}

#[test]
fn a_full_queue_takes_who_matters_more_in_place_of_the_newest_of_the_lowest() {
    let mut queue = queue(3);
    let (_oldest, called, newest) =
        (join(&mut queue, 1, Call(0, None)), join(&mut queue, 0, Call(1, None)), join(&mut queue, 0, Call(2, None)));
    assert_eq!(queue.join(start(), 0, Call(3, None)).unwrap_err(), QueueFull { waiting: 3 });
    assert_eq!(queue.join(start(), 1, Call(4, None)).unwrap().displaced, Some(Call(2, None)));
    assert_eq!(queue.leave(newest, start(), Left::GaveUp), None, "it is gone already");
    // Call 1 is not displaced while it has its turn: it may have its place by now.
    let stats = queue.stats(start());
    assert_eq!((stats.waiting, stats.refused, stats.displaced, stats.gave_up), (3, 1, 1, 0));
    assert_eq!(stats.shed.into_iter().collect::<Vec<_>>(), [(0, 2)]);
    assert_eq!(queue.position(called), Some((3, 3)));
    let mut two = Queue::new(QueueConfig::new(1));
    let turn = two.join(start(), 0, Call(0, None)).unwrap();
    assert!(turn.look);
    assert!(two.join(start(), 9, Call(1, None)).is_err(), "who has a turn is not displaced");
    assert!(Queue::new(QueueConfig::new(0)).join(start(), 9, Call(0, None)).is_err(), "nobody waits");
}

#[test]
fn the_lowest_get_into_a_queue_that_the_others_keep_full() {
    let mut queue = queue(16);
    for call in 0..14 {
        join(&mut queue, 5, Call(call, None));
    }
    let low = [join(&mut queue, 0, Call(100, None)), join(&mut queue, 0, Call(101, None))];
    assert!(queue.join(start(), 0, Call(102, None)).is_err(), "two of sixteen places are open, and taken");
    assert!(queue.join(start(), 9, Call(103, None)).unwrap().displaced.is_some_and(|gone| gone.0 == 13), "not one of those");
    assert!(queue.position(low[0]).is_some() && queue.position(low[1]).is_some());
    queue.serve(low[0], start(), &0);
    assert!(queue.join(start(), 0, Call(104, None)).is_ok(), "open again");
    let mut strict = Queue::new(QueueConfig::new(16).oldest_every(0));
    for call in 0..16 {
        join(&mut strict, 5, Call(call, None));
    }
    assert!(strict.join(start(), 0, Call(16, None)).is_err());
}

#[test]
fn a_place_wakes_only_who_can_use_it() {
    let mut queue = queue(10);
    let (_a, b) = (join(&mut queue, 5, Call(0, Some(1))), join(&mut queue, 0, Call(1, Some(2))));
    assert_eq!(queue.freed(2), Some(Call(1, Some(2))));
    queue.serve(b, start(), &2);
    assert_eq!(queue.freed(2), None);
    assert_eq!(queue.freed(1), Some(Call(0, Some(1))));
}

#[test]
fn a_turn_in_vain_is_passed_on_and_ends_where_anything_would_do() {
    let mut queue = queue(10);
    let picky: Vec<Ticket> = (0..2).map(|call| join(&mut queue, 5, Call(call, Some(1)))).collect();
    let any = join(&mut queue, 1, Call(2, None));
    let _last = join(&mut queue, 0, Call(3, None));
    assert_eq!(queue.freed(1), Some(Call(0, Some(1))));
    assert_eq!(queue.reserved(), 1);
    assert_eq!(queue.pass(picky[0]), Passed::Wait(Some(Call(1, Some(1)))));
    assert_eq!(queue.leave(picky[1], start(), Left::GaveUp), Some(Call(0, Some(1))), "a turn does not go with its caller");
    assert_eq!(queue.pass(picky[0]), Passed::Wait(Some(Call(2, None))));
    assert_eq!(queue.pass(any), Passed::Wait(None), "the last would find nothing either");
    assert_eq!(queue.reserved(), 0);
}

#[test]
fn everybody_looks_in_turn() {
    let mut queue = queue(10);
    let tickets: Vec<Ticket> = (0..3).map(|call| join(&mut queue, 0, Call(call, None))).collect();
    assert_eq!(queue.look_all(), Some(Call(0, None)));
    assert_eq!(queue.serve(tickets[0], start(), &0), Some(Call(1, None)), "there may be more");
    assert_eq!(queue.serve(tickets[1], start(), &0), Some(Call(2, None)));
    assert_eq!(queue.pass(tickets[2]), Passed::Wait(None));
}

#[test]
fn who_comes_while_a_place_is_reserved_waits_and_looks_later() {
    let mut queue = queue(10);
    let first = join(&mut queue, 0, Call(0, Some(1)));
    assert_eq!(queue.freed(1), Some(Call(0, Some(1))));
    let late = queue.join(start(), 9, Call(1, Some(2))).unwrap();
    assert!(!late.look, "the place is somebody's");
    assert_eq!(queue.serve(first, start(), &1), Some(Call(1, Some(2))), "now it may look for one of its own");
    assert_eq!(queue.reserved(), 0, "which reserves nothing");
    assert_eq!(queue.pass(late.ticket), Passed::Wait(None));
}

#[test]
fn a_place_that_becomes_free_during_a_look_is_not_lost() {
    let mut queue = queue(10);
    let looks = queue.join(start(), 0, Call(0, None)).unwrap();
    assert!(looks.look);
    assert_eq!(queue.freed(0), None, "nobody is there but the one who looks");
    assert_eq!(queue.pass(looks.ticket), Passed::LookAgain);
    assert_eq!(queue.pass(looks.ticket), Passed::Wait(None));
}

#[test]
fn who_finds_another_place_than_its_own_leaves_that_to_the_next() {
    let mut queue = queue(10);
    let (first, second) = (join(&mut queue, 5, Call(0, None)), join(&mut queue, 0, Call(1, Some(2))));
    assert_eq!(queue.freed(2), Some(Call(0, None)));
    assert_eq!(queue.serve(first, start(), &1), Some(Call(1, Some(2))), "its place is still free");
    assert_eq!(queue.serve(second, start(), &2), None);
    assert_eq!(queue.reserved(), 0);
}

#[test]
fn what_is_told() {
    let now = start();
    let mut queue = queue(10);
    let at = |millis| now + Duration::from_millis(millis);
    let tickets: Vec<Ticket> = (0..4).map(|call| queue.join(at(10 * call), 7, Call(0, None)).unwrap().ticket).collect();
    queue.serve(tickets[0], at(500), &0);
    queue.leave(tickets[1], at(1_010), Left::TimedOut);
    queue.leave(tickets[2], at(9_000), Left::GaveUp);
    let stats = queue.stats(at(9_030));
    assert_eq!((stats.waiting, stats.by_priority[&7], stats.oldest), (1, 1, Duration::from_secs(9)));
    assert_eq!((stats.served, stats.timed_out, stats.gave_up, stats.total_shed()), (1, 1, 1, 1));
    assert_eq!(stats.longest_wait, Duration::from_secs(1), "who gave up does not count");
}

/// Endpoints with places, calls that come and go, and tasks that wake in any order.
struct World {
    queue: Queue<Call>,
    free: [u32; 3],
    /// Those with a turn that have not looked yet.
    awake: Vec<u32>,
    waiting: BTreeMap<u32, (Ticket, Call)>,
    served: Vec<(u8, u32)>,
    dice: Scratch,
}

impl World {
    fn below(&mut self, bound: usize) -> usize {
        self.dice.below(bound as u32) as usize
    }

    fn wake(&mut self, call: Option<Call>) {
        self.awake.extend(call.map(|call| call.0));
    }

    fn find(&self, call: &Call) -> Option<usize> {
        (0..self.free.len()).find(|place| self.free[*place] > 0 && call.fits(&(*place as u8)))
    }

    fn come(&mut self, number: u32) {
        let need = (self.below(2) == 0).then(|| self.below(3) as u8);
        let (priority, call) = (self.below(3) as u8, Call(number, need));
        if self.queue.reserved() == 0
            && let Some(place) = self.find(&call)
        {
            self.free[place] -= 1;
            return;
        }
        let Ok(joined) = self.queue.join(start(), priority, call.clone()) else { return };
        self.waiting.insert(number, (joined.ticket, call));
        if let Some(gone) = joined.displaced {
            assert!(!self.awake.contains(&gone.0), "who has a turn stays");
            self.waiting.remove(&gone.0);
        }
        self.awake.extend(joined.look.then_some(number));
    }

    fn look(&mut self) {
        let Some(number) = (!self.awake.is_empty()).then(|| self.below(self.awake.len())).map(|at| self.awake.swap_remove(at))
        else {
            return;
        };
        let (ticket, call) = self.waiting[&number].clone();
        if let Some(place) = self.find(&call) {
            self.free[place] -= 1;
            self.served.push((ticket.0.0, number));
            self.waiting.remove(&number);
            let next = self.queue.serve(ticket, start(), &(place as u8));
            return self.wake(next);
        }
        match self.queue.pass(ticket) {
            Passed::LookAgain => self.awake.push(number),
            Passed::Wait(next) => self.wake(next),
        }
    }

    fn go(&mut self) {
        let Some(number) = self.waiting.keys().nth(self.dice.below(8) as usize).copied() else { return };
        let (ticket, _) = self.waiting.remove(&number).unwrap();
        self.awake.retain(|awake| *awake != number);
        let next = self.queue.leave(ticket, start(), Left::GaveUp);
        self.wake(next);
    }

    fn free_one(&mut self) {
        let place = self.below(3);
        self.free[place] += 1;
        let next = self.queue.freed(place as u8);
        self.wake(next);
    }
}

proptest! {
    /// When everybody who was woken has looked, nobody waits for whom there is a place, no turn is on its way, and nothing was left behind.
    #[test]
    fn no_place_is_lost_and_no_turn_is_left(seed in any::<u64>(), steps in 1..400_usize) {
        let (queue, dice) = (queue(12), Scratch::new(seed));
        let mut world = World { queue, free: [0; 3], awake: Vec::new(), waiting: BTreeMap::new(), served: Vec::new(), dice };
        for step in 0..steps {
            match world.below(8) {
                0..=2 => world.come(step as u32),
                3 => world.go(),
                4 | 5 => world.free_one(),
                6 if world.below(10) == 0 => {
                    let next = world.queue.look_all();
                    world.wake(next);
                }
                _ => world.look(),
            }
        }
        for _ in 0..10_000 {
            world.look();
        }
        prop_assert!(world.awake.is_empty());
        prop_assert_eq!(world.queue.reserved(), 0);
        prop_assert_eq!(world.queue.len(), world.waiting.len());
        let waiting: Vec<Call> = world.waiting.values().map(|(_, call)| call.clone()).collect();
        for call in waiting {
            prop_assert!(world.find(&call).is_none(), "{:?} waits with {:?} free", call, world.free);
        }
    }

    /// With one kind of call and one who looks at a time, who came first is served first, within each priority.
    #[test]
    fn first_come_first_served_within_a_priority(seed in any::<u64>()) {
        let (mut queue, mut dice) = (queue(1_000), Scratch::new(seed));
        let (mut tickets, mut served) = (BTreeMap::new(), [const { Vec::new() }; 3]);
        for number in 0..300_u32 {
            let priority = dice.below(3) as u8;
            tickets.insert(number, (priority, join(&mut queue, priority, Call(number, None))));
            if dice.below(2) == 0 && let Some(Call(next, _)) = queue.freed(0) {
                let (priority, ticket) = tickets[&next];
                served[usize::from(priority)].push(next);
                queue.serve(ticket, start(), &0);
            }
        }
        for order in served {
            prop_assert!(order.is_sorted(), "{:?}", order);
        }
    }
}
