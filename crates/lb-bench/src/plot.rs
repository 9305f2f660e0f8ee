//! Plots as SVG: bars side by side, or lines over an axis, with the spread of each figure.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::{BenchError, Spread};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), BenchError>;

/// Lengths are in pixels. Room for the labels of bars, and for the names of lines.
const WIDTH: u32 = 960;
const LABELS: u32 = 300;
const BAR: u32 = 22;
/// Title, axis and its name.
const FRAME: u32 = 100;
const LINES: u32 = 420;
const LEGEND: u32 = 260;
const LEGEND_ROW: u32 = 16;
const FONT: &str = "sans-serif";
/// A label or title longer than this is cut: it would leave the picture.
const LONGEST: usize = 44;
const LONGEST_TITLE: usize = 72;

/// A picture of figures.
#[derive(Debug, Clone)]
pub enum Plot {
    /// One figure of several subjects.
    Bars(Bars),
    /// One figure over something that grows.
    Lines(Lines),
}

/// A bar up to the median for each subject, with a whisker from the least to the most.
#[derive(Debug, Clone)]
pub struct Bars {
    title: String,
    unit: String,
    goal: Option<f64>,
    bars: Vec<(String, Spread)>,
}

/// A line through the medians for each subject, with whiskers between the quartiles. Both axes are logarithmic: what is measured spans powers of
/// ten, and equal ratios are equally far apart.
#[derive(Debug, Clone)]
pub struct Lines {
    title: String,
    x: String,
    y: String,
    lines: Vec<(String, Vec<(f64, Spread)>)>,
}

impl Bars {
    /// Without bars yet.
    pub fn new(title: impl Into<String>, unit: impl Into<String>) -> Self {
        Self { title: title.into(), unit: unit.into(), goal: None, bars: Vec::new() }
    }

    /// With a line across all bars: where they should end.
    #[must_use]
    pub fn goal(self, goal: f64) -> Self {
        Self { goal: Some(goal), ..self }
    }

    /// One more bar, below the others.
    pub fn push(&mut self, label: impl Into<String>, spread: Spread) {
        self.bars.push((label.into(), spread));
    }

    fn height(&self) -> u32 {
        FRAME + BAR * self.bars.len() as u32
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let broken = |error: String| BenchError::Plot { title: self.title.clone(), reason: error };
        if self.bars.is_empty() {
            return Err(broken("there are no bars".to_owned()));
        }
        let ends = self.bars.iter().flat_map(|(_, spread)| [spread.least, spread.median, spread.most]).chain(self.goal);
        let end = finite(ends)?.into_iter().fold(0.0, f64::max);
        let count = self.bars.len() as f64;
        let (left, right) = area.split_horizontally(LABELS);
        let mut chart = ChartBuilder::on(&right)
            .caption(cut(&self.title, LONGEST_TITLE), (FONT, 16))
            .margin(12)
            .x_label_area_size(42)
            .build_cartesian_2d(0.0..if end > 0.0 { end * 1.05 } else { 1.0 }, 0.0..count)
            .map_err(|error| broken(error.to_string()))?;
        let mut mesh = chart.configure_mesh();
        mesh.max_light_lines(1).disable_y_mesh().disable_y_axis().x_desc(shown(&self.unit)).label_style((FONT, 13));
        mesh.draw().map_err(|error| broken(error.to_string()))?;
        // The y axis grows upwards; the first bar is the topmost.
        let middle = |place: usize| count - 0.5 - place as f64;
        for (place, (label, spread)) in self.bars.iter().enumerate() {
            let y = middle(place);
            let bar = Rectangle::new([(0.0, y - 0.35), (spread.median, y + 0.35)], BLUE.mix(0.45).filled());
            chart.draw_series([bar]).map_err(|error| broken(error.to_string()))?;
            let whisker = PathElement::new([(spread.least, y), (spread.most, y)], BLACK);
            chart.draw_series([whisker]).map_err(|error| broken(error.to_string()))?;
            let height = chart.backend_coord(&(0.0, y)).1 - area.get_pixel_range().1.start;
            let style = TextStyle::from((FONT, 13)).pos(Pos::new(HPos::Right, VPos::Center));
            left.draw(&Text::new(shown(label), (LABELS as i32, height), style)).map_err(|error| broken(error.to_string()))?;
        }
        if let Some(goal) = self.goal {
            let line = PathElement::new([(goal, 0.0), (goal, count)], RED);
            chart.draw_series([line]).map_err(|error| broken(error.to_string()))?;
        }
        Ok(())
    }
}

