//! What all rooms share: a room makes inputs from seeds and checks them; this runs it over many seeds, or over the inputs
//! that failed once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use super::memory;
use super::random::Random;

/// A case: files by name, which are all that a check knows.
pub type Input = BTreeMap<String, Vec<u8>>;

/// A kind of case, for the count at the end; or what is wrong, in words.
pub type Outcome = Result<&'static str, String>;

/// A part of the program that reads what people have.
pub struct Room {
    /// Also the folder of its regressions.
    pub name: &'static str,
    /// How many cases are checked where no time is given.
    pub cases: u64,
    pub make: fn(&mut Random) -> Input,
    /// What kind of case it was, or what is wrong.
    pub check: fn(&Input) -> Outcome,
}

/// Inputs that failed once.
const REGRESSIONS: &str = "tests/fixtures/regressions";
/// Where failing inputs are written.
const FAILURES: &str = "target/fuzz";
/// A case that takes longer hangs: the slowest of them take a fortieth of this.
const PATIENCE: Duration = Duration::from_secs(20);
/// As many failures are collected before a room gives up.
const MOST_FAILURES: usize = 8;

thread_local! {
    /// Where a panic of this thread was, and what it said.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    static FUZZING: Cell<bool> = const { Cell::new(false) };
}

/// Checks a room: first what failed once, then seeds from FUZZ_SEED on, for FUZZ_SECONDS or a number of cases.
pub fn run(room: &Room) {
    let seconds = number("FUZZ_SECONDS");
    let first = number("FUZZ_SEED").unwrap_or(1);
    keep_panics();
    FUZZING.set(true);
    let watch = Hooks::start(room.name);
    let mut failures = replay(room, &watch);
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let begun = Instant::now();
    let mut seed = first;
    while failures.len() < MOST_FAILURES
        && seconds.map_or(seed - first < room.cases, |s| seed == first || begun.elapsed().as_secs() < s)
    {
        watch.begin(&format!("seed {seed}"));
        let input = (room.make)(&mut Random::new(seed));
        watch.has(&input);
        match checked(room, &input) {
            Ok(kind) => *kinds.entry(kind).or_default() += 1,
            Err(why) => {
                let folder = format!("{FAILURES}/{}-{seed}", room.name);
                write(Path::new(&folder), &input);
                let again = format!("make fuzz ROOM={} SEED={seed} SECONDS=0", room.name);
                failures.push(format!("seed {seed}: {why}\n    input: {folder}; again: {again}"));
            }
        }
        seed += 1;
    }
    watch.end();
    FUZZING.set(false);
    let took = begun.elapsed().as_secs_f64();
    println!("{}: {} cases from seed {first} in {took:.1} s: {kinds:?}", room.name, seed - first);
    assert!(failures.is_empty(), "{}: {} failures\n  {}", room.name, failures.len(), failures.join("\n  "));
}

fn replay(room: &Room, watch: &Hooks) -> Vec<String> {
    let mut failures = Vec::new();
    let Ok(entries) = Path::new(REGRESSIONS).join(room.name).read_dir() else { return failures };
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    for folder in folders {
        let name = folder.display().to_string();
        let read = |path: PathBuf| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap());
        let input: Input = folder.read_dir().unwrap().map(|entry| read(entry.unwrap().path())).collect();
        watch.begin(&name);
        watch.has(&input);
        if let Err(why) = checked(room, &input) {
            failures.push(format!("{name}: {why}"));
        }
    }
    failures
}

/// What a check says, with panics and memory.
fn checked(room: &Room, input: &Input) -> Outcome {
    memory::begin();
    let result = catch_unwind(AssertUnwindSafe(|| (room.check)(input)));
    let peak = memory::peak();
    let kind = result.unwrap_or_else(|_| Err(format!("panic: {}", PANIC.with_borrow(Clone::clone))))?;
    if peak > memory::ENOUGH {
        return Err(format!("{} MB of memory at once", peak >> 20));
    }
    Ok(kind)
}

fn write(folder: &Path, input: &Input) {
    fs::create_dir_all(folder).unwrap();
    for (name, bytes) in input {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.trim().is_empty())?;
    Some(text.trim().parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, and should be a whole number")))
}

/// Has panics of rooms kept instead of printed.
fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if FUZZING.get() {
                PANIC.set(info.to_string().replace('\n', " "));
            } else {
                usual(info);
            }
        }));
    });
}

/// Looks after a thread from another: what hangs, and what ends the whole process, can still be found.
struct Hooks {
    state: Arc<Mutex<State>>,
}

struct State {
    room: &'static str,
    case: String,
    input: Input,
    since: Option<Instant>,
}

impl Hooks {
    fn start(room: &'static str) -> Hooks {
        let state = State { room, case: String::new(), input: Input::new(), since: Some(Instant::now()) };
        let state = Arc::new(Mutex::new(state));
        let watched = state.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_millis(200));
                let state = watched.lock().unwrap();
                let Some(since) = state.since else { break };
                if since.elapsed() > PATIENCE {
                    let folder = format!("{FAILURES}/{}-hangs", state.room);
                    write(Path::new(&folder), &state.input);
                    eprintln!("{}: {} hangs; input: {folder}", state.room, state.case);
                    std::process::exit(1);
                }
            }
        });
        Hooks { state }
    }

    /// Which case is under way is written down, for it may end the process.
    fn begin(&self, case: &str) {
        let mut state = self.state.lock().unwrap();
        state.case = case.to_owned();
        state.since = Some(Instant::now());
        fs::create_dir_all(FAILURES).unwrap();
        fs::write(format!("{FAILURES}/{}.running", state.room), case).unwrap();
    }

    fn has(&self, input: &Input) {
        self.state.lock().unwrap().input = input.clone();
    }

    fn end(&self) {
        let mut state = self.state.lock().unwrap();
        state.since = None;
        let _ = fs::remove_file(format!("{FAILURES}/{}.running", state.room));
    }
}
