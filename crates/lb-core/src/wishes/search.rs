//! Finding an endpoint for a call that has wishes.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::feedback::Feedback;
use crate::gate::{Entry, Permit, Refusal};
use crate::pick::{PickArgs, PickError, PickResult, Picker};
use crate::slot::Slot;
use crate::snapshot::Snapshot;

use super::condition::{Limits, misfit, misfit_now, refusal};
use super::derived::{Entry as Known, Place, Wanted};
use super::gauge::Gauges;
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

#[inline]
fn ask<'s>(picker: &'s Arc<dyn Picker>, args: &mut PickArgs<'_>) -> Choice<'s> {
    match picker.pick(args) {
        PickResult::Pick(slot) => Choice::Pick { slot, feedback: picker.feedback(), permit: None },
        other => pass_on(other),
    }
}

/// What is no pick, as it is.
fn pass_on<'s>(other: PickResult) -> Choice<'s> {
    match other {
        PickResult::Pick(slot) => Choice::Pick { slot, feedback: None, permit: None },
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
    place: Place<'p>,
    /// What is remembered of them; `None` is every endpoint.
    known: Option<&'s Known>,
    /// Whether the picker knows nothing of the call's constraint, so that each endpoint is to be looked at.
    unchecked: bool,
}

impl Group<'_, '_> {
    /// Whether there is another group to fall back to.
    fn is_preferred(&self) -> bool {
        !matches!(self.place, Place::Anywhere)
    }
}

impl<'s> Search<'s> {
    /// Most calls get what the policy draws first from the first group; that way is short and copies nothing.
    #[inline]
    fn run(&self, args: &mut PickArgs<'_>) -> Choice<'s> {
        let hints = args.hints;
        if hints.pin.is_some() || !hints.prefer.is_empty() {
            return self.named_first(args);
        }
        let place = hints.locality.as_ref().map_or(Place::Anywhere, Place::Within);
        let Some(group) = self.group(args, place) else { return self.elsewhere(args) };
        args.scratch.begin();
        match group.picker.pick(args) {
            PickResult::Pick(slot) if self.takes(&group, slot, args) => {
                Choice::Pick { slot, feedback: group.picker.feedback(), permit: None }
            }
            drawn => self.go_on(&group, drawn, args),
        }
    }

    /// Whether the endpoint drawn first will do without a further look.
    #[inline]
    fn takes(&self, group: &Group<'s, '_>, slot: Slot, args: &PickArgs<'_>) -> bool {
        let plain = !group.unchecked && !self.is_guarded() && args.tried.is_empty();
        plain && (!self.limits.any() || self.has_room(slot))
    }

    /// Whether some endpoint has somebody to ask beside the policy.
    #[inline]
    fn is_guarded(&self) -> bool {
        !self.snapshot.posts.is_empty() || self.snapshot.shares.is_some()
    }

    /// After the first draw from the first group.
    #[inline(never)]
    fn go_on(&self, group: &Group<'s, '_>, drawn: PickResult, args: &mut PickArgs<'_>) -> Choice<'s> {
        match self.judge(group, drawn, args) {
            Some(choice) => choice,
            None => self.elsewhere(args),
        }
    }

    /// For a call that names endpoints: the pinned one, or those it prefers.
    #[inline(never)]
    fn named_first(&self, args: &mut PickArgs<'_>) -> Choice<'s> {
        let hints = args.hints;
        if let Some(pinned) = hints.pin.as_ref().and_then(|_| self.pinned(args)) {
            return pinned;
        }
        let preferred = if hints.prefer.is_empty() { None } else { self.draw(args, Place::Preferred) };
        let within = |wanted| self.draw(args, Place::Within(wanted));
        match preferred.or_else(|| hints.locality.as_ref().and_then(within)) {
            Some(choice) => choice,
            None if hints.locality.is_some() => self.elsewhere(args),
            None => self.draw(args, Place::Anywhere).unwrap_or_else(|| self.unfit(args)),
        }
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

    /// After those in the preferred locality: those of the nearest ones, and then all. Without a locality, all have been asked.
    #[inline(never)]
    fn elsewhere(&self, args: &mut PickArgs<'_>) -> Choice<'s> {
        let Some(wanted) = args.hints.locality.as_ref() else { return self.unfit(args) };
        let rows = &self.snapshot.rows;
        let places = self.snapshot.derived.places(rows, parts(wanted));
        let nearest = places.nearest(rows, wanted, args.now, args.scratch);
        let near = nearest.iter().find_map(|position| self.draw(args, Place::Within(places.locality(*position))));
        near.or_else(|| self.draw(args, Place::Anywhere)).unwrap_or_else(|| self.unfit(args))
    }

    fn unfit(&self, args: &PickArgs<'_>) -> Choice<'s> {
        Choice::Unfit(Box::new(self.snapshot.unfit(args)))
    }

    /// Tries one group; `None` if it has nobody for this call.
    fn draw(&self, args: &mut PickArgs<'_>, place: Place<'_>) -> Option<Choice<'s>> {
        let group = self.group(args, place)?;
        args.scratch.begin();
        let drawn = group.picker.pick(args);
        self.judge(&group, drawn, args)
    }

    /// The endpoints there that meet the conditions which do not change with every call; `None` if there are none.
    #[inline]
    fn group<'p>(&self, args: &mut PickArgs<'_>, place: Place<'p>) -> Option<Group<'s, 'p>> {
        if matches!(place, Place::Anywhere) && !args.hints.selects() {
            return Some(Group { picker: self.picker, place, known: None, unchecked: false });
        }
        let wanted = Wanted { policy: self.policy, hints: args.hints, place };
        let derived = &self.snapshot.derived;
        match derived.recall(&wanted, args.scratch).or_else(|| derived.entry(self.snapshot, wanted, args.scratch)) {
            Some(known) => Some(Group { picker: known.picker.as_ref()?, place, known: Some(known), unchecked: false }),
            None => Some(Group { picker: self.picker, place, known: None, unchecked: true }),
        }
    }

    /// What becomes of a draw: the endpoint, if it will do, or another one of the group.
    fn judge(&self, group: &Group<'s, '_>, drawn: PickResult, args: &mut PickArgs<'_>) -> Option<Choice<'s>> {
        let choice = match drawn {
            PickResult::Pick(slot) => match self.admit(group, slot, args) {
                Some(permit) => Choice::Pick { slot, feedback: group.picker.feedback(), permit },
                None => self.draw_again(group, args, slot)?,
            },
            other => pass_on(other),
        };
        match &choice {
            // A preference is not worth an endpoint that has failed this call already, nor waiting.
            Choice::Pick { slot, .. } if group.is_preferred() && args.was_tried(*slot) => None,
            Choice::Queue | Choice::Fail(_) if group.is_preferred() => None,
            _ => Some(choice),
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
        let looked_at = self.limits.any() || group.unchecked;
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
                Err(soft) => soft && !group.is_preferred(),
            };
            if soft && let Ok(choice) = self.look_once(group, args, (again, true)) {
                return Some(choice);
            }
            if again || group.is_preferred() || args.tried.is_empty() {
                return None;
            }
            again = true;
        }
    }

    /// One look at those that were tried before, or at those that were not; `Err` says whether a soft gate has refused.
    fn look_once(&self, group: &Group<'s, '_>, args: &mut PickArgs<'_>, (again, must): (bool, bool)) -> Result<Choice<'s>, bool> {
        let gauges = self.gauges();
        let count = group.known.map_or(gauges.len(), |known| known.members.len());
        let start = args.scratch.below(count as u32) as usize;
        let mut soft = false;
        for turn in 0..count {
            let position = (start + turn) % count;
            let index = group.known.map_or(position, |known| known.members[position] as usize);
            let fits = |slot: &Slot| args.was_tried(*slot) == again && self.will_do(group, *slot, args);
            let Some(slot) = gauges.slot(index).filter(fits) else { continue };
            match self.snapshot.pass(slot, args, must) {
                Ok(permit) => return Ok(Choice::Pick { slot, feedback: None, permit }),
                Err(refusal) => soft |= refusal.soft,
            }
        }
        Err(soft)
    }

    /// Whether the endpoint is READY and not hidden, and meets all that the picker does not know of.
    fn will_do(&self, group: &Group<'s, '_>, slot: Slot, args: &PickArgs<'_>) -> bool {
        let meets = || {
            let row = &self.snapshot.rows[self.gauges().row(slot)];
            group.place.holds(args.hints, row) && misfit(args.hints, row).is_none()
        };
        self.has_room(slot) && (!group.unchecked || meets())
    }

    /// Whether it is one, and has room.
    #[inline]
    fn has_room(&self, slot: Slot) -> bool {
        self.gauges().get(slot).is_some_and(|(stats, capacity)| self.limits.admits(stats, capacity))
    }

    #[inline]
    fn gauges(&self) -> &'s Gauges {
        self.snapshot.derived.gauges(&self.snapshot.rows)
    }
}
