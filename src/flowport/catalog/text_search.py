"""Rank documents by the words of a query: BM25 over weighted fields, with typos, inflections and words of other languages.

Pure. BM25 in the form for weighted fields is by Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009),
section 3.4. A word of a query counts for a word of a document as far as both are alike: the same word, the same start, a
part of a compound, a typo, or a word for the same idea in another language (`search_words.toml`).
"""

import re
import tomllib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from math import log
from pathlib import Path
from typing import Final, TypeAlias

Field: TypeAlias = tuple[str, float]
"""A text and how much each of its words counts."""

MIN_LIKENESS: Final = 0.7
"""A document has a word of the query when one of its words is so much alike."""
_SATURATION: Final = 1.2
_LENGTH_SHARE: Final = 0.2
"""The parameters k1 and b of BM25. A name is short, so b is low."""
_MAX_WORDS: Final = 40
"""Words of a query that are compared."""
_START: Final = 5
"""Letters that two forms of a word share at least; also the shortest part of a compound."""
_SHORTEST_START: Final = 3
_SHORTEST_END: Final = 4
"""Letters of the last part of a compound: "Kurzfilm"."""
_ENDING: Final = 3
"""Letters that a plural or another form adds at most."""
_SAME_IDEA: Final = 0.9
_COMPOUND: Final = 0.75
_SHORTEST_TYPO: Final = 4
_LEAST_SPELLING: Final = 0.75
"""Share of the letters that a misspelled word keeps."""
_IDEA: Final = "#"
"""What an idea begins with, where words and ideas stand side by side."""
_WORDS: Final = re.compile(r"[^\W_]+")
_UMLAUTS: Final = re.compile(r"([aou])e")
"""A and e for a German umlaut; both spellings are compared without the e."""
_UNSPACED: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]{2,}")
"""Scripts without spaces between words; each two neighbouring characters are a word."""


@dataclass(frozen=True, slots=True)
class Match:
    """A document that has a word of the query, or one like it."""

    index: int
    score: float
    is_complete: bool
    """Whether it has every word of the query that says something."""


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The words that say nothing, and the ideas of those that mean the same."""

    ignored: frozenset[str]
    ideas: Mapping[str, tuple[str, ...]]
    """By word."""
    by_start: Mapping[str, tuple[str, ...]]
    """The words of the list by their first letters."""


@cache
def load_lexicon() -> Lexicon:
    """Read the word list, once."""
    table = tomllib.loads(Path(__file__).with_name("search_words.toml").read_text(encoding="utf-8"))
    ideas: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
    for idea, words in table["ideas"].items():
        for word in split_words(words):
            ideas[word] += (_IDEA + idea,)
    by_start: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
    for word in ideas:
        by_start[word[:_START]] += (word,)
    return Lexicon(frozenset(split_words(table["ignored"])), ideas, by_start)


def fold(text: str) -> str:
    """Return the text without case and accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character)).strip()


def split_words(text: str) -> list[str]:
    """Return the folded words of a text."""
    words: list[str] = []
    for word in _WORDS.findall(_UMLAUTS.sub(r"\1", fold(text))):
        words += map("".join, pairwise(word)) if _UNSPACED.search(word) else [word]
    return words


def rank(documents: Sequence[tuple[Field, ...]], query: str) -> list[Match]:
    """Return the documents that have anything of the query, the best first; equal ones in their order."""
    wanted = list(dict.fromkeys(split_words(query)))[:_MAX_WORDS]
    wanted = [word for word in wanted if word not in load_lexicon().ignored] or wanted
    wanted = [part for word in wanted for part in _split_compound(word)]
    counted = [_count_terms(fields) for fields in documents]
    spread = Counter(term for terms in counted for term in terms)
    usual_length = sum(sum(terms.values()) for terms in counted) / max(len(counted), 1)
    terms_found = list(spread)
    alike = [_find_alike(word, terms_found) for word in wanted]
    matches = []
    for index, terms in enumerate(counted):
        damping = _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * sum(terms.values()) / max(usual_length, 1e-9))
        scores, likenesses = [], []
        for likeness in alike:
            shared = likeness.keys() & terms.keys()
            worth = (
                likeness[term] * _weigh(len(counted), spread[term]) * terms[term] / (terms[term] + damping)
                for term in shared
            )
            scores.append(max(worth, default=0.0))
            likenesses.append(max((likeness[term] for term in shared), default=0.0))
        if any(scores):
            matches.append(Match(index, sum(scores), all(one >= MIN_LIKENESS for one in likenesses)))
    return sorted(matches, key=lambda match: -match.score)


