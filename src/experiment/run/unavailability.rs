//! For how long the clients of each site got no answer because of each fault: exactly, from the recorded
//! histories, or else from the timeline.

use std::path::Path;

use super::RunError;
use super::setting::{Outcome, Setting};
use crate::check::history::{Completion, read_history};
use crate::experiment::network::Matrix;
use crate::load::report::TimelineBucket;
use crate::results::{FaultMark, SiteSilence, TimelineRow, Unavailability};

const STEP_MS: f64 = TimelineRow::STEP_MS as f64;

/// When operations completed at a site, in ms since the measured phase began, in the order of time.
struct Completions {
    /// From when to when: one instant, or a step of the timeline in which some did.
    spans_ms: Vec<(f64, f64)>,
    resolution_ms: f64,
}

/// A stretch of time in which nothing completed.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Silence {
    lasts_ms: f64,
    /// It ends where the time ends that was looked at.
    cut_short: bool,
}

/// What clients saw of each fault of a run. Histories are read on a thread of their own, so that a person
/// can interrupt that.
pub(super) async fn measure(
    setting: &Setting<'_>,
    outcome: &Outcome,
) -> Result<Vec<Unavailability>, RunError> {
    let marks = outcome.faults.clone();
    if !marks.iter().any(|mark| mark.begins) {
        return Ok(Vec::new());
    }
    let phases = setting.experiment.phases;
    let (warmup_ms, measure_ms) =
        (phases.warmup.as_secs_f64() * 1e3, phases.measure.as_millis() as i64);
    let of = |report: &crate::load::report::SiteReport| {
        let path = setting.history_path(&report.site)?;
        Ok((report.site.clone(), path, report.timeline.clone()))
    };
    let round_trips = setting.experiment.network.rtt.as_ref();
    let tolerance_ms = SiteSilence::tolerance_ms(round_trips.map_or(0.0, Matrix::longest_ms));
    let recorded = outcome.reports.iter().map(of).collect::<Result<Vec<_>, RunError>>()?;
    let measuring = tokio::task::spawn_blocking(move || {
        let completions = |(site, history, timeline): (String, Option<_>, Vec<_>)| {
            let exact = history.and_then(|path| Completions::exact(path, warmup_ms));
            (site, exact.unwrap_or_else(|| Completions::in_steps(&timeline)))
        };
        let sites: Vec<_> = recorded.into_iter().map(completions).collect();
        of_faults(&marks, (measure_ms, tolerance_ms), &sites)
    });
    let failed = |e| RunError::Worker(format!("the silences of the clients: {e}"));
    measuring.await.map_err(failed)
}

/// Each fault has the time from its mark to the next fault's.
fn of_faults(
    marks: &[FaultMark],
    (measure_ms, tolerance_ms): (i64, f64),
    sites: &[(String, Completions)],
) -> Vec<Unavailability> {
    let begun = || marks.iter().filter(|mark| mark.begins);
    let first_ms = begun().next().map_or(measure_ms, |mark| mark.t_ms);
    let ends = begun().skip(1).map(|mark| mark.t_ms).chain([measure_ms]);
    let of = |(mark, to_ms): (&FaultMark, i64)| Unavailability {
        fault: mark.what.clone(),
        replica: mark.replica.clone(),
        from_ms: mark.t_ms,
        to_ms,
        sites: sites
            .iter()
            .map(|(site, completions)| {
                completions.silence(site, first_ms, (mark.t_ms, to_ms), tolerance_ms)
            })
            .collect(),
    };
    begun().zip(ends).map(of).collect()
}

impl Completions {
    /// As the history says; none if it cannot be read.
    fn exact(history: impl AsRef<Path>, warmup_ms: f64) -> Option<Completions> {
        let history = read_history(&[history]).ok()?;
        let answered = history.operations.iter();
        let answered =
            answered.filter(|operation| matches!(operation.completion, Completion::Ok(_)));
        let mut times_ms: Vec<f64> = answered
            .filter_map(|operation| Some(operation.response_ns? as f64 / 1e6 - warmup_ms))
            .collect();
        times_ms.sort_by(f64::total_cmp);
        let spans_ms = times_ms.into_iter().map(|ms| (ms, ms)).collect();
        Some(Completions { spans_ms, resolution_ms: 0.0 })
    }

