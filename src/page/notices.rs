//! What the engine remarks while a model is loading, as one quiet line. No DOM.

/// Remarks of one load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notices {
    /// Each with whether it passes by itself.
    list: Vec<(String, bool)>,
}

impl Notices {
    /// As many fit beside each other; older ones make room.
    const MOST: usize = 2;

    /// Takes a remark in. One that passes, such as "asking again", replaces the one before.
    pub fn add(&mut self, message: &str, passes: bool) {
        self.list.retain(|(known, passed)| known != message && !(passes && *passed));
        self.list.push((message.to_owned(), passes));
        let excess = self.list.len().saturating_sub(Self::MOST);
        self.list.drain(..excess);
    }

    /// Loading ended well: what was only passing is over.
    pub fn settle(&mut self) {
        self.list.retain(|(_, passes)| !passes);
    }

    /// All of it, oldest first.
    pub fn text(&self) -> String {
        self.list.iter().map(|(message, _)| message.as_str()).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_are_said_once_and_passing_ones_go() {
        let mut notices = Notices::default();
        assert_eq!(notices.text(), "");
        notices.add("Storage is full.", false);
        notices.add("Asking again in 1 s.", true);
        notices.add("Asking again in 2 s.", true);
        notices.add("Storage is full.", false);
        assert_eq!(notices.text(), "Asking again in 2 s. Storage is full.");
        notices.add("Another tab writes.", false);
        assert_eq!(notices.text(), "Storage is full. Another tab writes.", "the oldest makes room");
        notices.add("Asking again.", true);
        notices.settle();
        assert_eq!(notices.text(), "Another tab writes.");
    }
}
