//! What was measured and what was predicted: both distributions at each site, one figure per mode.

use super::super::cells::{Cell, CellSite};
use super::axes::{Axis, Heading, Key, Legend, MARGIN, Panel, SECOND, bound_tick};
use super::canvas::{Align, Canvas, Stroke, TEXT, Type, WIDTH};
use super::cdf::{draw_grid, steps};
use super::latency::sites;
use super::{Figure, at_point, figure, palette, took_longer};
use crate::results::{Backend, LatencyHistogram, Unit, file_name_part};

const LEFT: f64 = MARGIN + 44.0;
const GAP: f64 = 18.0;
/// Above a panel, for its site and medians; below it, for the labels of its ticks.
const HEAD: f64 = 38.0;
const FOOT: f64 = 20.0;
/// Below the last row, for the axis's name.
const NAME: f64 = 18.0;
/// A panel ends at this quantile of the slower half, or at so many times its first nine tenths.
const LAST_QUANTILE: f64 = 0.999;
const TAIL_MAX: f64 = 3.0;
/// What is free of a panel's width at either side.
const FREE: f64 = 0.06;
/// No panel is narrower, in ms.
const SPAN_MIN_MS: f64 = 0.2;

const MEASURED: Stroke = Stroke::solid(palette::MEASURED, 2.0);
const PREDICTED: Stroke = Stroke { dash: SECOND, ..Stroke::solid(palette::PREDICTED, 1.75) };

/// The same mode at the same sweep point, measured and predicted.
#[derive(Clone, Copy, Debug)]
pub struct Halves<'a> {
    /// What was measured.
    pub measured: &'a Cell<'a>,
    /// What was predicted.
    pub predicted: &'a Cell<'a>,
}

impl<'a> Halves<'a> {
    /// What `cells` and `others`, of a run and its counterpart, have in common.
    pub fn all(cells: &'a [Cell<'a>], others: &'a [Cell<'a>]) -> Vec<Halves<'a>> {
        let halves = |own: &'a Cell<'a>| {
            let same = |c: &&Cell<'_>| c.label == own.label && c.point_index == own.point_index;
            let other = others.iter().find(same)?;
            let (measured, predicted) = match own.backend {
                Backend::Quic => (own, other),
                Backend::Sim => (other, own),
            };
            Some(Halves { measured, predicted })
        };
        cells.iter().filter_map(halves).collect()
    }
}

/// The figure of one mode at one sweep point. All panels span the same time, each from where its
/// site's latencies begin: differences can be compared from panel to panel.
pub(super) fn draw(halves: &Halves<'_>, suffix: &str) -> Result<Figure, String> {
    let cells = [halves.measured, halves.predicted];
    let sites: Vec<_> = sites(&cells).into_iter().map(|name| Site::of(halves, name)).collect();
    let span_ms = sites.iter().map(Site::span_ms).fold(SPAN_MIN_MS, f64::max) / (1.0 - 2.0 * FREE);
    let legend = Legend::new([
        (Key::Line(MEASURED), "measured".to_owned()),
        (Key::Line(PREDICTED), "predicted".to_owned()),
        (Key::BoundTick, "bound: the least latency that the network allows".to_owned()),
    ]);
    let grid = Grid::of(sites.len());
    let height = legend.height() + grid.height() + 4.0;
    let name = format!("prediction-{}{suffix}", file_name_part(halves.measured.label, &['-']));
    figure(name, &heading(halves, &sites, span_ms), height, |canvas, top| {
        legend.draw(canvas, top);
        for (i, site) in sites.iter().enumerate() {
            let panel = grid.panel(i, top + legend.height(), site.axis(span_ms, grid.ticks()));
            paint(canvas, &panel, site, grid.is_first(i), grid.is_last(i));
        }
    })
}

