//! What was measured at each site, what the network allows, and what others published: bars side by side.

use plotters::style::RGBColor;

use super::super::cells::Cell;
use super::super::published::{Source, capital, ms_of, plain};
use super::axes::{Axis, Key, Legend, MARGIN, Panel, bound_bar, grouped, hollow};
use super::canvas::{Align, Canvas, Dash, Stroke, Type, WIDTH};
use super::latency::{paint_names, sites};
use super::{Figure, at_point, figure, heading, palette};
use crate::experiment::file::PublishedLatency;

const PLOT_HEIGHT: f64 = 230.0;
/// The width of a bar at most, in px.
const BAR_MAX: f64 = 48.0;
/// The rim of a bound's mark inside a bar.
const RIM: f64 = 4.0;

/// A bar at every site.
struct Series<'a> {
    name: String,
    color: RGBColor,
    dash: Dash,
    from: From<'a>,
}

/// Where a bar's height comes from.
enum From<'a> {
    Measured(&'a Cell<'a>),
    /// Of this mode, if of any, and this system.
    Published(Option<&'a str>, Option<&'a str>),
}

/// Bars of all modes, each followed by what was published beside it; then what stands beside none.
pub(super) fn draw(
    number: usize,
    source: &Source<'_>,
    cells: &[&Cell<'_>],
) -> Result<Figure, String> {
    let first = cells.first().ok_or("there is no run to draw")?;
    let name = source.statistic.name();
    let subtitle = format!("Published: {}. Numbers: the {name} in ms.", source.published.source);
    let what = capital(&source.published.what);
    let named = what.to_lowercase().contains(name);
    let statistic = if named { String::new() } else { format!(", {name}") };
    let title = format!("{what}{statistic}{}", at_point(first));
    let series = all_series(source, cells);
    let sites = sites(cells);
    let mut heading = heading(cells, title, &subtitle);
    let words = |site: &&str| {
        let of = |one: &Series<'_>| Some(format!("{} {}", one.name, one.number(source, site)?));
        let bars = series.iter().filter_map(of);
        format!("{site}: {}", bars.collect::<Vec<_>>().join(", "))
    };
    heading.values = sites.iter().map(words).collect();
    let key = |one: &Series<'_>| (one.key(), one.name.clone());
    let bound = (Key::BoundBar, "predicted: the bound".to_owned());
    let legend = Legend::new(series.iter().map(key).chain([bound]));
    let height = legend.height() + 12.0 + PLOT_HEIGHT + 36.0;
    let file =
        if number == 0 { "published".to_owned() } else { format!("published-{}", number + 1) };
    figure(file, &heading, height, |canvas, top| {
        legend.draw(canvas, top);
        paint(canvas, source, &series, &sites, top + legend.height() + 12.0);
    })
}

fn all_series<'a>(source: &Source<'a>, cells: &[&'a Cell<'a>]) -> Vec<Series<'a>> {
    let mut found = Vec::new();
    for (index, cell) in cells.iter().enumerate() {
        let (color, from) = (palette::look(index).color, From::Measured(cell));
        let name = format!("{}, {}", cell.label, cell.how());
        found.push(Series { name, color, dash: palette::look(0).dash, from });
        for (n, system) in systems(source, Some(cell.label)).into_iter().enumerate() {
            let named = system.map_or_else(|| cell.label.to_owned(), str::to_owned);
            let (name, dash) = (format!("{named}, published"), palette::look(n).dash);
            found.push(Series {
                name,
                color,
                dash,
                from: From::Published(Some(cell.label), system),
            });
        }
    }
    for (n, system) in systems(source, None).into_iter().enumerate() {
        let name = format!("{}, published", system.unwrap_or_default());
        let look = palette::look(cells.len() + n);
        let (dash, from) = (palette::look(0).dash, From::Published(None, system));
        found.push(Series { name, color: look.color, dash, from });
    }
    found
}

/// The systems beside a mode, or beside none, each once.
fn systems<'a>(source: &Source<'a>, mode: Option<&str>) -> Vec<Option<&'a str>> {
    let mut found = Vec::new();
    for value in source.values.iter().filter(|value| value.mode.as_deref() == mode) {
        let system = value.system.as_deref();
        if !found.contains(&system) {
            found.push(system);
        }
    }
    found
}

