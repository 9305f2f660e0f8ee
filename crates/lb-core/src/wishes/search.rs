//! Finding an endpoint for a call that has wishes.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::feedback::Feedback;
use crate::gate::{Entry, Permit, Refusal};
use crate::pick::{PickArgs, PickError, PickResult, Picker};
use crate::slot::Slot;
use crate::snapshot::Snapshot;

use super::condition::{Limits, misfit, misfit_now, refusal};
use super::derived::{Gauge, Place, Wanted};
use super::nearest::parts;
use super::unfit::Unfit;

/// How often the policy draws, when what it drew is too busy, before everybody is looked at. Drawing keeps the policy's proportions;
/// with half of the endpoints too busy, four draws miss one time in 16.
const DRAWS: usize = 4;

/// What a snapshot answers a call.
#[derive(Debug)]
#[non_exhaustive]
pub enum Choice<'s> {
    /// Send the attempt there.
    Pick {
        /// Where.
        slot: Slot,
        /// Who wants to hear how it ends, with the token left in the arguments. `None` also where the policy did not choose: a pinned
        /// call, and one that only an endpoint could take that the policy did not draw.
        feedback: Option<&'s Arc<dyn Feedback>>,
        /// The leave of its [gates](crate::gate), to be given back when the attempt has ended; `None` if it has none.
        permit: Option<Permit>,
    },
    /// Connect that subchannel first; wait for the next generation.
    Connect(Slot),
    /// Wait for the next generation.
    Queue,
    /// Nothing is reachable: fail unless the call waits for ready.
    Fail(PickError),
    /// The policy refuses the call.
    Drop(PickError),
    /// No endpoint meets the call's conditions: fail unless the call waits for ready. If some are only too busy
    /// ([`Unfit::is_load`]) another look is worth it even before the next generation.
    Unfit(Box<Unfit>),
    /// There is no policy of the name the call asks for.
    UnknownPolicy,
}

impl Snapshot {
    /// Chooses an endpoint for a call, with all its wishes.
    ///
    /// A call without conditions and preferences gets what its policy's picker says, if no endpoint has [gates](crate::gate) or a lesser share. For
    /// any other see [`wishes`](crate::wishes).
    /// Allocates nothing, save to build what a later call with the same constraint will find, and for the error if nothing fits.
    #[inline]
    pub fn choose<'s>(&'s self, args: &mut PickArgs<'_>) -> Choice<'s> {
        let Some((policy, picker)) = self.named(args.hints.policy.as_deref()) else { return Choice::UnknownPolicy };
        // Without endpoints the picker knows whether that is an answer or the beginning.
        if (!args.hints.constrains() && self.posts.is_empty() && self.shares.is_none()) || self.rows.is_empty() {
            return ask(picker, args);
        }
        Search { snapshot: self, policy, picker, limits: Limits::of(args.hints) }.run(args)
    }

    /// How many endpoints each condition of a call, and each reason of a gate, removes now.
    pub fn unfit(&self, args: &PickArgs<'_>) -> Unfit {
        let end = |refusal: &Refusal| refusal.until.map(|until| until.saturating_duration_since(args.now));
        let reason = |row| match misfit_now(args.hints, row) {
            Some(misfit) => (Some(misfit), None),
            None => refusal(args, row).map_or((None, None), |refusal| (Some(refusal.reason.clone()), end(&refusal))),
        };
        Unfit::count(self.rows.iter().map(reason))
    }

    /// Asks the gates of one endpoint, for a call that goes there without a policy's choice: a session's, say. A soft refusal does not
    /// count, because nobody else can take the call. Answers `None` if it has none.
    ///
    /// # Errors
    /// A gate refuses.
    pub fn enter(&self, slot: Slot, args: &mut PickArgs<'_>) -> Result<Option<Permit>, Refusal> {
        self.pass(slot, args, true)
    }

    #[inline]
    fn pass(&self, slot: Slot, args: &mut PickArgs<'_>, must: bool) -> Result<Option<Permit>, Refusal> {
        if !must && self.shares.as_ref().is_some_and(|shares| !shares.admits(slot, args)) {
            return Err(Refusal::ramping());
        }
        let post = self.posts.get(slot.index()).and_then(Option::as_ref).filter(|post| post.slot == slot);
        let Some(post) = post else { return Ok(None) };
        let entropy = args.scratch.random();
        let entry = Entry::new(args, &self.rows[post.row as usize].view.endpoint);
        post.gates.enter(&entry.with_entropy(entropy).with_must(must)).map(Some)
    }
}

fn ask<'s>(picker: &'s Arc<dyn Picker>, args: &mut PickArgs<'_>) -> Choice<'s> {
    match picker.pick(args) {
        PickResult::Pick(slot) => Choice::Pick { slot, feedback: picker.feedback(), permit: None },
        PickResult::Connect(slot) => Choice::Connect(slot),
        PickResult::Queue => Choice::Queue,
        PickResult::Fail(error) => Choice::Fail(error),
        PickResult::Drop(error) => Choice::Drop(error),
    }
}

