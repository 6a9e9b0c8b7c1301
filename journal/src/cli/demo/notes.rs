//! What people wrote on Quarantine Notes in the spring of 2020: invented, and the same for the same seed.
//!
//! What leaves is a list of writes in order. Knows nothing of tables or clocks.

/// A note, or a reply to one: they have the same shape, but replies have none below them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) content: String,
    pub(super) author: String,
    pub(super) country: String,
    /// When it was written, RFC 3339.
    pub(super) created_at: String,
    pub(super) replies: Vec<Note>,
}

/// One write of the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Write {
    /// A new note.
    Post { id: String, note: Note },
    /// A reply appended to a note.
    Reply { id: String, reply: Note },
    /// A note corrected by its author.
    Edit { id: String, content: String },
    /// A note taken back by its author.
    TakeBack { id: String },
}

impl Write {
    /// The note that is written to.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Post { id, .. } | Self::Reply { id, .. } | Self::Edit { id, .. } | Self::TakeBack { id } => id,
        }
    }
}

/// Writes of all kinds; every id that is written to exists when its turn comes.
pub(super) fn history(seed: u64, writes: usize) -> Vec<Write> {
    let mut random = Seeded(seed);
    let mut history = Vec::with_capacity(writes);
    let mut standing: Vec<(String, String)> = Vec::new();
    // Sunday evening, 29 March 2020, when half the world stayed at home.
    let mut second = 1_585_505_040;
    while history.len() < writes {
        second += 40 + random.below(1400);
        let dice = random.below(100);
        let at = random.index(standing.len().max(1));
        let write = match standing.get(at).cloned() {
            Some((id, _)) if dice >= 34 && dice < 94 => Write::Reply { id, reply: reply(&mut random, second) },
            Some((id, content)) if dice >= 94 && dice < 97 => {
                let content = format!("{content} (Edit: {})", random.pick(&EDITS));
                if let Some(entry) = standing.get_mut(at) {
                    entry.1.clone_from(&content);
                }
                Write::Edit { id, content }
            }
            Some(_) if dice >= 97 => Write::TakeBack { id: standing.swap_remove(at).0 },
            _ => {
                let note = note(&mut random, second);
                let id = format!("{:08x}-{:04x}", random.next() >> 32, random.next() >> 48);
                standing.push((id.clone(), note.content.clone()));
                Write::Post { id, note }
            }
        };
        history.push(write);
    }
    history
}

fn note(random: &mut Seeded, second: u64) -> Note {
    written(random, second, |random| format!("{} {}", random.pick(&OPENINGS), random.pick(&CLOSINGS)))
}

fn reply(random: &mut Seeded, second: u64) -> Note {
    written(random, second, |random| random.pick(&REPLIES).to_owned())
}

fn written(random: &mut Seeded, second: u64, content: impl FnOnce(&mut Seeded) -> String) -> Note {
    let content = content(random);
    let (author, country) = random.pick_pair(&AUTHORS);
    let created_at = i64::try_from(second)
        .ok()
        .and_then(|second| jiff::Timestamp::from_second(second).ok())
        .map_or_else(String::new, |time| time.to_string());
    Note { content, author: author.to_owned(), country: country.to_owned(), created_at, replies: Vec::new() }
}

/// SplitMix64 (Steele, Lea, Flood 2014): a seed gives the same numbers on every machine and in every release.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn index(&mut self, length: usize) -> usize {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        usize::try_from(self.below(length)).unwrap_or(0)
    }

    fn pick<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        let at = self.index(texts.len());
        texts.get(at).copied().unwrap_or_default()
    }

    fn pick_pair<'a>(&mut self, pairs: &[(&'a str, &'a str)]) -> (&'a str, &'a str) {
        let at = self.index(pairs.len());
        pairs.get(at).copied().unwrap_or_default()
    }
}

const AUTHORS: [(&str, &str); 32] = [
    ("Marta", "Italy"),
    ("Giulio", "Italy"),
    ("Lucía", "Spain"),
    ("Iker", "Spain"),
    ("Amélie", "France"),
    ("Théo", "France"),
    ("Jonas", "Germany"),
    ("Fatma", "Germany"),
    ("Siobhán", "Ireland"),
    ("Callum", "United Kingdom"),
    ("Priya", "United Kingdom"),
    ("Ana", "Portugal"),
    ("Rui", "Portugal"),
    ("Katarzyna", "Poland"),
    ("Eleni", "Greece"),
    ("Ingrid", "Sweden"),
    ("Mikko", "Finland"),
    ("Yui", "Japan"),
    ("Haruto", "Japan"),
    ("Min-jun", "South Korea"),
    ("Mei", "China"),
    ("Aarav", "India"),
    ("Nandini", "India"),
    ("Thandiwe", "South Africa"),
    ("Chidi", "Nigeria"),
    ("Yasmine", "Morocco"),
    ("Camila", "Brazil"),
    ("Mateo", "Argentina"),
    ("Valentina", "Mexico"),
    ("Dolores", "United States"),
    ("Marcus", "United States"),
    ("Noor", "Canada"),
];

