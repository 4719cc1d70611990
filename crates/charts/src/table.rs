//! The numbers behind a chart as a table, for readers who cannot or will not read a picture.

use super::format;

/// One cell of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words: a token, a name.
    Text(String),
    /// A number, in full precision.
    Number(f64),
    /// Nothing was measured.
    Missing,
}

impl Cell {
    /// A number; `Missing` where it is not finite.
    pub fn number(value: f64) -> Self {
        if value.is_finite() { Cell::Number(value) } else { Cell::Missing }
    }

    /// A value that may be missing.
    pub(super) fn of(value: Option<f64>) -> Self {
        value.map_or(Cell::Missing, Cell::number)
    }

    /// A count; `Missing` where it does not fit 32 bits.
    pub fn count(value: impl TryInto<u32>) -> Self {
        value.try_into().map_or(Cell::Missing, |value| Cell::Number(f64::from(value)))
    }

    /// As people read it: whole numbers whole, others with three digits, "–" for nothing.
    pub fn text(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Number(value) if value.fract() == 0.0 && value.abs() < 1e7 => format::format_grouped(*value, 0),
            Cell::Number(value) => format::norm(*value),
            Cell::Missing => "–".to_owned(),
        }
    }

    /// As programs read it: full precision, nothing for nothing.
    fn csv(&self) -> String {
        match self {
            Cell::Text(text) => no_formula(text),
            Cell::Number(value) => value.to_string(),
            Cell::Missing => String::new(),
        }
    }
}

/// A table with one header row.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What the table holds, with units.
    pub caption: String,
    /// Names of the columns, with units where they differ from the caption's.
    pub columns: Vec<String>,
    /// Rows, each as long as `columns`.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Of a grid over tokens: a row per token with its text, its position, and `cells`, which `names` names.
    pub(super) fn by_token(
        caption: impl Into<String>,
        names: impl Iterator<Item = String>,
        tokens: impl Iterator<Item = String>,
        cells: impl Fn(usize) -> Vec<Cell>,
    ) -> Table {
        let row = |(token, text): (usize, String)| {
            [Cell::Text(text), Cell::count(token)].into_iter().chain(cells(token)).collect()
        };
        Table {
            caption: caption.into(),
            columns: ["token", "position"].map(str::to_owned).into_iter().chain(names).collect(),
            rows: tokens.enumerate().map(row).collect(),
        }
    }

    /// Of a grid over heads: a row per layer with its number, `heads` heads and, `with_bias`, a last column for the
    /// bias of the output projection.
    pub(super) fn by_head(
        caption: String,
        layers: usize,
        heads: usize,
        with_bias: bool,
        cell: impl Fn(usize, usize) -> Option<f64>,
    ) -> Table {
        let bias = with_bias.then(|| "bias".to_owned());
        let names = (0..heads).map(|head| format!("head {head}")).chain(bias);
        let columns: Vec<String> = std::iter::once("layer".to_owned()).chain(names).collect();
        let row = |layer: usize| {
            let cells = (1..columns.len()).map(|column| Cell::of(cell(layer, column - 1)));
            std::iter::once(Cell::count(layer + 1)).chain(cells).collect()
        };
        Table { caption, rows: (0..layers).map(row).collect(), columns }
    }

    /// As an object: `{ caption, columns, rows }`, a row as a list of strings, numbers in full precision, and nulls.
    pub fn to_json(&self) -> String {
        let list = |items: Vec<String>| format!("[{}]", items.join(","));
        let cell = |cell: &Cell| match cell {
            Cell::Text(text) => quoted(text),
            // What is not finite is null in JSON.
            Cell::Number(value) if value.is_finite() => value.to_string(),
            Cell::Number(_) | Cell::Missing => "null".to_owned(),
        };
        let rows = self.rows.iter().map(|row| list(row.iter().map(cell).collect())).collect();
        let columns = self.columns.iter().map(|column| quoted(column)).collect();
        format!("{{\"caption\":{},\"columns\":{},\"rows\":{}}}", quoted(&self.caption), list(columns), list(rows))
    }

    /// RFC 4180: CRLF line ends, fields with commas, quotes or line ends in quotes, the header first. With a byte order mark,
    /// since Excel takes a file without one for another encoding than UTF-8; and no text is a formula.
    pub fn to_csv(&self) -> String {
        let mut out = String::from("\u{feff}");
        out += &line(self.columns.iter().map(|column| no_formula(column)));
        for row in &self.rows {
            out += &line(row.iter().map(Cell::csv));
        }
        out
    }
}

