//! Quantities with their units, as the experiment file writes them: `250ms`, `200/s`, `2%`, `64KB`,
//! `100Mbit/s`.
//!
//! Reading is exact: a quantity that is no whole number of the base unit is refused, not rounded.
//! Writing what was read and reading it again gives the same value.

use std::time::Duration;

/// Why a quantity cannot be read, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}; write {instead} instead")]
pub struct BadQuantity {
    /// What is wrong.
    pub what: String,
    /// A quantity that could be read.
    pub instead: String,
}

/// Units of one kind, all multiples of a base unit.
struct Family {
    /// What such a quantity is called.
    kind: &'static str,
    /// Names and how many base units each is, from small to large. The first is the base unit.
    units: &'static [(&'static str, u64)],
    /// Names that people write for them.
    aliases: &'static [(&'static str, &'static str)],
    /// What a number without a unit is taken to mean in a suggestion.
    usual: &'static str,
    /// A quantity to show.
    example: &'static str,
}

static DURATION: Family = Family {
    kind: "a duration",
    units: &[
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ],
    aliases: &[
        ("µs", "us"),
        ("msec", "ms"),
        ("millis", "ms"),
        ("sec", "s"),
        ("secs", "s"),
        ("second", "s"),
        ("seconds", "s"),
        ("min", "m"),
        ("mins", "m"),
        ("minute", "m"),
        ("minutes", "m"),
        ("hour", "h"),
        ("hours", "h"),
    ],
    usual: "s",
    example: "5s",
};

static BYTES: Family = Family {
    kind: "a size",
    units: &[
        ("B", 1),
        ("KB", 1_000),
        ("KiB", 1 << 10),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
    ],
    aliases: &[("K", "KiB"), ("M", "MiB"), ("G", "GiB"), ("byte", "B"), ("bytes", "B")],
    usual: "B",
    example: "16B",
};

static BANDWIDTH: Family = Family {
    kind: "a bandwidth",
    units: &[("bit/s", 1), ("kbit/s", 1_000), ("Mbit/s", 1_000_000), ("Gbit/s", 1_000_000_000)],
    aliases: &[
        ("bps", "bit/s"),
        ("kbps", "kbit/s"),
        ("Mbps", "Mbit/s"),
        ("Gbps", "Gbit/s"),
        ("Mbit", "Mbit/s"),
        ("Gbit", "Gbit/s"),
    ],
    usual: "Mbit/s",
    example: "100Mbit/s",
};

/// Reads a duration: a number and one of `ns`, `us`, `ms`, `s`, `m`, `h`.
pub fn parse_duration(text: &str) -> Result<Duration, BadQuantity> {
    DURATION.parse(text).map(Duration::from_nanos)
}

