//! `histograms/*.hlog`: HdrHistogram V2 interval logs, which the usual tools read too.
//!
//! One log holds one operation at one site of one run, one histogram a second. Its header names the
//! unit of the values; the `Interval_Max` column is in ms.

use std::fmt;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogHistogram, IntervalLogIterator, IntervalLogWriterBuilder, LogEntry,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use super::{SiteSummary, file_name_part};

/// A histogram of latencies.
pub type LatencyHistogram = Histogram<u64>;

/// An empty histogram that grows as needed and keeps three significant digits.
pub fn new_histogram() -> LatencyHistogram {
    Histogram::new(3).expect("three significant digits are allowed")
}

/// What a histogram's values count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unit {
    /// Nanoseconds.
    Nanoseconds,
    /// Microseconds.
    Microseconds,
}

impl Unit {
    const HEADER: &'static str = "[Unit: ";

    /// A value of this unit, in ms.
    pub fn to_ms(self, value: f64) -> f64 {
        value / self.per_ms()
    }

    /// How many of it make a millisecond.
    pub fn per_ms(self) -> f64 {
        match self {
            Unit::Nanoseconds => 1e6,
            Unit::Microseconds => 1e3,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "nanoseconds",
            Unit::Microseconds => "microseconds",
        }
    }

    /// The unit that a log's header states.
    fn stated_in(log: &str) -> Option<Unit> {
        let line = log.lines().find_map(|l| l.strip_prefix('#')?.strip_prefix(Unit::HEADER))?;
        let name = line.strip_suffix(']')?;
        [Unit::Nanoseconds, Unit::Microseconds].into_iter().find(|unit| unit.name() == name)
    }
}

/// The name of a log: `MODE-POINT-REPEAT-SITE-OP.hlog`.
///
/// MODE is the label; whatever might confuse a file's name becomes `_`. There is no log of all
/// operations together: merge those of the operations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistogramName {
    /// As [`super::RunSummary::label`].
    pub label: String,
    /// As [`super::RunSummary::point_index`].
    pub point_index: usize,
    /// Which repeat, from 0.
    pub repeat: usize,
    /// The site.
    pub site: String,
    /// The operation; not `all`.
    pub op: String,
}

impl fmt::Display for HistogramName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_assert_ne!(self.op, SiteSummary::ALL, "derived from the others by merging");
        let (label, site) = (file_name_part(&self.label, &[]), file_name_part(&self.site, &['-']));
        let op = file_name_part(&self.op, &[]);
        write!(f, "{label}-{}-{}-{site}-{op}.hlog", self.point_index, self.repeat)
    }
}

/// A log: histograms of consecutive intervals.
#[derive(Clone, PartialEq, Debug)]
pub struct IntervalLog {
    /// What the values count.
    pub unit: Unit,
    /// When the measured phase began; intervals count from here. Kept to the millisecond.
    pub began: SystemTime,
    intervals: Vec<Interval>,
}

#[derive(Clone, PartialEq, Debug)]
struct Interval {
    start: Duration,
    length: Duration,
    histogram: LatencyHistogram,
}

impl IntervalLog {
    /// How long an interval is.
    pub const STEP: Duration = Duration::from_secs(1);

    /// An empty log of a measured phase that began at `began`.
    pub fn new(unit: Unit, began: SystemTime) -> IntervalLog {
        IntervalLog { unit, began, intervals: Vec::new() }
    }

    /// Adds what completed in the interval that starts `start` after the beginning.
    pub fn push(&mut self, start: Duration, length: Duration, histogram: LatencyHistogram) {
        self.intervals.push(Interval { start, length, histogram });
    }

    /// The intervals in order: start, length, histogram.
    pub fn intervals(&self) -> impl Iterator<Item = (Duration, Duration, &LatencyHistogram)> {
        self.intervals.iter().map(|i| (i.start, i.length, &i.histogram))
    }

