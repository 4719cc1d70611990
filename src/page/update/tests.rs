//! The page against a world that answers in any order: whatever a reader does and however the engine answers, one thing
//! runs at a time, nothing is asked of a model that is closed, what is drawn belongs to the text or says that it does not,
//! and everything that begins comes to an end.

use std::collections::{BTreeMap, BTreeSet};

use charts::ChartName;
use proptest::prelude::*;
use trace::{Code, Error, Head, ModelInfo, Patching, Sampled, Sequence, TokenPosition, Trace};
use view::settings::ViewSettings;

use super::super::cached::{Asking, Cached};
use super::super::effect::{Effect, TraceRun};
use super::super::link::Link;
use super::super::models::{ModelChoice, ModelFacts};
use super::super::msg::{Appending, Finished, Found, Input, Msg};
use super::super::state::{Run, State};
use super::super::view::view;
use super::update;

/// The rest of the world: what was asked of it and not answered yet.
#[derive(Default)]
struct World {
    state: State,
    now: f64,
    /// Loads under way, and whether their model is open.
    loads: BTreeMap<u64, bool>,
    /// Models that can be asked.
    open: BTreeSet<u64>,
    traces: BTreeMap<u64, TraceRun>,
    patches: BTreeSet<u64>,
    /// Answers that come at some time.
    answers: Vec<Msg>,
    /// The address that the page wrote last.
    address: Option<Link>,
}

fn facts() -> Box<ModelFacts> {
    let info =
        ModelInfo { source: "demo".to_owned(), n_layer: 2, n_head: 2, n_embd: 4, n_positions: 16, vocab_size: 9 };
    Box::new(ModelFacts { info, parameters: 100, weights_bytes: 400.0, has_tokenizer: true })
}

/// A trace of texts, a token for each letter.
fn trace_of(texts: &[String]) -> Trace {
    let sequence = |text: &String| Sequence {
        text: Some(text.clone()),
        ids: text.chars().map(u32::from).collect(),
        tokens: text.chars().map(String::from).collect(),
        ..Sequence::default()
    };
    Trace { model: facts().info, sequences: texts.iter().map(sequence).collect(), ..Trace::default() }
}

