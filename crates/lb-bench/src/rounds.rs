//! Subjects measured in turn, and what came of it.

use std::collections::BTreeSet;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use crate::{BenchError, Spread};

/// What one measurement of one subject gave: figures by name (`calls/s`, `cpu µs`, `p50 µs`), in the order they were added.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample(Vec<(String, f64)>);

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    /// Counted from 0; none for the warm-up, whose sample is forgotten.
    pub round: Option<usize>,
    /// The place of the subject in the list of names.
    pub subject: usize,
}

/// Subjects to be measured side by side.
#[derive(Debug)]
pub struct Rounds {
    subjects: Vec<String>,
    /// By round, then by subject.
    samples: Vec<Vec<Option<Sample>>>,
    progress: ProgressBar,
}

/// Subjects that have been measured side by side.
#[derive(Debug, Clone)]
pub struct Measured {
    subjects: Vec<String>,
    /// By round, then by subject.
    rounds: Vec<Vec<Sample>>,
}

impl Sample {
    /// Without figures yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With this figure too; one of the same name is replaced.
    #[must_use]
    pub fn with(mut self, figure: impl Into<String>, value: f64) -> Self {
        let figure = figure.into();
        match self.0.iter_mut().find(|(name, _)| *name == figure) {
            Some((_, old)) => *old = value,
            None => self.0.push((figure, value)),
        }
        self
    }

    /// The value of a figure.
    #[must_use]
    pub fn get(&self, figure: &str) -> Option<f64> {
        self.0.iter().find(|(name, _)| name == figure).map(|(_, value)| *value)
    }

    /// The names of its figures.
    pub fn figures(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

impl Rounds {
    /// `rounds` rounds over these subjects, which are known by their names from here on, after one of warm-up.
    ///
    /// # Errors
    /// [`BenchError::NoRounds`] for none, [`BenchError::SameName`] for a name that is there twice.
    pub fn new<N: Into<String>>(names: impl IntoIterator<Item = N>, rounds: usize) -> Result<Self, BenchError> {
        let subjects: Vec<String> = names.into_iter().map(Into::into).collect();
        let mut seen = BTreeSet::new();
        if let Some(name) = subjects.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(BenchError::SameName { name: name.clone() });
        }
        if rounds == 0 {
            return Err(BenchError::NoRounds);
        }
        let progress = ProgressBar::new(((rounds + 1) * subjects.len()) as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len} {msg}") {
            progress.set_style(style);
        }
        Ok(Self { samples: vec![vec![None; subjects.len()]; rounds], subjects, progress })
    }

    /// Every measurement to make, in this order: the warm-up, then each round with the order turned by one place, so that no subject always follows the same
    /// state of the machine.
    #[must_use]
    pub fn visits(&self) -> Vec<Visit> {
        let (count, rounds) = (self.subjects.len(), self.samples.len());
        let order = |turn: usize| (0..count).map(move |place| (place + turn) % count);
        let warm = order(0).map(|subject| Visit { round: None, subject });
        let timed = (0..rounds).flat_map(|round| order(round).map(move |subject| Visit { round: Some(round), subject }));
        warm.chain(timed).collect()
    }

    /// The outcome of a visit. That of the warm-up is forgotten, as is one of a round or subject that does not exist.
    pub fn record(&mut self, visit: Visit, sample: Sample) {
        self.progress.set_message(self.subjects.get(visit.subject).cloned().unwrap_or_default());
        self.progress.inc(1);
        let place = visit.round.and_then(|round| self.samples.get_mut(round)?.get_mut(visit.subject));
        if let Some(place) = place {
            *place = Some(sample);
        }
    }

    /// Measures all of it with a function from the place of a subject to its sample.
    ///
    /// # Errors
    /// That of the function, and those of [`finish`](Self::finish).
    pub fn run<E: From<BenchError>>(mut self, mut measure: impl FnMut(usize) -> Result<Sample, E>) -> Result<Measured, E> {
        for visit in self.visits() {
            let sample = measure(visit.subject)?;
            self.record(visit, sample);
        }
        Ok(self.finish()?)
    }

    /// The results.
    ///
    /// # Errors
    /// [`BenchError::NotMeasured`] for a subject left out of a round, [`BenchError::NotFinite`] for a figure that is no number.
    pub fn finish(self) -> Result<Measured, BenchError> {
        self.progress.finish_and_clear();
        let Self { subjects, samples, .. } = self;
        let complete = |(round, samples): (usize, Vec<Option<Sample>>)| {
            let named = samples.into_iter().zip(&subjects);
            named.map(|(sample, name)| sample.ok_or_else(|| BenchError::NotMeasured { subject: name.clone(), round })).collect()
        };
        let rounds: Vec<Vec<Sample>> = samples.into_iter().enumerate().map(complete).collect::<Result<_, _>>()?;
        let mut values = rounds.iter().flatten().flat_map(|sample| sample.0.iter().map(|(_, value)| *value));
        match values.find(|value| !value.is_finite()) {
            Some(value) => Err(BenchError::NotFinite { value }),
            None => Ok(Measured { subjects, rounds }),
        }
    }
}

impl Measured {
    /// Their names, by place.
    #[must_use]
    pub fn subjects(&self) -> &[String] {
        &self.subjects
    }

    /// The place of the subject of this name.
    #[must_use]
    pub fn place(&self, subject: &str) -> Option<usize> {
        self.subjects.iter().position(|name| name == subject)
    }

