//! A thin layer over plotters' SVG backend: sizes in px of a page 672 px (7 in) wide, dashed lines,
//! marks, text that fits.
//!
//! Plotters places everything at whole pixels, so the picture is drawn [`FINE`] times as large and
//! shown at its size: curves have no steps. usvg then turns text into paths, so a figure needs no
//! font where it is read, and resvg makes the bitmap.

use std::sync::{Arc, LazyLock, Once};

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontTransform, RGBColor, TextStyle};
use resvg::{tiny_skia, usvg};

use super::palette;

/// How many units of the drawing make a px.
const FINE: f64 = 8.0;
/// The bitmap has this many dots a px: 288 an inch.
const DOTS_PER_PX: f32 = 3.0;
const FAMILY: &str = "sans-serif";

/// The width of every figure, in px: 7 inches of 96 px.
pub const WIDTH: f64 = 672.0;

/// A pattern of lengths in px, on and off in turn; empty for a solid line.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Dash(pub &'static [f64]);

/// The shape of a point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Mark {
    Circle,
    Square,
    Triangle,
    Diamond,
    TriangleDown,
    Cross,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Stroke {
    /// Its colour.
    pub color: RGBColor,
    /// Its width in px.
    pub width: f64,
    /// 1 for opaque.
    pub alpha: f64,
    /// Its pattern.
    pub dash: Dash,
}

impl Stroke {
    /// A solid, opaque line.
    pub const fn solid(color: RGBColor, width: f64) -> Stroke {
        Stroke { color, width, alpha: 1.0, dash: Dash(&[]) }
    }
}

/// Where a text lies against its point; it is centred vertically.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Align {
    Left,
    Center,
    Right,
}

/// How a text is set.
#[derive(Clone, Copy, Debug)]
pub struct Type {
    /// Its size in px.
    pub size: f64,
    /// Its colour.
    pub color: RGBColor,
    /// Whether it is bold.
    pub bold: bool,
    /// Where it lies.
    pub align: Align,
}

/// The size of most text, in px (8.25 pt in print).
pub const TEXT: f64 = 11.0;

impl Type {
    /// Ordinary text.
    pub const fn normal(align: Align) -> Type {
        Type { size: TEXT, color: palette::INK, bold: false, align }
    }

    /// Text of less weight.
    pub const fn faint(align: Align) -> Type {
        Type { size: TEXT, color: palette::FAINT_INK, bold: false, align }
    }

    /// Bold text of a size.
    pub const fn bold(size: f64, color: RGBColor) -> Type {
        Type { size, color, bold: true, align: Align::Left }
    }

    fn font(self) -> FontDesc<'static> {
        let style = if self.bold { FontStyle::Bold } else { FontStyle::Normal };
        // the backend divides by 1.24
        FontDesc::new(FontFamily::SansSerif, self.size * FINE * 1.24, style)
    }

    /// How wide a text gets, in px.
    pub fn width_of(self, text: &str) -> f64 {
        register_fonts();
        let (width, _) = self.font().box_size(text).unwrap_or_default();
        // plotters counts a size from ascent to descent (1.362 em in this font), SVG in em
        f64::from(width) / FINE * 1.362 / 1.24
    }

    /// The text, cut to fit a width in px, with an ellipsis where it was cut.
    pub fn fitted(self, text: &str, width: f64) -> String {
        if self.width_of(text) <= width {
            return text.to_owned();
        }
        let mut kept: Vec<char> = text.chars().collect();
        while kept.pop().is_some() {
            let cut: String = kept.iter().chain(&['…']).collect();
            if self.width_of(&cut) <= width {
                return cut;
            }
        }
        String::new()
    }

    /// The text in lines that fit a width in px, broken between words; a word that fits no line is
    /// cut.
    pub fn wrapped(self, text: &str, width: f64) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            let longer = lines.last().map(|line| format!("{line} {word}"));
            match (longer, lines.last_mut()) {
                (Some(longer), Some(line)) if self.width_of(&longer) <= width => *line = longer,
                _ => lines.push(self.fitted(word, width)),
            }
        }
        lines
    }
}