impl Lines {
    /// Without lines yet; `x` and `y` name the axes.
    pub fn new(title: impl Into<String>, x: impl Into<String>, y: impl Into<String>) -> Self {
        Self { title: title.into(), x: x.into(), y: y.into(), lines: Vec::new() }
    }

    /// One more line; its points must be above 0 on both axes.
    pub fn push(&mut self, label: impl Into<String>, points: impl IntoIterator<Item = (f64, Spread)>) {
        self.lines.push((label.into(), points.into_iter().collect()));
    }

    fn height(&self) -> u32 {
        LINES.max(FRAME + LEGEND_ROW * self.lines.len() as u32)
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let broken = |error: String| BenchError::Plot { title: self.title.clone(), reason: error };
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let across = logarithms(points().map(|(x, _)| *x))?;
        let up = logarithms(points().flat_map(|(_, spread)| [spread.lower, spread.median, spread.upper]))?;
        let (Some(x), Some(y)) = (range(&across), range(&up)) else { return Err(broken("there are no points".to_owned())) };
        let (left, right) = area.split_horizontally(WIDTH - LEGEND);
        let mut chart = ChartBuilder::on(&left)
            .caption(cut(&self.title, LONGEST_TITLE), (FONT, 16))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)
            .map_err(|error| broken(error.to_string()))?;
        let label = |power: &f64| plain(10_f64.powf(*power));
        let mut mesh = chart.configure_mesh();
        mesh.max_light_lines(1)
            .x_desc(shown(&self.x))
            .y_desc(shown(&self.y))
            .x_label_formatter(&label)
            .y_label_formatter(&label)
            .label_style((FONT, 13));
        mesh.draw().map_err(|error| broken(error.to_string()))?;
        for (place, (name, points)) in self.lines.iter().enumerate() {
            let colour = Palette99::pick(place).stroke_width(2);
            let median = points.iter().map(|(x, spread)| (x.log10(), spread.median.log10()));
            chart.draw_series([PathElement::new(median.collect::<Vec<_>>(), colour)]).map_err(|error| broken(error.to_string()))?;
            let whisker = |(x, spread): &(f64, Spread)| {
                PathElement::new([(x.log10(), spread.lower.log10()), (x.log10(), spread.upper.log10())], colour)
            };
            chart.draw_series(points.iter().map(whisker)).map_err(|error| broken(error.to_string()))?;
            let y = (40 + LEGEND_ROW * place as u32) as i32;
            right.draw(&PathElement::new([(4, y), (28, y)], colour)).map_err(|error| broken(error.to_string()))?;
            let text = Text::new(shown(name), (34, y - 6), (FONT, 13));
            right.draw(&text).map_err(|error| broken(error.to_string()))?;
        }
        Ok(())
    }
}

impl Plot {
    fn height(&self) -> u32 {
        match self {
            Self::Bars(bars) => bars.height(),
            Self::Lines(lines) => lines.height(),
        }
    }
}

impl From<Bars> for Plot {
    fn from(bars: Bars) -> Self {
        Self::Bars(bars)
    }
}

impl From<Lines> for Plot {
    fn from(lines: Lines) -> Self {
        Self::Lines(lines)
    }
}

/// All plots, one below the other.
pub(crate) fn draw(plots: &[Plot]) -> Result<String, BenchError> {
    let mut out = String::new();
    let height = plots.iter().map(Plot::height).sum();
    {
        let mut rest = SVGBackend::with_string(&mut out, (WIDTH, height)).into_drawing_area();
        rest.fill(&WHITE).map_err(|error| BenchError::Plot { title: String::new(), reason: error.to_string() })?;
        for plot in plots {
            let (area, below) = rest.split_vertically(plot.height());
            match plot {
                Plot::Bars(bars) => bars.draw(&area)?,
                Plot::Lines(lines) => lines.draw(&area)?,
            }
            rest = below;
        }
        rest.present().map_err(|error| BenchError::Plot { title: String::new(), reason: error.to_string() })?;
    }
    Ok(out)
}