    fn in_steps(timeline: &[TimelineBucket]) -> Completions {
        let busy = timeline.iter().filter(|bucket| bucket.completed > 0);
        let span = |bucket: &TimelineBucket| (bucket.t_ms as f64, bucket.t_ms as f64 + STEP_MS);
        Completions { spans_ms: busy.map(span).collect(), resolution_ms: STEP_MS }
    }

    /// What is told of a fault that lasted, with its consequences, from `from` to `to`; the first of the
    /// run's faults came at `first_ms`.
    fn silence(
        &self,
        site: &str,
        first_ms: i64,
        (from, to): (i64, i64),
        tolerance_ms: f64,
    ) -> SiteSilence {
        let undisturbed = (0.0, first_ms as f64);
        let usual_ms =
            self.any_within(undisturbed).then(|| self.longest_within(undisturbed).lasts_ms);
        let Silence { lasts_ms, cut_short } = self.longest_within((from as f64, to as f64));
        let rounded = |ms: f64| (ms * 1e3).round() / 1e3;
        SiteSilence {
            site: site.to_owned(),
            longest_ms: rounded(lasts_ms),
            cut_short,
            usual_ms: usual_ms.map(rounded),
            tolerance_ms,
            unavailable_ms: SiteSilence::judge(
                rounded(lasts_ms),
                usual_ms.map(rounded),
                tolerance_ms,
            ),
            resolution_ms: self.resolution_ms,
        }
    }

    fn within(&self, (from, to): (f64, f64)) -> impl Iterator<Item = (f64, f64)> {
        let spans = self.spans_ms.iter().copied();
        spans.filter(move |(first, last)| *last >= from && *first < to)
    }

    fn any_within(&self, time: (f64, f64)) -> bool {
        self.within(time).next().is_some()
    }