fn register_fonts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (style, font) in
            [(FontStyle::Normal, notosans::REGULAR_TTF), (FontStyle::Bold, notosans::BOLD_TTF)]
        {
            plotters::style::register_font(FAMILY, style, font)
                .unwrap_or_else(|_| panic!("the embedded font is a font"));
        }
    });
}

/// A figure that is being drawn. The first error is kept and told at the end.
pub struct Canvas<'a> {
    backend: SVGBackend<'a>,
    error: Option<String>,
}

impl Canvas<'_> {
    fn keep<E: std::fmt::Display>(&mut self, drawn: Result<(), E>) {
        if let Err(error) = drawn {
            self.error.get_or_insert_with(|| error.to_string());
        }
    }

    /// A line through points.
    pub fn line(&mut self, points: &[(f64, f64)], stroke: Stroke) {
        let style = ShapeStyle {
            color: stroke.color.mix(stroke.alpha),
            filled: false,
            stroke_width: (stroke.width * FINE).round() as u32,
        };
        for piece in dashed(points, stroke.dash) {
            if piece.len() > 1 {
                let drawn = self.backend.draw_path(piece.into_iter().map(fine), &style);
                self.keep(drawn);
            }
        }
    }

    /// A filled polygon.
    pub fn polygon(&mut self, points: &[(f64, f64)], color: RGBColor, alpha: f64) {
        let points = points.iter().copied().map(fine);
        let drawn = self.backend.fill_polygon(points, &color.mix(alpha));
        self.keep(drawn);
    }

    /// A filled rectangle.
    pub fn rectangle(&mut self, (x0, y0): (f64, f64), (x1, y1): (f64, f64), color: RGBColor) {
        self.polygon(&[(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color, 1.0);
    }

    /// A point, `size` px across, with a thin rim of paper so that it stands out from lines.
    pub fn mark(&mut self, at: (f64, f64), mark: Mark, size: f64, color: RGBColor) {
        self.shape(at, mark, size + 2.0, palette::PAPER);
        self.shape(at, mark, size, color);
    }

    fn shape(&mut self, (x, y): (f64, f64), mark: Mark, size: f64, color: RGBColor) {
        let r = size / 2.0;
        if mark == Mark::Circle {
            let style = ShapeStyle::from(&color).filled();
            let radius = (r * FINE).round() as u32;
            let drawn = self.backend.draw_circle(fine((x, y)), radius, &style, true);
            return self.keep(drawn);
        }
        let corners: Vec<_> =
            corners(mark).iter().map(|(dx, dy)| (x + r * dx, y + r * dy)).collect();
        self.polygon(&corners, color, 1.0);
    }

    /// A line of text, centred vertically at the point.
    pub fn text(&mut self, at: (f64, f64), text: &str, set: Type) {
        self.turned(at, text, set, FontTransform::None);
    }

    /// A line of text that reads upwards, from the point, around it or to it.
    pub fn upwards(&mut self, at: (f64, f64), text: &str, set: Type) {
        self.turned(at, text, set, FontTransform::Rotate270);
    }

    fn turned(&mut self, at: (f64, f64), text: &str, set: Type, turn: FontTransform) {
        let horizontal = match set.align {
            Align::Left => HPos::Left,
            Align::Center => HPos::Center,
            Align::Right => HPos::Right,
        };
        let style = TextStyle::from(set.font().transform(turn))
            .color(&set.color)
            .pos(Pos::new(horizontal, VPos::Center));
        let drawn = self.backend.draw_text(text, &style, fine(at));
        self.keep(drawn);
    }
}

fn fine((x, y): (f64, f64)) -> (i32, i32) {
    ((x * FINE).round() as i32, (y * FINE).round() as i32)
}

/// The corners of a shape of radius 1.
fn corners(mark: Mark) -> &'static [(f64, f64)] {
    const ARM: f64 = 0.32;
    match mark {
        Mark::Circle => &[],
        Mark::Square => &[(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
        Mark::Triangle => &[(0.0, -1.05), (1.0, 0.8), (-1.0, 0.8)],
        Mark::TriangleDown => &[(0.0, 1.05), (1.0, -0.8), (-1.0, -0.8)],
        Mark::Diamond => &[(0.0, -1.15), (1.0, 0.0), (0.0, 1.15), (-1.0, 0.0)],
        Mark::Cross => &[
            (-ARM, -1.0),
            (ARM, -1.0),
            (ARM, -ARM),
            (1.0, -ARM),
            (1.0, ARM),
            (ARM, ARM),
            (ARM, 1.0),
            (-ARM, 1.0),
            (-ARM, ARM),
            (-1.0, ARM),
            (-1.0, -ARM),
            (-ARM, -ARM),
        ],
    }
}

/// The visible pieces of a dashed line.
fn dashed(points: &[(f64, f64)], dash: Dash) -> Vec<Vec<(f64, f64)>> {
    let (Some(first), [_, ..]) = (points.first(), dash.0) else { return vec![points.to_vec()] };
    let mut pieces = vec![vec![*first]];
    let (mut part, mut left) = (0, dash.0[0]);
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let length = (x1 - x0).hypot(y1 - y0);
        let mut gone = 0.0;
        while length - gone > left {
            gone += left;
            let turn = (x0 + (x1 - x0) * gone / length, y0 + (y1 - y0) * gone / length);
            part += 1;
            left = dash.0[part % dash.0.len()];
            match part % 2 {
                0 => pieces.push(vec![turn]),
                _ => pieces.last_mut().expect("there is a first").push(turn),
            }
        }
        left -= length - gone;
        if part % 2 == 0 {
            pieces.last_mut().expect("there is a first").push((x1, y1));
        }
    }
    pieces
}

/// A finished drawing.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// As SVG, with text as paths.
    pub svg: String,
    /// As PNG, 2016 dots wide.
    pub png: Vec<u8>,
}