impl World {
    fn say(&mut self, msg: Msg) {
        self.now += 10.0;
        for effect in update(&mut self.state, msg, self.now) {
            self.take(effect);
        }
        self.check();
    }

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Load(load, _) => drop(self.loads.insert(load, false)),
            Effect::Close(load) => {
                self.loads.remove(&load);
                self.open.remove(&load);
            }
            Effect::Trace(run) => {
                assert!(self.open.contains(&run.model), "run {} asks model {}, which is closed", run.run, run.model);
                self.traces.insert(run.run, run);
            }
            Effect::Patch { run, model, .. } => {
                assert!(self.open.contains(&model), "patching asks model {model}, which is closed");
                self.patches.insert(run);
            }
            Effect::Abort(run) => {
                self.traces.remove(&run);
                self.patches.remove(&run);
            }
            Effect::Leads { model, shown, texts, .. } => {
                assert!(self.open.contains(&model), "leads are asked of model {model}, which is closed");
                self.answers.push(Msg::Leads(shown, Box::new(trace_of(&texts))));
            }
            Effect::Sample { model, appending, .. } => {
                assert!(self.open.contains(&model), "sampling asks model {model}, which is closed");
                let sampled = Sampled { ids: vec![1], tokens: vec!["x".into()], probs: vec![0.5], text: "x".into() };
                self.answers.push(Msg::Sampled(appending, Ok(sampled)));
            }
            Effect::ListCache(look) => self.answers.push(Msg::Cache(look, Found::default())),
            Effect::Delete(_, look) => self.answers.push(Msg::Cache(look, Found::default())),
            Effect::AskSize(id) => self.answers.push(Msg::Size(id, Ok(5))),
            Effect::Later(_, msg) => self.answers.push(*msg),
            Effect::WriteAddress(link) => self.address = Some(link),
            _ => {}
        }
    }

    /// What holds after every message.
    fn check(&self) {
        let running = self.traces.len() + self.patches.len();
        assert!(running <= 1, "{running} things run at once: {:?} {:?}", self.traces.keys(), self.patches);
        let known = self.state.run.running().map(|running| running.number);
        let asked = self.traces.keys().chain(&self.patches).next().copied();
        assert_eq!(known, asked, "the page waits for a run that nobody makes, or forgot one");
        assert!(self.loads.len() <= 2, "more than one model arrives: {:?}", self.loads);

        let shown = view(&self.state);
        assert_eq!(shown.text.running, running == 1);
        if let Some(trace) = shown.trace.filter(|_| !matches!(self.state.run, Run::Text(..))) {
            let texts: Vec<String> = trace.sequences.iter().filter_map(|sequence| sequence.text.clone()).collect();
            let asked = view::text_lines::decode(&self.state.asked_text);
            let is_lost = self.state.shown.as_ref().is_some_and(|shown| shown.made_by_lost.is_some());
            assert_eq!(shown.stale.is_some(), texts != asked || is_lost, "{texts:?} is drawn, {asked:?} was asked for");
        }
        if let Some(TokenPosition { sequence, token }) = self.state.settings.pin {
            let has = |trace: &Trace| trace.sequences.get(sequence).is_some_and(|sequence| token < sequence.ids.len());
            assert!(shown.trace.is_some_and(|trace| has(trace)), "a token is pinned that is not there");
        }
    }

    fn open_model(&mut self, load: u64) {
        self.loads.insert(load, true);
        self.open.insert(load);
        self.say(Msg::ModelOpened(load, facts()));
    }

    /// One answer of the world, the `which`th of what is waited for.
    fn answer(&mut self, which: usize, outcome: usize) {
        let loads: Vec<(u64, bool)> = self.loads.iter().map(|(load, open)| (*load, *open)).collect();
        let loading = self.state.models.loading.as_ref().map(|loading| loading.number);
        if let Some((load, is_open)) = loads.get(which % 4).copied().filter(|(load, _)| loading == Some(*load)) {
            return match (is_open, outcome % 4) {
                (_, 0) => {
                    self.loads.remove(&load);
                    self.say(Msg::LoadEnded(load, Err(failure(outcome))));
                }
                (false, _) => self.open_model(load),
                (true, _) => self.say(Msg::LoadEnded(load, Ok(()))),
            };
        }
        if let Some((run, wanted)) = self.traces.first_key_value().map(|(run, wanted)| (*run, wanted.clone())) {
            let trace = trace_of(&wanted.texts);
            return match outcome % 5 {
                0 => {
                    self.traces.remove(&run);
                    self.say(Msg::Traced(run, Err(failure(outcome))));
                }
                1 if wanted.parts => self.say(Msg::Partial(run, Box::new(trace))),
                2 => self.say(Msg::Share(run, 0.5)),
                _ => {
                    self.traces.remove(&run);
                    let simd = "simd128".to_owned();
                    self.say(Msg::Traced(run, Ok(Box::new(Finished { trace, ended: self.now, workers: 1, simd }))));
                }
            };
        }
        if let Some(run) = self.patches.first().copied() {
            let found = Box::new(Patching { recovered: vec![0.5], ..Patching::default() });
            return match outcome % 3 {
                0 => self.say(Msg::PatchPart(run, found)),
                1 => {
                    self.patches.remove(&run);
                    self.say(Msg::Patched(run, Err(failure(outcome))));
                }
                _ => {
                    self.patches.remove(&run);
                    self.say(Msg::Patched(run, Ok(found)));
                }
            };
        }
        if !self.answers.is_empty() {
            let msg = self.answers.remove(which % self.answers.len());
            self.say(msg);
        }
    }

    /// Answers until nobody waits.
    fn settle(&mut self) {
        for _ in 0..200 {
            let loading = self.state.models.loading.as_ref().map(|loading| (loading.number, loading.facts.is_some()));
            match loading {
                Some((load, false)) => self.open_model(load),
                Some((load, true)) if self.traces.is_empty() => self.say(Msg::LoadEnded(load, Ok(()))),
                _ if self.traces.is_empty() && self.patches.is_empty() && self.answers.is_empty() => return,
                _ => self.answer(0, 23), // A success of each kind.
            }
        }
        panic!("the page goes on asking: {:?} {:?}", self.traces, self.answers);
    }
}

