//! A finished run, grouped for tables and figures: one cell per mode and sweep point, its repeats
//! merged.

use crate::results::{
    Backend, Cost, LatencyHistogram, LatencyMs, Point, ReplicaCounters, Result, Results,
    RunSummary, SiteSummary, Unit, new_histogram,
};

/// One mode at one sweep point.
#[derive(Debug)]
pub struct Cell<'a> {
    /// What ran it.
    pub backend: Backend,
    /// What the directory of its run is called.
    pub directory: String,
    /// What figures call the mode.
    pub label: &'a str,
    /// Which sweep point, from 0.
    pub point_index: usize,
    /// What the sweep set, in words; empty without a sweep.
    pub point: String,
    /// The repeats.
    pub runs: Vec<&'a RunSummary>,
    /// Of each of them, the counters of the replicas that were still there at its end.
    pub replicas: Vec<Vec<ReplicaCounters>>,
    /// The sites, in the summary's order.
    pub sites: Vec<CellSite<'a>>,
}

/// A site's part of a cell: all operations of all repeats.
#[derive(Debug)]
pub struct CellSite<'a> {
    /// The site.
    pub site: &'a str,
    /// Operations that failed or were not answered in time.
    pub errors: u64,
    /// The bounds of its operations in ms, each once, in rising order.
    pub bounds_ms: Vec<f64>,
    /// The recorded latencies; none if nothing completed.
    pub recorded: Option<(LatencyHistogram, Unit)>,
}

impl CellSite<'_> {
    /// Completed operations.
    pub fn count(&self) -> u64 {
        self.recorded.as_ref().map_or(0, |(histogram, _)| histogram.len())
    }

    /// Percentiles of all operations.
    pub fn latency(&self) -> Option<LatencyMs> {
        self.recorded.as_ref().and_then(|(histogram, unit)| LatencyMs::of(histogram, *unit))
    }

    /// The bound, where all operations have the same.
    pub fn bound_ms(&self) -> Option<f64> {
        match self.bounds_ms.as_slice() {
            [bound] => Some(*bound),
            _ => None,
        }
    }
}

impl<'a> Cell<'a> {
    /// All cells of a finished run: sweep points within modes, both in the summary's order.
    pub fn all(results: &'a Results) -> Result<Vec<Cell<'a>>> {
        let mut cells: Vec<Cell<'a>> = Vec::new();
        for run in &results.summary.runs {
            let same = |c: &&mut Cell<'_>| c.label == run.label && c.point_index == run.point_index;
            match cells.iter_mut().find(same) {
                Some(cell) => cell.runs.push(run),
                None => cells.push(Cell {
                    backend: results.manifest.backend,
                    directory: directory_name(results),
                    label: &run.label,
                    point_index: run.point_index,
                    point: run.point_words(),
                    runs: vec![run],
                    replicas: Vec::new(),
                    sites: Vec::new(),
                }),
            }
        }
        let labels = results.summary.labels();
        cells.sort_by_key(|c| (labels.iter().position(|l| *l == c.label), c.point_index));
        for cell in &mut cells {
            cell.sites = sites_of(results, &cell.runs)?;
            let replicas = cell.runs.iter().map(|run| results.replicas(run));
            cell.replicas = replicas.collect::<Result<_>>()?;
        }
        Ok(cells)
    }

    /// What a table calls it: the mode, with the sweep's point where there is one.
    pub fn name(&self) -> String {
        let point = if self.point.is_empty() { String::new() } else { format!(", {}", self.point) };
        format!("{}{point}", self.label)
    }

    /// How its numbers came about.
    pub fn how(&self) -> &'static str {
        match self.backend {
            Backend::Quic => "measured",
            Backend::Sim => "simulated",
        }
    }

