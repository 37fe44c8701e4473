//! Plots for the documentation, drawn as SVG from the figures that the programs compute.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use plotters::coord::combinators::{IntoLogRange, LogCoord};
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

/// The size of a plot in pixels.
const SIZE: (u32, u32) = (760, 440);

/// Told apart by readers with any colour vision, also in print.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// Lines over two axes.
///
/// # Examples
///
/// ```
/// use bench::plot::Plot;
///
/// let plot = Plot::new("Round trips", "batch", "round trips").log_x();
/// let svg = plot.line("whole", [(1.0, 900.0), (10.0, 120.0), (100.0, 14.0)]).svg()?;
/// assert!(svg.starts_with("<svg") && svg.contains("Round trips"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Plot {
    title: String,
    x: Axis,
    y: Axis,
    lines: Vec<Line>,
    legend: SeriesLabelPosition,
}

#[derive(Clone, Debug)]
struct Axis {
    label: String,
    log: bool,
    bounds: Option<(f64, f64)>,
}

#[derive(Clone, Debug)]
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
    /// Length of a dash and of the gap after it; a full line if there are none.
    dashes: Option<(u32, u32)>,
    marked: bool,
}

impl Plot {
    /// An empty plot.
    #[must_use]
    pub fn new(title: &str, x: &str, y: &str) -> Self {
        let axis = |label: &str| Axis { label: label.to_owned(), log: false, bounds: None };
        let (x, y) = (axis(x), axis(y));
        Self { title: title.to_owned(), x, y, lines: Vec::new(), legend: SeriesLabelPosition::UpperLeft }
    }

    /// Makes the horizontal axis logarithmic. What is drawn must then lie above 0 on it.
    #[must_use]
    pub fn log_x(mut self) -> Self {
        self.x.log = true;
        self
    }

    /// Makes the vertical axis logarithmic. What is drawn must then lie above 0 on it.
    #[must_use]
    pub fn log_y(mut self) -> Self {
        self.y.log = true;
        self
    }

    /// Shows `from` to `to` on the horizontal axis. Without it, as far as the lines go.
    #[must_use]
    pub fn bounds_x(mut self, from: f64, to: f64) -> Self {
        self.x.bounds = Some((from, to));
        self
    }

    /// Shows `from` to `to` on the vertical axis. Without it, as far as the lines go, and 0 on an axis that is not
    /// logarithmic.
    #[must_use]
    pub fn bounds_y(mut self, from: f64, to: f64) -> Self {
        self.y.bounds = Some((from, to));
        self
    }

    /// Puts the names of the lines in this corner. In the upper left one without it.
    #[must_use]
    pub fn legend(mut self, corner: SeriesLabelPosition) -> Self {
        self.legend = corner;
        self
    }

    /// Adds a line with a mark at each of its points.
    #[must_use]
    pub fn line(mut self, name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points.into_iter().collect();
        self.lines.push(Line { name: name.to_owned(), points, dashes: None, marked: true });
        self
    }

    /// Adds a line without marks: of many points, such as a course over time.
    #[must_use]
    pub fn curve(mut self, name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points.into_iter().collect();
        self.lines.push(Line { name: name.to_owned(), points, dashes: None, marked: false });
        self
    }

    /// Adds a dashed line without marks: a bound, or what something is compared with.
    #[must_use]
    pub fn bound(mut self, name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points.into_iter().collect();
        self.lines.push(Line { name: name.to_owned(), points, dashes: Some((6, 4)), marked: false });
        self
    }

    /// Draws it.
    ///
    /// # Errors
    ///
    /// If there is no point, or one is not finite, or not above 0 on a logarithmic axis, or the drawing fails.
    pub fn svg(&self) -> Result<String, Error> {
        let mut svg = String::new();
        self.draw(&mut svg)?;
        Ok(svg)
    }

