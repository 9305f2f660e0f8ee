//! Attributes from the annotations and labels of a slice.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use lb_core::{Attributes, Locality};

use crate::slice::Metadata;

/// Reads what begins with a prefix.
#[derive(Debug, Clone)]
pub(crate) struct Traits {
    /// With its slash.
    prefix: String,
}

impl Traits {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: format!("{prefix}/") }
    }

    /// The attributes that every endpoint of a slice has. What cannot be read is left out, and said in `complaints`.
    pub(crate) fn read(&self, slice: &Metadata, complaints: &mut Vec<String>) -> Attributes {
        let mut attributes = Attributes::default();
        let (mut region, mut zone, mut sub_zone) = ("", "", "");
        for (key, value) in self.ours(slice) {
            let read = match key {
                "region" => place(&mut region, value),
                "zone" => place(&mut zone, value),
                "sub-zone" => place(&mut sub_zone, value),
                other => attribute(&mut attributes, other, value),
            };
            if !read {
                complaints.push(format!("slice {}: {}{key} is {value:?}, which is left out", slice.name, self.prefix));
            }
        }
        attributes.locality = Locality::new(region, zone, sub_zone);
        attributes
    }

    /// By what follows the prefix; an annotation takes the place of a label.
    fn ours<'a>(&self, slice: &'a Metadata) -> BTreeMap<&'a str, &'a str> {
        let both = slice.labels.iter().chain(&slice.annotations).flatten();
        both.filter_map(|(key, value)| Some((key.strip_prefix(&self.prefix)?, value.as_str()))).collect()
    }
}

/// Whether the value could be read.
fn attribute(attributes: &mut Attributes, key: &str, value: &str) -> bool {
    match key {
        "weight" => set(&mut attributes.weight, value),
        "priority" => set(&mut attributes.priority, value),
        "capacity" => {
            attributes.capacity = value.parse().ok();
            attributes.capacity.is_some()
        }
        "cost" => {
            attributes.cost = value.parse().ok().filter(|cost| (0.0..f64::INFINITY).contains(cost));
            attributes.cost.is_some()
        }
        "capabilities" => {
            attributes.capabilities = value.split(',').map(str::trim).filter(|word| !word.is_empty()).map(Arc::from).collect();
            true
        }
        "hostname" => {
            attributes.hostname = Some(value.into());
            true
        }
        "replica-of" => {
            attributes.replica_of = Some(value.into());
            true
        }
        other => {
            attributes.metadata.insert(other.into(), value.into());
            true
        }
    }
}

fn place<'a>(part: &mut &'a str, value: &'a str) -> bool {
    *part = value;
    true
}

fn set<T: FromStr>(place: &mut T, value: &str) -> bool {
    value.parse().is_ok_and(|value| {
        *place = value;
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
        Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn each_has_its_attribute_and_annotations_come_first() {
        let slice = Metadata {
            name: "a".to_owned(),
            labels: map(&[("evenkeel/weight", "3"), ("evenkeel/team", "red"), ("other/weight", "9")]),
            annotations: map(&[
                ("evenkeel/weight", "5"),
                ("evenkeel/priority", "1"),
                ("evenkeel/capacity", "100"),
                ("evenkeel/cost", "0.5"),
                ("evenkeel/capabilities", "gpu, large,"),
                ("evenkeel/region", "eu"),
                ("evenkeel/zone", "eu-1"),
                ("evenkeel/sub-zone", "rack"),
                ("evenkeel/hostname", "orders.internal"),
                ("evenkeel/replica-of", "orders-0"),
            ]),
            ..Metadata::default()
        };
        let mut complaints = Vec::new();
        let read = Traits::new("evenkeel").read(&slice, &mut complaints);
        assert_eq!(complaints, [""; 0]);
        assert_eq!((read.weight, read.priority, read.capacity, read.cost), (5, 1, Some(100), Some(0.5)));
        assert_eq!(read.capabilities.iter().map(|word| &**word).collect::<Vec<_>>(), ["gpu", "large"]);
        assert_eq!(read.locality, Locality::new("eu", "eu-1", "rack"));
        assert_eq!((read.hostname.as_deref(), read.replica_of.as_deref()), (Some("orders.internal"), Some("orders-0")));
        assert_eq!(read.metadata.len(), 1);
        assert_eq!(read.metadata["team"].as_ref(), "red");
    }

    #[test]
    fn what_cannot_be_read_is_said_and_left_out() {
        let odd = [("p/weight", "-1"), ("p/priority", "high"), ("p/cost", "NaN"), ("p/capacity", "4294967296")];
        let slice = Metadata { name: "a".to_owned(), labels: map(&odd), ..Metadata::default() };
        let mut complaints = Vec::new();
        assert_eq!(Traits::new("p").read(&slice, &mut complaints), Attributes::default());
        assert_eq!(complaints.len(), 4);
        assert!(complaints[0].contains("p/capacity is \"4294967296\""), "{complaints:?}");
    }
}
