//! The command line that every suite understands.

use crate::BenchError;

/// What was asked for. What a suite alone understands is left in [`rest`](Self::rest).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `--quick`: few and short rounds, to see that it works. No figure of such a run is worth keeping.
    pub quick: bool,
    /// `--rounds N`.
    rounds: Option<usize>,
    /// Everything else, in order.
    pub rest: Vec<String>,
}

impl Options {
    /// From the arguments of this program.
    ///
    /// # Errors
    /// [`BenchError::Argument`].
    pub fn from_env() -> Result<Self, BenchError> {
        Self::parse(std::env::args().skip(1))
    }

    /// From these arguments. `--bench`, which cargo adds, says nothing.
    ///
    /// # Errors
    /// [`BenchError::Argument`] for rounds that are no number of at least 1.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, BenchError> {
        let (mut options, mut arguments) = (Self::default(), arguments.into_iter());
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => {}
                "--quick" => options.quick = true,
                "--rounds" => {
                    let rounds = arguments.next().and_then(|value| value.parse().ok()).filter(|rounds| *rounds > 0);
                    let reason = || "needs a number of at least 1".to_owned();
                    options.rounds = Some(rounds.ok_or_else(|| BenchError::Argument { argument, reason: reason() })?);
                }
                _ => options.rest.push(argument),
            }
        }
        Ok(options)
    }

    /// How many rounds: what the person asked for, else what the suite does usually or quickly.
    #[must_use]
    pub fn rounds(&self, usually: usize, quickly: usize) -> usize {
        self.rounds.unwrap_or(if self.quick { quickly } else { usually })
    }

    /// Whether this name is wanted, by a suite that takes what is left of the command line as filters: all are without one.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.rest.is_empty() || self.rest.iter().any(|filter| name.contains(filter.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, BenchError> {
        Options::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_common_is_taken_and_the_rest_left() {
        let options = parse("--quick --server light --bench --rounds 4").unwrap();
        assert_eq!((options.quick, options.rounds(9, 3), options.rest), (true, 4, vec!["--server".into(), "light".into()]));
        assert_eq!((parse("").unwrap().rounds(9, 3), parse("--quick").unwrap().rounds(9, 3)), (9, 3));
    }

    #[test]
    fn rounds_must_be_a_number() {
        for bad in ["--rounds", "--rounds x", "--rounds 0", "--rounds -1"] {
            assert!(matches!(parse(bad), Err(BenchError::Argument { .. })), "{bad}");
        }
    }

    #[test]
    fn filters() {
        assert!(parse("").unwrap().wants("x"));
        let two = parse("robin hash").unwrap();
        assert_eq!(["round_robin", "ring_hash", "maglev"].map(|name| two.wants(name)), [true, true, false]);
    }
}
