//! For how long clients got no answer because of what was done to a replica, or to the cluster.

use serde::{Deserialize, Serialize};

/// What clients saw of one fault: from its mark to that of the next fault, or to the end of the measured
/// phase.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Unavailability {
    /// What was done, as its mark calls it.
    pub fault: String,
    /// The replica that it befell; none where it befalls the cluster, as a change of members does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
    /// When it began, in ms since the measured phase began.
    pub from_ms: i64,
    /// Until when completions were looked at, in ms.
    pub to_ms: i64,
    /// One entry a site.
    pub sites: Vec<SiteSilence>,
}

/// What the clients of a site saw of a fault.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SiteSilence {
    /// The site.
    pub site: String,
    /// The longest stretch of that time in which no operation completed, in ms.
    pub longest_ms: f64,
    /// Whether it was still going on at the end of that time, and so may have lasted longer.
    pub cut_short: bool,
    /// The longest such stretch from the beginning of the measured phase to the run's first fault, in ms;
    /// none if nothing completed then.
    pub usual_ms: Option<f64>,
    /// By how much a stretch must exceed the usual to count, in ms ([`SiteSilence::tolerance_ms`]).
    #[serde(default = "SiteSilence::least_tolerance_ms")]
    pub tolerance_ms: f64,
    /// `longest_ms`, or 0 if that is no more than the tolerance above the usual; none where the usual is not
    /// known.
    pub unavailable_ms: Option<f64>,
    /// How finely the times are known, in ms: 0 where a history was recorded, else a step of the timeline,
    /// and then the stretches may have been longer by up to two steps.
    pub resolution_ms: f64,
}

impl SiteSilence {
    /// The longest of many short gaps is never twice the same, a busy machine makes some of them, and the
    /// timeline shows nothing shorter.
    fn least_tolerance_ms() -> f64 {
        100.0
    }

    /// By how much a stretch must exceed the usual to count, in ms: 100, and the longest round trip of the
    /// network. Where a fault takes away the nearest quorum, the next answers come from a farther one: that is
    /// later, once, though nobody waits for anything but the network.
    pub fn tolerance_ms(longest_round_trip_ms: f64) -> f64 {
        Self::least_tolerance_ms() + longest_round_trip_ms
    }

    /// Tells what counts from what is usual.
    pub fn judge(longest_ms: f64, usual_ms: Option<f64>, tolerance_ms: f64) -> Option<f64> {
        let counts = |usual_ms: f64| longest_ms > usual_ms + tolerance_ms;
        usual_ms.map(|usual_ms| if counts(usual_ms) { longest_ms } else { 0.0 })
    }
}

impl Unavailability {
    /// What the clients at the site of the replica saw.
    pub fn at_the_fault(&self) -> Option<&SiteSilence> {
        self.sites.iter().find(|silence| self.is_at(&silence.site))
    }

    /// What the clients of the other sites saw.
    pub fn elsewhere(&self) -> impl Iterator<Item = &SiteSilence> {
        self.sites.iter().filter(|silence| !self.is_at(&silence.site))
    }

    fn is_at(&self, site: &str) -> bool {
        self.replica.as_deref() == Some(site)
    }
}