const OPENINGS: [&str; 34] = [
    "Day 12. The man across the courtyard plays the accordion at six, badly and bravely.",
    "My grandmother has learned to make video calls. We mostly see her forehead.",
    "I was to be married today. We read our vows to each other in the kitchen.",
    "The street is so quiet that I heard a blackbird change its mind.",
    "Third sourdough. This one floats, if nothing else.",
    "I am a nurse. Somebody left a box of oranges at the ward's door, no name on it.",
    "My son asked whether the playground misses him.",
    "We clap at eight every evening. Tonight the baby next door clapped first.",
    "I have now met all my neighbours, every one of them on a balcony.",
    "The supermarket had flour today. I bought one bag and felt like a king.",
    "I teach thirty children through a small window. They teach me how to unmute.",
    "Finished the jigsaw. One piece is missing and the dog will not talk about it.",
    "My father sends me a photo of the sea every morning, because he can see it and I cannot.",
    "I cut my own fringe. Please send help, or hats.",
    "We had tickets for Lisbon. We cooked from there instead, with the window open.",
    "The bakery lowers bread from the first floor in a basket. I send up coins and a drawing.",
    "Lost my job on Monday. On Tuesday the neighbours brought soup and did not ask.",
    "My flatmate and I have not run out of things to say. We are both surprised.",
    "I drove a lorry of masks through four countries and saw almost nobody, and everybody waved.",
    "Our choir sang together tonight, each in a separate room and a separate key.",
    "I am seventy-nine and I have started Portuguese. I shall need it when this is over.",
    "The cherry trees bloomed without us. I went by at dawn to tell them that we know.",
    "My daughter was born on Thursday. Her grandparents saw her through the glass and danced.",
    "I have named the seagull on my sill Bernard. He comes to all my meetings.",
    "Grandad does one lap of the garden for each year of his life. Four to go.",
    "I found my mother's recipes behind the drawer. Her handwriting makes the whole room warm.",
    "We hung a paper rainbow in the window. By evening there were eleven in our street.",
    "I have been a bus driver for twenty years and never heard my own bus before.",
    "The library left a crate of books by the door: take what you need.",
    "Tested positive. Mild so far. My sister phones on the hour and pretends that it is about something else.",
    "I planted tomatoes on the fire escape. They do not know what year it is.",
    "We play chess by post again, my brother and I. The post is slow and so is he.",
    "I proposed on the roof, with the whole block watching. She said yes; so did the block.",
    "The ferry still goes, with me alone on it. I say good morning to the captain through the door.",
];

const CLOSINGS: [&str; 24] = [
    "It will be spring when we come out.",
    "I did not know that I needed that.",
    "Write me one thing that was good today.",
    "If you can read this, you are not alone.",
    "I should like to remember this when it is over.",
    "We are all right. I hope you are too.",
    "Tomorrow again.",
    "I have cried twice, once of laughing.",
    "That was enough for a day.",
    "Hold on. I am holding on over here.",
    "Send me a song.",
    "I am keeping a list of people to embrace. You may be on it.",
    "Nobody told me that quiet could be so loud.",
    "Small things, but they are the ones we have.",
    "Somehow it is the best news of the week.",
    "I am writing it down so that it counts.",
    "When all this is over I want to see it with you.",
    "Please stay in, and please ring your mother.",
    "The kettle is on.",
    "I thought that somebody should know.",
    "It helped.",
    "And then the sun came out, as if somebody had asked for it.",
    "Tell me where you are and what you see from your window.",
    "Good night, wherever it is night.",
];

const REPLIES: [&str; 36] = [
    "Read it aloud to my wife. Thank you.",
    "From my window: a washing line, two cats, one truce.",
    "Same here. It helps to hear it.",
    "You made a stranger smile five thousand kilometres away.",
    "Good today: my mother is home from hospital.",
    "Send Bernard our regards.",
    "Holding on here too.",
    "We sang along. Sorry about the key.",
    "Here is a song: anything by Nina Simone, and loud.",
    "I lit a candle on the balcony for you.",
    "My children have drawn you a rainbow; imagine it very crooked.",
    "It snowed here this morning. I am sending you some.",
    "Ring her again tomorrow. And the day after.",
    "From my window: the sea, and nobody in it.",
    "Good today: flour!",
    "I have been reading these every night before I sleep.",
    "Courage from Bergamo.",
    "A hug, two metres long.",
    "That is the best thing I have read this week.",
    "We shall dance at the real one.",
    "My grandfather said: it passes, it always passes, have some soup.",
    "Thank you for driving.",
    "Thank you for nursing.",
    "Keep the missing piece for when we meet.",
    "Here it is morning. Good morning.",
    "I needed this today more than you can know.",
    "We are in the same town! I can hear the accordion.",
    "You are on my list as well.",
    "The tomatoes are right.",
    "From my window: somebody in a window, waving.",
    "Good today: I did not look at the numbers until noon.",
    "Same fringe. Solidarity.",
    "Stay in, stay well, stay odd.",
    "I told my class your story and they asked for the next part.",
    "She would have liked this. Thank you.",
    "It is night here. Good night to you too.",
];

const EDITS: [&str; 6] = [
    "he has learned a second tune",
    "he is home, he is home, he is home",
    "yes, I have answered all of you; it took the whole night",
    "test came back negative",
    "the dog has talked",
    "we are three now",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_history_and_another_gives_another() {
        assert_eq!(history(7, 200), history(7, 200));
        assert_ne!(history(7, 200), history(8, 200));
    }

    #[test]
    fn every_write_finds_its_note_and_all_kinds_occur() {
        let mut standing = BTreeSet::new();
        let (mut replies, mut edits, mut taken_back) = (0, 0, 0);
        for write in history(2020, 500) {
            match write {
                Write::Post { id, .. } => assert!(standing.insert(id)),
                Write::Reply { id, .. } => replies += usize::from(standing.contains(&id)),
                Write::Edit { id, .. } => edits += usize::from(standing.contains(&id)),
                Write::TakeBack { id } => taken_back += usize::from(standing.remove(&id)),
            }
        }
        assert!(standing.len() > 100 && replies > 200 && edits > 5 && taken_back > 5);
        assert_eq!(standing.len() + taken_back + replies + edits + taken_back, 500);
    }
}
