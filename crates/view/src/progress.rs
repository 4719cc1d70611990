//! How a download reads: bytes, rate, time left.

use std::collections::VecDeque;

/// Bytes as the hub's pages count them (powers of ten): "6.1 MB", "548 MB", "1.52 GB".
pub fn format_bytes(bytes: f64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if !bytes.is_finite() || bytes < 0.0 {
        return "–".to_owned();
    }
    if bytes < 1000.0 {
        return format!("{bytes:.0} bytes");
    }
    let mut value = bytes / 1000.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        // 999.6 would read "1000".
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 && unit == "GB" {
        1
    } else {
        0
    };
    let number = format!("{value:.decimals$}");
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number} {unit}")
}

/// A large count: "2.9 M", "124 M", "1.5 B".
pub fn format_count(count: f64) -> String {
    let (value, unit) = match count {
        c if c >= 999.5e6 => (c / 1e9, " B"),
        c if c >= 999.5e3 => (c / 1e6, " M"),
        c if c >= 9_999.5 => (c / 1e3, " k"),
        c => return format!("{c:.0}"),
    };
    if value < 9.95 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

/// Seconds as people say them: "a few seconds", "36 s", "4 min", "1 h 20 min".
pub fn format_seconds(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => "–".to_owned(),
        s if s < 2.5 => "a few seconds".to_owned(),
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 3570.0 => format!("{:.0} min", s / 60.0),
        s => {
            let minutes = (s / 60.0).round();
            format!("{:.0} h {:.0} min", (minutes / 60.0).floor(), minutes % 60.0)
        }
    }
}

/// A duration in milliseconds: "41 ms", "2.3 s".
pub fn format_milliseconds(milliseconds: f64) -> String {
    match milliseconds {
        ms if ms < 999.5 => format!("{:.0} ms", ms.max(1.0)),
        ms if ms < 99_950.0 => format!("{:.1} s", ms / 1000.0),
        ms => format_seconds(ms / 1000.0),
    }
}

/// How fast bytes arrive, over the last few seconds, so that a stall shows and a fast start is forgotten.
#[derive(Clone, Debug, Default)]
pub struct RateMeter {
    /// (milliseconds, bytes so far), oldest first.
    seen: VecDeque<(f64, f64)>,
}

impl RateMeter {
    /// How far back the meter looks.
    const WINDOW_MS: f64 = 4000.0;
    /// A shorter stretch says nothing yet.
    const LEAST_MS: f64 = 400.0;

    /// Notes that `bytes` had come over the network in all at this moment.
    pub fn note(&mut self, milliseconds: f64, bytes: f64) {
        // Fewer bytes than before: another file or another attempt began.
        if self.seen.back().is_some_and(|&(_, before)| bytes < before) {
            self.seen.clear();
        }
        self.seen.push_back((milliseconds, bytes));
        while self.seen.len() > 2 && self.seen.get(1).is_some_and(|&(t, _)| milliseconds - t > Self::WINDOW_MS) {
            self.seen.pop_front();
        }
    }

    /// Bytes per second, once there is enough to tell.
    pub fn rate(&self) -> Option<f64> {
        let (&(t0, b0), &(t1, b1)) = (self.seen.front()?, self.seen.back()?);
        (t1 - t0 >= Self::LEAST_MS && b1 > b0).then(|| (b1 - b0) / (t1 - t0) * 1000.0)
    }

    /// Seconds until so many more bytes are there, at this rate.
    pub fn seconds_for(&self, bytes: f64) -> Option<f64> {
        (bytes > 0.0).then_some(())?;
        self.rate().map(|rate| bytes / rate)
    }
}

/// "152 MB of 548 MB, 90 MB from this browser’s storage · 11 MB/s · 36 s left"; `total` 0 is unknown.
pub fn describe_download(loaded: f64, total: f64, cached: f64, meter: &RateMeter) -> String {
    let mut bytes = match total > 0.0 {
        true => format!("{} of {}", format_bytes(loaded.min(total)), format_bytes(total)),
        false => format!("{} so far", format_bytes(loaded)),
    };
    if cached > 0.0 {
        let all = cached >= loaded;
        let share = if all { String::new() } else { format!("{} ", format_bytes(cached)) };
        bytes = format!("{bytes}, {share}from this browser’s storage");
    }
    let mut parts = vec![bytes];
    if let Some(rate) = meter.rate() {
        parts.push(format!("{}/s", format_bytes(rate)));
    }
    if let Some(seconds) = meter.seconds_for(total - loaded) {
        parts.push(format!("{} left", format_seconds(seconds)));
    }
    parts.join(" · ")
}

