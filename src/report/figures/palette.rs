//! Fixed colours, dashes and marks. Colours start from Okabe and Ito's set, with their lightness
//! spread so that they stay apart in grey; dashes and marks tell series apart without any colour.

use plotters::style::RGBColor;

use super::canvas::{Dash, Mark};

/// How a series looks.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The colour.
    pub color: RGBColor,
    /// The pattern of its line.
    pub dash: Dash,
    /// The shape of its points.
    pub mark: Mark,
}

/// Text and axes.
pub const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
/// Less important text.
pub const FAINT_INK: RGBColor = RGBColor(0x59, 0x59, 0x59);
/// Grid lines.
pub const GRID: RGBColor = RGBColor(0xDD, 0xDD, 0xDD);
/// Shaded areas.
pub const SHADE: RGBColor = RGBColor(0xF0, 0xF0, 0xF0);
/// The paper.
pub const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);
/// Nothing but warnings has this colour.
pub const WARNING: RGBColor = RGBColor(0xB0, 0x00, 0x20);

/// What was measured, where it stands beside a prediction.
pub const MEASURED: RGBColor = COLORS[0];
/// What was predicted.
pub const PREDICTED: RGBColor = COLORS[1];

const COLORS: [RGBColor; 7] = [
    RGBColor(0x00, 0x4B, 0x87), // blue, dark
    RGBColor(0xE6, 0x9F, 0x00), // orange
    RGBColor(0x00, 0x9E, 0x73), // bluish green
    RGBColor(0xB3, 0x47, 0x00), // vermilion, dark
    RGBColor(0x7C, 0xC4, 0xEE), // sky blue, light
    RGBColor(0x00, 0x00, 0x00), // black
    RGBColor(0xCC, 0x79, 0xA7), // reddish purple
];

const MARKS: [Mark; 6] =
    [Mark::Circle, Mark::Square, Mark::Triangle, Mark::Diamond, Mark::TriangleDown, Mark::Cross];

const DASHES: [Dash; 5] = [
    Dash(&[]),
    Dash(&[7.0, 2.5]),
    Dash(&[2.0, 2.0]),
    Dash(&[8.0, 2.0, 2.0, 2.0]),
    Dash(&[12.0, 3.0]),
];

/// The look of the series of this index. The three lists have different lengths, so no look
/// returns before the 211th series.
pub fn look(index: usize) -> Look {
    Look {
        color: COLORS[index % COLORS.len()],
        dash: DASHES[index % DASHES.len()],
        mark: MARKS[index % MARKS.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CIE lightness, 0 to 100.
    fn lightness(color: RGBColor) -> f64 {
        let linear = |c: u8| {
            let c = f64::from(c) / 255.0;
            if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        let y = 0.2126 * linear(color.0) + 0.7152 * linear(color.1) + 0.0722 * linear(color.2);
        if y <= 0.008_856 { 903.3 * y } else { 116.0 * y.cbrt() - 16.0 }
    }

    #[test]
    fn the_first_six_colours_differ_in_lightness_and_none_drowns_in_the_paper() {
        let mut all: Vec<f64> = COLORS[..6].iter().map(|c| lightness(*c)).collect();
        all.sort_by(f64::total_cmp);
        let least = all.windows(2).map(|w| w[1] - w[0]).fold(f64::INFINITY, f64::min);
        assert!(least > 5.0, "{all:?}");
        assert!(COLORS.iter().all(|c| lightness(*c) < 80.0), "{all:?}");
    }

    #[test]
    fn looks_stay_apart_without_colour() {
        let seen: Vec<_> = (0..30).map(|i| (look(i).dash, look(i).mark)).collect();
        for (i, one) in seen.iter().enumerate() {
            assert!(!seen[..i].contains(one), "look {i} comes twice");
        }
    }
}