def rank_by_spelling(texts: Sequence[str], query: str) -> list[int]:
    """Return the places of all texts, those spelled most like the query first."""
    from rapidfuzz import fuzz, process  # noqa: PLC0415 - loaded by the first search that needs it

    found = process.extract(fold(query), [fold(text) for text in texts], scorer=fuzz.WRatio, limit=None)
    return [place for _, _, place in found]


def _weigh(documents: int, having: int) -> float:
    """Return the weight of a term that so many documents have: the rarer, the more it says."""
    return log(1 + (documents - having + 0.5) / (having + 0.5))


@lru_cache(maxsize=4096)
def _count_terms(fields: Sequence[Field]) -> Mapping[str, float]:
    """Return the words and ideas of a document with their weights."""
    terms: dict[str, float] = defaultdict(float)
    for text, weight in fields:
        for word in split_words(text):
            for term in {word, *_get_ideas(word)}:
                terms[term] += weight
    return terms


@cache
def _get_ideas(word: str) -> Mapping[str, float]:
    """Return the ideas that a word stands for and how sure that is: 1 for a word of the list."""
    lexicon = load_lexicon()
    if word in lexicon.ideas:
        return dict.fromkeys(lexicon.ideas[word], 1.0)
    alike = {other: _get_likeness(word, other) for other in lexicon.by_start.get(word[:_START], ())}
    # A compound: "Hintergrundentferner".
    alike |= {part: _COMPOUND for part in _cut_parts(word) if part in lexicon.ideas and len(part) >= _START}
    return _collect_ideas(alike)


def _split_compound(word: str) -> list[str]:
    """Return the words of the list that a long word consists of, from two on; else the word itself."""
    parts: list[str] = []
    rest = "" if word in load_lexicon().ideas else word
    while rest:
        part = next((rest[:end] for end in range(len(rest), _START - 1, -1) if rest[:end] in load_lexicon().ideas), "")
        parts += [part] if part else []
        rest = rest[len(part) or 1 :]
    return parts if len(parts) > 1 else [word]


def _cut_parts(word: str) -> Iterable[str]:
    """Return the parts of a long word that may be words."""
    length = len(word) if len(word) >= 2 * _START - 1 else 0
    return (word[start:end] for start in range(length) for end in range(start + _START, length + 1))


def _collect_ideas(alike: Mapping[str, float]) -> dict[str, float]:
    """Return the ideas of words of the list, each as sure as the word most alike."""
    ideas: dict[str, float] = {}
    for word, likeness in alike.items():
        for idea in load_lexicon().ideas[word]:
            ideas[idea] = max(ideas.get(idea, 0.0), likeness)
    return {idea: likeness for idea, likeness in ideas.items() if likeness}


def _find_alike(word: str, terms: Sequence[str]) -> dict[str, float]:
    """Return the terms that a word of the query may mean, with how much they are alike."""
    words = [term for term in terms if not term.startswith(_IDEA)]
    alike = {term: likeness for term in words if (likeness := _get_likeness(word, term))}
    ideas = _get_ideas(word)
    if not ideas and not alike:
        alike, ideas = _find_typos(word, words), _collect_ideas(_find_typos(word, list(load_lexicon().ideas)))
    return alike | {idea: _SAME_IDEA * likeness for idea, likeness in ideas.items() if idea in terms}


def _find_typos(word: str, others: Sequence[str]) -> dict[str, float]:
    """Return the words that differ by few letters: one in four at most."""
    from rapidfuzz import process  # noqa: PLC0415 - loaded by the first misspelled word
    from rapidfuzz.distance import OSA  # noqa: PLC0415

    scorer = OSA.normalized_similarity
    found = process.extract(word, others, scorer=scorer, score_cutoff=_LEAST_SPELLING, limit=None)
    return {other: likeness for other, likeness, _ in found if len(other) >= _SHORTEST_TYPO}


def _get_likeness(word: str, other: str) -> float:
    """Return how much two words are alike by their start or as parts of one another; 1 for the same, 0 for others."""
    if word == other:
        return 1.0
    shorter, longer = sorted((word, other), key=len)
    shared = next(
        (place for place, (one, two) in enumerate(zip(word, other, strict=False)) if one != two), len(shorter)
    )
    if shared == len(shorter) >= _SHORTEST_START:
        # What is being typed, or a plural.
        return 0.9 if other == longer or len(longer) - len(shorter) <= _ENDING else 0.75
    if shared >= max(_START, 0.55 * len(longer)):
        return 0.8
    is_part = shorter in longer if len(shorter) >= _START else word.endswith(other)
    return _COMPOUND if is_part and len(shorter) >= _SHORTEST_END else 0.0
