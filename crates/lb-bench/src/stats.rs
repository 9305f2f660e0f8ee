//! How values lie.

use std::fmt;

use serde_json::{Value, json};

use crate::BenchError;

/// Five numbers of a set of values. The quartiles and the median lie between two values where need be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The least value.
    pub least: f64,
    /// A quarter of the values is at most this.
    pub lower: f64,
    /// The value in the middle.
    pub median: f64,
    /// A quarter of the values is at least this.
    pub upper: f64,
    /// The greatest value.
    pub most: f64,
}

impl Spread {
    /// Of these values, in any order.
    ///
    /// # Errors
    /// [`BenchError::NoRounds`] without values, [`BenchError::NotFinite`] with NaN or infinity among them.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Result<Self, BenchError> {
        let mut values: Vec<f64> = values.into_iter().collect();
        if let Some(value) = values.iter().copied().find(|value| !value.is_finite()) {
            return Err(BenchError::NotFinite { value });
        }
        values.sort_unstable_by(f64::total_cmp);
        let (Some(least), Some(most)) = (values.first().copied(), values.last().copied()) else { return Err(BenchError::NoRounds) };
        let at = |share: f64| {
            let place = share * (values.len() - 1) as f64;
            let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Ok(Self { least, lower: at(0.25), median: at(0.5), upper: at(0.75), most })
    }

    pub(crate) fn json(&self) -> Value {
        json!({"least": self.least, "lower": self.lower, "median": self.median, "upper": self.upper, "most": self.most})
    }
}

/// `0.83 [0.72–1.01]`: the median, the least and the most, with two decimals or as many as asked for.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:.digits$} [{:.digits$}–{:.digits$}]", self.median, self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_numbers_of_values_in_any_order() {
        let spread = Spread::of([5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!(spread, Spread { least: 1.0, lower: 2.0, median: 3.0, upper: 4.0, most: 5.0 });
        let even = Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!((even.lower, even.median, even.upper), (1.75, 2.5, 3.25));
        let one = Spread::of([7.0]).unwrap();
        assert_eq!(one, Spread { least: 7.0, lower: 7.0, median: 7.0, upper: 7.0, most: 7.0 });
    }

    #[test]
    fn nothing_and_no_numbers_are_errors() {
        assert!(matches!(Spread::of([]), Err(BenchError::NoRounds)));
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(matches!(Spread::of([1.0, bad]), Err(BenchError::NotFinite { .. })), "{bad}");
        }
    }

    #[test]
    fn shown_with_as_many_digits_as_asked_for() {
        let spread = Spread::of([0.725, 0.834, 1.006]).unwrap();
        assert_eq!(spread.to_string(), "0.83 [0.72–1.01]");
        assert_eq!(format!("{spread:.1}"), "0.8 [0.7–1.0]");
    }
}
