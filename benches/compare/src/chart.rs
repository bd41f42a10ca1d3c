//! The ratios as a picture: a bar for each line that has one, on a scale where twice as much is one
//! step; LMDB is the line at 1.

use crate::report::Line;
use plotters::{
    coord::Shift,
    prelude::{
        Color, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea, IntoFont, PathElement, RGBColor,
        Rectangle, SVGBackend, Text, WHITE,
    },
};
use std::{fmt, io};

const WIDTH: i32 = 1200;
const ROW: i32 = 16;
/// Where bars begin that are as long as can be to the left, and where those to the right end.
const LEFT: i32 = 330;
const RIGHT: i32 = 1100;
/// The least and the greatest ratio that is drawn to scale, as powers of two.
const LEAST: f64 = -4.0;
const MOST: f64 = 6.0;

const DARK: RGBColor = RGBColor(40, 40, 40);
const PALE: RGBColor = RGBColor(210, 210, 210);
/// Told apart also by those who do not see all colours (Okabe and Ito, 2008).
const COLOURS: [(&str, RGBColor); 7] = [
    ("recto", RGBColor(0, 114, 178)),
    ("lmdb", RGBColor(120, 120, 120)),
    ("redb", RGBColor(213, 94, 0)),
    ("fjall", RGBColor(0, 158, 115)),
    ("canopydb", RGBColor(204, 121, 167)),
    ("rocksdb", RGBColor(230, 159, 0)),
    ("sqlite", RGBColor(86, 180, 233)),
];

type Area<'p> = DrawingArea<SVGBackend<'p>, Shift>;
type Drawn<E> = Result<(), DrawingAreaErrorKind<E>>;

/// The picture of all lines that have a ratio, as SVG.
pub fn draw(about: &str, lines: &[Line]) -> io::Result<String> {
    let bars: Vec<&Line> = lines.iter().filter(|line| line.ratio.is_some()).collect();
    let groups: Vec<&[&Line]> = bars.chunk_by(|a, b| a.title == b.title).collect();
    let about: Vec<&str> = about.lines().collect();
    let rows = about.len() + 2 + groups.iter().map(|group| group.len() + 3).sum::<usize>();
    let mut picture = String::new();
    let drawn = {
        let size = (WIDTH as u32, (rows as i32 * ROW) as u32);
        let area = SVGBackend::with_string(&mut picture, size).into_drawing_area();
        draw_all(&area, &about, &groups)
    };
    drawn.map_err(|e| io::Error::other(e.to_string()))?;
    Ok(picture)
}

fn draw_all<E>(area: &Area<'_>, about: &[&str], groups: &[&[&Line]]) -> Drawn<E>
where
    E: fmt::Debug + fmt::Display + std::error::Error + Send + Sync,
    for<'p> SVGBackend<'p>: plotters::backend::DrawingBackend<ErrorType = E>,
{
    area.fill(&WHITE)?;
    let write = |x: i32, y: i32, size: i32, text: &str| {
        let style = ("sans-serif", size).into_font().color(&DARK);
        area.draw(&Text::new(text.to_owned(), (x, y), style))
    };
    let mut y = ROW / 2;
    for line in about {
        write(10, y, 14, line)?;
        y += ROW;
    }
    for group in groups {
        write(10, y + 2, 17, &group[0].title)?;
        write(10, y + ROW + 2, 13, &group[0].terms)?;
        y += ROW * 2 + 4;
        let steps = (LEAST as i32..=MOST as i32).map(|step| at(f64::from(step).exp2()));
        for x in steps {
            let path = [(x, y - 2), (x, y + ROW * group.len() as i32)];
            area.draw(&PathElement::new(path.to_vec(), PALE))?;
        }
        for line in *group {
            let ratio = line.ratio.unwrap_or(1.0);
            let (one, end) = (at(1.0), at(ratio));
            let corners = [(one.min(end), y), (one.max(end).max(one + 1), y + ROW - 5)];
            let short: String = line.who.chars().take(48).collect();
            write(20, y, 14, &short)?;
            area.draw(&Rectangle::new(corners, colour(&line.who).filled()))?;
            write(one.max(end) + 6, y, 14, &format!("{ratio:.2}x"))?;
            y += ROW;
        }
        y += ROW - 4;
    }
    area.present()
}

/// Where a ratio lies.
fn at(ratio: f64) -> i32 {
    let step = ratio.log2().clamp(LEAST, MOST);
    LEFT + ((step - LEAST) / (MOST - LEAST) * f64::from(RIGHT - LEFT)) as i32
}

fn colour(who: &str) -> RGBColor {
    COLOURS.iter().find(|(name, _)| who.starts_with(name)).map_or(DARK, |(_, colour)| *colour)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ratio_has_its_bar() {
        let line = |who: &str, ratio| Line {
            title: "gets & more".into(),
            terms: "one thread".into(),
            who: who.into(),
            figure: String::new(),
            cpu: String::new(),
            written: String::new(),
            ratio,
        };
        let lines = [
            line("recto", Some(1e9)),
            line("lmdb", Some(1.0)),
            line("redb", Some(0.0)),
            line("fjall", None),
        ];
        let picture = draw("about\nthis", &lines).unwrap();
        assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
        for text in ["recto", "redb", "1.00x", "0.00x", "about", "gets &amp; more", "one thread"] {
            assert!(picture.contains(text), "{text}");
        }
        assert!(!picture.contains("fjall"));
        assert_eq!((at(0.0), at(1e9)), (LEFT, RIGHT));
    }
}