    /// All intervals together.
    pub fn merged(&self) -> LatencyHistogram {
        let mut all = new_histogram();
        for interval in &self.intervals {
            all.add(&interval.histogram).expect("a histogram that resizes takes any value");
        }
        all
    }

    /// The log as text.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode_into(&mut bytes).expect("writing to memory does not fail");
        bytes
    }

    fn encode_into(&self, bytes: &mut Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
        let mut serializer = V2DeflateSerializer::new();
        let mut log = IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment(&format!("{}{}]", Unit::HEADER, self.unit.name()))
            .with_start_time(self.began)
            .with_base_time(self.began)
            .with_max_value_divisor(self.unit.per_ms())
            .begin_log_with(bytes, &mut serializer)?;
        for interval in &self.intervals {
            log.write_histogram(&interval.histogram, interval.start, interval.length, None)?;
        }
        Ok(())
    }

    /// Reads a log; the error is one line.
    pub fn decode(bytes: &[u8]) -> Result<IntervalLog, String> {
        let text = std::str::from_utf8(bytes).map_err(|e| format!("not text: {e}"))?;
        let unit = Unit::stated_in(text).ok_or("the header states no unit of the values")?;
        let mut log = IntervalLog::new(unit, SystemTime::UNIX_EPOCH);
        for entry in IntervalLogIterator::new(bytes) {
            match entry.map_err(|e| format!("not an interval log: {e:?}"))? {
                LogEntry::StartTime(_) => {}
                LogEntry::BaseTime(since_epoch) => log.began = SystemTime::UNIX_EPOCH + since_epoch,
                LogEntry::Interval(interval) => log.intervals.push(decode_interval(&interval)?),
            }
        }
        Ok(log)
    }
}

fn decode_interval(interval: &IntervalLogHistogram<'_>) -> Result<Interval, String> {
    let start = interval.start_timestamp();
    let bad = |why: String| format!("the interval at {} s: {why}", start.as_secs_f64());
    let bytes = decode_base64(interval.encoded_histogram()).map_err(bad)?;
    let histogram: LatencyHistogram = Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|e| bad(format!("not a histogram: {e}")))?;
    Ok(Interval { start, length: interval.duration(), histogram })
}

/// Base64 with padding (RFC 4648 §4).
fn decode_base64(text: &str) -> Result<Vec<u8>, String> {
    let body = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - body.len() > 2 {
        return Err("base64 of a wrong length".to_owned());
    }
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(body.len()), 0_u32, 0);
    for character in body.bytes() {
        bits = bits << 6 | base64_value(character)?;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Ok(bytes)
}

fn base64_value(character: u8) -> Result<u32, String> {
    let value = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => return Err(format!("byte {other:#04x} is not base64")),
    };
    Ok(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_decodes_the_vectors_of_the_rfc() {
        let cases =
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob")];
        for (text, plain) in cases {
            assert_eq!(decode_base64(text).as_deref(), Ok(plain.as_bytes()));
        }
        for wrong in ["Zg=", "Z===", "Zm9*", "A"] {
            assert!(decode_base64(wrong).is_err(), "{wrong} was taken");
        }
    }

    #[test]
    fn a_log_without_a_unit_is_refused() {
        let log = IntervalLog::new(Unit::Nanoseconds, SystemTime::UNIX_EPOCH).encode();
        let text = String::from_utf8(log).unwrap().replace("Unit", "Thing");
        assert!(IntervalLog::decode(text.as_bytes()).unwrap_err().contains("unit"));
    }

    #[test]
    fn a_name_keeps_the_parts_apart() {
        let name = HistogramName {
            label: "paxos leader=us-east".to_owned(),
            point_index: 2,
            repeat: 0,
            site: "us-east-1".to_owned(),
            op: "put".to_owned(),
        };
        assert_eq!(name.to_string(), "paxos_leader_us_east-2-0-us-east-1-put.hlog");
    }
}