/// Writes a duration so that [`parse_duration`] reads the same; beyond 584 years it is cut.
pub fn format_duration(duration: Duration) -> String {
    DURATION.format(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// Reads a size in bytes: a number and `B`, `KB` (1,000), `KiB` (1,024), up to `GiB`.
pub fn parse_bytes(text: &str) -> Result<u64, BadQuantity> {
    BYTES.parse(text)
}

/// Writes a size so that [`parse_bytes`] reads the same.
pub fn format_bytes(bytes: u64) -> String {
    BYTES.format(bytes)
}

/// Reads a bandwidth in bits a second: a number and `bit/s`, `kbit/s`, `Mbit/s`, `Gbit/s`.
pub fn parse_bandwidth(text: &str) -> Result<u64, BadQuantity> {
    BANDWIDTH.parse(text)
}

/// Writes a bandwidth so that [`parse_bandwidth`] reads the same.
pub fn format_bandwidth(bits_per_s: u64) -> String {
    BANDWIDTH.format(bits_per_s)
}

/// Reads a rate a second, above zero: `200/s`.
pub fn parse_rate(text: &str) -> Result<f64, BadQuantity> {
    let bad = |what: String, instead: String| Err(BadQuantity { what, instead });
    let Some((number, unit)) = split_number(text) else {
        return bad(format!("`{text}` is not a rate"), "200/s".to_owned());
    };
    match (unit, number.parse::<f64>()) {
        ("/s", Ok(rate)) if rate.is_finite() && rate > 0.0 => Ok(rate),
        ("/s", _) => bad(format!("the rate `{text}` is not above 0/s"), "200/s".to_owned()),
        ("", _) => bad(format!("`{text}` has no unit"), format!("{number}/s")),
        _ => {
            bad(format!("a rate has no unit `{unit}`"), "a number before /s, as 200/s,".to_owned())
        }
    }
}

/// Writes a rate so that [`parse_rate`] reads the same.
pub fn format_rate(rate_per_s: f64) -> String {
    format!("{rate_per_s}/s")
}

/// Reads a percentage from `0%` to `100%` as a share from 0 to 1.
pub fn parse_share(text: &str) -> Result<f64, BadQuantity> {
    let bad = |what: String, instead: String| Err(BadQuantity { what, instead });
    let Some((number, unit)) = split_number(text) else {
        return bad(format!("`{text}` is not a percentage"), "2%".to_owned());
    };
    // The exponent moves the decimal point, where a division would round a second time.
    match (unit, format!("{number}e-2").parse::<f64>()) {
        ("%", Ok(share)) if share <= 1.0 => Ok(share),
        ("%", _) => bad(format!("`{text}` is more than 100%"), "a share up to 100%".to_owned()),
        // Who writes 0.5 rather than 5 means a half.
        ("", _) => match number.parse::<f64>() {
            Ok(share) if share < 1.0 => bad(format!("`{text}` has no unit"), format_share(share)),
            _ => bad(format!("`{text}` has no unit"), format!("{number}%")),
        },
        _ => bad(format!("a percentage has no unit `{unit}`"), format!("{number}%")),
    }
}

/// Writes a share so that [`parse_share`] reads the same.
pub fn format_share(share: f64) -> String {
    let digits = format!("{share}");
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let padded = format!("{fraction:0<2}");
    let (moved, rest) = padded.split_at(2);
    let joined = format!("{whole}{moved}");
    let whole = joined.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    if rest.is_empty() { format!("{whole}%") } else { format!("{whole}.{rest}%") }
}

impl Family {
    /// The quantity as a whole number of base units.
    fn parse(&self, text: &str) -> Result<u64, BadQuantity> {
        let Some((number, unit)) = split_number(text) else {
            return Err(BadQuantity {
                what: format!("`{text}` is not {}", self.kind),
                instead: self.example.to_owned(),
            });
        };
        let Some(factor) = self.factor(unit) else {
            return Err(self.bad_unit(text, number, unit));
        };
        scale(number, factor).ok_or_else(|| BadQuantity {
            what: format!("`{text}` is too large or not a whole number of {}", self.units[0].0),
            instead: self.example.to_owned(),
        })
    }

    /// Whole units, as large as possible: decimal, so that a person reads them.
    fn format(&self, amount: u64) -> String {
        if amount == 0 {
            return format!("0{}", self.usual);
        }
        let exact = |&&(_, factor): &&(&str, u64)| amount.is_multiple_of(factor);
        let (unit, factor) = self.units.iter().rev().find(exact).unwrap_or(&self.units[0]);
        format!("{}{unit}", amount / factor)
    }

    fn factor(&self, unit: &str) -> Option<u64> {
        self.units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
    }

    fn bad_unit(&self, text: &str, number: &str, unit: &str) -> BadQuantity {
        if unit.is_empty() {
            let what = format!("`{text}` has no unit");
            return BadQuantity { what, instead: format!("{number}{}", self.usual) };
        }
        let names: Vec<&str> = self.units.iter().map(|(name, _)| *name).collect();
        let what = format!("{} has no unit `{unit}`, only {}", self.kind, names.join(", "));
        let meant = names.iter().map(|name| (*name, *name)).chain(self.aliases.iter().copied());
        let mut meant = meant.filter(|(name, _)| name.eq_ignore_ascii_case(unit));
        let instead = match meant.next() {
            Some((_, name)) => format!("{number}{name}"),
            None => format!("a quantity such as {}", self.example),
        };
        BadQuantity { what, instead }
    }
}

/// Splits a plain decimal number, such as `1.5`, from what follows it.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let valid = !whole.is_empty() && !fraction.is_empty() && !fraction.contains('.');
    valid.then_some((number, unit.trim_start_matches(' ')))
}

/// A decimal number times `factor`, if that is a whole number that fits.
fn scale(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let product = digits.checked_mul(u128::from(factor))?;
    (product % divisor == 0).then(|| product / divisor).and_then(|n| u64::try_from(n).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_carry_units_and_may_have_a_fraction() {
        for (text, ns) in [
            ("5s", 5_000_000_000),
            ("250ms", 250_000_000),
            ("2m", 120_000_000_000),
            ("1.5s", 1_500_000_000),
            ("1h", 3_600_000_000_000),
            ("0s", 0),
            ("0.5us", 500),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(ns)), "{text}");
        }
    }

    #[test]
    fn quantities_are_written_in_the_largest_unit_that_is_whole() {
        let written = |ms| format_duration(Duration::from_millis(ms));
        assert_eq!([written(0), written(250), written(1500)], ["0s", "250ms", "1500ms"]);
        assert_eq!([written(90_000), written(3_600_000)], ["90s", "1h"]);
        assert_eq!([format_bytes(16), format_bytes(64_000)], ["16B", "64KB"]);
        assert_eq!([format_bytes(1 << 30), format_bandwidth(1_500_000)], ["1GiB", "1500kbit/s"]);
    }

    #[test]
    fn a_quantity_that_is_not_whole_in_the_base_unit_is_refused_not_rounded() {
        assert!(parse_duration("0.5ns").is_err());
        assert!(parse_bytes("1.5B").is_err());
        assert_eq!(parse_bytes("1.5KiB"), Ok(1536));
        assert!(parse_duration("99999999999h").is_err());
    }

    #[test]
    fn the_message_says_which_unit_to_write() {
        let message = |text| parse_duration(text).unwrap_err().to_string();
        assert_eq!(message("5"), "`5` has no unit; write 5s instead");
        assert_eq!(
            message("5sec"),
            "a duration has no unit `sec`, only ns, us, ms, s, m, h; write 5s instead"
        );
        assert_eq!(
            message("5MS"),
            "a duration has no unit `MS`, only ns, us, ms, s, m, h; write 5ms instead"
        );
        assert_eq!(message("-5s"), "`-5s` is not a duration; write 5s instead");
    }

    #[test]
    fn sizes_bandwidths_rates_and_percentages_have_their_own_units() {
        assert_eq!(parse_bytes("16B"), Ok(16));
        assert_eq!(parse_bytes("64KB"), Ok(64_000));
        assert_eq!(parse_bytes("1GiB"), Ok(1 << 30));
        assert_eq!(parse_bandwidth("100Mbit/s"), Ok(100_000_000));
        assert_eq!(parse_rate("200/s"), Ok(200.0));
        assert_eq!(parse_share("2%"), Ok(0.02));
        assert_eq!(parse_share("12.5%"), Ok(0.125));
        for bad in ["200", "0/s", "200/m", "/s", "", "2%"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
        for bad in ["2", "101%", "%", "-1%", "0.02", "1..5%"] {
            assert!(parse_share(bad).is_err(), "{bad}");
        }
        assert!(parse_bandwidth("100MB/s").is_err());
    }

    #[test]
    fn percentages_are_written_as_people_write_them() {
        for text in ["0%", "2%", "7%", "50%", "100%", "12.5%", "0.01%", "99.99%", "33.3%"] {
            assert_eq!(format_share(parse_share(text).unwrap()), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_the_same(amount: u64, share in 0.0..=1.0f64, rate in 1e-9..1e12f64) {
            let duration = Duration::from_nanos(amount);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_bytes(&format_bytes(amount)), Ok(amount));
            prop_assert_eq!(parse_bandwidth(&format_bandwidth(amount)), Ok(amount));
            prop_assert_eq!(parse_share(&format_share(share)), Ok(share));
            prop_assert_eq!(parse_rate(&format_rate(rate)), Ok(rate));
        }
    }
}
