//! Drawings: lines over the number of changes, as SVG.

use std::path::Path;

use plotters::prelude::*;
use serde::Serialize;

/// A drawing.
#[derive(Debug, Clone, Serialize)]
pub struct Chart {
    /// Its file's name, without the ending.
    pub name: &'static str,
    /// What it shows.
    pub title: String,
    /// The lines.
    pub lines: Vec<Line>,
    /// Whether values go up by factors too.
    pub log_y: bool,
}

/// A line of a drawing.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// Changes and values.
    pub points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (760, 420);

/// Draws a chart to an SVG file.
///
/// # Errors
/// When it has no point, or the file cannot be written.
pub fn draw(chart: &Chart, path: &Path) -> Result<(), String> {
    let points: Vec<(f64, f64)> = chart.lines.iter().flat_map(|line| line.points.clone()).collect();
    let bounds = |values: Vec<f64>| -> Option<(f64, f64)> {
        let least = values.iter().copied().reduce(f64::min)?;
        Some((least, values.iter().copied().reduce(f64::max)?))
    };
    let (Some((left, right)), Some((low, high))) =
        (bounds(points.iter().map(|p| p.0).collect()), bounds(points.iter().map(|p| p.1).collect()))
    else {
        return Err(format!("{}: nothing to draw", chart.name));
    };
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    let failed = |error: String| format!("{}: {error}", path.display());
    root.fill(&WHITE).map_err(|error| failed(error.to_string()))?;
    let mut builder = ChartBuilder::on(&root);
    builder.caption(&chart.title, ("sans-serif", 18)).margin(14).x_label_area_size(40).y_label_area_size(70);
    let x = (left * 0.9..right * 1.15).log_scale();
    let count = |x: &f64| if *x >= 1e6 { format!("{} M", x / 1e6) } else { format!("{} k", (x / 1e3).round()) };
    macro_rules! lines {
        ($drawn:expr) => {{
            let mut drawn = $drawn.map_err(|error| failed(error.to_string()))?;
            drawn
                .configure_mesh()
                .x_desc("changes")
                .x_label_formatter(&count)
                .light_line_style(BLACK.mix(0.05))
                .draw()
                .map_err(|error| failed(error.to_string()))?;
            for (number, line) in chart.lines.iter().enumerate() {
                let style = Palette99::pick(number).stroke_width(2);
                let series = LineSeries::new(line.points.iter().copied(), style).point_size(3);
                drawn
                    .draw_series(series)
                    .map_err(|error| failed(error.to_string()))?
                    .label(&line.name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
            }
            drawn
                .configure_series_labels()
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK.mix(0.3))
                .position(SeriesLabelPosition::UpperLeft)
                .draw()
                .map_err(|error| failed(error.to_string()))?;
        }};
    }
    if chart.log_y && low > 0.0 {
        lines!(builder.build_cartesian_2d(x, (low * 0.8..high * 1.25).log_scale()));
    } else {
        lines!(builder.build_cartesian_2d(x, 0.0..high * 1.2));
    }
    root.present().map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_becomes_an_svg_with_its_title_and_its_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chart.svg");
        let line = Line { name: "ours".to_owned(), points: vec![(1e4, 0.1), (1e5, 1.2), (1e6, 11.0)] };
        for log_y in [true, false] {
            let chart = Chart { name: "chart", title: "Seconds".to_owned(), lines: vec![line.clone()], log_y };
            draw(&chart, &path).unwrap();
            let svg = std::fs::read_to_string(&path).unwrap();
            assert!(svg.contains("Seconds") && svg.contains("ours") && svg.contains("polyline"), "{svg}");
        }
        let empty = Chart { name: "chart", title: String::new(), lines: Vec::new(), log_y: true };
        assert!(draw(&empty, &path).is_err());
    }
}