/// A text as JSON writes it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out += "\\n",
            // In a script element of a page, `<` may end it.
            c if c < ' ' || matches!(c, '<' | '\u{2028}' | '\u{2029}') => out += &format!("\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out + "\""
}

/// The text so that spreadsheets take it for one: they compute what begins with one of these signs, and a token may be
/// `=HYPERLINK(...)`. An apostrophe before it keeps them from that; texts that begin with apostrophes and such a sign get
/// one as well, so that taking one away gives the text as it was.
fn no_formula(text: &str) -> String {
    let computes = |c| matches!(c, '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠');
    match text.trim_start_matches('\'').starts_with(computes) {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}

fn line(fields: impl Iterator<Item = String>) -> String {
    let quoted = fields.map(|field| match field.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field,
    });
    quoted.collect::<Vec<_>>().join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_follows_rfc_4180() {
        let table = Table {
            caption: String::new(),
            columns: vec!["token".into(), "norm, mean".into()],
            rows: vec![
                vec![Cell::Text("say \"hi\"\n".into()), Cell::Number(0.1)],
                vec![Cell::Text("plain".into()), Cell::Missing],
            ],
        };
        let json: serde_json::Value = serde_json::from_str(&table.to_json()).unwrap();
        assert_eq!(json["rows"], serde_json::json!([["say \"hi\"\n", 0.1], ["plain", null]]), "table.rs: to_json");
        assert_eq!(json["columns"][1], "norm, mean");
        assert_eq!(table.to_csv(), "\u{feff}token,\"norm, mean\"\r\n\"say \"\"hi\"\"\n\",0.1\r\nplain,\r\n");
        assert_eq!(
            [Cell::Number(3001.0), Cell::Number(0.12345), Cell::number(f64::NAN)].map(|cell| cell.text()),
            ["3,001", "0.123", "–"]
        );
    }

    #[test]
    fn no_token_is_a_formula_and_each_can_be_had_back() {
        for (token, written) in [
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-", "'-"),
            ("+", "'+"),
            ("'=1", "''=1"),
            ("''@", "'''@"),
            (" =1", " =1"),
            ("'s", "'s"),
            ("a-b", "a-b"),
            ("\t", "'\t"),
            ("é中", "é中"),
        ] {
            let rows = vec![vec![Cell::Text(token.into()), Cell::Number(-0.5)]];
            let csv = Table { caption: String::new(), columns: vec!["token".into(), "x".into()], rows }.to_csv();
            assert_eq!(csv, format!("\u{feff}token,x\r\n{written},-0.5\r\n"), "table.rs: {token:?}");
            let guarded =
                written.starts_with('\'') && written.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t']);
            assert_eq!(if guarded { &written[1..] } else { written }, token, "table.rs: as docs/traces.md says");
        }
    }

    #[test]
    fn json_may_stand_in_a_script_element() {
        let text = "</script><!--<script>\u{2028}";
        let table =
            Table { caption: text.into(), columns: vec![text.into()], rows: vec![vec![Cell::Text(text.into())]] };
        let json = table.to_json();
        assert!(!json.contains(['<', '\u{2028}']), "table.rs: {json}");
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read, serde_json::json!({ "caption": text, "columns": [text], "rows": [[text]] }));
    }
}
