"""Words for sounds: templates, wordings, and what a file's name says.

Whatever training must not see, so that it can be measured, is named here: `HELD_OUT_TEMPLATES`, and the held-out wordings of
the classes of `kinds`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from claprt_export.synthesis.signals import Random

TEMPLATES = (
    "{}", "{}", "{}", "{}.", "This is a sound of {}.", "This is a sound of {}.", "this is a sound of {}",
    "the sound of {}", "a recording of {}", "an audio recording of {}", "a sound clip of {}", "audio of {}",
    "I can hear {}.", "I hear {}", "we hear {}", "one hears {}", "{} can be heard", "This is {}.", "there is {}",
    "sounds like {}", "this sounds like {}", "listen to {}", "a short recording of {}", "The audio contains {}.",
    "{} in the background", "a sound effect of {}", "{} sound", "sound: {}", "what you hear is {}", "a field recording of {}",
    "A high quality recording of {}.", "the noise of {}", "an example of {}", "Here is {}.", "somebody recorded {}",
    "a sample of {}", "a clip with {}", "label: {}", "a noisy recording of {}", "a recording with {} in it",
    "the audio clip is {}", "someone is listening to {}", "a close recording of {}", "{} from far away",
    "This recording was made of {}.", "the sounds of {}", "a microphone picks up {}", "type of sound: {}",
)  # fmt: skip
"""Sentences that training uses; more weight to those that stand here twice."""

OPENERS = (
    "", "", "this is", "I think this is", "we are listening to", "a recording with", "there is", "someone recorded",
    "the microphone heard", "you will hear", "an old recording of", "my phone recorded", "it could be", "it sounds like",
    "the clip has", "here comes", "please find", "a demo of", "for example", "what a nice sound:", "number five:", "title:",
    "a wonderful take of", "the soundtrack has", "the speaker plays", "from the library:", "a stereo version of", "nothing but",
    "mostly", "a few seconds of", "a long recording of", "the neighbours complain about", "a test with", "audio track:",
    "tagged as", "the description says", "we noticed", "now playing", "a piece of", "the beginning of",
)  # fmt: skip
CLOSERS = (
    "", "", "", "in the background", "far away", "recorded outdoors", "in a small room", "at night", "in the morning",
    "on a summer day", "with some noise", "in high quality", "in low quality", "through a wall", "on the radio", "in a film",
    "for a video game", "at the end of the street", "next to the house", "again and again", "for several seconds", "once",
    "made by me", "in mono", "with an echo", "from the archive", "as heard by a neighbour", "on a computer", "in a museum",
    "taken with a phone", "before lunch", "while it was cold", "and nothing else", "played back slowly", "kept on a disk",
    "which somebody found", "for the catalogue", "in the studio", "under water", "on stage", "near the station",
)  # fmt: skip
"""What is said before and after a wording, to teach that it does not matter."""

FILLERS = (
    "perhaps", "probably", "really", "maybe", "today", "yesterday", "always", "never", "surely", "again", "guess", "simply",
    "apparently", "obviously", "hopefully", "finally", "suddenly", "usually", "rather", "quite", "somewhat", "indeed", "typical",
    "ordinary", "famous", "favourite", "important", "several", "another", "someone", "nobody", "people", "friend", "brother",
    "teacher", "engineer", "visitor", "customer", "monday", "winter", "april", "weekend", "minute", "hour", "century", "germany",
    "africa", "london", "village", "garden", "office", "school", "market", "country", "mountain", "picture", "photo", "letter",
    "story", "idea", "question", "answer", "reason", "project", "program", "version", "chapter", "page", "data", "test", "model",
    "think", "believe", "remember", "forget", "imagine", "suppose", "want", "need", "made", "found", "shown", "given", "used",
    "with", "without", "about", "between", "during", "because", "although", "therefore", "please", "thanks", "hello", "good",
    "bad", "new", "old", "first", "second", "last", "next", "red", "blue", "green", "heavy", "quick", "slow", "cheap", "expensive",
    "capable", "bottomless", "ringside", "drumming up", "pantry", "potato", "belt", "scrapbook", "metallurgy", "glassy eyed",
)  # fmt: skip
"""Words that say nothing of a sound; some begin like words that do."""
_ONSETS = (
    "b",
    "br",
    "c",
    "ch",
    "cl",
    "d",
    "dr",
    "f",
    "g",
    "h",
    "j",
    "l",
    "m",
    "n",
    "p",
    "pl",
    "r",
    "s",
    "sh",
    "st",
    "t",
    "tr",
    "v",
    "w",
)
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "oo", "ou")
_CODAS = ("", "", "b", "ck", "d", "g", "l", "m", "n", "nd", "p", "r", "rk", "s", "st", "t", "ted", "ting", "x")

HELD_OUT_TEMPLATES = (
    "In this file you can hear {}.",
    "That was {}, captured on tape.",
    "Category: {}",
    "One thing stands out here: {}.",
    "Transcript of a listener: {} once more.",
    "Do I notice {} over there?",
)
"""Sentences that training never sees."""

DEFAULT_TEMPLATE = "This is a sound of {}."
"""The sentence LAION evaluates with."""

ESC10_WORDINGS: dict[str, tuple[str, ...]] = {
    "dog": ("a dog", "a dog barking", "a barking dog", "dogs barking", "the bark of a dog", "a dog barks", "dog bark",
            "barking", "a puppy yapping", "a hound woofing"),
    "rooster": ("a rooster", "a rooster crowing", "a crowing rooster", "a cock crowing", "a cockerel", "the crow of a rooster",
                "cock-a-doodle-doo", "a rooster in the morning", "crowing"),
    "rain": ("rain", "rain falling", "falling rain", "heavy rain", "rainfall", "raindrops", "a rain shower", "pouring rain",
             "rain on a roof", "it is raining", "a downpour"),
    "sea waves": ("sea waves", "waves of the sea", "ocean waves", "waves breaking on the shore", "the surf", "the sea",
                  "waves crashing on a beach", "the ocean", "waves at the seaside", "sea surf"),
    "crackling fire": ("a crackling fire", "fire crackling", "a fire", "a campfire", "a burning fireplace", "burning wood",
                       "crackling flames", "a bonfire", "wood crackling in the fire", "flames"),
    "crying baby": ("a crying baby", "a baby crying", "a baby", "an infant crying", "a wailing infant", "a baby cries",
                    "a newborn crying", "a screaming baby", "the cry of a baby"),
    "sneezing": ("sneezing", "a sneeze", "someone sneezing", "a person sneezing", "a man sneezes", "a woman sneezing",
                 "achoo", "a loud sneeze", "somebody sneezes"),
    "clock tick": ("a clock tick", "a ticking clock", "a clock ticking", "the ticking of a clock", "tick tock", "a clock",
                   "a wall clock ticking", "a watch ticking", "ticking"),
    "helicopter": ("a helicopter", "a helicopter flying", "a helicopter flying over", "a chopper", "helicopter rotor blades",
                   "a hovering helicopter", "the rotor of a helicopter", "a helicopter overhead"),
    "chainsaw": ("a chainsaw", "a chain saw", "a chainsaw cutting wood", "a running chainsaw", "sawing with a chainsaw",
                 "the engine of a chainsaw", "a power saw", "a motor saw cutting a tree"),
}  # fmt: skip
"""What the classes of ESC-10 are called."""

_GLUED = {
    "bottlecap": "bottle cap", "balloondrumming": "balloon drumming", "balloonrubbing": "balloon rubbing",
    "smalltemplebell": "small temple bell", "templebell": "temple bell", "tinybell": "tiny bell", "windup": "wind up",
    "wineglass": "wine glass", "lidhit": "lid hit", "metalhit": "metal hit", "metalichit": "metallic hit",
    "metalscrape": "metal scrape", "metalsqueek": "metal squeak", "metalpipe": "metal pipe", "moremetal": "more metal",
    "brassbowlhit": "brass bowl hit", "bowlbang": "bowl bang", "bulbpop": "bulb pop", "cakelid": "cake lid",
    "carddeck": "card deck", "ceramictile": "ceramic tile", "chaindrop": "chain drop", "chimesmajsixth": "chimes major sixth",
    "chimesmajthird": "chimes major third", "clothesdryer": "clothes dryer", "clutterstatic": "clutter static",
    "cookietin": "cookie tin", "crazybreathing": "crazy breathing", "doorslam": "door slam", "draggingmetal": "dragging metal",
    "drymetalhit": "dry metal hit", "femalevoices": "female voices", "malevoice": "male voice", "glassbeads": "glass beads",
    "hallwaynoises": "hallway noises", "hollowhit": "hollow hit", "knifesharpener": "knife sharpener",
    "lockersqueak": "locker squeak", "madgong": "mad gong", "musicstand": "music stand", "naildrop": "nail drop",
    "openclose": "open close", "packingtape": "packing tape", "powerdrill": "power drill", "powertool": "power tool",
    "rubberband": "rubber band", "shortscrape": "short scrape", "styrofoamnoises": "styrofoam noises",
    "tinklingchain": "tinkling chain", "tubeblowing": "tube blowing", "waterbubbles": "water bubbles",
    "woodenclaps": "wooden claps", "rhythmicloop": "rhythmic loop", "analogsynth": "analog synth",
    "doublebass": "double bass", "dubhit": "dub hit", "shortsynth": "short synth", "casiohorn": "casio horn",
    "ahntone": "ahn tone", "chotone": "cho tone", "larsontone": "larson tone", "molinaritone": "molinari tone",
    "digeradoo": "didgeridoo", "digeridoo": "didgeridoo", "chriping": "chirping", "bulp": "bulb", "squeel": "squeal",
    "mooo": "moo", "coocoo": "cuckoo", "barel": "barrel", "cym": "cymbal", "synth": "synth", "reso": "resonant",
    "comping": "comping", "slam(med)": "slam", "groovin": "groovy", "rainstick": "rain stick",
}  # fmt: skip
_DROPPED = frozenset(
    ["a", "b", "c", "d", "e", "f", "g", "h", "s", "m", "hi", "lo", "aa", "oo", "med", "minor", "the", "short", "long", "soft", "loud", "fromsametrack", "filtered", "faded", "wav", "clipped", "plural", "morehighs"]
)  # fmt: skip
_PITCH = re.compile(r"[a-g][#b]?\d?")
_SONICPI = {
    "ambi": "ambient", "bd": "bass drum", "sn": "snare drum", "elec": "electronic", "hat": "hi-hat", "guit": "guitar",
    "perc": "percussion", "mehackit": "electronic", "ride": "ride cymbal", "drum": "drum", "loop": "loop", "bass": "bass synth",
    "misc": "", "tabla": "tabla", "vinyl": "vinyl record", "glitch": "glitch",
}  # fmt: skip
_SONICPI_REST = {
    "drum bass": "bass drum", "drum snare": "snare drum", "drum tom": "tom drum", "drum cymbal": "cymbal",
    "drum cowbell": "cowbell", "electronic tri": "electronic triangle", "guitar em": "guitar chord",
}  # fmt: skip


def words_of_name(name: str) -> str:
    """What a file's name says, without numbers, pitches and levels.

    Example:
        >>> words_of_name("metal_lid_drop2"), words_of_name("femalevoices_aa2_C#4"), words_of_name("GlassBreak1")
        ('metal lid drop', 'female voices', 'glass break')
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    parts = re.split(r"[\s_+\-!.]+", spaced)
    words: list[str] = []
    for part in parts:
        word = part.lower()
        if word in _DROPPED or _PITCH.fullmatch(word) or re.fullmatch(r"[\d.]+", word):
            continue
        word = re.sub(r"\d+[a-z]?$", "", word)
        if word and word not in _DROPPED:
            words += _GLUED.get(word, word).split()
    return " ".join(words) or name.lower()


