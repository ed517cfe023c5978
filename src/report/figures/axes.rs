//! Axes with sensible ticks, panels, legends and headings.

use plotters::style::RGBColor;

use super::canvas::{Align, Canvas, Dash, Mark, Stroke, TEXT, Type, WIDTH};
use super::palette::{self, Look};

/// An axis, linear unless it is made by [`Axis::logarithmic`].
#[derive(Clone, PartialEq, Debug)]
pub struct Axis {
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// The distance of its ticks; none where the axis is logarithmic.
    step: Option<f64>,
}

/// Where a logarithmic axis has its ticks in each decade.
const LOG_TICKS: [f64; 3] = [1.0, 2.0, 5.0];

impl Axis {
    /// From 0 to the first tick at or above `to`, with at most `ticks` ticks above 0.
    pub fn from_zero(to: f64, ticks: usize) -> Axis {
        let mut axis = Axis::exact(0.0, to, ticks);
        if let Some(step) = axis.step {
            axis.to = (axis.to / step - 1e-9).ceil() * step;
        }
        axis
    }

    /// Logarithmic, from the last tick at or below `from`, which is above 0, to the first at or above `to`.
    pub fn logarithmic(from: f64, to: f64) -> Axis {
        let ticks = || log_ticks(from, to);
        let below = ticks().filter(|tick| *tick <= from * (1.0 + 1e-9)).fold(0.0, f64::max);
        let above = ticks().filter(|tick| *tick >= to * (1.0 - 1e-9) && *tick > below);
        Axis { from: below, to: above.fold(f64::INFINITY, f64::min), step: None }
    }

    /// Where a value lies: 0 at the axis's beginning, 1 at its end.
    pub fn part(&self, value: f64) -> f64 {
        match self.step {
            Some(_) => (value - self.from) / (self.to - self.from),
            None => (value / self.from).ln() / (self.to / self.from).ln(),
        }
    }

    /// From `from` to `to`, with at most `ticks` intervals between ticks.
    pub fn exact(from: f64, to: f64, ticks: usize) -> Axis {
        // an axis of nothing, or of no width, still needs a scale
        let to = if to > from && to.is_finite() { to } else { from + 1.0 };
        let least = (to - from) / ticks as f64;
        let decade = 10_f64.powf(least.log10().floor());
        let fits = |step: &f64| *step >= least * (1.0 - 1e-9);
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * decade).into_iter().find(fits);
        Axis { from, to, step: Some(step.unwrap_or(10.0 * decade)) }
    }

    /// Where its ticks are.
    pub fn ticks(&self) -> impl Iterator<Item = f64> {
        let ticks: Vec<f64> = if let Some(step) = self.step {
            let first = (self.from / step - 1e-9).ceil() as i64;
            let last = (self.to / step + 1e-9).floor() as i64;
            (first..=last).map(|i| i as f64 * step).collect()
        } else {
            let shown = |tick: &f64| (-1e-9..=1.0 + 1e-9).contains(&self.part(*tick));
            log_ticks(self.from, self.to).filter(shown).collect()
        };
        ticks.into_iter()
    }

    /// A tick's label: as many decimals as the step needs, thousands apart.
    pub fn label(&self, tick: f64) -> String {
        let step = self.step.unwrap_or(tick);
        let whole = |decimals: &usize| {
            let scaled = step * 10_f64.powi(*decimals as i32);
            (scaled - scaled.round()).abs() < 1e-6 * scaled
        };
        let decimals = (0..9).find(whole).unwrap_or(9);
        grouped(&format!("{tick:.decimals$}")).replace('-', "−")
    }
}

/// Ticks from below `from` to above `to`, both above 0.
fn log_ticks(from: f64, to: f64) -> impl Iterator<Item = f64> {
    let decades = from.log10().floor() as i32..=to.log10().floor() as i32 + 1;
    decades.flat_map(|decade| LOG_TICKS.map(|tick| tick * 10_f64.powi(decade)))
}

