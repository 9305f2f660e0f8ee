//! One panel of a picture: a frame with a logarithmic axis of milliseconds, and lines in it.

use std::fmt::Write as _;

/// Distinguishable by most people with any colour vision (Okabe and Ito 2008); the yellow is left out for want of contrast.
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#000000", "#e69f00"];
/// Beyond as many lines as there are colours.
const DASHES: [&str; 4] = ["", "6 3", "2 3", "8 3 2 3"];

/// A line: its place among all lines gives the style. Points are (x, milliseconds).
#[derive(Debug)]
pub(super) struct Curve {
    pub(super) style: usize,
    pub(super) points: Vec<(f64, f64)>,
}

/// What is drawn where. Lengths are in the picture's units.
#[derive(Debug)]
pub(super) struct Panel<'a> {
    pub(super) title: String,
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    /// Places and names along the x axis.
    pub(super) x_ticks: Vec<(f64, String)>,
    pub(super) x_name: &'a str,
    /// Places of vertical lines: something happened.
    pub(super) marks: Vec<f64>,
    pub(super) curves: Vec<Curve>,
}

impl Panel<'_> {
    pub(super) fn draw(&self, out: &mut String) {
        let (x, y) = (self.x_range(), self.y_range());
        let across = |value: f64| self.left + (value - x.0) / (x.1 - x.0) * self.width;
        let down = |ms: f64| self.top + self.height * (1.0 - (ms.ln() - y.0.ln()) / (y.1.ln() - y.0.ln()));
        let (right, bottom) = (self.left + self.width, self.top + self.height);
        let _ =
            writeln!(out, r#"<text x="{:.1}" y="{:.1}" class="title">{}</text>"#, self.left, self.top - 8.0, escaped(&self.title));
        for ms in ticks(y) {
            let _ = writeln!(out, r#"<path class="grid" d="M{:.1} {:.1}H{right:.1}"/>"#, self.left, down(ms));
            let _ = writeln!(out, r#"<text class="y" x="{:.1}" y="{:.1}">{ms}</text>"#, self.left - 6.0, down(ms) + 4.0);
        }
        for (value, name) in &self.x_ticks {
            let _ = writeln!(out, r#"<path class="grid" d="M{:.1} {:.1}V{bottom:.1}"/>"#, across(*value), self.top);
            let _ = writeln!(out, r#"<text class="x" x="{:.1}" y="{:.1}">{name}</text>"#, across(*value), bottom + 16.0);
        }
        for mark in &self.marks {
            let _ = writeln!(out, r#"<path class="mark" d="M{:.1} {:.1}V{bottom:.1}"/>"#, across(*mark), self.top);
        }
        let _ = writeln!(
            out,
            r#"<text class="x" x="{:.1}" y="{:.1}">{}</text>"#,
            (self.left + right) / 2.0,
            bottom + 34.0,
            self.x_name
        );
        for curve in &self.curves {
            let points: Vec<String> =
                curve.points.iter().map(|(at, ms)| format!("{:.1},{:.1}", across(*at), down(ms.max(y.0)))).collect();
            let _ = writeln!(out, r#"<polyline {} points="{}"/>"#, style(curve.style), points.join(" "));
        }
    }

    fn x_range(&self) -> (f64, f64) {
        let all = self.curves.iter().flat_map(|curve| &curve.points).map(|(at, _)| *at);
        let (from, to) = all.fold((f64::MAX, f64::MIN), |(from, to), at| (from.min(at), to.max(at)));
        if from < to { (from, to) } else { (from - 1.0, from + 1.0) }
    }

    /// From the 1, 2 or 5 below the least to the one above the most.
    fn y_range(&self) -> (f64, f64) {
        let all = self.curves.iter().flat_map(|curve| &curve.points).map(|(_, ms)| *ms).filter(|ms| *ms > 0.0);
        let (from, to) = all.fold((f64::MAX, 1.0), |(from, to): (f64, f64), ms| (from.min(ms), to.max(ms)));
        let below = ladder().take_while(|step| *step <= from).last().unwrap_or(1.0);
        let above = ladder().find(|step| *step >= to).unwrap_or(to);
        if below < above { (below, above) } else { (below, below * 2.0) }
    }
}

/// How the line of this place looks.
pub(super) fn style(place: usize) -> String {
    let (colour, dash) = (COLOURS[place % COLOURS.len()], DASHES[(place / COLOURS.len()) % DASHES.len()]);
    format!(r#"class="line" stroke="{colour}" stroke-dasharray="{dash}""#)
}

/// Text that is safe between tags.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn ladder() -> impl Iterator<Item = f64> {
    (0..8).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(power)))
}

fn ticks((from, to): (f64, f64)) -> impl Iterator<Item = f64> {
    ladder().filter(move |step| (from..=to).contains(step))
}
