//! A chart that the registry does not know draws on every surface by itself, and what lists charts elsewhere agrees with
//! the registry: the page's tabs and controls, the declared types, the docs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

use std::collections::BTreeSet;

use charts::legend::{LegendItem, Swatch};
use charts::mark::Mark;
use charts::recorder::Recorder;
use charts::{
    ApproximateText, Cell, Chart, ChartName, ChartOptions, ChartSpec, Control, Figure, Hit, Kind, MeasureText, Needs,
    Point, Rect, Scene, Size, Table, Theme, svg,
};
use trace::{Sequence, Trace};

/// How many tokens each text has, as bars.
struct Lengths(Vec<usize>);

static LENGTHS: ChartSpec = ChartSpec {
    name: "lengths",
    title: "Lengths of texts",
    lead: "How long is each text?",
    needs: Needs::Norms,
    tab: None,
    controls: &[],
    build: |trace, _| Box::new(Lengths(trace.sequences.iter().map(Sequence::token_count).collect())),
};

impl Chart for Lengths {
    fn how_to_read(&self) -> String {
        "Each bar is a text.".to_owned()
    }

    fn legend(&self) -> Vec<LegendItem> {
        vec![LegendItem { label: "tokens".to_owned(), kind: Kind::Stream, swatch: Swatch::Solid }]
    }

    fn description(&self) -> String {
        format!("Bar chart of {} texts.", self.0.len())
    }

    fn table(&self) -> Table {
        let rows = self.0.iter().map(|length| vec![Cell::count(*length)]).collect();
        Table { caption: "Tokens a text".to_owned(), columns: vec!["tokens".to_owned()], rows }
    }

    fn empty(&self) -> Option<String> {
        self.0.is_empty().then(|| "Write a text.".to_owned())
    }

    fn layout(&self, size: Size, top: f64, theme: &Theme, _: &dyn MeasureText) -> Option<Scene> {
        let bar = |index: usize, length: usize| Rect {
            x: 0.0,
            y: top + 20.0 * index as f64,
            width: 10.0 * length as f64,
            height: 16.0,
        };
        let bars: Vec<Rect> = self.0.iter().enumerate().map(|(index, length)| bar(index, *length)).collect();
        let marks = bars.iter().map(|rect| Mark::Rect { rect: *rect, fill: theme.stream }).collect();
        let hit = |rect: &Rect| Hit {
            rect: *rect,
            anchor: Point::new(rect.right(), rect.y),
            title: "a text".to_owned(),
            rows: Vec::new(),
            place: None,
            highlight: Vec::new(),
        };
        Some(Scene::new(size, Rect::default(), marks, bars.iter().map(hit).collect()))
    }
}

#[test]
fn a_chart_of_ones_own_draws_on_every_surface() {
    let sequence = |t: u32| Sequence { ids: (0..t).collect(), ..Sequence::default() };
    let trace = Trace { sequences: vec![sequence(3), sequence(5)], ..Trace::default() };
    let figure = Figure::of(&LENGTHS, &trace, &ChartOptions::default());
    assert_eq!((figure.title(), figure.lead()), (LENGTHS.title, LENGTHS.lead));
    assert_eq!(figure.description(), "Bar chart of 2 texts.");
    assert_eq!((figure.notes(), figure.finding(), figure.table().rows.len()), (Vec::new(), None, 2));

    let scene = figure.scene(Size::new(400.0, 200.0), &Theme::light(), &ApproximateText);
    assert_eq!(scene.hits.len(), 2);
    let mut recorder = Recorder::default();
    scene.paint(&mut recorder, None);
    let drawn = format!("{recorder:?}");
    assert!(drawn.contains("tokens") && drawn.contains("50"), "the legend and the longer bar: {drawn}");

    let picture = svg::document(&figure, Size::new(400.0, 200.0), &Theme::dark());
    assert!(
        picture.contains("<title>Lengths of texts</title>") && picture.contains("Bar chart of 2 texts."),
        "{picture}"
    );

    let nothing = Figure::of(&LENGTHS, &Trace::default(), &ChartOptions::default());
    assert_eq!(nothing.description(), "Write a text.");
    assert!(nothing.scene(Size::new(400.0, 200.0), &Theme::light(), &ApproximateText).hits.is_empty());
}

/// What stands between `start` and the next `end`, wherever it does.
fn between<'a>(text: &'a str, start: &str, end: char) -> Vec<&'a str> {
    text.split(start).skip(1).filter_map(|rest| rest.split(end).next()).collect()
}

#[test]
fn the_pages_tabs_and_controls_are_those_of_the_registry() {
    let page = include_str!("../../../index.html");
    let tabs: BTreeSet<&str> = ChartName::ALL.iter().filter_map(|chart| chart.spec().tab).collect();
    assert_eq!(between(page, "data-view=\"", '"').into_iter().collect::<BTreeSet<_>>(), tabs, "index.html");
    for tab in tabs {
        assert_eq!(tab.parse::<ChartName>().unwrap().spec().tab, Some(tab), "a tab is named after its first chart");
    }
    let controls = ChartName::ALL.iter().flat_map(|chart| chart.spec().controls).map(|control| control.as_str());
    let on_page: BTreeSet<&str> = between(page, "data-control=\"", '"').into_iter().collect();
    assert_eq!(on_page, controls.collect(), "index.html");
    // Shown before the program runs: those of the first tab.
    for tag in page.split('<').filter(|tag| tag.contains("data-control=")) {
        let first = ChartName::Heatmap.spec().controls.iter().any(|control: &Control| tag.contains(control.as_str()));
        assert_eq!(tag.split('>').next().unwrap().ends_with(" hidden"), !first, "index.html: {tag}");
    }
}

#[test]
fn types_and_docs_name_the_charts_of_the_registry() {
    let types = include_str!("../../../package/residual-stream.d.ts");
    let union = types.split("export type ChartName =").nth(1).unwrap().split("export ").next().unwrap();
    let in_types: Vec<&str> = between(union, "| \"", '"');
    assert_eq!(in_types, ChartName::ALL.map(ChartName::as_str), "residual-stream.d.ts");

    let embedding = include_str!("../../../docs/embedding.md");
    let list = between(embedding, "`chart` is one of", '.').remove(0);
    let in_docs: Vec<&str> = list.split(',').map(|name| name.trim().trim_matches('`')).collect();
    assert_eq!(in_docs, ChartName::ALL.map(ChartName::as_str), "docs/embedding.md");

    let views = include_str!("../../../docs/views.md");
    for chart in ChartName::ALL {
        assert!(views.contains(&format!("`{}`", chart.as_str())), "docs/views.md does not name {}", chart.as_str());
    }
}
