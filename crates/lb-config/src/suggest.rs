//! The known name that is nearest to one that is not.

/// Names longer than this are nobody's slip of the finger, and comparing them would take long.
const LONGEST: usize = 64;

/// The nearest of `known`, if it is near: letter case and separators aside, at most a third of the letters differ.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.is_empty() || name.len() > LONGEST {
        return None;
    }
    let plain = |name: &str| name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<Vec<_>>();
    let name = plain(name);
    let near = known.into_iter().map(|other| (distance(&name, &plain(other)), other));
    near.filter(|(distance, other)| *distance <= other.len().min(name.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// How many letters must be added, taken away, changed, or swapped with their neighbour (optimal string alignment).
fn distance(one: &[char], other: &[char]) -> usize {
    let mut before = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let changed = last[j] + usize::from(a != b);
            let mut least = changed.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_seen_and_strangers_are_not() {
        let known = ["timeout", "policy", "retry", "circuitBreaker", "maxAttempts"];
        for (name, meant) in [
            ("timout", "timeout"),
            ("tiemout", "timeout"),
            ("TIMEOUT", "timeout"),
            ("circuit_breaker", "circuitBreaker"),
            ("circuit-braker", "circuitBreaker"),
            ("maxAttempt", "maxAttempts"),
            ("polcy", "policy"),
        ] {
            assert_eq!(nearest(name, known), Some(meant), "{name}");
        }
        for name in ["", "x", "entirely different", "zzzzzzz", &"timeout".repeat(1_000_000)] {
            assert_eq!(nearest(name, known), None);
        }
    }
}
