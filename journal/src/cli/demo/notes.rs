//! What people wrote on Quarantine Notes in the spring of 2020: invented, and the same for the same seed.
//!
//! What leaves is a list of writes in order. Knows nothing of tables or clocks.

use crate::model::Second;

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

/// A note that stands, with what makes up its replies.
struct Standing {
    id: String,
    content: String,
    /// Replies that fit this note alone, not yet given.
    fitting: Vec<&'static str>,
    /// Replies that fit any note, not yet given.
    general: Vec<&'static str>,
}

/// Writes of all kinds; every id that is written to exists when its turn comes.
pub(super) fn history(seed: u64, writes: usize) -> Vec<Write> {
    let mut random = Seeded(seed);
    let mut history = Vec::with_capacity(writes);
    let mut standing: Vec<Standing> = Vec::new();
    let mut openings = OPENINGS.to_vec();
    // Sunday evening, 29 March 2020, when half the world stayed at home.
    let mut second = 1_585_505_040;
    while history.len() < writes {
        second += 40 + random.below(1400);
        let dice = random.below(100);
        let at = random.index(standing.len());
        let write = match standing.get_mut(at) {
            Some(note) if (32..94).contains(&dice) => {
                // Every other reply speaks of the note itself.
                let fits = random.below(2) == 0 && !note.fitting.is_empty();
                let replies = if fits { &mut note.fitting } else { &mut note.general };
                if replies.is_empty() {
                    continue;
                }
                let content = replies.swap_remove(random.index(replies.len()));
                Write::Reply { id: note.id.clone(), reply: written(&mut random, second, content.to_owned()) }
            }
            Some(note) if (94..97).contains(&dice) => {
                note.content = format!("{} (Edit: {})", note.content, random.pick(&EDITS));
                Write::Edit { id: note.id.clone(), content: note.content.clone() }
            }
            Some(_) if dice >= 97 => Write::TakeBack { id: standing.swap_remove(at).id },
            _ => {
                if openings.is_empty() {
                    openings = OPENINGS.to_vec();
                }
                let (opening, fitting) = openings.swap_remove(random.index(openings.len()));
                let content = format!("{opening} {}", random.pick(&CLOSINGS));
                let note = written(&mut random, second, content.clone());
                let id = format!("{:08x}-{:04x}", random.next() >> 32, random.next() >> 48);
                let (fitting, general) = (fitting.to_vec(), REPLIES.to_vec());
                standing.push(Standing { id: id.clone(), content, fitting, general });
                Write::Post { id, note }
            }
        };
        history.push(write);
    }
    history
}

fn written(random: &mut Seeded, second: u64, content: String) -> Note {
    let (author, country) = random.choose(&AUTHORS).unwrap_or_default();
    let created_at = Second::new(second).map_or_else(|_| String::new(), Second::to_rfc3339);
    Note { content, author: author.to_owned(), country: country.to_owned(), created_at, replies: Vec::new() }
}