fn heading(halves: &Halves<'_>, sites: &[Site<'_>], span_ms: f64) -> Heading {
    let (measured, predicted) = (&halves.measured.directory, &halves.predicted.directory);
    let said = |who: &'static str, cell: &Cell<'_>| {
        let warnings = cell.warnings().into_iter();
        warnings.map(move |warning| format!("{who}: {warning}")).collect()
    };
    let warnings: [Vec<String>; 2] =
        [said("measured", halves.measured), said("predicted", halves.predicted)];
    let beyond = sites.iter().map(|site| site.beyond(span_ms)).fold(0.0, f64::max);
    let (label, point) = (halves.measured.label, at_point(halves.measured));
    Heading {
        title: format!("{label}: measured and predicted{point}"),
        subtitle: format!(
            "Measured in {measured}, predicted in virtual time in {predicted}. p50: measured / \
             predicted (difference). Every panel spans {span_ms:.1} ms. {}",
            took_longer(beyond)
        ),
        warnings: warnings.concat(),
        values: sites.iter().map(|site| format!("{}: {}", site.name, site.medians())).collect(),
    }
}

/// A site in both halves.
struct Site<'a> {
    name: &'a str,
    measured: Option<&'a CellSite<'a>>,
    predicted: Option<&'a CellSite<'a>>,
}

impl<'a> Site<'a> {
    fn of(halves: &Halves<'a>, name: &'a str) -> Site<'a> {
        let find = |cell: &'a Cell<'a>| cell.sites.iter().find(|site| site.site == name);
        Site { name, measured: find(halves.measured), predicted: find(halves.predicted) }
    }

    fn halves(&self) -> impl Iterator<Item = &'a CellSite<'a>> {
        self.measured.into_iter().chain(self.predicted)
    }

    fn recorded(&self) -> impl Iterator<Item = (&'a LatencyHistogram, Unit)> {
        let recorded = self.halves().filter_map(|half| half.recorded.as_ref());
        recorded.map(|(histogram, unit)| (histogram, *unit))
    }

    /// The bounds that one of the halves knows, in ms.
    fn bounds_ms(&self) -> &'a [f64] {
        let known = self.halves().map(|half| half.bounds_ms.as_slice());
        known.max_by_key(|bounds| bounds.len()).unwrap_or_default()
    }

    /// Where its latencies and bounds begin, in ms.
    fn first_ms(&self) -> f64 {
        let least = self.recorded().map(|(histogram, unit)| unit.to_ms(histogram.min() as f64));
        let first = least.chain(self.bounds_ms().iter().copied()).fold(f64::INFINITY, f64::min);
        if first.is_finite() { first } else { 0.0 }
    }

    /// From there to where they end but for a long tail, in ms.
    fn span_ms(&self) -> f64 {
        let first_ms = self.first_ms();
        let last_ms = |(histogram, unit): (&LatencyHistogram, Unit)| {
            let at = |quantile| unit.to_ms(histogram.value_at_quantile(quantile) as f64);
            at(LAST_QUANTILE).min(first_ms + TAIL_MAX * (at(0.9) - first_ms))
        };
        let ends = self.recorded().map(last_ms).chain(self.bounds_ms().iter().copied());
        ends.fold(first_ms, f64::max) - first_ms
    }

    fn axis(&self, span_ms: f64, ticks: usize) -> Axis {
        let from = (self.first_ms() - FREE * span_ms).max(0.0);
        Axis::exact(from, from + span_ms, ticks)
    }

    /// The larger share of a half's operations that took longer than its panel shows.
    fn beyond(&self, span_ms: f64) -> f64 {
        let last_ms = self.axis(span_ms, 1).to;
        let share = |(histogram, unit): (&LatencyHistogram, Unit)| {
            1.0 - histogram.quantile_below((last_ms * unit.per_ms()).ceil() as u64)
        };
        self.recorded().map(share).fold(0.0, f64::max)
    }

    /// Both medians and how far they are apart, in words.
    fn medians(&self) -> String {
        let p50 = |half: Option<&CellSite<'_>>| Some(half?.latency()?.p50);
        let (measured, predicted) = (p50(self.measured), p50(self.predicted));
        let largest = measured.into_iter().chain(predicted).fold(0.0, f64::max);
        let decimals = if largest < 100.0 { 2 } else { 1 };
        let word = |ms: Option<f64>| ms.map_or("–".to_owned(), |ms| format!("{ms:.decimals$}"));
        let apart = measured.zip(predicted).map(|(measured, predicted)| {
            // of the numbers as they are shown: a reader may subtract them
            let shown = |ms: f64| (ms * 10_f64.powi(decimals as i32)).round();
            let apart = (shown(measured) - shown(predicted)) / 10_f64.powi(decimals as i32);
            format!(" ({})", format!("{apart:+.decimals$}").replace('-', "−"))
        });
        let apart = apart.unwrap_or_default();
        format!("p50 {} / {} ms{apart}", word(measured), word(predicted))
    }
}

