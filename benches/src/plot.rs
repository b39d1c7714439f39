//! A plot of cost against number, both on logarithmic scales.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 60.0;
const COLOURS: [&str; 8] = [
    "#555555", "#bbbbbb", "#0b6e4f", "#c1121f", "#e07a00", "#3c6e9f", "#7b2d8b", "#8c6d31",
];

/// What one of those compared cost.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// How many, and what all of them together cost.
    pub points: Vec<(f64, f64)>,
}

/// What a plot says.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    /// Above it.
    pub title: &'a str,
    /// What there are so many of.
    pub across: &'a str,
    /// What they cost, and in which unit.
    pub up: &'a str,
}

/// An SVG image of the lines; a straight line that rises by a decade for each decade is linear.
pub fn plot(words: Words<'_>, lines: &[Line]) -> String {
    let Words { title, .. } = words;
    let all = || lines.iter().flat_map(|line| line.points.iter().copied());
    let (left, right) = decades(all().map(|(x, _)| x));
    let (low, high) = decades(all().map(|(_, y)| y));
    let across = |x: f64| LEFT + (x.log10() - left) / (right - left) * (WIDTH - LEFT - RIGHT);
    let up = |y: f64| HEIGHT - BOTTOM - (y.log10() - low) / (high - low) * (HEIGHT - TOP - BOTTOM);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{title}</text>\n"
    );
    let mut draw = |element: String| {
        svg.push_str(&element);
        svg.push('\n');
    };
    for decade in steps(left, right) {
        let x = across(10_f64.powf(decade));
        let (top, bottom) = (TOP, HEIGHT - BOTTOM);
        draw(format!(
            "<path d=\"M{x:.1} {top}V{bottom}\" stroke=\"#dddddd\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 20.0,
            10_f64.powf(decade)
        ));
    }
    for decade in steps(low, high) {
        let y = up(10_f64.powf(decade));
        draw(format!(
            "<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke=\"#dddddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0,
            10_f64.powf(decade)
        ));
    }
    draw(format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 16.0,
        words.across
    ));
    draw(format!(
        "<text transform=\"translate(22 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        f64::midpoint(TOP, HEIGHT - BOTTOM),
        words.up
    ));
    let mut row = TOP + 16.0;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let mut path = String::new();
        for (at, (x, y)) in line.points.iter().enumerate() {
            let verb = if at == 0 { 'M' } else { 'L' };
            write!(path, "{verb}{:.1} {:.1}", across(*x), up(*y)).expect("into memory");
            draw(format!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                across(*x),
                up(*y)
            ));
        }
        draw(format!(
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        ));
        let (x, y) = (WIDTH - RIGHT + 12.0, row);
        row += 20.0;
        draw(format!(
            "<path d=\"M{x:.1} {:.1}h18\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
            y - 4.0,
            x + 24.0,
            line.name
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

/// The whole decades around the values, at least one.
fn decades(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if !low.is_finite() || low <= 0.0 {
        return (0.0, 1.0);
    }
    let low = low.log10().floor();
    (low, high.log10().ceil().max(low + 1.0))
}

fn steps(from: f64, to: f64) -> impl Iterator<Item = f64> {
    std::iter::successors(Some(from), |at| Some(at + 1.0)).take_while(move |at| *at <= to)
}

#[cfg(test)]
mod tests {
    use super::{Line, Words, plot};

    #[test]
    fn what_is_linear_is_straight() {
        let line = Line {
            name: "one".to_owned(),
            points: vec![(100.0, 400.0), (1000.0, 4000.0), (10_000.0, 40_000.0)],
        };
        let words = Words {
            title: "cost",
            across: "many",
            up: "much",
        };
        let svg = plot(words, &[line]);
        let circles: Vec<(f64, f64)> = svg
            .lines()
            .filter_map(|line| line.strip_prefix("<circle cx=\""))
            .map(|line| {
                let mut numbers = line.split('"').filter_map(|word| word.parse().ok());
                (numbers.next().unwrap(), numbers.next().unwrap())
            })
            .collect();
        let [(x0, y0), (x1, y1), (x2, y2)] = circles[..] else {
            panic!("three points: {svg}");
        };
        assert!((x1 - x0 - (x2 - x1)).abs() < 0.2, "{circles:?}");
        assert!((y1 - y0 - (y2 - y1)).abs() < 0.2 && y1 < y0, "{circles:?}");
    }
}
