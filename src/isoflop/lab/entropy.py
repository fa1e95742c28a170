"""Sources whose entropy is known exactly, so that a fitted floor can be held against the truth.

    markov:order=2,symbols=64    a chain: each symbol depends on the `order` before it
    grammar:symbols=24,kinds=8   sentences of a random grammar that is read without ambiguity
    skills:skills=512,keys=4     facts to be known, asked for at Zipf-distributed frequencies

All take seed and tokens. The entropy rate is in nats/token.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

MOST_CONTEXTS = 65_536
RULES = 4  # of each kind of a grammar's phrases
SETTLED = 1e-15  # change of a stationary distribution in one step
ANSWERS = 16  # to a question of skill and two keys

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is drawn; fields that a kind does not read must be left alone."""

    kind: str
    seed: int = 0
    tokens: int = 4_000_000
    order: int = 2  # markov
    spread: float = 1.5  # markov: sd of the logarithms by which contexts change a symbol's odds
    symbols: int = 64  # markov, grammar
    kinds: int = 8  # grammar: of phrases
    skills: int = 512
    keys: int = 4  # skills: values of each of two keys
    zipf: float = 1.5  # skills: the k-th is asked for at k^-zipf

    @property
    def vocab(self) -> int:
        if self.kind == "skills":
            return self.skills + self.keys + ANSWERS
        return self.symbols


READS = {
    "markov": {"order", "spread", "symbols"},
    "grammar": {"symbols", "kinds"},
    "skills": {"skills", "keys", "zipf"},
}


def is_source(name: str) -> bool:
    return name.partition(":")[0] in READS


def read_source(name: str) -> Source:
    """Read `markov:order=2,symbols=64`; raises ValueError naming what is wrong."""
    kind, _, text = name.partition(":")
    if kind not in READS:
        raise ValueError(f"corpus {name!r} is no source of known entropy: {', '.join(READS)}")
    kinds = {f.name: f.type for f in fields(Source)}
    allowed = READS[kind] | {"seed", "tokens"}
    given: dict[str, int | float] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key not in allowed:
            raise ValueError(f"corpus {name!r}: no setting {key!r}; {', '.join(sorted(allowed))}")
        try:
            given[key] = float(value) if kinds[key] == "float" else int(value)
        except ValueError:
            raise ValueError(f"corpus {name!r}: {key} must be a number, not {value!r}") from None
    source = Source(kind=kind, **given)  # type: ignore[arg-type]
    _check(source, name)
    return source


def _check(source: Source, name: str) -> None:
    least = {"tokens": 1024, "seed": 0, "order": 1, "symbols": 2, "kinds": 1, "skills": 2,
             "keys": 1, "spread": 0, "zipf": 0}  # fmt: skip
    for key, value in least.items():
        if getattr(source, key) < value:
            raise ValueError(f"corpus {name!r}: {key} must be at least {value}")
    if source.kind == "markov" and source.symbols**source.order > MOST_CONTEXTS:
        raise ValueError(f"corpus {name!r}: symbols^order must be at most {MOST_CONTEXTS:,}")
    if source.kind == "grammar" and source.symbols < RULES:
        raise ValueError(f"corpus {name!r}: a grammar needs at least {RULES} symbols")
    if source.vocab > 65_536:
        raise ValueError(f"corpus {name!r}: {source.vocab:,} symbols are more than 65,536")


def rate(source: Source) -> float:
    """The exact entropy rate in nats/token."""
    if source.kind == "markov":
        odds = markov_odds(source)
        return float(stationary(odds) @ entropy_of(odds))
    if source.kind == "grammar":
        _, follow, odds = grammar_rules(source)
        inside = np.linalg.inv(np.eye(source.kinds) - expected_phrases(follow, odds))
        return float(inside[0] @ entropy_of(odds) / inside[0].sum())
    return float((entropy_of(skill_odds(source)) + 2 * np.log(source.keys)) / 4)


def window_rate(source: Source, context: int) -> float:
    """The least mean loss on windows of context + 1 tokens, whose first is given: nats/token.

    Exact for markov, whose first predictions miss part of their past, and for skills where the
    context is a multiple of 4; for a grammar the rate, which a finite window stays above.
    """
    if source.kind != "markov":
        return rate(source)
    odds, n = markov_odds(source), source.symbols
    grams = stationary(odds).reshape((n,) * source.order)
    block = [entropy_of(grams.sum(axis=tuple(range(k, source.order))).ravel())
             for k in range(1, source.order + 1)]  # fmt: skip
    early = np.diff(block)[: min(source.order - 1, context)]  # known: 1, 2, ... symbols
    return float((early.sum() + (context - len(early)) * rate(source)) / context)


def least_nats(source: Source, text_WU: NDArray[np.int64]) -> Array:
    """What the source itself loses on windows of its text, (W, T): -ln of each next token's odds.

    Shapes: W windows, T predictions, U = T + 1 tokens. The mean is the floor of any loss measured
    on these very windows, `window_rate` that on infinitely many. Windows of skills must begin
    with a record. Raises ValueError for a grammar: what a window's start hides cannot be summed.
    """
    if source.kind == "markov":
        return _markov_nats(source, text_WU)
    if source.kind == "grammar":
        raise ValueError("the least loss on a grammar's windows is not known; see window_rate")
    part = np.arange(1, text_WU.shape[1]) % 4  # of its record that each prediction is
    asked = -np.log(skill_odds(source))[np.where(part == 0, text_WU[:, 1:], 0)]
    return np.where(part == 0, asked, np.where(part == 3, 0.0, np.log(source.keys)))