/// Where the panels lie: row by row.
struct Grid {
    panels: usize,
    columns: usize,
}

impl Grid {
    fn of(panels: usize) -> Grid {
        let columns = match panels {
            0..=3 => panels.max(1),
            4 => 2,
            5 | 6 | 9 => 3,
            _ => 4,
        };
        Grid { panels, columns }
    }

    fn plot_height(&self) -> f64 {
        [220.0, 150.0, 115.0, 90.0][self.columns - 1]
    }

    /// At most so many intervals between the ticks of an axis.
    fn ticks(&self) -> usize {
        [10, 6, 4, 4][self.columns - 1]
    }

    fn row_height(&self) -> f64 {
        HEAD + self.plot_height() + FOOT
    }

    fn height(&self) -> f64 {
        self.panels.div_ceil(self.columns) as f64 * self.row_height() + NAME
    }

    /// Whether a panel has none to its left.
    fn is_first(&self, index: usize) -> bool {
        index.is_multiple_of(self.columns)
    }

    /// Whether a panel has none below it.
    fn is_last(&self, index: usize) -> bool {
        index + self.columns >= self.panels
    }

    fn panel(&self, index: usize, top: f64, x: Axis) -> Panel {
        let (column, row) = (index % self.columns, index / self.columns);
        let room = WIDTH - LEFT - MARGIN - 8.0 - GAP * (self.columns - 1) as f64;
        let width = room / self.columns as f64;
        Panel {
            left: LEFT + column as f64 * (width + GAP),
            top: top + row as f64 * self.row_height() + HEAD,
            width,
            height: self.plot_height(),
            x,
            y: Axis::exact(0.0, 1.0, 2),
        }
    }
}

fn paint(canvas: &mut Canvas<'_>, panel: &Panel, site: &Site<'_>, first: bool, last: bool) {
    let name = Type::bold(TEXT, palette::INK);
    canvas.text((panel.left, panel.top - 23.0), &name.fitted(site.name, panel.width), name);
    let small = Type { size: 9.5, ..Type::normal(Align::Left) };
    canvas.text((panel.left, panel.top - 10.0), &site.medians(), small);
    if first {
        panel.draw_y(canvas, "share");
    } else {
        draw_grid(canvas, panel);
    }
    panel.draw_ticks(canvas);
    panel.draw_labels(canvas, GAP / 2.0 - 2.0);
    if last {
        panel.name_x(canvas, "latency (ms)");
    }
    panel.draw_floor(canvas);
    for (half, stroke) in [(site.measured, MEASURED), (site.predicted, PREDICTED)] {
        if let Some((histogram, unit)) = half.and_then(|half| half.recorded.as_ref()) {
            paint_half(canvas, panel, &steps(histogram, *unit), stroke);
        }
    }
    for bound in site.bounds_ms() {
        bound_tick(canvas, panel.at(*bound, 0.0), palette::INK);
    }
}

/// A distribution from its first value to the right edge of the panel.
fn paint_half(canvas: &mut Canvas<'_>, panel: &Panel, steps: &[(f64, f64)], stroke: Stroke) {
    let mut curve: Vec<_> = steps.iter().filter(|(ms, _)| *ms <= panel.x.to).copied().collect();
    curve.extend(curve.last().map(|(_, share)| (panel.x.to, *share)));
    panel.curve(canvas, &curve, stroke);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_panels_has_a_place_for_each_within_the_page() {
        for panels in 1..=20 {
            let grid = Grid::of(panels);
            let mut corners = Vec::new();
            for index in 0..panels {
                let panel = grid.panel(index, 0.0, Axis::exact(0.0, 1.0, 2));
                assert!(panel.right() <= WIDTH - MARGIN && panel.bottom() + FOOT <= grid.height());
                corners.push((panel.left as i64, panel.top as i64));
            }
            corners.dedup();
            assert_eq!(corners.len(), panels);
            assert!(grid.is_first(0) && grid.is_last(panels - 1));
        }
    }
}
