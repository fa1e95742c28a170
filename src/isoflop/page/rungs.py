"""What a page shows of the rungs above pretraining, of arms compared and of costs: plain values.

Each is an optional field of `Report`; `isoflop.page.upper` makes them from the results of
`isoflop.knowing` and `isoflop.forecast`.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One line of a list of facts; `value` is already written as it is to be read."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve with its interval, empty where there is none; all of one length."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(self.x), len(self.y)} | {len(v) for v in (self.low, self.high) if v}
        if len(lengths) > 1 or bool(self.low) != bool(self.high):
            raise ValueError(f"line {self.name!r}: x, y, low and high differ in length")


@dataclass(frozen=True, kw_only=True)
class Samples:
    """L2: accuracy by samples an answer (x is k), a line for each way to choose among them.

    seconds, dollars, tokens: of one sample; None where not measured.
    """

    name: str
    questions: int
    level: float
    lines: tuple[Line, ...]  # names "pass", "majority", "weighted", "best"
    seconds: float | None = None
    dollars: float | None = None
    tokens: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Learning:
    """L3: reward against the compute of RL, with the forecast sealed at its first part.

    known, later: measured points before and after the seal; forecast: the sealed median with its
    interval of `level`. held: share of the later points inside it, None while it is sealed.
    """

    name: str
    reward: str = "reward"  # "accuracy on 500 held-out problems"
    compute: str = "compute of RL (FLOPs)"
    known: Line
    later: Line | None = None
    forecast: Line | None = None
    level: float = 0.90
    seal: str = ""
    sealed_at: str = ""
    ceiling: tuple[float, float, float] | None = None  # low, median, high of the curve's ceiling
    held: float | None = None
    error: float | None = None  # forecast minus observed at the last point
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Quadrant:
    """One of the four: what was claimed and what was right."""

    name: str  # known_known, unknown_unknown, known_unknown, unknown_known
    share: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """Knowledge, reasoning or creation: the quadrants and scores of its questions alone."""

    name: str
    questions: int
    quadrants: tuple[Quadrant, ...]
    scores: tuple[Fact, ...]


@dataclass(frozen=True, kw_only=True)
class Knowing:
    """L4: what the model knows of what it knows, and what follows for its answers."""

    name: str
    questions: int
    level: float
    threshold: float | None = None  # confidence from which an answer is claimed
    quadrants: tuple[Quadrant, ...] = ()
    scores: tuple[Fact, ...] = ()
    risk: Line | None = None  # error among the answered (y) by share answered (x)
    router: tuple[Line, ...] = ()  # accuracy (y) by share passed on to the larger model (x)
    weak: float | None = None  # accuracy of the smaller and of the larger model alone
    strong: float | None = None
    promises: tuple[Fact, ...] = ()  # thresholds of abstention and what they promise
    bands: tuple[Fact, ...] = ()  # what to do at which confidence
    dimensions: tuple[Dimension, ...] = ()
    missing: tuple[str, ...] = ()  # dimensions without questions
    left_out: tuple[Fact, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Density:
    """How large a model of the reference ladder would have to be to do as well as one model.

    by: "loss", or the dimension of the questions ("all" of them). measured: as it is to be read.
    effective, density, low, high: None where the ladder does not reach, `beyond` being "below" or
    "above" where it is so of effective.
    """

    model: str
    by: str
    measured: str
    params: float
    effective: float | None
    density: float | None
    low: float | None
    high: float | None
    level: float
    beyond: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """How much better an arm of training is than clean solutions, by one measure, over seeds."""

    arm: str
    measure: str
    clean: float
    value: float
    difference: float
    low: float
    high: float
    verdict: str  # "worth more", "worth less" or "undecided"
    by_size: tuple[Fact, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tried:
    """Trial and error against clean solutions at equal tokens."""

    name: str
    sizes: tuple[str, ...]
    seeds: int
    tokens: float  # trained on by each model
    questions: int
    level: float
    gains: tuple[Gain, ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Arms:
    """Two recipes compared: the speed-up in compute of b over a by compute, and the decision."""

    a: str
    b: str
    level: float
    speed_up: Line  # x in FLOPs, y a factor
    trend: str
    slope: tuple[float, float, float]  # factor over a decade of compute: middle, low, high
    worth: float
    risk: float
    probability: float  # of more than `worth` at the last compute
    decision: str  # "promote", "keep" or "undecided"
    laws: tuple[Fact, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One thing paid for."""

    what: str
    flops: float | None = None
    hours: float | None = None  # of the unit
    unit: str = "accelerator-hours"
    dollars: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""  # rate, date and source


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one more FLOP buys on a rung, where it was measured on several."""

    rung: str
    gain: float  # accuracy per FLOP of training, or of answering the model's questions
    low: float
    high: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What was spent or would be, and what the next unit buys where."""

    rows: tuple[Cost, ...] = ()
    steps: tuple[Step, ...] = ()
    facts: tuple[Fact, ...] = field(default_factory=tuple)
