//! Scales: from data to pixels, and the round numbers in between.

/// How a scale spreads its domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// Equal steps are equally long.
    Linear,
    /// By the logarithm; the domain must be positive.
    Log,
}

/// Maps a domain of data, lowest and highest value, to a range of pixels: those of the lowest and of the highest value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    transform: Transform,
    domain: [f64; 2],
    range: [f64; 2],
}

impl Scale {
    /// A linear scale. A domain without width, or not finite, is widened around its start so that a map exists.
    pub fn linear(domain: [f64; 2], range: [f64; 2]) -> Self {
        let [low, high] = domain;
        let domain = match (low.is_finite() && high.is_finite(), high > low) {
            (true, true) => domain,
            (true, false) => [low - 0.5 - low.abs() * 1e-3, low + 0.5 + low.abs() * 1e-3],
            (false, _) => [0.0, 1.0],
        };
        Scale { transform: Transform::Linear, domain, range }
    }

    /// A logarithmic scale. `None` unless the domain is positive, finite and has a width.
    pub fn log(domain: [f64; 2], range: [f64; 2]) -> Option<Self> {
        let [low, high] = domain;
        (low > 0.0 && high > low && high.is_finite()).then_some(Scale { transform: Transform::Log, domain, range })
    }

    /// Lowest and highest value.
    pub fn domain(&self) -> [f64; 2] {
        self.domain
    }

    /// Their pixels.
    pub fn range(&self) -> [f64; 2] {
        self.range
    }

    /// The same domain on other pixels.
    pub fn with_range(self, range: [f64; 2]) -> Self {
        Scale { range, ..self }
    }

    /// The pixel of a value. Values outside the domain land outside the range (but at a finite place); `NaN` stays `NaN`.
    pub fn map(&self, value: f64) -> f64 {
        let [low, high] = self.domain;
        let share = match self.transform {
            // Halved, since the width of a domain near the largest f64 overflows.
            Transform::Linear => (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0),
            Transform::Log => (value.max(f64::MIN_POSITIVE) / low).ln() / (high / low).ln(),
        };
        let [start, end] = self.range;
        // Far outside is far enough; canvas and SVG know no infinity.
        start + share.clamp(-1e4, 1e4) * (end - start)
    }

    /// Widens a linear domain to round numbers, for about `count` ticks.
    pub fn nice(self, count: usize) -> Self {
        if self.transform == Transform::Log {
            return self;
        }
        let step = nice_step(self.domain, count);
        let [low, high] = self.domain;
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        if low.is_finite() && high.is_finite() && high > low { Scale { domain: [low, high], ..self } } else { self }
    }

    /// About `count` round values inside the domain, in rising order, and the step between them (for labels).
    /// On a logarithmic scale: powers of ten, with 2 and 5 in between where they fit.
    pub fn ticks(&self, count: usize) -> (Vec<f64>, f64) {
        match self.transform {
            Transform::Linear => {
                let step = nice_step(self.domain, count);
                (multiples(self.domain, step), step)
            }
            Transform::Log => {
                let ticks = log_ticks(self.domain, count);
                let step = ticks.first().copied().unwrap_or(1.0);
                (ticks, step)
            }
        }
    }

    /// Like [`Scale::ticks`], whole numbers only.
    pub fn integer_ticks(&self, count: usize) -> (Vec<f64>, f64) {
        let step = nice_step(self.domain, count).max(1.0);
        (multiples(self.domain, step), step)
    }
}

/// The 1, 2 or 5 times a power of ten that cuts the domain into at most about `count` pieces.
fn nice_step([low, high]: [f64; 2], count: usize) -> f64 {
    let rough = (high / count.max(1) as f64 - low / count.max(1) as f64).max(f64::MIN_POSITIVE * 1e16);
    let power = 10f64.powf(rough.log10().floor());
    let fraction = rough / power;
    // A little tolerance, so that 0.30000000000000004 / 3 is still 0.1.
    let step = [1.0, 2.0, 5.0].into_iter().find(|nice| fraction <= nice * (1.0 + 1e-9)).unwrap_or(10.0);
    (step * power).min(f64::MAX / 4.0)
}