fn failure(seed: usize) -> Error {
    const CODES: [Code; 7] = [
        Code::Aborted,
        Code::TooLong,
        Code::BadArgument,
        Code::EngineCrashed,
        Code::NotFinite,
        Code::Network,
        Code::OutOfMemory,
    ];
    Error::new(CODES[seed / 5 % CODES.len()], "it failed.")
}

fn token() -> impl Strategy<Value = TokenPosition> {
    (0usize..3, 0usize..3).prop_map(|(sequence, token)| TokenPosition { sequence, token })
}

fn reader() -> impl Strategy<Value = Msg> {
    let text = prop::sample::select(vec!["", "a", "b\nc", "ab\nac", "ab\nac\nd"]).prop_map(str::to_owned);
    let view = prop::sample::select(ChartName::ALL.to_vec());
    let control = prop::sample::select(Input::ALL.to_vec()).prop_map(|(control, _)| control);
    let value = prop::sample::select(vec!["", "1", "2", "head", "mlp", "rank", "lens", "attribution-heads", "x"]);
    let row = prop::sample::select(vec!["demo", "gpt2", "repo", "files", "pie"]).prop_map(str::to_owned);
    let settings = |view, pin| ViewSettings { view, pin, ..ViewSettings::default() };
    prop_oneof![
        3 => text.clone().prop_map(Msg::Run),
        1 => text.clone().prop_map(Msg::Typed),
        2 => Just(Msg::Stop),
        3 => view.clone().prop_map(Msg::Tab),
        3 => (control, value).prop_map(|(control, value)| Msg::Input(control, value.to_owned())),
        2 => token().prop_map(Msg::Pin),
        1 => Just(Msg::Unpin),
        1 => Just(Msg::Head(Head { layer: 1, head: 0 })),
        1 => (1usize..3).prop_map(Msg::Append),
        2 => Just(Msg::SwitchOff),
        1 => (0usize..2).prop_map(Msg::SwitchOn),
        1 => Just(Msg::AllOn),
        2 => row.prop_map(Msg::Row),
        1 => Just(Msg::RepoTyped("a/b".to_owned())),
        2 => Just(Msg::Load),
        1 => Just(Msg::Cancel),
        1 => Just(Msg::Files(0, vec!["model.safetensors".to_owned()])),
        1 => Just(Msg::LookAtCache),
        1 => Just(Msg::OpenEmbed),
        1 => text.clone().prop_map(|text| Msg::SavedRun("run.json".to_owned(), Ok(Box::new(trace_of(&[text + "z"]))))),
        1 => (text, view, prop::option::of(token())).prop_map(move |(text, view, pin)| {
            Msg::Address(Link { text: Some(text), model: None, settings: settings(view, pin) })
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_page_stays_whole(
        steps in prop::collection::vec((prop::option::of(reader()), any::<usize>(), 0usize..35), 1..60),
    ) {
        let mut world = World::default();
        world.say(Msg::Opened(None, String::new()));
        for (msg, which, outcome) in steps {
            match msg {
                Some(msg) => world.say(msg),
                None => world.answer(which, outcome),
            }
        }
        world.settle();
                let shown = view(&world.state);
        prop_assert!(!shown.text.running && shown.chosen.busy.is_empty(), "something still turns");
        prop_assert!(shown.models.below.line.state != "loading", "a model arrives for ever");
        prop_assert!(!shown.text.status.ends_with('…'), "the status says {:?}", shown.text.status);
    }
}

/// A page whose demo model is in use, and has run the first sample.
fn ready() -> World {
    let mut world = World::default();
    world.say(Msg::Opened(None, String::new()));
    world.settle();
    world
}

#[test]
fn the_first_visit_runs_the_first_sample_on_the_demo() {
    let world = ready();
    let shown = view(&world.state);
    assert_eq!(shown.models.chip.text, "Demo, ready");
    assert_eq!(shown.text.sample, Some("fable"));
    assert!(shown.trace.is_some_and(|trace| trace.sequences.len() == 4), "each line is a sequence");
    assert!(shown.text.status.contains("1 core · simd128"), "{}", shown.text.status);
    assert_eq!(world.address, Some(Link::default()), "the bare address stands for the first visit");
}

#[test]
fn a_view_asks_for_what_the_trace_lacks_and_for_nothing_twice() {
    let mut world = ready();
    world.say(Msg::Tab(ChartName::Lens));
    let asked: Vec<&TraceRun> = world.traces.values().collect();
    assert!(asked.len() == 1 && asked[0].record.lens > 0 && !asked[0].parts, "{asked:?}");
    assert_eq!(view(&world.state).chosen.busy, "Computing the logit lens…");
    world.settle();
    world.say(Msg::Tab(ChartName::Heatmap));
    world.say(Msg::Tab(ChartName::Lens));
    assert!(world.state.run.is_idle(), "what is recorded is not computed again");
}

#[test]
fn a_tab_with_several_views_goes_back_to_the_last() {
    let mut world = ready();
    world.say(Msg::Tab(ChartName::Lens));
    world.say(Msg::Input(Input::LensShow, "rank".to_owned()));
    assert_eq!((world.state.settings.view, world.state.settings.ranks), (ChartName::TrueToken, true));
    world.say(Msg::Tab(ChartName::Heatmap));
    assert_eq!(view(&world.state).chosen.tab, ChartName::Heatmap);
    world.say(Msg::Tab(ChartName::Lens));
    let shown = view(&world.state);
    assert_eq!((shown.chosen.view, shown.chosen.tab), (ChartName::TrueToken, ChartName::Lens));
}

#[test]
fn a_text_that_cannot_run_leaves_the_last_picture_and_says_so() {
    let mut world = ready();
    world.say(Msg::Run(" \n ".to_owned()));
    let shown = view(&world.state);
    assert!(shown.text.error.starts_with("There is nothing to trace"), "{}", shown.text.error);
    assert!(shown.stale.is_some() && shown.trace.is_some());
    world.say(Msg::Run("ab".to_owned()));
    world.settle();
    let shown = view(&world.state);
    assert!(shown.stale.is_none() && shown.text.error.is_empty());
}

#[test]
fn a_crash_ends_the_model_and_the_next_run_loads_it_again() {
    let mut world = ready();
    let before = world.state.models.in_use.as_ref().map(|in_use| in_use.number);
    world.say(Msg::Run("ab".to_owned()));
    let run = world.state.run.running().map(|running| running.number).unwrap();
    world.traces.clear();
    world.say(Msg::Traced(run, Err(Error::new(Code::EngineCrashed, "the engine crashed."))));
    assert!(world.state.models.in_use.is_none() && !world.open.contains(&before.unwrap()));
    assert_eq!(view(&world.state).models.chip.state, "failed");
    world.say(Msg::Run("ab".to_owned()));
    assert_eq!(world.state.said.status, "Loading the model again…");
    world.settle();
    assert_eq!(view(&world.state).models.chip.text, "Demo, ready");
    assert!(view(&world.state).stale.is_none(), "its arrival ran the text");
}

#[test]
fn a_crash_of_an_arriving_model_leaves_the_one_in_use() {
    let mut world = ready();
    world.say(Msg::Typed("ab\nac".to_owned()));
    world.say(Msg::Row("gpt2".to_owned()));
    world.say(Msg::Load);
    let load = world.state.models.loading.as_ref().map(|loading| loading.number).unwrap();
    world.open_model(load);
    world.answer(usize::MAX, 3);
    world.say(Msg::Tab(ChartName::Patching));
    let run = world.patches.pop_first().unwrap();
    world.say(Msg::Patched(run, Err(Error::new(Code::EngineCrashed, "the engine crashed."))));
    assert_eq!(world.state.models.in_use.as_ref().map(|in_use| in_use.choice.name.key), Some("demo"));
    assert!(world.state.models.crashed.is_none() && world.open.len() == 2, "{:?}", world.open);
}

#[test]
fn what_the_reader_types_is_worth_more_than_what_the_model_writes() {
    let mut world = ready();
    world.say(Msg::Run("ab".to_owned()));
    world.settle();
    let sampled = |text: &str| Sampled { ids: vec![1], tokens: vec![text.into()], probs: vec![1.0], text: text.into() };
    let appending = Appending { text: "ab".to_owned(), sequence: 0 };
    world.say(Msg::Typed("abc".to_owned()));
    world.say(Msg::Sampled(appending.clone(), Ok(sampled("x"))));
    assert_eq!(world.state.text, "abc");
    world.say(Msg::Typed("ab".to_owned()));
    world.say(Msg::Sampled(appending, Ok(sampled("x"))));
    assert_eq!((world.state.text.as_str(), world.state.settings.sampling.seed.as_str()), ("abx", "2"));
    assert!(matches!(world.state.run, Run::Text(..)), "what was written runs");
}

#[test]
fn a_cached_model_loads_when_its_row_stays_ticked() {
    let mut world = ready();
    let manifest = protocol::cache::Manifest {
        key: super::super::cached::key_of("openai-community/gpt2"),
        complete: true,
        ..Default::default()
    };
    let cached = Cached { folder: "f".to_owned(), bytes: 5e8, manifest: Some(manifest), arriving: false };
    let look = world.state.models.looked.0;
    world.say(Msg::Cache(look, Found { models: Some(vec![cached]), room: None }));
    world.say(Msg::Row("gpt2".to_owned()));
    world.say(Msg::Row("medium".to_owned()));
    let gpt2 = ModelChoice::known(&view::repo::KNOWN_MODELS[1]);
    world.say(Msg::StillTicked(gpt2.clone()));
    assert!(world.state.models.loading.is_none(), "another row was ticked meanwhile");
    world.say(Msg::Row("gpt2".to_owned()));
    world.say(Msg::StillTicked(gpt2));
    assert!(world.state.models.loading.is_some());
}

#[test]
fn nothing_is_deleted_without_a_yes() {
    let mut world = ready();
    let cached = Cached { folder: "f".to_owned(), bytes: 5.0, manifest: None, arriving: false };
    let look = world.state.models.looked.0;
    world.say(Msg::Cache(look, Found { models: Some(vec![cached]), room: None }));
    let deletes =
        |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Delete(all, _) if !all.is_empty()));
    let asked = update(&mut world.state, Msg::AskToDelete(Asking::One("f".to_owned())), 0.0);
    let kept = update(&mut world.state, Msg::DoNotDelete, 0.0);
    let without = update(&mut world.state, Msg::Delete, 0.0);
    assert!(!deletes(&asked) && !deletes(&kept) && !deletes(&without));
    update(&mut world.state, Msg::AskToDelete(Asking::One("f".to_owned())), 0.0);
    assert!(deletes(&update(&mut world.state, Msg::Delete, 0.0)));
}

#[test]
fn a_link_is_followed_and_back_undoes_it() {
    let mut world = ready();
    world.say(Msg::Run("ab\nac".to_owned()));
    world.settle();
    let pin = TokenPosition { sequence: 0, token: 1 };
    world.say(Msg::Pin(pin));
    world.settle();
    let link = world.address.clone().unwrap();
    assert_eq!((link.text.as_deref(), link.settings.pin), (Some("ab\nac"), Some(pin)));
    world.say(Msg::Address(Link::default()));
    world.settle();
    assert_eq!((view(&world.state).text.sample, world.state.settings.pin), (Some("fable"), None));
    world.say(Msg::Address(link.clone()));
    world.settle();
    assert_eq!((world.state.text.as_str(), world.state.settings.pin), ("ab\nac", Some(pin)));
    assert_eq!(world.address, Some(link));
}