/// `12345.5` as `12,345.5`.
pub fn grouped(number: &str) -> String {
    let (sign, rest) = number.strip_prefix('-').map_or(("", number), |rest| ("-", rest));
    let (whole, fraction) = rest.find('.').map_or((rest, ""), |dot| rest.split_at(dot));
    let mut out = String::from(sign);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

/// The area in which data are drawn.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Its left edge in px.
    pub left: f64,
    /// Its upper edge in px.
    pub top: f64,
    /// Its width in px.
    pub width: f64,
    /// Its height in px.
    pub height: f64,
    /// Left to right.
    pub x: Axis,
    /// Bottom to top.
    pub y: Axis,
}

impl Panel {
    /// The place of a value, in px.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (self.x_at(x), self.y_at(y))
    }

    /// The place of an x, in px.
    pub fn x_at(&self, x: f64) -> f64 {
        self.left + self.x.part(x) * self.width
    }

    /// The place of a y, in px.
    pub fn y_at(&self, y: f64) -> f64 {
        self.top + self.height - self.y.part(y) * self.height
    }

    /// The right edge in px.
    pub fn right(&self) -> f64 {
        self.left + self.width
    }

    /// The lower edge in px.
    pub fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// Horizontal grid lines, their labels and the axis's name.
    pub fn draw_y(&self, canvas: &mut Canvas<'_>, name: &str) {
        self.draw_grid(canvas);
        let middle = self.top + self.height / 2.0;
        canvas.upwards((MARGIN + 3.0, middle), name, Type::normal(Align::Center));
    }

    /// Horizontal grid lines and their labels.
    pub fn draw_grid(&self, canvas: &mut Canvas<'_>) {
        for tick in self.y.ticks() {
            let y = self.y_at(tick);
            canvas.line(&[(self.left, y), (self.right(), y)], Stroke::solid(palette::GRID, 0.75));
            let label = self.y.label(tick);
            canvas.text((self.left - 6.0, y), &label, Type::normal(Align::Right));
        }
    }

    /// Ticks below; with a `name`, their labels and the axis's name too.
    pub fn draw_x(&self, canvas: &mut Canvas<'_>, name: Option<&str>) {
        self.draw_ticks(canvas);
        if let Some(name) = name {
            self.draw_labels(canvas, f64::INFINITY);
            self.name_x(canvas, name);
        }
    }

    /// Ticks below.
    pub fn draw_ticks(&self, canvas: &mut Canvas<'_>) {
        for tick in self.x.ticks() {
            let x = self.x_at(tick);
            let tick_mark = [(x, self.bottom()), (x, self.bottom() + 4.0)];
            canvas.line(&tick_mark, Stroke::solid(palette::INK, 1.0));
        }
    }

    /// The labels of the ticks, but for those that stand out of the panel by more than so many px.
    pub fn draw_labels(&self, canvas: &mut Canvas<'_>, overhang: f64) {
        let set = Type::normal(Align::Center);
        for tick in self.x.ticks() {
            let (x, label) = (self.x_at(tick), self.x.label(tick));
            let half = set.width_of(&label) / 2.0;
            if x - half >= self.left - overhang && x + half <= self.right() + overhang {
                canvas.text((x, self.bottom() + 13.0), &label, set);
            }
        }
    }

    /// The axis's name, below the labels.
    pub fn name_x(&self, canvas: &mut Canvas<'_>, name: &str) {
        let at = (self.left + self.width / 2.0, self.bottom() + 29.0);
        canvas.text(at, name, Type::normal(Align::Center));
    }

    /// The lower edge; drawn after the data, so that it lies over their ends.
    pub fn draw_floor(&self, canvas: &mut Canvas<'_>) {
        let y = self.bottom();
        canvas.line(&[(self.left, y), (self.right(), y)], Stroke::solid(palette::INK, 1.0));
    }

    /// A line of the data, cut at the panel's upper and right edge, thinned to what can be seen.
    pub fn curve(&self, canvas: &mut Canvas<'_>, data: &[(f64, f64)], stroke: Stroke) {
        let place = |(x, y): &(f64, f64)| self.at(x.min(self.x.to), y.min(self.y.to));
        let points: Vec<_> = data.iter().map(place).collect();
        canvas.line(&thinned(&points), stroke);
    }
}

