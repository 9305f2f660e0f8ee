//! From addresses to a connection: happy eyeballs.
//!
//! The addresses of an endpoint are interleaved by family and tried one after the other, each beside those before it: a new attempt
//! starts when the latest has failed, or has taken the attempt delay (RFC 8305, gRFC A61). The first complete handshake, SETTINGS
//! included, wins and the others are dropped. A host name counts as one address and races its own addresses when it is looked up.

mod deadline;
mod establish;
mod race;
mod socket;

pub use deadline::Deadline;
pub(crate) use establish::{Dialled, Plan, dial};
pub use race::race;

use lb_core::{Address, AddressFamily};

/// Puts addresses in the order to try them: families take turns, beginning with the family of the first address, and keep their order
/// within (RFC 8305 §4). What is not an IP address is a family of its own. A repeated address counts once.
///
/// ```
/// use lb_transport::interleave;
/// let order = ["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1"].map(|text| text.parse().unwrap());
/// let texts: Vec<String> = interleave(order).iter().map(ToString::to_string).collect();
/// assert_eq!(texts, ["[::1]:1", "10.0.0.1:1", "[::2]:1", "[::3]:1"]);
/// ```
pub fn interleave(addresses: impl IntoIterator<Item = Address>) -> Vec<Address> {
    let mut families: Vec<(AddressFamily, Vec<Address>)> = Vec::new();
    for address in addresses {
        let family = address.family();
        match families.iter_mut().find(|(known, _)| *known == family) {
            Some((_, list)) if list.contains(&address) => {}
            Some((_, list)) => list.push(address),
            None => families.push((family, vec![address])),
        }
    }
    let longest = families.iter().map(|(_, list)| list.len()).max().unwrap_or(0);
    (0..longest).flat_map(|turn| families.iter().filter_map(move |(_, list)| list.get(turn).cloned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(texts: &[&str]) -> Vec<String> {
        interleave(texts.iter().map(|text| text.parse().unwrap())).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn families_take_turns_from_the_first() {
        assert_eq!(order(&["10.0.0.1:1", "10.0.0.2:1", "[::1]:1", "[::2]:1"]), ["10.0.0.1:1", "[::1]:1", "10.0.0.2:1", "[::2]:1"]);
        assert_eq!(order(&["unix:/a", "10.0.0.1:1", "[::1]:1"]), ["unix:/a", "10.0.0.1:1", "[::1]:1"]);
        assert_eq!(order(&["10.0.0.1:1", "[::ffff:10.0.0.2]:1", "[::1]:1"]), ["10.0.0.1:1", "[::1]:1", "[::ffff:10.0.0.2]:1"]);
    }

    #[test]
    fn repetitions_and_nothing() {
        assert_eq!(order(&["10.0.0.1:1", "10.0.0.1:1", "10.0.0.2:1"]), ["10.0.0.1:1", "10.0.0.2:1"]);
        assert!(order(&[]).is_empty());
    }
}