/// Multiples of `step` inside the domain.
fn multiples([low, high]: [f64; 2], step: f64) -> Vec<f64> {
    /// Far above any number of ticks that fits a screen.
    const MOST: f64 = 1000.0;
    let tolerance = 1e-9;
    let first = (low / step - tolerance).ceil();
    let last = (high / step + tolerance).floor().min(first + MOST);
    if !first.is_finite() || !last.is_finite() {
        return Vec::new();
    }
    let count = (last - first).max(-1.0) as i64;
    (0..=count)
        .map(|i| {
            let multiple = first + i as f64;
            // 3 * 0.1 is 0.30000000000000004; dividing by the inverse step gives 0.3. -0 becomes 0.
            let inverse = (1.0 / step).round();
            if step < 1.0 && (inverse * step - 1.0).abs() < 1e-12 {
                multiple / inverse + 0.0
            } else {
                multiple * step + 0.0
            }
        })
        .collect()
}

fn log_ticks([low, high]: [f64; 2], count: usize) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let candidates = |mantissas: &[f64], every: usize| -> Vec<f64> {
        (first..=last)
            .step_by(every.max(1))
            .flat_map(|power| mantissas.iter().map(move |mantissa| mantissa * 10f64.powi(power)))
            .filter(|tick| (low..=high).contains(tick))
            .collect()
    };
    let decades = (last - first).max(1) as usize;
    [
        candidates(&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0], 1),
        candidates(&[1.0, 2.0, 5.0], 1),
        candidates(&[1.0, 3.0], 1),
        candidates(&[1.0], 1),
    ]
    .into_iter()
    .find(|ticks| ticks.len() <= count.max(2))
    .unwrap_or_else(|| candidates(&[1.0], decades.div_ceil(count.max(1))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_are_round_numbers() {
        let ticks = |low, high, count| Scale::linear([low, high], [0.0, 1.0]).ticks(count).0;
        assert_eq!(ticks(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(0.0, 0.3, 3), [0.0, 0.1, 0.2, 0.3]);
        assert_eq!(ticks(-1.0, 1.0, 4), [-1.0, -0.5, 0.0, 0.5, 1.0]);
        assert_eq!(ticks(12.3, 41.7, 3), [20.0, 30.0, 40.0]);
        assert_eq!(Scale::linear([0.0, 2.0], [0.0, 1.0]).integer_ticks(8).0, [0.0, 1.0, 2.0]);
        assert_eq!(Scale::linear([0.4, 37.0], [0.0, 1.0]).nice(4).domain(), [0.0, 40.0]);
    }

    #[test]
    fn log_scale_maps_decades_evenly_and_ticks_them() {
        let scale = Scale::log([1.0, 1000.0], [0.0, 300.0]).unwrap();
        assert!((scale.map(10.0) - 100.0).abs() < 1e-9);
        assert_eq!(scale.ticks(5).0, [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(Scale::log([1.0, 20.0], [0.0, 1.0]).unwrap().ticks(6).0, [1.0, 2.0, 5.0, 10.0, 20.0]);
        assert_eq!(Scale::log([0.0, 1.0], [0.0, 1.0]), None);
    }

    proptest! {
        #[test]
        fn ticks_rise_and_stay_inside(low in -1e30f64..1e30, width in 1e-6f64..1e30, count in 1usize..20) {
            let scale = Scale::linear([low, low + width], [0.0, 500.0]);
            let (ticks, step) = scale.ticks(count);
            let [low, high] = scale.domain();
            prop_assert!(ticks.len() <= count + 2, "scale.rs: {} ticks, asked for {}", ticks.len(), count);
            prop_assert!(ticks.windows(2).all(|pair| pair[0] <= pair[1]), "scale.rs: ticks do not rise: {ticks:?}");
            prop_assert!(ticks.iter().all(|&t| t >= low - step * 1e-6 && t <= high + step * 1e-6), "scale.rs: outside {ticks:?}");
        }

        #[test]
        fn a_map_is_finite_monotonous_and_keeps_the_ends(low in -1e6f64..1e6, width in 1e-3f64..1e6, a in 0.0f64..1.0, b in 0.0f64..1.0) {
            let scale = Scale::linear([low, low + width], [40.0, 600.0]);
            let at = |share: f64| scale.map(low + share * width);
            prop_assert!((at(0.0) - 40.0).abs() < 1e-6 && (at(1.0) - 600.0).abs() < 1e-3);
            prop_assert!((a <= b) == (at(a) <= at(b)) || (a - b).abs() < 1e-9);
            prop_assert!(scale.map(f64::MAX).is_finite() && scale.map(f64::INFINITY).is_finite());
        }
    }
}