/// Keeps the first, lowest, highest and last point of each third of a px: the line looks the same.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let column = |p: &(f64, f64)| (p.0 * 3.0).floor() as i64;
    let mut kept = Vec::new();
    for group in points.chunk_by(|a, b| column(a) == column(b)) {
        let by_y = |a: &usize, b: &usize| group[*a].1.total_cmp(&group[*b].1);
        let least = (0..group.len()).min_by(by_y).unwrap_or(0);
        let most = (0..group.len()).max_by(by_y).unwrap_or(0);
        let mut wanted = [0, least, most, group.len() - 1];
        wanted.sort_unstable();
        for (i, index) in wanted.iter().enumerate() {
            if i == 0 || wanted[i - 1] != *index {
                kept.push(group[*index]);
            }
        }
    }
    kept
}

/// What a legend shows before a name.
#[derive(Clone, Copy, Debug)]
pub enum Key {
    /// A line with its mark.
    Series(Look),
    /// A line without a mark.
    Line(Stroke),
    /// A filled square.
    Swatch(RGBColor),
    /// A square that is only a frame.
    Hollow(RGBColor, Dash),
    /// A vertical line with a cap.
    Whisker,
    /// A bar across a column.
    BoundBar,
    /// A short thick line that stands on an axis.
    BoundTick,
}

impl Key {
    /// How much room it takes, in px.
    fn width(self) -> f64 {
        match self {
            Key::Series(_) | Key::Line(_) => 26.0,
            Key::BoundBar => 20.0,
            Key::Swatch(_) | Key::Hollow(..) => 16.0,
            Key::Whisker => 7.0,
            Key::BoundTick => 3.0,
        }
    }
}

/// Between a key and its name, and between entries.
const KEY_GAP: f64 = 6.0;
const ENTRY_GAP: f64 = 18.0;
const LEGEND_ROW: f64 = 17.0;

/// A legend across the page, in as many rows as it needs.
#[derive(Clone, Debug)]
pub struct Legend {
    rows: Vec<Vec<(Key, String, f64)>>,
}

impl Legend {
    /// Lays the entries out in rows.
    pub fn new(entries: impl IntoIterator<Item = (Key, String)>) -> Legend {
        let (mut rows, mut used) = (vec![Vec::new()], 0.0);
        for (key, name) in entries {
            let set = Type::normal(Align::Left);
            let name = set.fitted(&name, ROOM - key.width() - KEY_GAP);
            let width = key.width() + KEY_GAP + set.width_of(&name) + ENTRY_GAP;
            if used > 0.0 && used + width - ENTRY_GAP > ROOM {
                rows.push(Vec::new());
                used = 0.0;
            }
            used += width;
            rows.last_mut().expect("there is a first").push((key, name, width));
        }
        Legend { rows }
    }

    /// Its height in px.
    pub fn height(&self) -> f64 {
        self.rows.len() as f64 * LEGEND_ROW + 6.0
    }

    /// Draws it with its upper edge at `top`.
    pub fn draw(&self, canvas: &mut Canvas<'_>, top: f64) {
        for (row, entries) in self.rows.iter().enumerate() {
            let (mut x, y) = (MARGIN, top + (row as f64 + 0.5) * LEGEND_ROW);
            for (key, name, width) in entries {
                draw_key(canvas, *key, (x, y));
                canvas.text((x + key.width() + KEY_GAP, y), name, Type::normal(Align::Left));
                x += width;
            }
        }
    }
}

