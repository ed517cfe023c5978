//! The table that a run prints at its end.

use crate::results::{RunSummary, SiteSummary, Summary};

use super::figures::grouped;

const HEAD: [&str; 7] = ["site", "count", "errors", "p50 ms", "p99 ms", "bound ms", "p50 − bound"];

/// A block a run: what it is, its verdict where it is not good, and a row a site. Numbers are right-
/// aligned; what is not known is `–`. The text ends with a newline.
pub fn summary_table(summary: &Summary) -> String {
    let several = summary.runs.iter().any(|run| run.repeat > 0);
    summary.runs.iter().map(|run| block(run, several)).collect::<Vec<_>>().join("\n")
}

fn block(run: &RunSummary, several: bool) -> String {
    let mut out = title(run, several);
    let rows: Vec<[String; 7]> =
        run.site_names().into_iter().filter_map(|site| run.all_of(site)).map(row).collect();
    let widths: [usize; 7] = std::array::from_fn(|i| {
        let cells = rows.iter().map(|row| row[i].chars().count());
        cells.chain([HEAD[i].chars().count()]).max().unwrap_or(0)
    });
    let head = HEAD.map(str::to_owned);
    for row in std::iter::once(&head).chain(&rows) {
        out += "  ";
        out += aligned(row, &widths).trim_end();
        out.push('\n');
    }
    out
}

fn title(run: &RunSummary, several: bool) -> String {
    let mut parts = vec![run.label.clone()];
    parts.extend(Some(run.point_words()).filter(|point| !point.is_empty()));
    if several {
        parts.push(format!("repeat {}", run.repeat + 1));
    }
    parts.push(format!("{} ops/s", grouped(&format!("{:.1}", run.throughput_per_s))));
    let objections = run.verdict.objections();
    if objections.is_empty() {
        parts.push("linearizable, converged".to_owned());
    }
    let mut out = parts.join(" · ") + "\n";
    for objection in objections {
        out += "  ! ";
        out += &objection;
        out.push('\n');
    }
    out
}

fn row(site: &SiteSummary) -> [String; 7] {
    let ms = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.2}"));
    let (p50, p99) = (site.latency_ms.map(|l| l.p50), site.latency_ms.map(|l| l.p99));
    let over = p50.zip(site.bound_ms).map(|(p50, bound)| p50 - bound);
    let over = over.map_or_else(|| "–".to_owned(), |ms| format!("{ms:+.2}"));
    [
        site.site.clone(),
        grouped(&site.count.to_string()),
        grouped(&site.errors.to_string()),
        ms(p50),
        ms(p99),
        ms(site.bound_ms),
        over,
    ]
}

/// The first column to the left, the others to the right.
fn aligned(row: &[String; 7], widths: &[usize; 7]) -> String {
    let first = format!("{:<width$}", row[0], width = widths[0]);
    let rest = row.iter().zip(widths).skip(1).map(|(cell, width)| format!("  {cell:>width$}"));
    rest.fold(first, |line, cell| line + &cell)
}