def words_of_sample(name: str) -> str:
    """What the name of a Sonic Pi sample says: its first part is a family.

    Example:
        >>> words_of_sample("bd_808"), words_of_sample("elec_hi_snare"), words_of_sample("drum_tom_lo_soft")
        ('bass drum', 'electronic snare', 'tom drum')
    """
    family, _, rest = name.partition("_")
    said = words_of_name(rest) if re.search(r"[a-z]{3}", rest) else ""
    joined = f"{_SONICPI.get(family, family)} {said}".strip()
    for begin, instead in _SONICPI_REST.items():
        if joined.startswith(begin):
            return instead
    return joined


def content_words(words: str) -> frozenset[str]:
    """The words that carry meaning, plurals and articles aside."""
    return frozenset(
        word.rstrip("s") for word in re.findall(r"[a-z]+", words.lower()) if word not in ("a", "an", "the", "of")
    )


def alike(one: str, other: str) -> bool:
    """Whether two names share at least half of their words, so that neither is a fair negative of the other."""
    first, second = content_words(one), content_words(other)
    return len(first & second) >= 0.5 * len(first | second)


def _pick(random: Random, words: Sequence[str]) -> str:
    return words[int(random.integers(len(words)))]


def filler(random: Random) -> str:
    """A word that says nothing of a sound, half of the time one that does not exist."""
    if random.random() < 0.5:
        return _pick(random, FILLERS)
    syllables = [
        _pick(random, _ONSETS) + _pick(random, _VOWELS) + _pick(random, _CODAS) for _ in range(random.integers(1, 4))
    ]
    return "".join(syllables)


def caption(random: Random, wordings: Sequence[str]) -> str:
    """One sentence: a wording in a template, written as people write."""
    wording = wordings[int(random.integers(len(wordings)))]
    if random.random() < 0.25:
        wording = re.sub(r"^(a|an|the) ", "", wording)
    if random.random() < 0.03:
        wording = wording.replace(" ", "_")
    if random.random() < 0.5:
        text = TEMPLATES[int(random.integers(len(TEMPLATES)))].format(wording)
    else:
        opener, closer = OPENERS[int(random.integers(len(OPENERS)))], CLOSERS[int(random.integers(len(CLOSERS)))]
        comma = "," if random.random() < 0.5 and closer else ""
        text = f"{opener} {wording}{comma} {closer}".strip() + ("." if random.random() < 0.4 else "")
    for _ in range(int(random.integers(1, 4)) if random.random() < 0.35 else 0):
        text = f"{filler(random)} {text}" if random.random() < 0.5 else f"{text} {filler(random)}"
    kind = random.random()
    return text.capitalize() if kind < 0.15 else text.lower() if kind < 0.25 else text
