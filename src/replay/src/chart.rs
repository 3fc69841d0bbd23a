//! The results as SVG: the frontier, and the course of each contender's usual run.

use crate::report::Series;
use crate::service::Shape;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const COLOURS: [&str; 6] = ["#c0392b", "#2471a3", "#7d8b99", "#b9770e", "#6c3483", "#117a65"];

/// A rectangle and the values at its edges.
struct Frame {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let part = |v: f64, (a, b): (f64, f64)| if b > a { ((v - a) / (b - a)).clamp(0.0, 1.0) } else { 0.0 };
        (self.left + self.width * part(x, self.x), self.top + self.height * (1.0 - part(y, self.y)))
    }

    fn axes(&self, svg: &mut String, title: &str, x: &str, y: &str) {
        let Self { left, top, width, height, .. } = self;
        let _ = writeln!(
            svg,
            "<rect x='{left}' y='{top}' width='{width}' height='{height}' fill='none' stroke='#bbb'/>"
        );
        let _ = writeln!(svg, "<text x='{left}' y='{}' font-size='15'>{}</text>", top - 10.0, escape(title));
        let bottom = top + height;
        let _ = writeln!(
            svg,
            "<text x='{}' y='{}' text-anchor='end'>{}</text>",
            left + width,
            bottom + 32.0,
            escape(x)
        );
        let _ = writeln!(
            svg,
            "<text x='{}' y='{}' text-anchor='end'>{}</text>",
            left + width,
            top - 10.0,
            escape(y)
        );
        for n in 0..=4 {
            let part = f64::from(n) / 4.0;
            let value = |(a, b): (f64, f64)| short(a + (b - a) * part);
            let _ = writeln!(
                svg,
                "<text x='{}' y='{}' text-anchor='middle'>{}</text>",
                left + width * part,
                bottom + 16.0,
                value(self.x)
            );
            let _ = writeln!(
                svg,
                "<text x='{}' y='{}' text-anchor='end'>{}</text>",
                left - 6.0,
                bottom - height * part + 4.0,
                value(self.y)
            );
        }
    }

    fn line(&self, svg: &mut String, points: &[(f64, f64)], colour: &str, width: f64) {
        let path: Vec<String> = points
            .iter()
            .map(|(x, y)| {
                let (x, y) = self.at(*x, *y);
                format!("{x:.1},{y:.1}")
            })
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points='{}' fill='none' stroke='{colour}' stroke-width='{width}'/>",
            path.join(" ")
        );
    }
}

/// The drawing. `usual` says which run of each series stands for it.
pub fn draw(title: &str, all: &[Series], usual: &[usize], shape: Shape) -> String {
    let courses = all.len() as f64;
    let height = 380.0 + courses * 170.0;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' font-family='sans-serif' font-size='12'>\n\
         <rect width='{WIDTH}' height='{height}' fill='white'/>\n\
         <text x='60' y='24' font-size='17'>{}</text>\n",
        escape(title)
    );
    frontier(&mut svg, all);
    for (n, (series, usual)) in all.iter().zip(usual).enumerate() {
        let Some((setting, score)) = series.runs.get(*usual) else { continue };
        let most = score
            .course
            .iter()
            .map(|(_, load, _, wanted)| (load / shape.rate).max(f64::from(*wanted)))
            .fold(1.0, f64::max);
        let end = score.course.last().map_or(1.0, |(s, ..)| *s as f64);
        let frame = Frame {
            left: 60.0,
            top: 390.0 + n as f64 * 170.0,
            width: 860.0,
            height: 105.0,
            x: (0.0, end),
            y: (0.0, most),
        };
        let name = format!(
            "{} at {setting:.2}: {:.3} % lost, {:.2} x ideal",
            series.name,
            score.lost_percent(),
            score.cost()
        );
        frame.axes(&mut svg, &name, "seconds", "replicas; grey: replicas the load needs");
        let needed: Vec<_> =
            score.course.iter().map(|(s, load, ..)| (*s as f64, load / shape.rate)).collect();
        frame.line(&mut svg, &needed, "#999", 1.0);
        let ready: Vec<_> =
            score.course.iter().map(|(s, _, ready, _)| (*s as f64, f64::from(*ready))).collect();
        frame.line(&mut svg, &ready, COLOURS[n % COLOURS.len()], 1.4);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Loss against cost, a line for each contender.
fn frontier(svg: &mut String, all: &[Series]) {
    let runs = || all.iter().flat_map(|series| series.runs.iter().map(|(_, score)| score));
    let most = |of: fn(&crate::run::Score) -> f64| runs().map(of).fold(0.0, f64::max);
    let least = runs().map(|score| score.cost()).fold(f64::INFINITY, f64::min).min(1.0);
    let frame = Frame {
        left: 60.0,
        top: 60.0,
        width: 640.0,
        height: 260.0,
        x: (least, most(crate::run::Score::cost)),
        y: (0.0, most(crate::run::Score::lost_percent).max(1e-3)),
    };
    frame.axes(svg, "Frontier: nearer to the lower left is better", "replica-seconds, x ideal", "lost %");
    for (n, series) in all.iter().enumerate() {
        let colour = COLOURS[n % COLOURS.len()];
        let mut points: Vec<_> =
            series.runs.iter().map(|(_, score)| (score.cost(), score.lost_percent())).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        frame.line(svg, &points, colour, 1.4);
        for (x, y) in points {
            let (x, y) = frame.at(x, y);
            let _ = writeln!(svg, "<circle cx='{x:.1}' cy='{y:.1}' r='3' fill='{colour}'/>");
        }
        let y = 80.0 + n as f64 * 20.0;
        let _ = writeln!(svg, "<rect x='730' y='{}' width='12' height='12' fill='{colour}'/>", y - 10.0);
        let _ = writeln!(svg, "<text x='750' y='{y}'>{}</text>", escape(series.name));
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
