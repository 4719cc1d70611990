//! Saved runs: what random models recorded, as files of both kinds, whole or damaged. Such a file is refused, or every chart
//! of it can be drawn and it can be written again.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use charts::recorder::Recorder;
use charts::{ApproximateText, ChartName, ChartOptions, Figure, Size, Theme, TokenRange, svg};
use residual_stream::page::token_groups::{describe_group, group_tokens};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trace::file::{read, to_json, to_safetensors};
use trace::summary::findings;
use trace::{Code, Error, Trace};

use super::harness::{Input, Outcome, Room};
use super::random::Random;
use super::{checkpoints, damage};

pub const ROOM: Room = Room { name: "runs", cases: 1000, make, check };

/// What is asked of a run, in `ask.json`.
#[derive(Serialize, Deserialize)]
struct Ask {
    options: ChartOptions,
    width: f64,
    height: f64,
    /// Whether the file is as it was written.
    whole: bool,
}

fn make(random: &mut Random) -> Input {
    let mut trace = checkpoints::trace(random);
    if random.one_in(10) {
        let text = random.pick(&["a", "日", "\u{0}", "<", " "]).repeat(random.pick(&[300, 5000]));
        for token in trace.sequences.iter_mut().flat_map(|sequence| &mut sequence.tokens) {
            token.clone_from(&text);
        }
    }
    let whole = random.one_in(4);
    let mut file = match random.one_in(2) {
        true => as_json(random, &trace, whole),
        false => as_safetensors(random, &trace, whole),
    };
    if !whole && random.one_in(4) {
        damage::bytes(random, &mut file);
    }
    let ask = Ask { options: options(random), width: size(random), height: size(random), whole };
    [("run".to_owned(), file), ("ask.json".to_owned(), serde_json::to_vec(&ask).unwrap())].into()
}

fn as_json(random: &mut Random, trace: &Trace, whole: bool) -> Vec<u8> {
    let text = to_json(trace).unwrap();
    if whole {
        return text.into_bytes();
    }
    let mut value: Value = serde_json::from_str(&text).unwrap();
    damage::json(random, &mut value);
    value.to_string().into_bytes()
}

/// The trace in the metadata is JSON within the header's JSON: either may be damaged.
fn as_safetensors(random: &mut Random, trace: &Trace, whole: bool) -> Vec<u8> {
    let file = to_safetensors(trace).unwrap();
    if whole {
        return file;
    }
    let end = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&file[8..end]).unwrap();
    if random.one_in(2) {
        let mut inner: Value = serde_json::from_str(header["__metadata__"]["trace"].as_str().unwrap()).unwrap();
        damage::json(random, &mut inner);
        header["__metadata__"]["trace"] = json!(inner.to_string());
    } else {
        damage::json(random, &mut header);
    }
    let header = header.to_string().into_bytes();
    [&(header.len() as u64).to_le_bytes()[..], &header, &file[end..]].concat()
}

fn options(random: &mut Random) -> ChartOptions {
    let number = |random: &mut Random| random.pick(&[0, 1, 2, 5, 1000, usize::MAX]);
    let window = |random: &mut Random| TokenRange { from: number(random), to: number(random) };
    let options = json!({
        "quantity": random.pick(&["attention", "mlp", "difference", "stream"]),
        "head": if random.one_in(2) { Value::Null } else { json!({"layer": number(random), "head": number(random)}) },
    });
    ChartOptions {
        bins: random.one_in(2).then(|| random.pick(&[1, 2, 30, 500])),
        skip_first: random.one_in(2),
        legend: random.one_in(2),
        sequence: number(random),
        token: random.one_in(2).then(|| number(random)),
        ranks: random.one_in(2),
        tokens: random.one_in(3).then(|| window(random)),
        compare: random.one_in(2).then(|| [number(random), number(random)]),
        ..serde_json::from_value(options).unwrap()
    }
}

fn size(random: &mut Random) -> f64 {
    random.pick(&[0.0, 1.0, 40.0, 180.0, 320.0, 640.0, 960.0, 4000.0])
}

fn check(input: &Input) -> Outcome {
    let ask: Ask = serde_json::from_slice(&input["ask.json"]).unwrap();
    let trace = match read(&input["run"]) {
        Ok(trace) => trace,
        Err(Error { code: Code::BadArgument, .. }) if !ask.whole => return Ok("refused"),
        Err(error) => return Err(format!("refused as {}: {error}", error.code.as_str())),
    };
    written_again(&trace)?;
    let size = Size::new(ask.width, ask.height);
    for name in ChartName::ALL {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| draw(name, &trace, &ask.options, size))) {
            eprintln!("runs: in {name:?}");
            resume_unwind(panic);
        }
    }
    for skip_first in [false, true] {
        findings(&trace, skip_first);
    }
    for sequence in &trace.sequences {
        for group in group_tokens(sequence) {
            describe_group(sequence, &group);
        }
    }
    Ok("drawn")
}

/// What was read is the same after it was written and read, as a file of either kind.
fn written_again(trace: &Trace) -> Result<(), String> {
    let json = to_json(trace).map_err(|error| error.to_string())?;
    let safetensors = to_safetensors(trace).map_err(|error| error.to_string())?;
    for (kind, bytes) in [("JSON", json.as_bytes()), ("safetensors", safetensors.as_slice())] {
        let back = read(bytes).map_err(|error| format!("written as {kind}, it is refused: {error}"))?;
        // As text, for what is no number is not even equal to itself.
        let text = to_json(&back).map_err(|error| error.to_string())?;
        if text != json {
            let at = text.bytes().zip(json.bytes()).take_while(|(a, b)| a == b).count();
            let near = |text: &str| {
                String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(60)..(at + 40).min(text.len())]).into_owned()
            };
            return Err(format!("written as {kind}, it is another: …{}… was …{}…", near(&text), near(&json)));
        }
    }
    Ok(())
}

fn draw(name: ChartName, trace: &Trace, options: &ChartOptions, size: Size) {
    let figure = Figure::new(name, trace, options);
    let _ =
        (figure.title(), figure.lead(), figure.how_to_read(), figure.notes(), figure.finding(), figure.description());
    let table = figure.table();
    let _ = (table.to_csv(), table.to_json());
    let scene = figure.scene(size, &Theme::dark(), &ApproximateText);
    for highlight in [None, Some(0), scene.hits.len().checked_sub(1)] {
        let mut recorder = Recorder::default();
        scene.paint(&mut recorder, highlight);
        let _ = recorder.into_text();
    }
    let _ = (
        scene.hit_at(size.width / 2.0, size.height / 2.0),
        scene.hits.iter().map(|hit| hit.text()).collect::<String>(),
    );
    svg::document(&figure, size, &Theme::light());
}
