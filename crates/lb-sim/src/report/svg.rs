//! A picture of a comparison.
//!
//! Three loads and more: how the 99th percentile grows with the load. Fewer: for each load the percentiles, and the 99th second by
//! second with what happened meanwhile.

use std::fmt::Write as _;

use crate::compare::Line;
use crate::scenario::Scenario;

use super::plot::{Curve, Panel, escaped, style};

const MARGIN: f64 = 60.0;
const GAP: f64 = 80.0;
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 320.0;
const LEGEND: f64 = 300.0;
/// Loads from which on the picture shows the growth with the load.
const MANY: usize = 3;

/// The picture as an SVG document.
pub fn svg(scenario: &Scenario, lines: &[Line]) -> String {
    let groups: Vec<&[Line]> = lines.chunk_by(|one, other| one.load == other.load).collect();
    let (mut body, rows) = (String::new(), if groups.len() < MANY { groups.len() } else { 1 });
    if groups.len() < MANY {
        for (row, group) in groups.iter().enumerate() {
            let top = MARGIN + 30.0 + row as f64 * (HEIGHT + GAP);
            percentiles(group, top).draw(&mut body);
            by_second(scenario, group, top).draw(&mut body);
        }
    } else {
        by_load(&groups).draw(&mut body);
    }
    legend(groups.first().copied().unwrap_or_default(), &mut body);
    let (width, height) = (2.0 * (MARGIN + WIDTH) + LEGEND + 20.0, MARGIN + 30.0 + rows as f64 * (HEIGHT + GAP));
    let title = escaped(&format!("{}: {}", scenario.name, scenario.about));
    format!("{}<text x=\"{MARGIN}\" y=\"28\" class=\"title\">{title}</text>\n{body}</svg>\n", head(width, height))
}

fn head(width: f64, height: f64) -> String {
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">
<style>text{{font:12px sans-serif;fill:#333}}.title{{font-weight:bold}}.x{{text-anchor:middle}}.y{{text-anchor:end}}.grid{{stroke:#ddd}}
.mark{{stroke:#d55e00;stroke-dasharray:1 4}}.line{{fill:none;stroke-width:1.6}}</style>
<rect width="{width}" height="{height}" fill="#fff"/>
"##
    )
}

fn percentiles(group: &[Line], top: f64) -> Panel<'static> {
    const SHARES: [f64; 5] = [0.5, 0.75, 0.9, 0.99, 0.999];
    // Each further nine is as wide as the one before.
    let place = |share: f64| -(1.0 - share).log10();
    let curve = |(style, line): (usize, &Line)| {
        let points = SHARES.into_iter().zip(line.tally.quantiles(SHARES)).map(|(share, ms)| (place(share), ms)).collect();
        Curve { style, points }
    };
    Panel {
        title: format!("load {}: latency in ms", group[0].load),
        left: MARGIN,
        top,
        width: WIDTH,
        height: HEIGHT,
        x_ticks: SHARES.map(|share| (place(share), format!("p{}", 100.0 * share))).into(),
        x_name: "percentile",
        marks: Vec::new(),
        curves: group.iter().enumerate().map(curve).collect(),
    }
}

fn by_second(scenario: &Scenario, group: &[Line], top: f64) -> Panel<'static> {
    let curve = |(style, line): (usize, &Line)| {
        let points = line.tally.quantile_by_second(0.99).into_iter().enumerate().filter(|(_, ms)| *ms > 0.0);
        Curve { style, points: points.map(|(second, ms)| (second as f64, ms)).collect() }
    };
    let last = scenario.seconds.ceil() - 1.0;
    let step = (last / 5.0).max(1.0).round();
    let ticks = (0..6).map(|tick| f64::from(tick) * step).filter(|second| *second <= last);
    let marks = scenario.events.iter().map(|incident| incident.at - scenario.warmup);
    Panel {
        title: format!("load {}: p99 of each second in ms", group[0].load),
        left: 2.0 * MARGIN + WIDTH,
        top,
        width: WIDTH,
        height: HEIGHT,
        x_ticks: ticks.map(|second| (second, format!("{second}"))).collect(),
        x_name: "measured seconds",
        marks: marks.filter(|second| (0.0..last).contains(second)).collect(),
        curves: group.iter().enumerate().map(curve).collect(),
    }
}

fn by_load(groups: &[&[Line]]) -> Panel<'static> {
    let curve = |style: usize| {
        let line = |group: &&[Line]| group.get(style).map(|line| (line.load, line.tally.quantiles([0.99])[0]));
        Curve { style, points: groups.iter().filter_map(line).collect() }
    };
    Panel {
        title: "p99 in ms by load".into(),
        left: MARGIN,
        top: MARGIN + 30.0,
        width: 2.0 * WIDTH + MARGIN,
        height: HEIGHT,
        x_ticks: groups.iter().map(|group| (group[0].load, group[0].load.to_string())).collect(),
        x_name: "demand as a share of the allocation",
        marks: Vec::new(),
        curves: (0..groups[0].len()).map(curve).collect(),
    }
}

fn legend(group: &[Line], out: &mut String) {
    let left = 2.0 * (MARGIN + WIDTH) + 20.0;
    for (place, line) in group.iter().enumerate() {
        let y = MARGIN + 36.0 + 18.0 * place as f64;
        let _ = writeln!(out, r#"<path {} d="M{left} {y}h28"/>"#, style(place));
        let _ = writeln!(out, r#"<text x="{}" y="{}">{}</text>"#, left + 34.0, y + 4.0, escaped(&line.candidate.label));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Tally;

    #[test]
    fn labels_cannot_break_the_document() {
        let scenario = Scenario::parse("x", "about = 'a < b & c'\nloads = [0.5]").unwrap();
        let line = Line { load: 0.5, candidate: r#"least_request{"choiceCount":3}"#.parse().unwrap(), tally: Tally::new(1, 2.0) };
        let text = svg(&scenario, &[line]);
        assert!(text.contains("a &lt; b &amp; c") && !text.contains("NaN") && text.trim_end().ends_with("</svg>"), "{text}");
    }
}