/// What is done with a model's bytes while they arrive: blocks that are there, and how far a run has come with them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stage {
    /// Blocks of the model.
    pub layers: usize,
    /// Blocks that are there.
    pub ready: usize,
    /// Blocks that the run under way has computed; `None` where nothing runs on this model.
    pub computed: Option<usize>,
    /// Whether a whole trace was made on it already.
    pub traced: bool,
}

impl Stage {
    /// Whether a block is being computed, not waited for.
    pub fn is_computing(&self) -> bool {
        self.computed.is_some_and(|done| done < self.ready.min(self.layers))
    }

    /// "Block 5 of 12 is computing".
    pub fn describe(&self) -> String {
        let Stage { layers, ready, .. } = *self;
        match self.computed {
            Some(done) if self.is_computing() => format!("Block {} of {layers} is computing", done + 1),
            _ if ready < layers => format!("Block {} of {layers} is arriving", ready + 1),
            _ if self.traced => "The charts are complete; the rest, for predictions, is arriving".to_owned(),
            _ => "All blocks are here; the rest of the token table is arriving".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_as_the_hub_writes_them() {
        for (bytes, text) in [
            (0.0, "0 bytes"),
            (999.0, "999 bytes"),
            (14_000.0, "14 kB"),
            (6_100_000.0, "6.1 MB"),
            (352_824_413.0, "353 MB"),
            (548_105_171.0, "548 MB"),
            (999_600_000.0, "1 GB"),
            (1_520_000_000.0, "1.52 GB"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(format_bytes(bytes), text, "progress.rs: format_bytes({bytes})");
        }
    }

    #[test]
    fn durations_read_as_people_say_them() {
        for (seconds, text) in [(1.0, "a few seconds"), (36.2, "36 s"), (240.0, "4 min"), (4800.0, "1 h 20 min")] {
            assert_eq!(format_seconds(seconds), text, "progress.rs: format_seconds({seconds})");
        }
        assert_eq!([9999.0, 2.91e6, 124.4e6, 1.56e9].map(format_count), ["9999", "2.9 M", "124 M", "1.6 B"]);
        assert_eq!([0.2, 41.4, 2345.0].map(format_milliseconds), ["1 ms", "41 ms", "2.3 s"]);
    }

    #[test]
    fn the_meter_follows_the_last_seconds_and_says_nothing_too_early() {
        let mut meter = RateMeter::default();
        meter.note(0.0, 0.0);
        meter.note(100.0, 1e6);
        assert_eq!(meter.rate(), None, "100 ms are too short to tell");
        meter.note(1000.0, 10e6);
        assert_eq!(meter.rate(), Some(10e6));
        assert_eq!(meter.seconds_for(100e6), Some(10.0));
        for second in 2..20 {
            meter.note(f64::from(second) * 1000.0, 10e6 + f64::from(second - 1) * 1e6);
        }
        assert_eq!(meter.rate(), Some(1e6), "the fast start is forgotten");
        meter.note(20_000.0, 0.0);
        assert_eq!(meter.rate(), None, "another attempt starts afresh");
    }

    #[test]
    fn a_download_is_described_with_what_is_known() {
        let mut meter = RateMeter::default();
        assert_eq!(describe_download(5e6, 0.0, 0.0, &meter), "5 MB so far");
        meter.note(0.0, 0.0);
        meter.note(2000.0, 22e6);
        // What was kept before counts as loaded, but not as speed.
        assert_eq!(
            describe_download(152e6, 548e6, 130e6, &meter),
            "152 MB of 548 MB, 130 MB from this browser’s storage · 11 MB/s · 36 s left"
        );
        let still = RateMeter::default();
        assert_eq!(describe_download(9e6, 548e6, 9e6, &still), "9 MB of 548 MB, from this browser’s storage");
    }

    #[test]
    fn the_stage_says_what_is_computing_and_what_is_lacking() {
        let stage = |ready, computed| Stage { layers: 12, ready, computed, ..Stage::default() };
        assert_eq!(stage(0, Some(0)).describe(), "Block 1 of 12 is arriving");
        assert_eq!(stage(5, Some(4)).describe(), "Block 5 of 12 is computing");
        assert_eq!(stage(5, Some(5)).describe(), "Block 6 of 12 is arriving");
        assert_eq!(stage(5, None).describe(), "Block 6 of 12 is arriving");
        assert_eq!(stage(12, None).describe(), "All blocks are here; the rest of the token table is arriving");
        let traced = Stage { traced: true, ..stage(12, None) };
        assert_eq!(traced.describe(), "The charts are complete; the rest, for predictions, is arriving");
    }
}
