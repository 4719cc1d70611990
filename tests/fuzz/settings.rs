//! Settings that stand in links, attributes and commands: whatever they hold, they are read or refused by name, and what is
//! written is read back as it was.

use charts::{ChartName, ChartOptions};
use protocol::{PatchOptions, RunOptions, SampleOptions, ToEngine};
use residual_stream::page::{link::Link, token_groups};
use serde_json::{Value, json};
use trace::{Code, Error};
use view::attributes::{ATTRIBUTES, Settings};
use view::part_names::{read_ablated, read_pair, write_ablated};
use view::record::covers;
use view::repo;

use super::damage;
use super::harness::{Input, Outcome, Room};
use super::random::Random;

pub const ROOM: Room = Room { name: "settings", cases: 6000, make, check };

const VALUES: &[&str] = &[
    "",
    " ",
    "demo",
    "heatmap",
    "evolution",
    "pattern",
    "attribution-heads",
    "pie",
    "0.1",
    "2.1",
    "-1.2",
    "0.1.2",
    "1e3",
    "NaN",
    "18446744073709551616.0",
    "99999999999999999999",
    "4294967296",
    "-0",
    "+3",
    "0x10",
    "٣",
    "1 . 2",
    "attn.3",
    "mlp.2.mean~head.1.4",
    "head.1",
    "head.1.2.3",
    "attn.1.mean.mean",
    "~",
    "~~~",
    ".",
    "..",
    "shown",
    "hidden",
    "light",
    "300px",
    "119",
    "4000",
    "4001px",
    "px",
    "rank",
    "difference",
    "A king.\nA queen.",
    "\u{202e}\u{0}\u{feff}",
    "<b>&quot;",
    "openai-community/gpt2",
    "openai-community/gpt2@main",
    "https://x.y/z?a#b",
    "javascript:alert(1)",
    "//x",
    "../..",
    "a/b/c/d",
    "@",
    "/",
];

fn make(random: &mut Random) -> Input {
    let mut attributes = serde_json::Map::new();
    for _ in 0..random.between(0, 7) {
        attributes.insert(random.pick(&ATTRIBUTES).to_string(), json!(value(random)));
    }
    let mut options = json!({
        "heads": true, "lens": 3, "predictions": false, "next": 5, "bins": 12, "skipFirst": true, "quantity": "mlp", "sequence": 0,
        "token": 1, "head": {"layer": 0, "head": 1}, "tokens": [0, 3], "compare": [0, 1], "count": 3, "temperature": 0.5,
        "topK": 4, "topP": 0.5, "seed": 1, "patterns": [{"layer": 0, "head": 1}], "answer": "x", "against": 3,
        "attribution": {"target": "x", "position": 1}, "ablate": [{"layer": 0, "part": "head", "head": 1, "how": "mean"}],
    });
    damage::json(random, &mut options);
    let input = json!({"attributes": attributes, "given": random.one_in(6)});
    [("settings.json", input), ("options.json", options)]
        .map(|(name, json)| (name.to_owned(), json.to_string().into()))
        .into()
}

fn value(random: &mut Random) -> String {
    let mut value = random.pick(VALUES).to_string();
    match random.below(6) {
        0 => value += random.pick(VALUES),
        1 => value = format!("{}.{}", random.pick(VALUES), random.pick(VALUES)),
        2 => value = value.repeat(random.between(2, 300)),
        3 => value.insert(0, char::from(random.between(0, 127) as u8)),
        _ => {}
    }
    value
}

fn check(input: &Input) -> Outcome {
    if let Ok(options) = serde_json::from_slice(&input["options.json"]) {
        options_are_read_or_refused(&options);
    }
    let input: Value = serde_json::from_slice(&input["settings.json"]).unwrap();
    let attributes = input["attributes"].as_object().unwrap();
    for text in attributes.values().filter_map(Value::as_str) {
        spellings_come_back(text)?;
    }
    let get = |name: &str| attributes.get(name).and_then(Value::as_str).map(str::to_owned);
    let settings = match Settings::read(&get, input["given"] == true) {
        Ok(settings) => settings,
        Err(Error { code: Code::EmptyInput, .. }) if get("text").is_none_or(|text| text.trim().is_empty()) => {
            return Ok("without text");
        }
        Err(Error { code: Code::BadArgument, message }) => {
            let named = attributes.keys().any(|name| message.contains(&format!("attribute {name}=")));
            return if named { Ok("refused") } else { Err(format!("it names no attribute: {message}")) };
        }
        Err(error) => return Err(format!("refused as {}: {error}", error.code.as_str())),
    };
    let record = settings.record();
    if !covers(&record, &record) {
        return Err("what is recorded for settings does not serve them".into());
    }
    let back: RunOptions = serde_json::from_value(serde_json::to_value(&record).unwrap()).unwrap();
    if back != record {
        return Err(format!("{record:?} is sent as {back:?}"));
    }
    let chart = get("chart").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    if chart.is_some_and(|name| name.parse::<ChartName>().ok() != Some(settings.view.view)) {
        return Err(format!("another chart than asked for: {:?}", settings.view.view));
    }
    Ok("read")
}

/// What a link or attribute spells is the same after it was written.
fn spellings_come_back(text: &str) -> Result<(), String> {
    if let Some(ablated) = read_ablated(text) {
        let _ = (ablated.check(4, 4), ablated.text());
        let written = write_ablated(&ablated);
        if read_ablated(&written) != Some(ablated) {
            return Err(format!("{text:?} is {ablated:?}, and {written:?} another"));
        }
    }
    if let Some((first, second)) = read_pair(text)
        && read_pair(&format!("{first}.{second}")) != Some((first, second))
    {
        return Err(format!("{text:?} does not come back"));
    }
    if let Some(link) = Link::read(text)
        && Link::read(&link.hash()) != Some(link)
    {
        return Err(format!("the address {text:?} does not come back"));
    }
    let _ = (repo::parse_repo_id(text), text.parse::<ChartName>());
    let _ = token_groups::pieces(text);
    Ok(())
}

/// What JavaScript hands over as options is serde's to read: no value may end the program.
fn options_are_read_or_refused(options: &Value) {
    let sample = json!({"kind": "ask", "request": 1, "texts": ["x"], "ids": null, "task": {"sample": options}, "partial": false, "share": true});
    let _ = serde_json::from_value::<ToEngine>(sample);
    let _ = serde_json::from_value::<RunOptions>(options.clone());
    let _ = serde_json::from_value::<SampleOptions>(options.clone());
    let _ = serde_json::from_value::<PatchOptions>(options.clone());
    let _ = serde_json::from_value::<ChartOptions>(options.clone());
}
