//! Figures as pictures: lines over time, or over anything, in an SVG file.
//! Owns: [`Panel`], [`Line`] and how they are drawn.

use plotters::{
    coord::Shift,
    prelude::{
        ChartBuilder, Color, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea, IntoLogRange,
        LineSeries, PathElement, RGBColor, SVGBackend, SeriesLabelPosition, WHITE,
    },
};
use std::{fmt, io, path::Path};

/// One chart in a picture.
pub struct Panel {
    /// What it shows, with the unit.
    pub title: String,
    /// What goes to the right.
    pub across: String,
    /// The lines; at least one.
    pub lines: Vec<Line>,
    /// Whether ten times as much is one step up.
    pub is_logarithmic: bool,
}

/// One line in a chart.
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// Told apart also by those who do not see all colours (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
const PANEL_SIZE: (u32, u32) = (900, 300);

/// Draws the panels below each other into the file `path`.
pub fn draw(path: &Path, panels: &[Panel]) -> io::Result<()> {
    let mut picture = String::new();
    let size = (PANEL_SIZE.0, PANEL_SIZE.1 * panels.len() as u32);
    let drawn = {
        let root = SVGBackend::with_string(&mut picture, size).into_drawing_area();
        draw_all(&root, panels)
    };
    drawn.map_err(|e| io::Error::other(e.to_string()))?;
    std::fs::write(path, picture)
}

type Area<'p> = DrawingArea<SVGBackend<'p>, Shift>;
type Drawn<E> = Result<(), DrawingAreaErrorKind<E>>;

fn draw_all<E>(root: &Area<'_>, panels: &[Panel]) -> Drawn<E>
where
    E: fmt::Debug + fmt::Display + std::error::Error + Send + Sync,
    for<'p> SVGBackend<'p>: plotters::backend::DrawingBackend<ErrorType = E>,
{
    root.fill(&WHITE)?;
    for (area, panel) in root.split_evenly((panels.len(), 1)).iter().zip(panels) {
        draw_panel(area, panel)?;
    }
    root.present()
}

fn draw_panel<E>(area: &Area<'_>, panel: &Panel) -> Drawn<E>
where
    E: fmt::Debug + fmt::Display + std::error::Error + Send + Sync,
    for<'p> SVGBackend<'p>: plotters::backend::DrawingBackend<ErrorType = E>,
{
    let points = || panel.lines.iter().flat_map(|line| &line.points);
    let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(f64::MIN_POSITIVE, f64::max);
    let right = most(|point| point.0);
    let top = most(|point| point.1) * 1.1;
    let least = points().map(|point| point.1).filter(|&y| y > 0.0).fold(top / 10.0, f64::min);
    let mut chart = ChartBuilder::on(area);
    chart
        .caption(&panel.title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(35)
        .y_label_area_size(80);
    // The two scales are different types, so the rest is written for both.
    macro_rules! finish {
        ($context:expr) => {{
            let mut context = $context;
            context.configure_mesh().light_line_style(WHITE).x_desc(&panel.across).draw()?;
            for (line, colour) in panel.lines.iter().zip(COLOURS.iter().cycle()) {
                let points = line.points.iter().map(|&(x, y)| (x, y.max(least)));
                context
                    .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                    .label(&line.name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], *colour));
            }
            context
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperRight)
                .background_style(WHITE.mix(0.8))
                .draw()
        }};
    }
    if panel.is_logarithmic {
        finish!(chart.build_cartesian_2d(0.0..right, (least..top).log_scale())?)
    } else {
        finish!(chart.build_cartesian_2d(0.0..right, 0.0..top)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_shows_every_line_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plot.svg");
        let line = |name: &str, scale: f64| Line {
            name: name.into(),
            points: (0..50).map(|x| (f64::from(x), f64::from(x) * scale)).collect(),
        };
        let panel = |title: &str, is_logarithmic| Panel {
            title: title.into(),
            across: "seconds".into(),
            lines: vec![line("reads", 1e6), line("commits", 1.0)],
            is_logarithmic,
        };
        draw(&path, &[panel("rates", false), panel("latencies", true)]).unwrap();
        let picture = std::fs::read_to_string(path).unwrap();
        assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
        for text in ["rates", "latencies", "reads", "commits", "seconds"] {
            assert!(picture.contains(text), "{text}");
        }
        let empty = Panel {
            title: "nothing".into(),
            across: String::new(),
            lines: vec![line("none", 0.0)],
            is_logarithmic: true,
        };
        draw(&dir.path().join("empty.svg"), &[empty]).unwrap();
    }
}
