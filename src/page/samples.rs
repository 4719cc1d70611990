//! The sample sentences, written for this page. Each set is a register of its own.

/// One set of sentences behind a button of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The button's `data-sample`.
    pub key: &'static str,
    /// One sentence a line.
    pub text: &'static str,
}

/// Every set, in the order of the buttons. The first is traced when the page opens.
pub const SAMPLES: [Sample; 10] = [
    Sample {
        key: "fable",
        text: "Once upon a time a hare laughed at a tortoise for walking so slowly.\n\
               The tortoise said nothing, and went on along the dusty road.\n\
               When the hare woke under his tree, the race was already over.\n\
               \"Slow feet know the road,\" said the tortoise to the hare.",
    },
    Sample {
        key: "facts",
        text: "The capital of France is Paris, and the capital of Italy is Rome.\n\
               Water boils at one hundred degrees at the level of the sea.\n\
               The Moon goes around the Earth in a little less than a month.\n\
               A spider has eight legs, and an ant has six.",
    },
    Sample {
        key: "news",
        text: "The city council voted on Tuesday to keep the old bridge open until spring.\n\
               Engineers said repairs would cost 2.4 million and take eleven weeks.\n\
               \"We would rather wait than close it twice,\" the mayor told reporters.\n\
               Shares in the ferry company fell three percent after the vote.",
    },
    Sample {
        key: "dialogue",
        text: "\"Did you feed the cat?\" asked Anna from the stairs.\n\
               \"I thought you did,\" said her brother, without looking up.\n\
               \"Then why is the bowl empty, and why is there milk on the floor?\"\n\
               \"Ask the cat,\" he said. \"She was here all along.\"",
    },
    Sample {
        key: "poem",
        text: "The river keeps no letter that we send,\n\
               it reads each one aloud and lets it go;\n\
               the stones have learned the words from end to end,\n\
               and say them to the rain, and to the snow.",
    },
    Sample {
        key: "code",
        text: "def mean(values): return sum(values) / len(values)\n\
               for (int i = 0; i < n; i++) { total += weights[i] * inputs[i]; }\n\
               SELECT name, COUNT(*) FROM orders GROUP BY name ORDER BY 2 DESC;\n\
               if error is not None: raise ValueError(f\"bad input: {error}\")",
    },
    Sample {
        key: "repetition",
        text: "the cat sat on the mat the cat sat on the mat the cat sat on the mat\n\
               one two three four one two three four one two three four\n\
               red blue red blue red blue red blue red blue red blue\n\
               again again again again again again again again again",
    },
    Sample {
        // Two by two of the same words, so of as many tokens: for comparing and patching.
        key: "pairs",
        text: "The old fox saw the young rabbit in the garden, and the rabbit ran to the\n\
               The young rabbit saw the old fox in the garden, and the fox ran to the\n\
               The king gave the queen a ring, and the queen said\n\
               The queen gave the king a ring, and the king said",
    },
    Sample {
        key: "languages",
        text: "The house by the lake is small, but the garden is large.\n\
               Das Haus am See ist klein, aber der Garten ist groß.\n\
               In the evening we sit outside and listen to the frogs.\n\
               Am Abend sitzen wir draußen und hören den Fröschen zu.",
    },
    Sample {
        key: "emoji",
        text: "Good morning ☀️ coffee first ☕ then the garden 🌱\n\
               The farmer 👩‍🌾 and her dog 🐕 walked to the market 🧺\n\
               Rain again 🌧️ so we stayed in and baked bread 🍞\n\
               See you tomorrow 👋 bring your bicycle 🚲",
    },
];

/// The set of this key.
pub fn sample(key: &str) -> Option<&'static Sample> {
    SAMPLES.iter().find(|sample| sample.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use view::text_lines;

    #[test]
    fn every_button_of_the_page_has_a_set_of_several_sentences() {
        let page = include_str!("../../index.html");
        let buttons: Vec<&str> =
            page.split("data-sample=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(buttons, SAMPLES.map(|sample| sample.key), "index.html and samples.rs differ");
        for set in SAMPLES {
            assert!(text_lines::decode(set.text).len() >= 3, "samples.rs: {} has too few sentences", set.key);
        }
    }
}
