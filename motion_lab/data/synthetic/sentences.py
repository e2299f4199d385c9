"""Sentences to speak: an English grammar with a varied vocabulary, and lists in other languages."""

from __future__ import annotations

import numpy as np

_NAMES = (
    "Amy", "Bob", "Charlotte", "Dave", "Emma", "Finn", "George", "Hugo", "Ivy", "Joyce", "Kevin",
    "Louise", "Martha", "Noah", "Olive", "Peter", "Quentin", "Ruth", "Sophie", "Theo", "Uma",
    "Victor", "Wendy", "Zoe",
)  # fmt: skip
_PEOPLE = (
    "mother", "father", "neighbour", "baker", "painter", "nurse", "farmer", "judge", "pilot",
    "shepherd", "teacher", "plumber", "child", "boy", "woman", "young man", "friend", "cousin",
    "poet", "whole family",
)  # fmt: skip
_THINGS = (
    "apple", "boat", "bookshop", "bridge", "butterfly", "cheese", "chimney", "cupboard", "dove",
    "elephant", "feather", "flute", "garage", "giraffe", "goose", "harbour", "hat", "house",
    "island", "jacket", "jewel", "kite", "lamp", "leather bag", "map", "mirror", "moon", "mouth",
    "oven", "pebble", "pie", "pool", "puzzle", "queen", "river", "rope", "ship", "spoon",
    "telescope", "thumb", "toy", "treasure", "umbrella", "vase", "violin", "voice", "window",
    "yellow bus", "zebra", "wool blanket",
)  # fmt: skip
_QUALITIES = (
    "big", "beautiful", "cheap", "clever", "cold", "curious", "dull", "enormous", "faithful",
    "fresh", "funny", "gentle", "golden", "happy", "heavy", "huge", "lovely", "narrow", "new",
    "oily", "old", "pale", "purple", "quiet", "rough", "shiny", "smooth", "strange", "tiny",
    "unusual", "warm", "weird", "white", "young",
)  # fmt: skip
_DEEDS = (
    "admires", "bought", "borrowed", "brought back", "carries", "chooses", "described", "draws",
    "enjoys", "found", "gave away", "hides", "imagined", "keeps", "lifted", "loves", "measured",
    "moved", "noticed", "owns", "paints", "pushed", "remembers", "repaired", "saw", "showed us",
    "stole", "thought about", "touched", "used", "values", "wants", "washed",
)  # fmt: skip
_MOVES = (
    "walks", "jumped", "runs", "waits", "sleeps", "sat down", "laughs", "sings", "whispered",
    "arrived", "stood", "moves", "rows", "shouts", "vanished",
)  # fmt: skip
_PLACES = (
    "above the table", "at the edge of the wood", "behind the church", "below the mountain",
    "by the sea", "from the top of the tower", "in the middle of the room", "near our village",
    "on a small wooden bench", "outside the museum", "over the bridge", "through the fog",
    "under the bed", "up the path", "with both hands",
)  # fmt: skip
_TIMES = (
    "today", "tomorrow", "every morning", "after the show", "at five o'clock", "before breakfast",
    "during the voyage", "for the first time", "last Thursday", "in February", "once a month",
    "all of a sudden", "when it rains", "while we watch",
)  # fmt: skip
_OPENINGS = (
    "I think", "Maybe", "Of course", "You know", "As far as I remember", "Well", "People say that",
    "To be honest", "In my opinion", "Believe me",
)  # fmt: skip
_SHORT = (
    "Thank you very much.", "Good morning, everybody!", "What a pleasure!", "How do you do?",
    "Oh, I see.", "Wait a moment, please.", "That is just what I hoped for.", "Why not?",
    "Maybe tomorrow, maybe never.", "You are both welcome.", "No problem at all.",
)  # fmt: skip

OTHER_LANGUAGES = {
    "de": (
        "Guten Morgen, ich bin heute früh aufgewacht.",
        "Meine Mutter backt am Sonntag einen Pflaumenkuchen.",
        "Das Boot fährt langsam über den breiten Fluss.",
        "Können wir uns morgen um fünf am Bahnhof treffen?",
        "Der junge Maler wohnt über der Bäckerei.",
        "Im Februar blühen hier noch keine Blumen.",
        "Bitte mach das Fenster zu, es zieht.",
        "Wir haben den Schlüssel unter der Matte gefunden.",
    ),
    "es": (
        "Buenos días, me llamo Pablo y vivo cerca del puente.",
        "Mi abuela prepara una sopa muy buena.",
        "El barco blanco sale mañana por la tarde.",
        "¿Puedes abrir la ventana, por favor?",
        "Nunca he visto una mariposa tan bonita.",
        "El pueblo está lejos, pero el camino es fácil.",
        "Vamos a comprar pan, fruta y mermelada.",
        "Todo el mundo hablaba al mismo tiempo.",
    ),
}
"""Sentences in languages that training never speaks, by espeak-ng's language code."""


def random_sentence(rng: np.random.Generator) -> str:
    """Draw an English sentence of 2 to about 20 words; there are many millions of them."""
    kind = rng.random()
    if kind < 0.06:
        return _pick(rng, _SHORT)
    if kind < 0.2:
        return f"{_question(rng)}?"
    sentence = _clause(rng)
    if kind > 0.8:
        sentence = f"{_pick(rng, _OPENINGS)}, {sentence}"
    elif kind > 0.6:
        sentence = f"{sentence}, {_pick(rng, ('and', 'but', 'because', 'so'))} {_clause(rng)}"
    return f"{sentence[0].upper()}{sentence[1:]}."


def _pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[rng.integers(len(words))]


def _someone(rng: np.random.Generator) -> str:
    if rng.random() < 0.4:
        return _pick(rng, _NAMES)
    return f"{_pick(rng, ('the', 'my', 'our', 'his', 'that', 'your'))} {_pick(rng, _PEOPLE)}"


def _something(rng: np.random.Generator) -> str:
    which = _pick(rng, ("the", "this", "her", "their", "every", "my"))
    quality = f"{_pick(rng, _QUALITIES)} " if rng.random() < 0.6 else ""
    return f"{which} {quality}{_pick(rng, _THINGS)}"


def _clause(rng: np.random.Generator) -> str:
    if rng.random() < 0.25:
        words = f"{_someone(rng)} {_pick(rng, _MOVES)} {_pick(rng, _PLACES)}"
    else:
        words = f"{_someone(rng)} {_pick(rng, _DEEDS)} {_something(rng)}"
        if rng.random() < 0.3:
            words = f"{words} {_pick(rng, _PLACES)}"
    if rng.random() < 0.3:
        words = f"{words} {_pick(rng, _TIMES)}"
    return words


def _question(rng: np.random.Generator) -> str:
    which = rng.integers(3)
    if which == 0:
        return f"Who {_pick(rng, _DEEDS)} {_something(rng)}"
    if which == 1:
        return f"Where did {_someone(rng)} put {_something(rng)}"
    return f"Have you seen {_something(rng)} {_pick(rng, _PLACES)}"