    /// How many rounds there were, the warm-up not counted.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.rounds.len()
    }

    /// A figure of a subject over rounds.
    ///
    /// # Errors
    /// [`BenchError::NoSubject`], [`BenchError::NoFigure`].
    pub fn spread(&self, subject: usize, figure: &str) -> Result<Spread, BenchError> {
        Spread::of(self.values(subject, figure)?)
    }

    /// A figure of a subject divided by that of the base *in the same round*, over rounds.
    ///
    /// # Errors
    /// [`BenchError::NoSubject`], [`BenchError::NoFigure`]; [`BenchError::NotFinite`] where the base has 0.
    pub fn ratio(&self, subject: usize, base: usize, figure: &str) -> Result<Spread, BenchError> {
        let (values, bases) = (self.values(subject, figure)?, self.values(base, figure)?);
        Spread::of(values.into_iter().zip(bases).map(|(value, base)| value / base))
    }

    fn values(&self, subject: usize, figure: &str) -> Result<Vec<f64>, BenchError> {
        let name = self.subjects.get(subject).ok_or(BenchError::NoSubject { index: subject, subjects: self.subjects.len() })?;
        let value = |round: &Vec<Sample>| {
            let missing = |sample: &Sample| BenchError::NoFigure {
                subject: name.clone(),
                figure: figure.to_owned(),
                has: sample.figures().collect::<Vec<_>>().join(", "),
            };
            round[subject].get(figure).ok_or_else(|| missing(&round[subject]))
        };
        self.rounds.iter().map(value).collect()
    }

    /// Subject by subject, figure by figure: the spread, and the value of each round for whoever wants to compute something else.
    pub(crate) fn json(&self) -> Result<Value, BenchError> {
        let mut all = Map::new();
        for (subject, name) in self.subjects.iter().enumerate() {
            let mut figures = Map::new();
            for figure in self.rounds.first().into_iter().flat_map(|round| round[subject].figures()) {
                let (spread, rounds) = (self.spread(subject, figure)?, self.values(subject, figure)?);
                figures.insert(figure.to_owned(), json!({"spread": spread.json(), "rounds": rounds}));
            }
            all.insert(name.clone(), Value::Object(figures));
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(value: f64) -> Sample {
        Sample::new().with("ns", value)
    }

    #[test]
    fn the_order_turns_and_the_warm_up_comes_first() {
        let rounds = Rounds::new(["a", "b", "c"], 3).unwrap();
        let order: Vec<_> = rounds.visits().iter().map(|visit| (visit.round, visit.subject)).collect();
        let turn = |round, order: [usize; 3]| order.map(|subject| (round, subject));
        let expected =
            [turn(None, [0, 1, 2]), turn(Some(0), [0, 1, 2]), turn(Some(1), [1, 2, 0]), turn(Some(2), [2, 0, 1])].concat();
        assert_eq!(order, expected);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine is half as fast in the second round: the medians move, the ratio does not.
        let mut speed = [1.0, 1.0, 2.0, 4.0].into_iter().flat_map(|slow| [slow, slow]);
        let measured = Rounds::new(["base", "other"], 3).unwrap();
        let measured = measured
            .run(|subject| {
                let slow = speed.next().expect("one for each visit");
                Ok::<_, BenchError>(sample(slow * [10.0, 5.0][subject]))
            })
            .unwrap();
        assert_eq!(measured.ratio(1, 0, "ns").unwrap(), Spread::of([0.5; 3]).unwrap());
        assert_eq!(measured.spread(0, "ns").unwrap(), Spread::of([10.0, 20.0, 40.0]).unwrap());
        assert_eq!((measured.rounds(), measured.place("other"), measured.place("none")), (3, Some(1), None));
    }

    #[test]
    fn the_warm_up_is_forgotten() {
        let mut first = true;
        let measured = Rounds::new(["a"], 2).unwrap();
        let measured = measured.run(|_| Ok::<_, BenchError>(sample(if std::mem::take(&mut first) { 1e9 } else { 3.0 }))).unwrap();
        assert_eq!(measured.spread(0, "ns").unwrap().most, 3.0);
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        assert!(matches!(Rounds::new(["a"], 0), Err(BenchError::NoRounds)));
        assert!(matches!(Rounds::new(["a", "b", "a"], 1), Err(BenchError::SameName { name }) if name == "a"));
        let rounds = Rounds::new(["a"], 1).unwrap();
        assert!(matches!(rounds.finish(), Err(BenchError::NotMeasured { round: 0, .. })));
        let nan = Rounds::new(["a"], 1).unwrap().run(|_| Ok::<_, BenchError>(sample(f64::NAN)));
        assert!(matches!(nan, Err(BenchError::NotFinite { .. })));
        let zero = Rounds::new(["a", "b"], 1).unwrap().run(|subject| Ok::<_, BenchError>(sample(subject as f64))).unwrap();
        assert!(matches!(zero.ratio(1, 0, "ns"), Err(BenchError::NotFinite { .. })));
        assert!(matches!(zero.spread(0, "us"), Err(BenchError::NoFigure { has, .. }) if has == "ns"));
        assert!(matches!(zero.spread(2, "ns"), Err(BenchError::NoSubject { index: 2, subjects: 2 })));
    }

    #[test]
    fn a_visit_from_elsewhere_is_forgotten() {
        let mut rounds = Rounds::new(["a"], 1).unwrap();
        rounds.record(Visit { round: Some(7), subject: 7 }, sample(1.0));
        assert!(rounds.finish().is_err());
    }
}