    fn draw(&self, svg: &mut String) -> Result<(), Error> {
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, ("sans-serif", 20))
            .margin(14)
            // The last number of an axis is as wide as its place.
            .margin_right(26)
            .x_label_area_size(46)
            .y_label_area_size(64)
            .build_cartesian_2d(
                self.x.scale(self.points().map(|point| point.0), None)?,
                self.y.scale(self.points().map(|point| point.1), Some(0.0))?,
            )?;
        // A logarithmic axis has room for the powers of ten, and little else.
        let labels = |axis: &Axis| if axis.log { 6 } else { 11 };
        chart
            .configure_mesh()
            .x_labels(labels(&self.x))
            .y_labels(labels(&self.y))
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .axis_desc_style(("sans-serif", 15))
            .label_style(("sans-serif", 13))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let style = colour.stroke_width(2);
            let points = line.points.iter().copied();
            let drawn = match line.dashes {
                Some((size, gap)) => chart.draw_series(DashedLineSeries::new(points, size, gap, style))?,
                None => chart.draw_series(LineSeries::new(points, style))?,
            };
            drawn.label(&line.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
            if line.marked {
                chart.draw_series(line.points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
            }
        }
        chart
            .configure_series_labels()
            .position(self.legend.clone())
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 13))
            .draw()?;
        area.present()?;
        Ok(())
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> + Clone {
        self.lines.iter().flat_map(|line| line.points.iter().copied())
    }

    /// Where [`save`](Self::save) writes a plot of this name.
    #[must_use]
    pub fn path(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/plots").join(format!("{name}.svg"))
    }

    /// Writes it to `docs/plots/<name>.svg`.
    ///
    /// # Errors
    ///
    /// As [`svg`](Self::svg); if the file cannot be written.
    pub fn save(&self, name: &str) -> Result<(), Error> {
        let path = Self::path(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, self.svg()?)?;
        println!("docs/plots/{name}.svg is written.");
        Ok(())
    }
}

/// What can go wrong while drawing.
pub type Error = Box<dyn std::error::Error>;

impl Axis {
    /// From the least of `values` and `also` to the greatest.
    fn scale(&self, values: impl Iterator<Item = f64> + Clone, also: Option<f64>) -> Result<Scale, Error> {
        let drawable = |value: f64| value.is_finite() && (value > 0.0 || !self.log);
        if let Some(value) = values.clone().find(|value| !drawable(*value)) {
            return Err(format!("{value} cannot be drawn on the axis {:?}", self.label).into());
        }
        let also = also.filter(|_| !self.log);
        let (from, to) = values
            .chain(also)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), value| (from.min(value), to.max(value)));
        let (from, to) = self.bounds.unwrap_or((from, to));
        if !(drawable(from) && drawable(to) && from < to) {
            return Err(format!("the axis {:?} would go from {from} to {to}", self.label).into());
        }
        Ok(if self.log { Scale::Log((from..to).log_scale().into()) } else { Scale::Even((from..to).into()) })
    }
}

/// An axis of either kind, so that all plots have one type.
enum Scale {
    Even(RangedCoordf64),
    Log(LogCoord<f64>),
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        match self {
            Self::Even(scale) => scale.map(value, limit),
            Self::Log(scale) => scale.map(value, limit),
        }
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match self {
            Self::Even(scale) => scale.key_points(hint),
            Self::Log(scale) => scale.key_points(hint),
        }
    }

    fn range(&self) -> Range<f64> {
        match self {
            Self::Even(scale) => scale.range(),
            Self::Log(scale) => scale.range(),
        }
    }
}

impl ValueFormatter<f64> for Scale {
    fn format(value: &f64) -> String {
        // Steps of an axis are sums: 0.30000000000000004 is 0.3.
        let text = format!("{value:.6}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short() {
        let labels = [0.0, 0.1 + 0.2, 20.0, 1_000.0, -2.5].map(|value| Scale::format(&value));
        assert_eq!(labels, ["0", "0.3", "20", "1000", "-2.5"]);
    }

    #[test]
    fn what_cannot_be_drawn_is_an_error() {
        let error = |plot: Plot| plot.svg().map_err(|error| error.to_string()).unwrap_err();
        let plot = Plot::new("t", "x", "y");
        assert_eq!(error(plot.clone()), "the axis \"x\" would go from inf to -inf");
        let zero = plot.clone().log_x().line("l", [(0.0, 1.0), (1.0, 2.0)]);
        assert_eq!(error(zero), "0 cannot be drawn on the axis \"x\"");
        let endless = plot.bounds_y(0.0, 1.0).line("l", [(0.0, 1.0), (1.0, f64::NAN)]);
        assert_eq!(error(endless), "NaN cannot be drawn on the axis \"y\"");
    }
}
