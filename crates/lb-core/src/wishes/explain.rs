//! Why an endpoint is, or is not, where a call goes.

use std::time::Instant;

use serde::Serialize;

use crate::gate::Refusal;
use crate::hints::PickHints;
use crate::pick::{PickArgs, Score};
use crate::scratch::Scratch;
use crate::snapshot::{Row, Snapshot};

use super::condition::{misfit_now, refusal};
use super::derived::{Place, Wanted};
use super::nearest::parts;
use super::unfit::Misfit;

/// One endpoint as a call sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Explained {
    /// The endpoint's key.
    pub endpoint: String,
    /// Its id, if it has one.
    pub id: Option<String>,
    /// The policy's own measure; more is better. 0 for an endpoint the call does not go to.
    pub total: f64,
    /// What the total is made of.
    pub parts: Vec<(&'static str, f64)>,
    /// In words.
    pub reason: String,
    /// Why the call does not go there.
    pub excluded: Option<Misfit>,
}

impl Snapshot {
    /// One row per endpoint, in the resolver's order: what the policy thinks of it for this call, or why it is out of the question.
    /// `None` if there is no policy of the name the call asks for. Linear in the endpoints.
    pub fn explain(&self, args: &mut PickArgs<'_>) -> Option<Vec<Explained>> {
        let (policy, picker) = self.named(args.hints.policy.as_deref())?;
        let mut refusals: Vec<Option<Refusal>> = self.rows.iter().map(|row| refusal(args, row)).collect();
        let hard = |refusal: &mut Option<Refusal>| refusal.take_if(|refusal| !refusal.soft).map(|refusal| refusal.reason);
        let misfit = |(row, refusal): (&Row, _)| misfit_now(args.hints, row).or_else(|| hard(refusal));
        let mut misfits: Vec<Option<Misfit>> = self.rows.iter().zip(&mut refusals).map(misfit).collect();
        let hints = args.hints;
        let place = self.first_place(hints, args.now, args.scratch, &misfits);
        for (row, misfit) in self.rows.iter().zip(&mut misfits).filter(|(_, misfit)| misfit.is_none()) {
            *misfit = (!place.holds(hints, row)).then_some(Misfit::Outranked);
        }
        let entry = self.derived.entry(self, Wanted { policy, hints: args.hints, place }, args.scratch);
        let mut scores =
            entry.map_or(Some(picker), |entry| entry.picker.as_ref()).map(|picker| picker.explain(args)).unwrap_or_default();
        scores.sort_unstable_by_key(|score| score.slot);
        let explained = |((row, misfit), refusal): ((&Row, Option<Misfit>), Option<Refusal>)| {
            let endpoint = &row.view.endpoint;
            let score = scores.binary_search_by_key(&row.view.slot, |score| score.slot).ok().map(|found| &scores[found]);
            Explained {
                endpoint: endpoint.key().to_string(),
                id: endpoint.attributes.id.as_deref().map(str::to_owned),
                total: score.filter(|_| misfit.is_none()).map_or(0.0, |score| score.total),
                parts: score.map_or_else(Vec::new, |score| score.parts.clone()),
                reason: describe(row, score, misfit.as_ref(), refusal.as_ref()),
                excluded: misfit,
            }
        };
        Some(self.rows.iter().zip(misfits).zip(refusals).map(explained).collect())
    }

    /// The first group that has an endpoint for the call.
    fn first_place<'a>(
        &'a self,
        hints: &'a PickHints,
        now: Instant,
        scratch: &mut Scratch,
        misfits: &[Option<Misfit>],
    ) -> Place<'a> {
        let has = |place: &Place<'_>| {
            let mut fitting = self.rows.iter().zip(misfits).filter(|(_, misfit)| misfit.is_none());
            fitting.any(|(row, _)| place.holds(hints, row))
        };
        let mut places = vec![];
        places.extend((!hints.prefer.is_empty()).then_some(Place::Preferred));
        if let Some(wanted) = &hints.locality {
            let known = self.derived.places(&self.rows, parts(wanted));
            let nearest = known.nearest(&self.rows, wanted, now, scratch);
            places.push(Place::Within(wanted));
            places.extend(nearest.iter().map(|position| Place::Within(known.locality(*position))));
        }
        places.into_iter().find(has).unwrap_or(Place::Anywhere)
    }
}

fn describe(row: &Row, score: Option<&Score>, misfit: Option<&Misfit>, refusal: Option<&Refusal>) -> String {
    let mut reason = describe_fit(row, score, misfit);
    if let (None, Some(refusal)) = (misfit, refusal) {
        reason = format!("{reason}; {}", refusal.reason);
    }
    if let (None, Some(why)) = (misfit, row.view.limited) {
        reason = format!("{reason}; {why}, {:.0} % of what its peers get", row.view.share * 100.0);
    }
    reason
}

fn describe_fit(row: &Row, score: Option<&Score>, misfit: Option<&Misfit>) -> String {
    match (misfit, score, &row.view.error) {
        (None, Some(score), _) => score.reason.clone(),
        (None, None, _) => "the policy does not use it".into(),
        (Some(misfit @ Misfit::NotReady(_)), _, Some(error)) => format!("{misfit}: {error}"),
        (Some(misfit), _, _) => misfit.to_string(),
    }
}