fn finite(values: impl Iterator<Item = f64>) -> Result<Vec<f64>, BenchError> {
    values.map(|value| if value.is_finite() { Ok(value) } else { Err(BenchError::NotFinite { value }) }).collect()
}

/// Of values above 0; of others there are none.
fn logarithms(values: impl Iterator<Item = f64>) -> Result<Vec<f64>, BenchError> {
    finite(values.map(f64::log10))
}

/// From the least to the most, with some room.
fn range(values: &[f64]) -> Option<std::ops::Range<f64>> {
    let least = values.iter().copied().reduce(f64::min)?;
    let most = values.iter().copied().reduce(f64::max)?;
    Some(least - 0.1..most + 0.1)
}

fn shown(text: &str) -> String {
    cut(text, LONGEST)
}

/// Without what XML cannot hold, even escaped, and not too long. The drawing library escapes the rest.
fn cut(text: &str, longest: usize) -> String {
    let mut out: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(longest).collect();
    if text.chars().count() > longest {
        out.push('…');
    }
    out
}

fn plain(value: f64) -> String {
    if value >= 10.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "<script>alert('x')</script> & \"quoted\" \u{0}\u{7}";

    fn spread(middle: f64) -> Spread {
        Spread::of([middle * 0.9, middle, middle * 1.2]).unwrap()
    }

    fn bars(count: usize) -> Bars {
        let mut bars = Bars::new("Bars", "ns");
        (0..count).for_each(|place| bars.push(format!("subject-{place}"), spread(1.0 + place as f64)));
        bars
    }

    #[test]
    fn every_bar_has_its_label() {
        for count in [1, 2, 3, 30] {
            let text = draw(&[bars(count).into()]).unwrap();
            for place in 0..count {
                let label = format!("\nsubject-{place}\n");
                assert_eq!(text.matches(&label).count(), 1, "{count}: {label}\n{text}");
            }
        }
    }

    #[test]
    fn the_first_bar_is_the_topmost() {
        let text = draw(&[bars(2).into()]).unwrap();
        let height = |label: &str| {
            let label = format!("\n{label}\n");
            let before = &text[..text.find(&label).unwrap()];
            let y = &before[before.rfind(" y=\"").unwrap() + 4..];
            y[..y.find('"').unwrap()].parse::<i32>().unwrap()
        };
        assert!(height("subject-0") < height("subject-1"), "{text}");
    }

    #[test]
    fn hostile_labels_are_escaped() {
        let mut bars = Bars::new(HOSTILE, HOSTILE).goal(2.0);
        bars.push(HOSTILE, spread(3.0));
        let mut lines = Lines::new(HOSTILE, HOSTILE, HOSTILE);
        lines.push(HOSTILE, [(10.0, spread(3.0)), (100.0, spread(30.0))]);
        let text = draw(&[bars.into(), lines.into()]).unwrap();
        assert!(!text.contains("<script") && text.contains("&lt;script&gt;"), "{text}");
        assert!(!text.contains(['\u{0}', '\u{7}']) && !text.contains("NaN"), "{text}");
        assert!(text.trim_end().ends_with("</svg>"), "{text}");
    }

    #[test]
    fn nothing_to_draw_and_no_numbers_are_errors() {
        let error = |plot: Plot| draw(&[plot]).unwrap_err();
        assert!(matches!(error(Bars::new("t", "u").into()), BenchError::Plot { title, .. } if title == "t"));
        assert!(matches!(error(Lines::new("t", "x", "y").into()), BenchError::Plot { .. }));
        let mut nan = Bars::new("t", "u");
        nan.push("a", Spread { median: f64::NAN, ..spread(1.0) });
        assert!(matches!(error(nan.into()), BenchError::NotFinite { .. }));
        let mut zero = Lines::new("t", "x", "y");
        zero.push("a", [(0.0, spread(1.0))]);
        assert!(matches!(error(zero.into()), BenchError::NotFinite { .. }));
    }

    #[test]
    fn zeros_can_be_drawn_as_bars() {
        let mut zero = Bars::new("t", "u");
        zero.push("a", Spread::of([0.0]).unwrap());
        assert!(!draw(&[zero.into()]).unwrap().contains("NaN"));
    }
}
