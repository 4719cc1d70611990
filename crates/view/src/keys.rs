//! Where keys, and the buttons beside a grid, lead in a chart.

use charts::Columns;

/// The columns that a button beside a grid leads to: "in" and "out", "left" and "right".
pub fn press(columns: Columns, button: &str) -> Columns {
    let step = ((columns.to - columns.from) / 2).max(1) as isize;
    match button {
        "in" => columns.zoomed(true, None),
        "out" => columns.zoomed(false, None),
        "left" => columns.moved(-step),
        _ => columns.moved(step),
    }
}

/// The hit that a key leads to from `here` (none: away from all), of `count` hits in rows of `row`; `None` for a key that
/// leads nowhere.
pub fn step(key: &str, here: Option<usize>, count: usize, row: usize) -> Option<Option<usize>> {
    let last = count.checked_sub(1)?;
    Some(match key {
        "ArrowRight" => Some(here.map_or(0, |hit| (hit + 1).min(last))),
        "ArrowLeft" => Some(here.map_or(last, |hit| hit.saturating_sub(1))),
        // Where there is no row above or below, the read-out stays.
        "ArrowDown" => Some(here.map_or(0, |hit| if hit + row <= last { hit + row } else { hit })),
        "ArrowUp" => Some(here.map_or(last, |hit| hit.checked_sub(row).unwrap_or(hit))),
        "Home" => Some(0),
        "End" => Some(last),
        "Escape" if here.is_some() => None,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_walk_a_grid_and_stop_at_its_ends() {
        // Two rows of three.
        for (key, here, there) in [
            ("ArrowRight", None, Some(Some(0))),
            ("ArrowRight", Some(5), Some(Some(5))),
            ("ArrowLeft", None, Some(Some(5))),
            ("ArrowLeft", Some(0), Some(Some(0))),
            ("ArrowDown", Some(1), Some(Some(4))),
            ("ArrowDown", Some(4), Some(Some(4))),
            ("ArrowUp", Some(4), Some(Some(1))),
            ("ArrowUp", Some(1), Some(Some(1))),
            ("Home", Some(4), Some(Some(0))),
            ("End", Some(1), Some(Some(5))),
            ("Escape", Some(1), Some(None)),
            ("Escape", None, None),
            ("Tab", Some(1), None),
        ] {
            assert_eq!(step(key, here, 6, 3), there, "keys.rs: {key} from {here:?}");
        }
        assert_eq!(step("ArrowRight", None, 0, 1), None, "keys.rs: an empty chart");
    }
}