    /// The longest stretch within a time; its edges count as completions.
    fn longest_within(&self, (from, to): (f64, f64)) -> Silence {
        let (mut longest_ms, mut since) = (0.0, from);
        for (first, last) in self.within((from, to)) {
            longest_ms = f64::max(longest_ms, first - since);
            since = f64::max(since, last);
        }
        let open_ms = to - since;
        Silence { lasts_ms: longest_ms.max(open_ms), cut_short: open_ms > longest_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(times_ms: impl IntoIterator<Item = i64>) -> Completions {
        let spans_ms = times_ms.into_iter().map(|ms| (ms as f64, ms as f64)).collect();
        Completions { spans_ms, resolution_ms: 0.0 }
    }

    fn mark(t_ms: i64, what: &str, replica: Option<&str>) -> FaultMark {
        let (what, replica) = (what.to_owned(), replica.map(str::to_owned));
        FaultMark { t_ms, begins: replica.is_some(), what, replica }
    }

    /// A completion every 20 ms but from one time to another.
    fn but(from: i64, to: i64) -> Completions {
        exact((-1000..10_000).step_by(20).filter(|ms| !(from..to).contains(ms)))
    }

    fn told(unavailability: &Unavailability, site: &str) -> (f64, bool, Option<f64>) {
        let found = unavailability.sites.iter().find(|silence| silence.site == site).unwrap();
        (found.longest_ms, found.cut_short, found.unavailable_ms)
    }

    #[test]
    fn each_fault_is_told_the_silence_from_its_mark_to_the_next_and_every_site_its_own() {
        let marks = [
            mark(3000, "isolate a", Some("a")),
            mark(4000, "a well", None),
            mark(6000, "crash b", Some("b")),
        ];
        // a: silent from before the mark to after the fault's end; b: from the crash on.
        let sites = [("a".to_owned(), but(2900, 4500)), ("b".to_owned(), but(6500, 10_000))];
        let found = of_faults(&marks, (10_000, 100.0), &sites);
        let [isolate, crash] = &found[..] else { panic!("{found:?}") };
        assert_eq!((isolate.from_ms, isolate.to_ms), (3000, 6000));
        assert_eq!((crash.from_ms, crash.to_ms), (6000, 10_000));
        assert_eq!(told(isolate, "a"), (1500.0, false, Some(1500.0)), "from the mark on");
        assert_eq!(told(isolate, "b"), (20.0, false, Some(0.0)));
        assert_eq!(told(crash, "a"), (20.0, false, Some(0.0)));
        assert_eq!(told(crash, "b"), (3520.0, true, Some(3520.0)), "to the end, or longer");
        assert_eq!(isolate.at_the_fault().map(|silence| silence.longest_ms), Some(1500.0));
        let elsewhere: Vec<_> = isolate.elsewhere().map(|silence| &silence.site).collect();
        assert_eq!(elsewhere, ["b"]);
    }

    /// It befalls no replica, and ends the time of the fault before it.
    #[test]
    fn a_change_of_members_is_told_of_every_site_as_a_fault_of_none() {
        let members = FaultMark { begins: true, ..mark(3000, "members b c", None) };
        let marks = [members, mark(6000, "crash b", Some("b"))];
        let sites = [("a".to_owned(), but(3100, 3700)), ("b".to_owned(), but(6500, 10_000))];
        let found = of_faults(&marks, (10_000, 100.0), &sites);
        let [change, crash] = &found[..] else { panic!("{found:?}") };
        assert_eq!((change.from_ms, change.to_ms), (3000, 6000));
        assert_eq!((&change.fault[..], &change.replica), ("members b c", &None));
        assert_eq!(told(change, "a"), (620.0, false, Some(620.0)));
        assert_eq!((change.at_the_fault(), change.elsewhere().count()), (None, 2));
        assert_eq!(told(crash, "b"), (3520.0, true, Some(3520.0)));
    }

    #[test]
    fn only_what_is_longer_than_usual_counts() {
        let one_a_second = || exact((0..10).map(|second| 1000 * second + 500));
        let found = of_faults(
            &[mark(4000, "pause a", Some("a"))],
            (10_000, 100.0),
            &[("a".to_owned(), one_a_second())],
        );
        assert_eq!(told(&found[0], "a"), (1000.0, false, Some(0.0)), "as before");
        assert_eq!(SiteSilence::judge(1100.0, Some(1000.0), 100.0), Some(0.0), "within it");
        assert_eq!(SiteSilence::judge(1100.1, Some(1000.0), 100.0), Some(1100.1));
        let tolerance_ms = SiteSilence::tolerance_ms(171.4);
        assert_eq!(SiteSilence::judge(197.8, Some(34.0), tolerance_ms), Some(0.0), "one farther");
        assert_eq!(SiteSilence::judge(306.0, Some(34.0), tolerance_ms), Some(306.0));
    }

    #[test]
    fn without_an_undisturbed_time_nothing_is_said_of_what_counts() {
        let marks = [mark(0, "pause a", Some("a"))];
        let found = of_faults(&marks, (10_000, 100.0), &[("a".to_owned(), but(0, 300))]);
        assert_eq!(told(&found[0], "a"), (300.0, false, None));
    }

    #[test]
    fn without_a_history_the_timeline_tells_what_is_certain() {
        let bucket = |t_ms: i64, completed| TimelineBucket {
            t_ms,
            completed,
            failed: 0,
            p50_ms: None,
            p99_ms: None,
            max_ms: None,
        };
        let silent = 2100..2700;
        let timeline: Vec<_> = (-5..50)
            .map(|step| bucket(100 * step, u64::from(!silent.contains(&(100 * step)))))
            .collect();
        let sites = [("a".to_owned(), Completions::in_steps(&timeline))];
        let found = of_faults(&[mark(2050, "crash b", Some("b"))], (5000, 100.0), &sites);
        assert_eq!(told(&found[0], "a"), (600.0, false, Some(600.0)));
        let silence = &found[0].sites[0];
        assert_eq!((silence.resolution_ms, silence.usual_ms), (100.0, Some(0.0)));
    }
}
