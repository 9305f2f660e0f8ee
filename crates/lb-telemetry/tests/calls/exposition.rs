//! Prometheus' text form, read back.

use std::collections::{BTreeMap, BTreeSet};

type Labels = BTreeMap<String, String>;

/// Everything that was exposed.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    kinds: BTreeMap<String, (String, String)>,
    samples: Vec<(String, Labels, f64)>,
}

/// The series of a counter or a gauge.
#[derive(Debug)]
pub(crate) struct Values(Vec<(Labels, f64)>);

/// The series of a histogram.
#[derive(Debug)]
pub(crate) struct Histograms(BTreeMap<Labels, Series>);

/// One series of a histogram.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    /// Every upper bound, in order.
    pub(crate) bounds: String,
    below: BTreeMap<String, u64>,
}

/// What the exporter says of itself beside the labels of the instrument.
const OF_SCOPE: &str = "otel_scope_";

fn labels(text: &str) -> Labels {
    let (mut labels, mut rest) = (Labels::new(), text);
    while let Some((name, after)) = rest.split_once("=\"") {
        let (mut value, mut end, mut escaped) = (String::new(), after.len(), false);
        for (at, character) in after.char_indices() {
            match character {
                _ if escaped => (value, escaped) = (value + if character == 'n' { "\n" } else { &after[at..at + 1] }, false),
                '\\' => escaped = true,
                '"' => {
                    end = at + 1;
                    break;
                }
                _ => value.push(character),
            }
        }
        if !name.starts_with(OF_SCOPE) {
            labels.insert(name.to_owned(), value);
        }
        rest = after[end..].trim_start_matches(',');
    }
    labels
}

impl Exposition {
    pub(crate) fn read(text: &str) -> Self {
        let mut exposition = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
                exposition.kinds.entry(name.to_owned()).or_default().1 = help.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                exposition.kinds.entry(name.to_owned()).or_default().0 = kind.to_owned();
            } else if !line.is_empty() {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, rest) = series.split_once('{').unwrap_or((series, ""));
                let rest = rest.strip_suffix('}').unwrap_or(rest);
                exposition.samples.push((name.to_owned(), labels(rest), value.parse().unwrap()));
            }
        }
        exposition
    }

    /// The names of everything.
    #[allow(dead_code, reason = "not every test reads them")]
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.kinds.contains_key(name)
    }

    /// Which histograms there are.
    pub(crate) fn histograms(&self) -> Vec<&str> {
        self.kinds.iter().filter(|(_, (kind, _))| kind == "histogram").map(|(name, _)| &**name).collect()
    }

    fn values(&self, name: &str) -> Values {
        Values(self.samples.iter().filter(|sample| sample.0 == name).map(|(_, labels, value)| (labels.clone(), *value)).collect())
    }

    /// A counter with this description; without series if nothing was counted.
    pub(crate) fn counter(&self, name: &str, help: &str) -> Values {
        if let Some(kind) = self.kinds.get(name) {
            assert_eq!(*kind, ("counter".to_owned(), help.to_owned()), "{name}");
        }
        self.values(name)
    }

    /// A gauge.
    #[allow(dead_code, reason = "not every test reads one")]
    pub(crate) fn gauge(&self, name: &str) -> Values {
        assert_eq!(self.kinds.get(name).map(|kind| &*kind.0), Some("gauge"), "{name}");
        self.values(name)
    }

    pub(crate) fn histogram(&self, name: &str) -> Histograms {
        assert_eq!(self.kinds.get(name).map(|kind| &*kind.0), Some("histogram"), "{name} among {:?}", self.kinds.keys());
        let mut all: BTreeMap<Labels, Series> = BTreeMap::new();
        for (sample, labels, value) in &self.samples {
            let Some(part) = sample.strip_prefix(name) else { continue };
            let mut labels = labels.clone();
            let bound = labels.remove("le");
            let series = all.entry(labels).or_default();
            match (part, bound) {
                ("_count", _) => series.count = *value as u64,
                ("_sum", _) => series.sum = *value,
                ("_bucket", Some(bound)) => {
                    series.bounds.push_str(if series.bounds.is_empty() { "" } else { " " });
                    series.bounds.push_str(&bound);
                    series.below.insert(bound, *value as u64);
                }
                _ => {}
            }
        }
        all.retain(|_, series| !series.bounds.is_empty());
        Histograms(all)
    }
}

fn map(labels: &[(&str, &str)]) -> Labels {
    let map: Labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(map.len(), labels.iter().map(|label| label.0).collect::<BTreeSet<_>>().len());
    map
}

impl Values {
    pub(crate) fn series(&self) -> &[(Labels, f64)] {
        &self.0
    }

    /// The value of the series with exactly these labels.
    pub(crate) fn of(&self, labels: &[(&str, &str)]) -> f64 {
        let wanted = map(labels);
        self.0.iter().find(|(labels, _)| *labels == wanted).unwrap_or_else(|| panic!("{wanted:?} is not among {self:?}")).1
    }

    /// There is one series that has counted anything, with exactly these labels and this value.
    pub(crate) fn only(&self, labels: &[(&str, &str)], value: f64) {
        assert_eq!(self.of(labels), value, "{self:?}");
        assert_eq!(self.0.iter().filter(|(_, value)| *value != 0.0).count(), 1, "{self:?}");
    }
}

impl Histograms {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The series with exactly these labels.
    pub(crate) fn of(&self, labels: &[(&str, &str)]) -> Series {
        let wanted = map(labels);
        self.0.get(&wanted).cloned().unwrap_or_else(|| panic!("{wanted:?} is not among {:?}", self.0.keys()))
    }

    /// The same, and there is no other.
    pub(crate) fn only(&self, labels: &[(&str, &str)]) -> Series {
        assert_eq!(self.0.len(), 1, "{:?}", self.0.keys());
        self.of(labels)
    }
}

impl Series {
    /// How many were not above this bound.
    pub(crate) fn at(&self, bound: &str) -> u64 {
        self.below[bound]
    }
}