    /// How figures say that nothing in them was measured; empty where all was.
    pub fn caution(&self) -> &'static str {
        match self.backend {
            Backend::Quic => "",
            Backend::Sim => "Predicted in virtual time. ",
        }
    }

    /// Everything that speaks against the cell's runs; empty if nothing does.
    pub fn warnings(&self) -> Vec<String> {
        let point =
            if self.point.is_empty() { String::new() } else { format!(" at {}", self.point) };
        let name = |run: &RunSummary| match self.runs.len() {
            1 => format!("{}{point}", self.label),
            _ => format!("{}{point}, repeat {}", self.label, run.repeat + 1),
        };
        let of = |run: &&RunSummary| {
            let objections = run.verdict.objections();
            (!objections.is_empty()).then(|| format!("{}: {}", name(run), objections.join("; ")))
        };
        self.runs.iter().filter_map(of).collect()
    }

    /// Completed operations a second: the mean of the repeats.
    pub fn throughput_per_s(&self) -> f64 {
        let total: f64 = self.runs.iter().map(|run| run.throughput_per_s).sum();
        total / self.runs.len() as f64
    }

    /// What an operation cost, all repeats together; none if nothing completed or it is not known of
    /// every repeat.
    pub fn cost(&self, of: fn(&Cost) -> Option<f64>) -> Option<f64> {
        let (mut sum, mut operations) = (0.0, 0.0);
        // All repeats measure for the same time.
        for run in self.runs.iter().filter(|run| run.throughput_per_s > 0.0) {
            sum += of(&run.cost)? * run.throughput_per_s;
            operations += run.throughput_per_s;
        }
        (operations > 0.0).then(|| sum / operations)
    }

    /// Operations since the start of the replicas, from which on their cores count: what the one that was
    /// furthest has executed; where each core answers its own clients' only, what all of them have answered.
    pub fn executed(&self) -> u64 {
        let executed = |run: &Vec<ReplicaCounters>| -> u64 {
            let answered = || run.iter().filter_map(|replica| replica.core.get("answered"));
            match answered().next() {
                Some(_) => answered().sum(),
                None => run.iter().map(|replica| replica.executed).max().unwrap_or(0),
            }
        };
        self.replicas.iter().map(executed).sum()
    }

    /// What all cores counted of something, for each operation that was executed since their start; none
    /// if no core counts it or nothing was executed.
    pub fn counted(&self, name: &str) -> Option<f64> {
        let cores = self.replicas.iter().flatten().map(|replica| &replica.core);
        let counts: Vec<u64> = cores.filter_map(|core| core.get(name).copied()).collect();
        let executed = self.executed();
        let known = !counts.is_empty() && executed > 0;
        known.then(|| counts.iter().sum::<u64>() as f64 / executed as f64)
    }

    /// What the sweep set.
    pub fn values(&self) -> Point {
        self.runs.first().map(|run| run.point_values()).unwrap_or_default()
    }

    /// The protocol's mode.
    pub fn mode(&self) -> &str {
        self.runs.first().map_or("", |run| &run.mode)
    }

    /// Percentiles over all sites, from their merged histograms.
    pub fn latency(&self) -> Option<LatencyMs> {
        let recorded: Vec<_> = self.sites.iter().filter_map(|s| s.recorded.as_ref()).collect();
        let (_, unit) = recorded.first()?;
        let mut all = new_histogram();
        for (histogram, _) in &recorded {
            all.add(histogram).expect("a histogram that resizes takes any value");
        }
        LatencyMs::of(&all, *unit)
    }
}

fn directory_name(results: &Results) -> String {
    let absolute = std::fs::canonicalize(&results.path).unwrap_or_else(|_| results.path.clone());
    absolute.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn sites_of<'a>(results: &'a Results, runs: &[&'a RunSummary]) -> Result<Vec<CellSite<'a>>> {
    let of = |site: &'a str| -> Result<CellSite<'a>> {
        let entries = || {
            let entries = runs.iter().flat_map(|run| run.sites.iter());
            entries.filter(move |entry| entry.site == site)
        };
        let all = |entry: &&SiteSummary| entry.op == SiteSummary::ALL;
        let mut bounds_ms: Vec<f64> = entries().filter_map(|entry| entry.bound_ms).collect();
        bounds_ms.sort_by(f64::total_cmp);
        bounds_ms.dedup();
        Ok(CellSite {
            site,
            errors: entries().filter(|e| !all(e)).map(|entry| entry.errors).sum(),
            bounds_ms,
            recorded: results.merged(runs, &[site])?,
        })
    };
    let sites = results.summary.site_names();
    let here = |site: &&str| runs.iter().any(|run| run.sites.iter().any(|s| s.site == *site));
    sites.into_iter().filter(here).map(of).collect()
}
