//! Latencies that others published, beside what was measured here and what the network allows.

use super::cells::{Cell, CellSite};
use super::figures::grouped;
use super::table::Table;
use crate::experiment::file::{Published, PublishedLatency, PublishedValues, Statistic};
use crate::results::LatencyMs;

const NOTE: &str =
    "Predicted: the bound, the least that the round-trip times and the quorums allow.";

/// A table a source: at each site a row a mode, then one for each system that stands beside none.
pub(super) fn tables(cells: &[Cell<'_>], published: &[Published]) -> Vec<Table> {
    published.iter().filter_map(|one| table(cells, one)).collect()
}

/// Latencies of one source.
pub(super) struct Source<'a> {
    pub(super) published: &'a Published,
    pub(super) statistic: Statistic,
    pub(super) values: &'a [PublishedLatency],
}

impl<'a> Source<'a> {
    /// None if it published something else.
    pub(super) fn of(published: &'a Published) -> Option<Source<'a>> {
        match &published.values {
            PublishedValues::Latency(statistic, values) => {
                Some(Source { published, statistic: *statistic, values })
            }
            PublishedValues::Unavailability(_) => None,
        }
    }

    /// What stands beside a mode at a site; beside none for what this file does not run.
    pub(super) fn at<'s>(
        &'s self,
        mode: Option<&'s str>,
        site: &'s str,
    ) -> impl Iterator<Item = &'a PublishedLatency> + use<'a, 's> {
        let here =
            move |value: &&PublishedLatency| value.mode.as_deref() == mode && value.site == site;
        self.values.iter().filter(here)
    }

    /// The number of a latency that this source published.
    pub(super) fn of_latency(&self, latency: &LatencyMs) -> f64 {
        match self.statistic {
            Statistic::Mean => latency.mean,
            Statistic::P50 => latency.p50,
        }
    }
}

/// A text with a large first letter.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// A published number in ms.
pub(super) fn ms_of(value: &PublishedLatency) -> f64 {
    value.latency.as_secs_f64() * 1e3
}

fn table(cells: &[Cell<'_>], published: &Published) -> Option<Table> {
    let source = Source::of(published)?;
    let name = source.statistic.name();
    let head = ["site", "mode", "mean ms", "p50 ms", "predicted ms"].map(str::to_owned);
    let over = [format!("{name} − predicted"), "%".to_owned(), format!("published {name} ms")];
    let sites = super::figures::sites(&cells.iter().collect::<Vec<_>>());
    let at_site = |site: &&str| -> Vec<Vec<String>> {
        let measured = cells.iter().filter_map(|cell| {
            Some(measured_row(&source, cell, cell.sites.iter().find(|it| it.site == *site)?))
        });
        let others = source.at(None, site).map(other_row);
        measured.chain(others).collect()
    };
    let how = cells.first().map_or("measured", |cell| cell.how());
    let disturbed = cells.iter().flat_map(|cell| &cell.runs).any(|run| !run.faults.is_empty());
    let faults = if disturbed { " The faults of the runs are in their latencies." } else { "" };
    Some(Table {
        title: format!("{}: {how}, predicted, published", capital(&published.what)),
        note: format!("{NOTE} Published: {}.{faults}", published.source),
        head: head.into_iter().chain(over).collect(),
        words: 2,
        rows: sites.iter().flat_map(at_site).collect(),
    })
}

fn measured_row(source: &Source<'_>, cell: &Cell<'_>, site: &CellSite<'_>) -> Vec<String> {
    let (latency, bound) = (site.latency(), site.bound_ms());
    let measured = latency.as_ref().map(|latency| source.of_latency(latency));
    let over = measured.zip(bound).map(|(measured, bound)| measured - bound);
    let share =
        over.zip(bound.filter(|bound| *bound > 0.0)).map(|(over, bound)| over / bound * 1e2);
    let mut row = first_cells(site.site, &cell.name());
    row.extend([latency.map(|l| l.mean), latency.map(|l| l.p50), bound].map(number));
    row.extend([signed(over, 2), signed(share, 1)]);
    let published: Vec<_> = source.at(Some(cell.label), site.site).map(named).collect();
    row.push(if published.is_empty() { "–".to_owned() } else { published.join("; ") });
    row
}

/// Of a system that nothing here is like.
fn other_row(value: &PublishedLatency) -> Vec<String> {
    let mut row = first_cells(&value.site, value.system.as_deref().unwrap_or_default());
    row.extend(std::iter::repeat_n("–".to_owned(), 5));
    row.push(plain(value));
    row
}

fn first_cells(site: &str, who: &str) -> Vec<String> {
    vec![site.to_owned(), who.to_owned()]
}

fn named(value: &PublishedLatency) -> String {
    let system = value.system.as_ref().map(|system| format!(" ({system})"));
    plain(value) + &system.unwrap_or_default()
}

/// With the digits that were published, and no more.
pub(super) fn plain(value: &PublishedLatency) -> String {
    // a duration holds whole nanoseconds
    let ms = (ms_of(value) * 1e6).round() / 1e6;
    grouped(&ms.to_string())
}

fn number(ms: Option<f64>) -> String {
    ms.map_or_else(|| "–".to_owned(), |ms| grouped(&format!("{ms:.2}")))
}

fn signed(value: Option<f64>, decimals: usize) -> String {
    let text = value.map(|value| format!("{value:+.decimals$}").replace('-', "−"));
    text.unwrap_or_else(|| "–".to_owned())
}