def _markov_nats(source: Source, text_WU: NDArray[np.int64]) -> Array:
    odds, n = markov_odds(source), source.symbols
    nats = np.empty((len(text_WU), text_WU.shape[1] - 1))
    context = text_WU[:, 0]  # number of the last `order` symbols, or of the fewer there are
    share = stationary(odds).reshape(n, -1).sum(1)
    for t in range(1, text_WU.shape[1]):
        after = context * n + text_WU[:, t]
        if t < source.order:
            longer = stationary(odds).reshape(n ** (t + 1), -1).sum(1)
            nats[:, t - 1] = np.log(share[context]) - np.log(longer[after])
            share, context = longer, after
        else:
            nats[:, t - 1] = -np.log(odds[context, text_WU[:, t]])
            context = after % len(odds)
    return nats


def draw(source: Source, tokens: int, stream: int) -> NDArray[np.uint16]:
    """Draw a stretch of the source; streams are independent of each other."""
    generator = np.random.default_rng((source.seed, 1, stream))
    if source.kind == "markov":
        return _draw_markov(source, tokens, generator)
    if source.kind == "grammar":
        return _draw_grammar(source, tokens, generator)
    return _draw_skills(source, tokens, generator)


def entropy_of(odds: Array) -> Array:
    """Entropy of the last axis in nats."""
    return -np.sum(odds * np.log(np.where(odds > 0, odds, 1.0)), axis=-1)


def markov_odds(source: Source) -> Array:
    """(contexts, symbols): Zipf-distributed symbols, their odds changed by each context."""
    generator = np.random.default_rng((source.seed, 0))
    contexts = source.symbols**source.order
    log_odds = -np.log(np.arange(1, source.symbols + 1))
    log_odds = log_odds + source.spread * generator.standard_normal((contexts, source.symbols))
    odds = np.exp(log_odds - log_odds.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def stationary(odds: Array) -> Array:
    """The long-run share of every context, by iteration."""
    contexts, symbols = odds.shape
    share = np.full(contexts, 1 / contexts)
    while True:
        moved = (share[:, None] * odds).reshape(symbols, -1, symbols).sum(0).ravel()
        moved /= moved.sum()
        if np.abs(moved - share).max() < SETTLED:
            return moved
        share = moved


def _draw_markov(source: Source, tokens: int, generator: np.random.Generator) -> NDArray[np.uint16]:
    odds = markov_odds(source)
    contexts, symbols = odds.shape
    edges = odds.cumsum(1)
    edges[:, -1] = 1.0
    edge_of = edges.tolist()
    context = int(generator.choice(contexts, p=stationary(odds)))
    out = []
    for at in generator.random(tokens).tolist():
        symbol = bisect(edge_of[context], at)
        out.append(symbol)
        context = (context * symbols + symbol) % contexts
    return np.array(out, np.uint16)


def grammar_rules(source: Source) -> tuple[NDArray[np.int64], list[list[list[int]]], Array]:
    """First symbols (kinds, RULES), phrases that follow each, and odds (kinds, RULES).

    The rules of a kind begin with different symbols, so a sentence has one derivation only, and
    its entropy is that of the choices made. Half of the rules end; phrases stay finite.
    """
    generator = np.random.default_rng((source.seed, 0))
    first = np.array(
        [generator.choice(source.symbols, RULES, replace=False) for _ in range(source.kinds)]
    )
    odds = generator.dirichlet(np.full(RULES // 2, 2.0), (source.kinds, 2)).reshape(-1, RULES)
    odds = odds * np.repeat([0.55, 0.45], RULES // 2)  # the first half of the rules ends
    follow = [
        [[] for _ in range(RULES // 2)]
        + [generator.integers(0, source.kinds, 2).tolist() for _ in range(RULES // 2)]
        for _ in range(source.kinds)
    ]
    return first, follow, odds


def expected_phrases(follow: list[list[list[int]]], odds: Array) -> Array:
    """Mean number of phrases of each kind (columns) right below one of each kind (rows)."""
    below = np.zeros((len(follow), len(follow)))
    for kind, rules in enumerate(follow):
        for rule, parts in enumerate(rules):
            for part in parts:
                below[kind, part] += odds[kind, rule]
    return below


def _draw_grammar(
    source: Source, tokens: int, generator: np.random.Generator
) -> NDArray[np.uint16]:
    first, follow, odds = grammar_rules(source)
    edge_of = [row[:-1] for row in odds.cumsum(1).tolist()]
    begins = first.tolist()
    out: list[int] = []
    waiting: list[int] = []
    for at in generator.random(tokens).tolist():
        kind = waiting.pop() if waiting else 0
        rule = bisect(edge_of[kind], at)
        out.append(begins[kind][rule])
        waiting.extend(reversed(follow[kind][rule]))
    return np.array(out, np.uint16)


def skill_odds(source: Source) -> Array:
    odds = np.arange(1, source.skills + 1) ** -source.zipf
    return odds / odds.sum()


def _draw_skills(source: Source, tokens: int, generator: np.random.Generator) -> NDArray[np.uint16]:
    """Records of four: skill, two keys, and the answer that the skill's own table gives."""
    answers = np.random.default_rng((source.seed, 0)).integers(
        0, ANSWERS, (source.skills, source.keys, source.keys)
    )
    count = -(-tokens // 4)
    skill = generator.choice(source.skills, count, p=skill_odds(source))
    one, two = generator.integers(0, source.keys, (2, count))
    base = source.skills
    records = np.stack(
        [skill, base + one, base + two, base + source.keys + answers[skill, one, two]], axis=1
    )
    return records.ravel()[:tokens].astype(np.uint16)