/// One call in one generation.
struct Search<'s> {
    snapshot: &'s Snapshot,
    policy: usize,
    picker: &'s Arc<dyn Picker>,
    limits: Limits,
}

/// Endpoints to draw from.
struct Group<'s, 'p> {
    picker: &'s Arc<dyn Picker>,
    /// The READY ones as indexes of gauges; `None` is every one.
    members: Option<&'s [u32]>,
    /// What the picker does not know of and is to be looked at for each endpoint.
    unchecked: Option<Place<'p>>,
    /// Whether there is another group to fall back to.
    preferred: bool,
}

impl<'s> Search<'s> {
    #[inline]
    fn run(&self, args: &mut PickArgs<'_>) -> Choice<'s> {
        let hints = args.hints;
        if let Some(pinned) = hints.pin.as_ref().and_then(|_| self.pinned(args)) {
            return pinned;
        }
        if (!hints.prefer.is_empty() || hints.locality.is_some())
            && let Some(choice) = self.preferred(args)
        {
            return choice;
        }
        self.group(args, Place::Anywhere, false).unwrap_or_else(|| Choice::Unfit(Box::new(self.snapshot.unfit(args))))
    }

    /// The only endpoint of the pinned name, if it is READY: no policy is needed to choose among one.
    fn pinned(&self, args: &mut PickArgs<'_>) -> Option<Choice<'s>> {
        let (rows, derived) = (&self.snapshot.rows, &self.snapshot.derived);
        let mut found = derived.names(rows).find(rows, args.hints.pin.as_ref()?);
        let row = found.next().filter(|_| found.next().is_none())?;
        let slot = row.view.slot;
        let permit = if misfit_now(args.hints, row).is_none() { self.snapshot.enter(slot, args).ok()? } else { return None };
        Some(Choice::Pick { slot, feedback: None, permit })
    }

    /// Those preferred by name, then those in the preferred locality, then those of the nearest ones.
    fn preferred(&self, args: &mut PickArgs<'_>) -> Option<Choice<'s>> {
        let hints = args.hints;
        if !hints.prefer.is_empty()
            && let Some(choice) = self.group(args, Place::Preferred, true)
        {
            return Some(choice);
        }
        let wanted = hints.locality.as_ref()?;
        if let Some(choice) = self.group(args, Place::Within(wanted), true) {
            return Some(choice);
        }
        let rows = &self.snapshot.rows;
        let places = self.snapshot.derived.places(rows, parts(wanted));
        let nearest = places.nearest(rows, wanted, args.now, args.scratch);
        nearest.iter().find_map(|position| self.group(args, Place::Within(places.locality(*position)), true))
    }

    /// Tries one group; `None` if it has nobody for this call.
    #[inline]
    fn group(&self, args: &mut PickArgs<'_>, place: Place<'_>, preferred: bool) -> Option<Choice<'s>> {
        let everybody = Group { picker: self.picker, members: None, unchecked: None, preferred };
        let group = if place == Place::Anywhere && !args.hints.selects() {
            everybody
        } else {
            let wanted = Wanted { policy: self.policy, hints: args.hints, place };
            match self.snapshot.derived.entry(self.snapshot, wanted) {
                Some(entry) => Group { picker: entry.picker.as_ref()?, members: Some(&entry.members), ..everybody },
                None => Group { unchecked: Some(place), ..everybody },
            }
        };
        let choice = if self.looks(&group) { self.draw(&group, args)? } else { ask(group.picker, args) };
        match &choice {
            // A preference is not worth an endpoint that has failed this call already, nor waiting.
            Choice::Pick { slot, .. } if preferred && args.was_tried(*slot) => None,
            Choice::Queue | Choice::Fail(_) if preferred => None,
            _ => Some(choice),
        }
    }

    /// Whether what the policy draws has to be looked at.
    #[inline]
    fn looks(&self, group: &Group<'s, '_>) -> bool {
        self.limits.any() || group.unchecked.is_some() || !self.snapshot.posts.is_empty() || self.snapshot.shares.is_some()
    }

    /// Lets the policy draw until an endpoint will do, a few times, and then looks at every one. The first draw will do for most calls and
    /// copies nothing.
    #[inline]
    fn draw(&self, group: &Group<'s, '_>, args: &mut PickArgs<'_>) -> Option<Choice<'s>> {
        args.scratch.begin();
        match ask(group.picker, args) {
            Choice::Pick { slot, feedback, .. } => match self.admit(group, slot, args) {
                Some(permit) => Some(Choice::Pick { slot, feedback, permit }),
                None => self.draw_again(group, args, slot),
            },
            choice => Some(choice),
        }
    }

    /// After the first draw, which will not do.
    #[cold]
    fn draw_again(&self, group: &Group<'s, '_>, args: &mut PickArgs<'_>, first: Slot) -> Option<Choice<'s>> {
        let mut tried: SmallVec<[Slot; 8]> = SmallVec::from_slice(args.tried);
        self.refused(first, args, &mut tried);
        for _ in 1..DRAWS {
            let mut again = PickArgs::new(args.now, args.method, args.headers, args.hints, args.scratch).with_tried(&tried);
            let choice = ask(group.picker, &mut again);
            let (key, token, probe, connect) = (again.key, again.token, again.probe, again.connect);
            args.key = key;
            let choice = match choice {
                Choice::Pick { slot, feedback, .. } => match self.admit(group, slot, args) {
                    Some(permit) => Choice::Pick { slot, feedback, permit },
                    None => {
                        self.refused(slot, args, &mut tried);
                        continue;
                    }
                },
                choice => choice,
            };
            (args.token, args.probe, args.connect) = (token, probe, connect);
            return Some(choice);
        }
        (args.token, args.probe, args.connect) = (0, None, None);
        self.look(group, args)
    }

    fn refused(&self, slot: Slot, args: &mut PickArgs<'_>, tried: &mut SmallVec<[Slot; 8]>) {
        args.scratch.again();
        // Drawn with replacement, it is drawn in proportion.
        if !self.snapshot.shares.as_ref().is_some_and(|shares| shares.draws_lots(slot, args)) {
            tried.push(slot);
        }
    }

    /// The permit of an endpoint the policy drew; `None` if it will not do.
    #[inline]
    fn admit(&self, group: &Group<'s, '_>, slot: Slot, args: &mut PickArgs<'_>) -> Option<Option<Permit>> {
        let looked_at = self.limits.any() || group.unchecked.is_some();
        if looked_at && !self.will_do(group, slot, args) {
            return None;
        }
        self.snapshot.pass(slot, args, false).ok()
    }

    /// Looks at every READY endpoint of the group, from anywhere on. What was tried before will do if it must, and so will what only a
    /// soft gate refuses; but for neither is a preference worth it.
    #[cold]
    fn look(&self, group: &Group<'s, '_>, args: &mut PickArgs<'_>) -> Option<Choice<'s>> {
        let mut again = false;
        loop {
            let soft = match self.look_once(group, args, (again, false)) {
                Ok(choice) => return Some(choice),
                Err(soft) => soft && !group.preferred,
            };
            if soft && let Ok(choice) = self.look_once(group, args, (again, true)) {
                return Some(choice);
            }
            if again || group.preferred || args.tried.is_empty() {
                return None;
            }
            again = true;
        }
    }

    /// One look at those that were tried before, or at those that were not; `Err` says whether a soft gate has refused.
    fn look_once(&self, group: &Group<'s, '_>, args: &mut PickArgs<'_>, (again, must): (bool, bool)) -> Result<Choice<'s>, bool> {
        let gauges = self.snapshot.derived.gauges(&self.snapshot.rows);
        let count = group.members.map_or(gauges.len(), <[u32]>::len);
        let start = args.scratch.below(count as u32) as usize;
        let mut soft = false;
        for turn in 0..count {
            let position = (start + turn) % count;
            let index = group.members.map_or(position, |members| members[position] as usize);
            let fits = |gauge: &&Gauge| args.was_tried(gauge.slot) == again && self.gauge_will_do(group, gauge, args);
            let Some(gauge) = gauges[index].as_ref().filter(fits) else { continue };
            match self.snapshot.pass(gauge.slot, args, must) {
                Ok(permit) => return Ok(Choice::Pick { slot: gauge.slot, feedback: None, permit }),
                Err(refusal) => soft |= refusal.soft,
            }
        }
        Err(soft)
    }

    #[inline]
    fn will_do(&self, group: &Group<'s, '_>, slot: Slot, args: &PickArgs<'_>) -> bool {
        let gauges = self.snapshot.derived.gauges(&self.snapshot.rows);
        let gauge = gauges.get(slot.index()).and_then(Option::as_ref).filter(|gauge| gauge.slot == slot);
        gauge.is_some_and(|gauge| self.gauge_will_do(group, gauge, args))
    }

    #[inline]
    fn gauge_will_do(&self, group: &Group<'s, '_>, gauge: &Gauge, args: &PickArgs<'_>) -> bool {
        let meets = |place: Place<'_>| {
            let row = &self.snapshot.rows[gauge.row as usize];
            place.holds(args.hints, row) && misfit(args.hints, row).is_none()
        };
        group.unchecked.is_none_or(meets) && self.limits.misfit(&gauge.stats, gauge.capacity).is_none()
    }
}