/// Draws a figure [`WIDTH`] wide and `height` high, both in px. `title` and `description` are for
/// those who cannot see it. The error is one line.
pub fn draw(
    height: f64,
    title: &str,
    description: &str,
    paint: impl FnOnce(&mut Canvas<'_>),
) -> Result<Drawing, String> {
    let raw = paint_raw(height, paint)?;
    let options = usvg::Options { fontdb: fonts(), ..usvg::Options::default() };
    let tree = usvg::Tree::from_str(&raw, &options).map_err(|e| e.to_string())?;
    let written = tree.to_string(&usvg::WriteOptions {
        preserve_text: false,
        indent: usvg::Indent::None,
        coordinates_precision: 1,
        ..usvg::WriteOptions::default()
    });
    Ok(Drawing { svg: described(&written, height, title, description)?, png: rasterised(&tree)? })
}

/// The drawing as plotters writes it, with text as text.
fn paint_raw(height: f64, paint: impl FnOnce(&mut Canvas<'_>)) -> Result<String, String> {
    register_fonts();
    let mut raw = String::new();
    let (wide, high) = fine((WIDTH, height));
    let backend = SVGBackend::with_string(&mut raw, (wide as u32, high as u32));
    let mut canvas = Canvas { backend, error: None };
    canvas.rectangle((0.0, 0.0), (WIDTH, height), palette::PAPER);
    paint(&mut canvas);
    let presented = canvas.backend.present();
    canvas.keep(presented);
    if let Some(error) = canvas.error.take() {
        return Err(error);
    }
    drop(canvas);
    // show the fine drawing at its size; round joins, as sharp ones overshoot their data
    let large = format!("<svg width=\"{wide}\" height=\"{high}\"");
    let small = format!("<svg stroke-linejoin=\"round\" width=\"{WIDTH}\" height=\"{height}\"");
    if !raw.starts_with(&large) {
        return Err("the drawing does not start with its size".to_owned());
    }
    Ok(raw.replacen(&large, &small, 1))
}

fn fonts() -> Arc<usvg::fontdb::Database> {
    static FONTS: LazyLock<Arc<usvg::fontdb::Database>> = LazyLock::new(|| {
        let mut fonts = usvg::fontdb::Database::new();
        fonts.load_font_data(notosans::REGULAR_TTF.to_vec());
        fonts.load_font_data(notosans::BOLD_TTF.to_vec());
        fonts.set_sans_serif_family("Noto Sans");
        Arc::new(fonts)
    });
    FONTS.clone()
}

/// The SVG with a view box, so that a page can scale it, and with a title and a description for
/// screen readers, who cannot read paths.
fn described(svg: &str, height: f64, title: &str, description: &str) -> Result<String, String> {
    let (head, body) = svg.split_once('>').ok_or("usvg wrote no element")?;
    let view = format!("viewBox=\"0 0 {WIDTH} {height}\"");
    let (title, description) = (escaped(title), escaped(description));
    Ok(format!("{head} {view} role=\"img\"><title>{title}</title><desc>{description}</desc>{body}"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn rasterised(tree: &usvg::Tree) -> Result<Vec<u8>, String> {
    let size = tree.size().to_int_size().scale_by(DOTS_PER_PX).ok_or("a figure without a size")?;
    let mut bitmap = tiny_skia::Pixmap::new(size.width(), size.height()).ok_or("no bitmap")?;
    let scale = tiny_skia::Transform::from_scale(DOTS_PER_PX, DOTS_PER_PX);
    resvg::render(tree, scale, &mut bitmap.as_mut());
    bitmap.encode_png().map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dashed_line_shows_its_dashes_and_hides_its_gaps() {
        let pieces = dashed(&[(0.0, 0.0), (5.0, 0.0), (10.0, 0.0)], Dash(&[4.0, 2.0]));
        let expected = [vec![(0.0, 0.0), (4.0, 0.0)], vec![(6.0, 0.0), (10.0, 0.0)]];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn the_width_of_a_text_is_the_one_it_is_drawn_with() {
        let set = Type::normal(Align::Left);
        let text = "virginia 0123 p99 (ms)";
        let raw = paint_raw(40.0, |canvas| canvas.text((10.0, 20.0), text, set)).unwrap();
        let options = usvg::Options { fontdb: fonts(), ..usvg::Options::default() };
        let tree = usvg::Tree::from_str(&raw, &options).unwrap();
        let drawn = text_box(tree.root()).unwrap();
        let guess = set.width_of(text);
        assert!((f64::from(drawn.width()) - guess).abs() < 3.0, "{} {guess}", drawn.width());
    }

    fn text_box(group: &usvg::Group) -> Option<tiny_skia::Rect> {
        group.children().iter().find_map(|node| match node {
            usvg::Node::Text(text) => Some(text.abs_bounding_box()),
            usvg::Node::Group(group) => text_box(group),
            _ => None,
        })
    }

    #[test]
    fn a_text_is_cut_to_its_width() {
        let set = Type::normal(Align::Left);
        assert_eq!(set.fitted("oregon", 100.0), "oregon");
        let cut = set.fitted("a-site-with-a-very-long-name", 60.0);
        assert!(cut.ends_with('…') && set.width_of(&cut) <= 60.0, "{cut}");
    }

    #[test]
    fn a_text_is_broken_between_words() {
        let set = Type::normal(Align::Left);
        let text = "measured in one run, predicted in another";
        let lines = set.wrapped(text, 120.0);
        assert!(lines.len() > 1 && lines.iter().all(|line| set.width_of(line) <= 120.0));
        assert_eq!(lines.join(" "), text);
        assert_eq!(set.wrapped(text, 1000.0), [text]);
    }

    #[test]
    fn a_title_cannot_break_out_of_the_svg() {
        let drawing = draw(20.0, "</title><script>", "a & b", |_| {}).unwrap();
        assert!(!drawing.svg.contains("<script>") && drawing.svg.contains("a &amp; b"));
        assert!(usvg::Tree::from_str(&drawing.svg, &usvg::Options::default()).is_ok());
    }
}