fn draw_key(canvas: &mut Canvas<'_>, key: Key, (x, y): (f64, f64)) {
    let (middle, end) = (x + key.width() / 2.0, x + key.width());
    match key {
        Key::Series(look) => {
            let stroke = Stroke { color: look.color, width: 1.75, alpha: 1.0, dash: look.dash };
            canvas.line(&[(x, y), (end, y)], stroke);
            canvas.mark((middle, y), look.mark, 7.0, look.color);
        }
        Key::Line(stroke) => canvas.line(&[(x, y), (end, y)], stroke),
        Key::Swatch(color) => canvas.rectangle((x, y - 6.0), (end, y + 6.0), color),
        Key::Hollow(color, dash) => hollow(canvas, (x, y - 6.0), (end, y + 6.0), color, dash),
        Key::Whisker => whisker(canvas, middle, (y + 6.0, y - 6.0)),
        Key::BoundBar => bound_bar(canvas, (x, end), y),
        Key::BoundTick => bound_tick(canvas, (middle, y + 6.0), palette::INK),
    }
}

/// A frame, with a shade of its colour in it.
pub fn hollow(
    canvas: &mut Canvas<'_>,
    (x0, y0): (f64, f64),
    (x1, y1): (f64, f64),
    color: RGBColor,
    dash: Dash,
) {
    canvas.polygon(&[(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color, 0.15);
    let (x0, x1, y0) = (x0 + 0.75, x1 - 0.75, y0 + 0.75);
    let stroke = Stroke { color, width: 1.5, alpha: 1.0, dash };
    canvas.line(&[(x0, y1), (x0, y0), (x1, y0), (x1, y1), (x0, y1)], stroke);
}

/// A vertical line with a cap at its upper end.
pub fn whisker(canvas: &mut Canvas<'_>, x: f64, (from, to): (f64, f64)) {
    let stroke = Stroke::solid(palette::INK, 1.25);
    canvas.line(&[(x, from), (x, to)], stroke);
    canvas.line(&[(x - 3.5, to), (x + 3.5, to)], stroke);
}

/// The mark of a bound: a black bar.
pub fn bound_bar(canvas: &mut Canvas<'_>, (from, to): (f64, f64), y: f64) {
    canvas.line(&[(from, y), (to, y)], Stroke::solid(palette::INK, 2.0));
}

/// The mark of a bound on a horizontal axis.
pub fn bound_tick(canvas: &mut Canvas<'_>, (x, y): (f64, f64), color: RGBColor) {
    canvas.line(&[(x, y), (x, y - 12.0)], Stroke::solid(palette::PAPER, 5.0));
    canvas.line(&[(x, y), (x, y - 12.0)], Stroke::solid(color, 3.0));
}

/// The distance from the page's edges, in px.
pub const MARGIN: f64 = 12.0;

/// A figure's heading: its title, what it shows, and what speaks against it.
#[derive(Clone, Debug)]
pub struct Heading {
    /// What the figure is about.
    pub title: String,
    /// How to read it.
    pub subtitle: String,
    /// What speaks against the runs in it, one line each.
    pub warnings: Vec<String>,
    /// Numbers that the picture shows, for those who cannot see it.
    pub values: Vec<String>,
}

const WARNINGS_MAX: usize = 4;
const SUBTITLE: Type = Type::faint(Align::Left);
/// What a line may take, in px.
const ROOM: f64 = WIDTH - 2.0 * MARGIN;

impl Heading {
    /// The warnings that fit; the last one says how many do not.
    fn shown(&self) -> Vec<String> {
        let mut shown = self.warnings.clone();
        if shown.len() > WARNINGS_MAX {
            let more = shown.len() - (WARNINGS_MAX - 1);
            shown.truncate(WARNINGS_MAX - 1);
            shown.push(format!("and {more} more warnings: see the report"));
        }
        shown
    }

    /// The subtitle in as many lines as it needs.
    fn lines(&self) -> Vec<String> {
        SUBTITLE.wrapped(&self.subtitle, ROOM)
    }

    /// Its height in px.
    pub fn height(&self) -> f64 {
        let lines = self.lines().len() + self.shown().len();
        MARGIN + 20.0 + 16.0 * lines as f64 + 4.0
    }

    /// The heading in words, for those who cannot see it.
    pub fn words(&self) -> String {
        let warnings = self.warnings.iter().map(|warning| format!(" Warning: {warning}."));
        let values = self.values.iter().map(|value| format!(" {value}."));
        warnings.chain(values).fold(self.subtitle.clone(), |words, more| words + &more)
    }

    /// Draws it at the top of the page.
    pub fn draw(&self, canvas: &mut Canvas<'_>) {
        let mut y = MARGIN + 8.0;
        let title = Type::bold(14.0, palette::INK);
        canvas.text((MARGIN, y), &title.fitted(&self.title, ROOM), title);
        y += 3.0;
        for line in self.lines() {
            y += 16.0;
            canvas.text((MARGIN, y), &line, SUBTITLE);
        }
        let warning = Type::bold(TEXT, palette::WARNING);
        for text in self.shown() {
            y += 16.0;
            canvas.mark((MARGIN + 5.0, y), Mark::Triangle, 9.0, palette::WARNING);
            canvas.text((MARGIN + 15.0, y), &warning.fitted(&text, ROOM - 15.0), warning);
        }
    }
}

/// A dash for second lines of a series.
pub const SECOND: Dash = Dash(&[4.0, 2.5]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        for (to, last, labels) in [
            (219.9, 250.0, vec!["0", "50", "100", "150", "200", "250"]),
            (0.31, 0.4, vec!["0.0", "0.1", "0.2", "0.3", "0.4"]),
            (9.0, 10.0, vec!["0.0", "2.5", "5.0", "7.5", "10.0"]),
            (1000.0, 1000.0, vec!["0", "200", "400", "600", "800", "1,000"]),
        ] {
            let axis = Axis::from_zero(to, labels.len() - 1);
            assert!((axis.to - last).abs() < 1e-9, "{to}: {}", axis.to);
            assert_eq!(axis.ticks().map(|t| axis.label(t)).collect::<Vec<_>>(), labels);
        }
    }

    #[test]
    fn an_axis_of_nothing_has_a_scale() {
        for to in [0.0, f64::NAN, -1.0] {
            assert!(Axis::from_zero(to, 5).ticks().count() > 1);
        }
    }

    #[test]
    fn a_logarithmic_axis_spans_its_values_and_has_ticks_of_one_two_and_five() {
        for (from, to, labels) in [
            (71.0, 2252.0, vec!["50", "100", "200", "500", "1,000", "2,000", "5,000"]),
            (100.0, 1000.0, vec!["100", "200", "500", "1,000"]),
            (0.3, 4.0, vec!["0.2", "0.5", "1", "2", "5"]),
            (10.0, 10.0, vec!["10", "20"]),
        ] {
            let axis = Axis::logarithmic(from, to);
            assert_eq!(axis.ticks().map(|t| axis.label(t)).collect::<Vec<_>>(), labels);
            assert!(axis.part(axis.from).abs() < 1e-9 && (axis.part(axis.to) - 1.0).abs() < 1e-9);
            assert!(axis.part(from) >= -1e-9 && axis.part(to) <= 1.0 + 1e-9);
        }
        assert!((Axis::logarithmic(10.0, 1000.0).part(100.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn thinning_keeps_the_extremes() {
        let points: Vec<_> = (0..1000).map(|i| (f64::from(i) / 1000.0, f64::from(i % 7))).collect();
        let kept = thinned(&points);
        assert!(kept.len() <= 12, "{}", kept.len());
        assert!(kept.iter().any(|p| p.1 > 5.5) && kept.iter().any(|p| p.1 < 0.5));
        assert_eq!((kept.first(), kept.last()), (points.first(), points.last()));
    }

    #[test]
    fn more_warnings_than_fit_are_counted() {
        let warnings = (0..9).map(|i| format!("warning {i}")).collect();
        let (title, subtitle, values) = (String::new(), String::new(), Vec::new());
        let heading = Heading { title, subtitle, warnings, values };
        let shown = heading.shown();
        assert_eq!((shown.len(), shown[3].as_str()), (4, "and 6 more warnings: see the report"));
    }

    #[test]
    fn thousands_are_grouped() {
        let cases = [("1", "1"), ("1000", "1,000"), ("-12345.50", "-12,345.50"), ("999", "999")];
        for (plain, expected) in cases {
            assert_eq!(grouped(plain), expected);
        }
    }
}
