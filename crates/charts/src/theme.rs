//! Colours. Attention is blue and the MLP vermilion (safe for colour-blind readers), the stream is grey; shapes and
//! hatching say the same again for readers who see no colour.

use super::Kind;

/// A colour in sRGB with an opacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Color {
    /// Red, green, blue.
    pub rgb: [u8; 3],
    /// Opacity from 0 to 1.
    pub alpha: f64,
}

impl Color {
    /// An opaque colour from `0xrrggbb`.
    pub const fn hex(rgb: u32) -> Self {
        Color { rgb: [(rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8], alpha: 1.0 }
    }

    /// The same colour with another opacity.
    pub const fn with_alpha(self, alpha: f64) -> Self {
        Color { rgb: self.rgb, alpha }
    }

    /// Between this colour (share 0) and another (share 1), channel by channel.
    pub fn mix(self, other: Color, share: f64) -> Self {
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        let between = |a: f64, b: f64| a + (b - a) * share;
        let rgb = std::array::from_fn(|i| between(f64::from(self.rgb[i]), f64::from(other.rgb[i])).round() as u8);
        Color { rgb, alpha: between(self.alpha, other.alpha) }
    }

    /// `#rrggbb`, the opacity left out.
    pub fn to_hex(self) -> String {
        let [r, g, b] = self.rgb;
        format!("#{r:02x}{g:02x}{b:02x}")
    }

    /// As CSS writes it: `#rrggbb` or `rgba(r, g, b, alpha)`.
    pub fn to_css(self) -> String {
        let [r, g, b] = self.rgb;
        if self.alpha >= 1.0 { self.to_hex() } else { format!("rgba({r}, {g}, {b}, {})", self.alpha) }
    }

    /// Relative luminance of the opaque colour, as WCAG 2.2 defines it.
    pub fn luminance(self) -> f64 {
        let linear = |channel: u8| {
            let c = f64::from(channel) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        let [r, g, b] = self.rgb;
        0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    }

    /// Contrast ratio of two opaque colours, 1 to 21, as WCAG 2.2 defines it.
    pub fn contrast(self, other: Color) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }
}

/// Every colour a chart uses. The page may change single ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Theme {
    /// What lies behind the chart.
    pub panel: Color,
    /// Read-outs, titles, highlights.
    pub ink: Color,
    /// Ticks, axis titles, notes.
    pub mute: Color,
    /// Grid lines behind the data.
    pub line: Color,
    /// Axis baseline and tick marks.
    pub axis: Color,
    /// Areas that are still empty.
    pub soft: Color,
    /// What attention writes.
    pub attn: Color,
    /// What the MLP writes.
    pub mlp: Color,
    /// The embedding and the stream itself.
    pub stream: Color,
}

impl Theme {
    /// Dark marks on a white ground.
    pub const fn light() -> Self {
        Theme {
            panel: Color::hex(0xffffff),
            ink: Color::hex(0x1c1b1a),
            mute: Color::hex(0x6b6862),
            line: Color::hex(0xe9e6e0),
            axis: Color::hex(0xb5b0a6),
            soft: Color::hex(0xf3f1ec),
            attn: Color::hex(0x0072b2),
            mlp: Color::hex(0xd55e00),
            stream: Color::hex(0x444039),
        }
    }

    /// Light marks on a dark ground.
    pub const fn dark() -> Self {
        Theme {
            panel: Color::hex(0x1c1b1a),
            ink: Color::hex(0xedeae4),
            mute: Color::hex(0xa09b92),
            line: Color::hex(0x302e2b),
            axis: Color::hex(0x5d5952),
            soft: Color::hex(0x262523),
            attn: Color::hex(0x56b4e9),
            mlp: Color::hex(0xf0924c),
            stream: Color::hex(0xcfcac1),
        }
    }

    /// The colour of a kind.
    pub fn kind(&self, kind: Kind) -> Color {
        match kind {
            Kind::Attention => self.attn,
            Kind::Mlp => self.mlp,
            Kind::Embedding | Kind::Stream => self.stream,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_matches_the_definition() {
        let (black, white) = (Color::hex(0), Color::hex(0xffffff));
        assert!((black.contrast(white) - 21.0).abs() < 1e-9);
        // 0x777777 on white is the textbook 4.48:1.
        assert!((Color::hex(0x777777).contrast(white) - 4.48).abs() < 0.005);
    }

    #[test]
    fn text_is_legible_and_marks_are_visible_in_both_themes() {
        for (name, theme) in [("light", Theme::light()), ("dark", Theme::dark())] {
            for (what, color) in [("ink", theme.ink), ("mute", theme.mute)] {
                for (ground, behind) in [("panel", theme.panel), ("soft", theme.soft)] {
                    let ratio = color.contrast(behind);
                    assert!(ratio >= 4.5, "theme.rs: {name} {what} on {ground} is {ratio:.2}:1, text needs 4.5:1");
                }
            }
            for (what, color) in [("attn", theme.attn), ("mlp", theme.mlp), ("stream", theme.stream)] {
                let ratio = color.contrast(theme.panel);
                assert!(ratio >= 3.0, "theme.rs: {name} {what} is {ratio:.2}:1 on the panel, marks need 3:1");
            }
        }
    }
}