impl Series<'_> {
    fn key(&self) -> Key {
        match self.from {
            From::Measured(_) => Key::Swatch(self.color),
            From::Published(..) => Key::Hollow(self.color, self.dash),
        }
    }

    fn height_ms(&self, source: &Source<'_>, site: &str) -> Option<f64> {
        match self.from {
            From::Measured(cell) => {
                let here = cell.sites.iter().find(|it| it.site == site)?;
                here.latency().map(|latency| source.of_latency(&latency))
            }
            From::Published(..) => self.published(source, site).map(ms_of),
        }
    }

    fn published<'s>(&self, source: &Source<'s>, site: &str) -> Option<&'s PublishedLatency> {
        let From::Published(mode, system) = self.from else { return None };
        source.at(mode, site).find(|value| value.system.as_deref() == system)
    }

    /// The number above a bar; a published one has the digits that were published.
    fn number(&self, source: &Source<'_>, site: &str) -> Option<String> {
        match self.from {
            From::Measured(_) => self.height_ms(source, site).map(label),
            From::Published(..) => self.published(source, site).map(plain),
        }
    }

    fn bound_ms(&self, site: &str) -> Option<f64> {
        let From::Measured(cell) = self.from else { return None };
        cell.sites.iter().find(|it| it.site == site)?.bound_ms()
    }
}

/// A measured number above a bar.
fn label(ms: f64) -> String {
    let decimals = usize::from(ms < 99.95);
    grouped(&format!("{ms:.decimals$}"))
}

fn paint(
    canvas: &mut Canvas<'_>,
    source: &Source<'_>,
    series: &[Series<'_>],
    sites: &[&str],
    top: f64,
) {
    let pairs = || sites.iter().flat_map(|site| series.iter().map(move |one| (one, *site)));
    let heights = pairs().filter_map(|(one, site)| one.height_ms(source, site));
    let bounds = pairs().filter_map(|(one, site)| one.bound_ms(site));
    let left = MARGIN + 46.0;
    let panel = Panel {
        left,
        top,
        width: WIDTH - left - MARGIN,
        height: PLOT_HEIGHT,
        x: Axis::exact(0.0, sites.len() as f64, 10),
        y: Axis::from_zero(heights.chain(bounds).fold(0.0, f64::max), 6),
    };
    panel.draw_y(canvas, "latency (ms)");
    let slot = panel.width / sites.len() as f64;
    let bar = (slot * 0.86 / series.len() as f64).min(BAR_MAX);
    for (i, site) in sites.iter().enumerate() {
        let start = panel.x_at(i as f64 + 0.5) - bar * series.len() as f64 / 2.0;
        for (j, one) in series.iter().enumerate() {
            let from = start + bar * j as f64;
            paint_bar(canvas, &panel, (one, source, site), (from + 0.08 * bar, from + 0.92 * bar));
        }
    }
    paint_names(canvas, &panel, sites);
    panel.draw_floor(canvas);
}

fn paint_bar(
    canvas: &mut Canvas<'_>,
    panel: &Panel,
    (series, source, site): (&Series<'_>, &Source<'_>, &str),
    (from, to): (f64, f64),
) {
    let height_ms = series.height_ms(source, site);
    let top = height_ms.map_or(panel.bottom(), |ms| panel.y_at(ms));
    match series.from {
        From::Measured(_) => canvas.rectangle((from, top), (to, panel.bottom()), series.color),
        From::Published(..) if height_ms.is_some() => {
            hollow(canvas, (from, top), (to, panel.bottom()), series.color, series.dash);
        }
        From::Published(..) => {}
    }
    let mut highest = top;
    if let Some(bound) = series.bound_ms(site) {
        let y = panel.y_at(bound);
        if y > top + RIM {
            canvas.line(&[(from, y), (to, y)], Stroke::solid(palette::PAPER, RIM));
        }
        bound_bar(canvas, (from - 1.5, to + 1.5), y);
        highest = highest.min(y);
    }
    let set = Type { size: 9.0, ..Type::normal(Align::Center) };
    let text = series.number(source, site).unwrap_or_default();
    if set.width_of(&text) <= (to - from) * 1.15 {
        canvas.text((f64::midpoint(from, to), highest - 7.0), &text, set);
    }
}