/// `SplitMix64` (Steele, Lea, Flood 2014): a seed gives the same numbers on every machine and in every release.
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

    fn choose<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        let at = self.index(choices.len());
        choices.get(at).copied()
    }

    fn pick(&mut self, texts: &[&'static str]) -> &'static str {
        self.choose(texts).unwrap_or_default()
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

/// How a note begins, with replies that fit it.
const OPENINGS: [(&str, [&str; 2]); 34] = [
    (
        "Day 12. The man across the courtyard plays the accordion at six, badly and bravely.",
        ["We are in the same town! I can hear the accordion.", "Bravely is the word. Tell him from us."],
    ),
    (
        "My grandmother has learned to make video calls. We mostly see her forehead.",
        ["Frame the forehead. It is a fine forehead.", "Mine holds the telephone to her ear. We see a lot of ear."],
    ),
    (
        "I was to be married today. We read our vows to each other in the kitchen.",
        ["Congratulations from a kitchen in another country!", "We shall dance at the second one."],
    ),
    (
        "The street is so quiet that I heard a blackbird change its mind.",
        ["Mine sings from the traffic light now.", "What did it decide?"],
    ),
    (
        "Third sourdough. This one floats, if nothing else.",
        ["Mine would hold up a bridge.", "Floating is a texture too."],
    ),
    (
        "I am a nurse. Somebody left a box of oranges at the ward's door, no name on it.",
        ["Thank you for nursing.", "Oranges from all of us, then."],
    ),
    (
        "My son asked whether the playground misses him.",
        ["Tell him: it does, and it is resting.", "My daughter waves to the slide when we pass."],
    ),
    (
        "We clap at eight every evening. Tonight the baby next door clapped first.",
        ["A born critic.", "Ours claps at noon as well, for lunch."],
    ),
    (
        "I have now met all my neighbours, every one of them on a balcony.",
        ["We have a balcony quiz on Thursdays. You are invited.", "From my balcony to yours: good evening."],
    ),
    (
        "The supermarket had flour today. I bought one bag and felt like a king.",
        ["Good today: flour here too!", "A king shares. What are you baking?"],
    ),
    (
        "I teach thirty children through a small window. They teach me how to unmute.",
        ["Please tell them that they are on mute.", "My daughter's teacher cried on Friday. Thank you for staying."],
    ),
    (
        "Finished the jigsaw. One piece is missing and the dog will not talk about it.",
        ["Keep its place for when the dog confesses.", "It is always the dog."],
    ),
    (
        "My father sends me a photo of the sea every morning, because he can see it and I cannot.",
        ["It snowed here this morning. I am sending you some of that.", "Keep every one of them."],
    ),
    ("I cut my own fringe. Please send help, or hats.", ["Same fringe. Solidarity.", "Hats are on their way."]),
    (
        "We had tickets for Lisbon. We cooked from there instead, with the window open.",
        ["Lisbon says: the table is waiting for you. Rui's mother.", "With the window open it counts."],
    ),
    (
        "The bakery lowers bread from the first floor in a basket. I send up coins and a drawing.",
        ["What was in the drawing?", "Bread by balcony. I want to live there."],
    ),
    (
        "Lost my job on Monday. On Tuesday the neighbours brought soup and did not ask.",
        [
            "Soup from here as well, in spirit. It will turn.",
            "My brother lost his too. We play cards at four; join us.",
        ],
    ),
    (
        "My flatmate and I have not run out of things to say. We are both surprised.",
        ["Day 40 will be crosswords. Be prepared.", "Tell us when you find the last word."],
    ),
    (
        "I drove a lorry of masks through four countries and saw almost nobody, and everybody waved.",
        ["Thank you for driving.", "I was one of those who waved. A5, the bridge at Olten."],
    ),
    (
        "Our choir sang together tonight, each in a separate room and a separate key.",
        ["We sang along. Sorry about the key.", "I was the second alto with the kettle."],
    ),
    (
        "I am seventy-nine and I have started Portuguese. I shall need it when this is over.",
        ["Bom dia! You have just begun.", "I am twenty-six and you are my plan."],
    ),
    (
        "The cherry trees bloomed without us. I went by at dawn to tell them that we know.",
        ["Thank you for telling them.", "I painted ours from the window. It came out pink, mostly."],
    ),
    (
        "My daughter was born on Thursday. Her grandparents saw her through the glass and danced.",
        ["Welcome, small one. It is usually better than this.", "They will tell her of that dance all her life."],
    ),
    (
        "I have named the seagull on my sill Bernard. He comes to all my meetings.",
        ["Send Bernard our regards.", "Does Bernard have an opinion on the budget?"],
    ),
    (
        "Grandad does one lap of the garden for each year of his life. Four to go.",
        ["All of us are counting with him.", "Tell him to save one for my grandfather."],
    ),
    (
        "I found my mother's recipes behind the drawer. Her handwriting makes the whole room warm.",
        ["Cook one and tell us how the room smells.", "Make copies. Then make cake."],
    ),
    (
        "We hung a paper rainbow in the window. By evening there were eleven in our street.",
        [
            "My children have drawn you one more; imagine it very crooked.",
            "There are three in ours. By tomorrow, four.",
        ],
    ),
    (
        "I have been a bus driver for twenty years and never heard my own bus before.",
        ["Ring the bell once for us.", "Thank you for going on driving."],
    ),
    (
        "The library left a crate of books by the door: take what you need.",
        ["I took the thick one. See you in June.", "Left two in return. One is only slightly damp."],
    ),
    (
        "Tested positive. Mild so far. My sister phones on the hour and pretends that it is about something else.",
        ["Write tomorrow, please, only a word.", "Get well. Your sister sounds like mine."],
    ),
    (
        "I planted tomatoes on the fire escape. They do not know what year it is.",
        ["The tomatoes are right.", "Mine think that it is 1987."],
    ),
    (
        "We play chess by post again, my brother and I. The post is slow and so is he.",
        ["Knight to c3. Pass it on.", "At that pace you will both live for ever."],
    ),
    (
        "I proposed on the roof, with the whole block watching. She said yes; so did the block.",
        ["The block here says congratulations too.", "I threw rice from the fifth floor. Most of it landed."],
    ),
    (
        "The ferry still goes, with me alone on it. I say good morning to the captain through the door.",
        ["Good morning to the captain from the land.", "Leave us a seat on the sunny side."],
    ),
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

/// Replies that fit any note.
const REPLIES: [&str; 28] = [
    "Read it aloud to my wife. Thank you.",
    "From my window: a washing line, two cats, one truce.",
    "Same here. It helps to hear it.",
    "You made a stranger smile five thousand kilometres away.",
    "Good today: my mother is home from hospital.",
    "Here is a song: anything by Nina Simone, and loud.",
    "I lit a candle on the balcony for you.",
    "It snowed here this morning. I am sending you some.",
    "Ring her again tomorrow. And the day after.",
    "From my window: the sea, and nobody in it.",
    "I have been reading these every night before I sleep.",
    "Courage from Bergamo.",
    "A hug, two metres long.",
    "That is the best thing I have read this week.",
    "My grandfather said: it passes, it always passes, have some soup.",
    "Here it is morning. Good morning.",
    "I needed this today more than you can know.",
    "You are on my list as well.",
    "From my window: somebody in a window, waving.",
    "Good today: I did not look at the numbers until noon.",
    "Stay in, stay well, stay odd.",
    "I told my class your story and they asked for the next part.",
    "It is night here. Good night to you too.",
    "Holding on here too.",
    "I have copied this out and put it on the fridge.",
    "From my window: a woman who waters plastic flowers.",
    "Good today: I slept.",
    "Your note was the first thing that I read today.",
];

const EDITS: [&str; 6] = [
    "thank you, all of you; it took me the whole night to read this",
    "spelling; my hands were cold",
    "it is better today",
    "yes, it is true",
    "my mother says hello to everyone",
    "still here",
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
        assert!(standing.len() > 100 && replies > 200 && edits > 5 && taken_back > 5, "{replies} {edits} {taken_back}");
        assert_eq!(standing.len() + taken_back + replies + edits + taken_back, 500);
    }
}
