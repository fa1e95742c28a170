"""What a page shows, as plain values: every number on it comes from one `Report`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from isoflop.page.outlook import Outlook
from isoflop.page.rungs import Arms, Costs, Density, Fact, Knowing, Learning, Samples, Tried

ROLES = ("ladder", "seed", "target")
NEEDED = ("run", "role", "params", "tokens", "flops", "loss")


@dataclass(frozen=True, kw_only=True)
class Headline:
    """What to train next, what it costs and the loss to expect; the page makes the sentence."""

    params: float
    tokens: float
    flops: float
    loss: float  # median, in Report.loss_unit
    low: float  # interval of `level` around it
    high: float
    level: float = 0.90
    core_seconds: float | None = None  # one core busy for a second
    wall_seconds: float | None = None
    cost: str = ""  # in words, where seconds do not say it: "$22k, 9.0k accelerator-hours"
    basis: str = ""  # where the interval comes from: "pool of 4 laws, 6 backtest cuts"


@dataclass(frozen=True, kw_only=True)
class Warn:
    """One thing to distrust, and the cheapest cure known."""

    text: str
    cure: str = ""
    grave: bool = False  # the forecast should not be used as it stands


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the run table with its unit and counting convention."""

    name: str
    values: tuple[str | int | float | None, ...]
    unit: str = ""
    convention: str = ""  # "body", "6ND + causal attention", "bits/byte over val"


@dataclass(frozen=True, kw_only=True)
class Band:
    """An interval along the curve's grid."""

    level: float
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One law of the pool along the curve's grid."""

    law: str
    weight: float
    loss: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Target:
    """The forecast at the target's compute and, once it has run, what came out."""

    flops: float
    loss: float
    low: float
    high: float
    level: float = 0.90
    observed: float | None = None


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The pool's loss along a grid of compute; all arrays have the grid's length."""

    flops: tuple[float, ...]
    median: tuple[float, ...]
    bands: tuple[Band, ...]
    members: tuple[Member, ...] = ()
    measured: tuple[float, float]  # least and most compute of a run that was fitted
    trusted_to: float | None = None  # compute up to which the backtest vouches
    path: str = ""  # which params and tokens belong to a compute: "20 tokens a parameter"
    target: Target | None = None


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Loss against params at one budget, or at one token count, with its fitted polynomial."""

    at: float  # the budget in FLOPs, or the token count
    params: tuple[float, ...]
    loss: tuple[float, ...]
    curve_params: tuple[float, ...] = ()
    curve_loss: tuple[float, ...] = ()
    best_params: float | None = None
    best_low: float | None = None
    best_high: float | None = None
    best_tokens: float | None = None
    best_loss: float | None = None
    bracketed: bool = False  # runs lie on both sides of the minimum
    shape: str = ""  # "parabola" or "cubic"


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """A power law of the best params or tokens: quantity = coefficient * flops ** exponent."""

    quantity: str  # "params" or "tokens"
    flops: tuple[float, ...]
    values: tuple[float, ...]
    coefficient: float
    exponent: float
    exponent_low: float
    exponent_high: float
    level: float = 0.90


@dataclass(frozen=True, kw_only=True)
class Valley:
    """The isoFLOP analysis: slices of one budget each, or of one token count each."""

    fixed: str  # "flops" or "tokens": what the runs of a slice share
    slices: tuple[Slice, ...]
    optima: tuple[Optimum, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Coefficient:
    """One fitted coefficient with its interval."""

    name: str
    value: float
    low: float
    high: float
    level: float = 0.90
    unit: str = ""
    at_bound: bool = False


@dataclass(frozen=True, kw_only=True)
class LawFit:
    """One law fitted to the runs."""

    law: str
    title: str
    equation: str
    coefficients: tuple[Coefficient, ...]
    objective: str  # "sum of Huber(1e-3) of log residuals"
    objective_value: float
    certified: bool
    reason: str  # why it is, or is not, certified
    diagnostics: tuple[Fact, ...] = ()  # n, spans in decades, corr(ln N, ln D), residual rms
    influence: tuple[Fact, ...] = ()  # runs whose removal moves the answer most
    sensitivity: tuple[Fact, ...] = ()  # the answer under other loss functions
    citation: str = ""


@dataclass(frozen=True, kw_only=True)
class BacktestRow:
    """One law (or "pool") fitted below one cut and judged on the runs hidden beyond it.

    `rms`, `bias` and `width` are relative to the observed loss; bias is forecast minus observed.
    """

    law: str
    cut_flops: float
    fitted: int
    hidden: int
    span: float  # compute of the largest hidden run over that of the largest fitted one
    rms: float
    bias: float
    coverage: float | None = None
    width: float | None = None


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """Forecasts of runs already made, from those smaller than them.

    reasons: why each law has its weight, or none.
    """

    rows: tuple[BacktestRow, ...]
    level: float = 0.90  # of coverage and width
    weights: Mapping[str, float] = field(default_factory=dict)  # of the pool, by law
    reasons: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """One sealed forecast; the fields after `quantiles` stay None until the target has run."""

    target: str
    seal: str  # hash, hexadecimal
    sealed_at: str
    flops: float
    params: float | None = None
    tokens: float | None = None
    quantiles: Mapping[str, float]  # by level, "0.025", "0.05", "0.5", ...; the median is needed
    scored_at: str | None = None
    observed: float | None = None
    error: float | None = None  # median / observed - 1
    inside_90: bool | None = None
    inside_95: bool | None = None
    crps: float | None = None
    verdict: str = "sealed"  # "hit", "miss", or "sealed" while the target has not run
    note: str = ""

    def __post_init__(self) -> None:
        if 0.5 not in [float(level) for level in self.quantiles]:
            raise ValueError(f"forecast {self.target!r}: quantiles {[*self.quantiles]} lack '0.5'")
        if self.verdict not in ("hit", "miss", "sealed"):
            raise ValueError(f"forecast {self.target!r}: verdict {self.verdict!r} is no verdict")
        if (self.verdict == "sealed") != (self.observed is None):
            raise ValueError(
                f"forecast {self.target!r}: {self.verdict} but observed {self.observed}"
            )


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Spread of the loss over seeds: no forecast can be sharper."""

    sd: float
    relative: float
    seeds: int
    where: str = ""


@dataclass(frozen=True, kw_only=True)
class Slope:
    """How much the loss falls over one step of tokens at one size."""

    params: float
    tokens_from: float
    tokens_to: float
    drop: float  # loss at the start minus loss at the end, per doubling of tokens
    abrupt: bool = False  # steeper than the step before: the mark of a phase change


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """What it takes to get this page again."""

    commands: tuple[str, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""
    corpus: str = ""
    corpus_hash: str = ""
    seeds: tuple[int, ...] = ()
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything a page shows; a part left out leaves its section, or its tab, out.

    outlook makes the opening sentence follow its sliders; without it the headline, which needs
    none, is the sentence. samples, tried, learning, knowing (rungs L2 to L4) and arms hold one
    entry for each table, comparison, policy or pair that was measured; densities one for each
    model and dimension.
    `runs` needs columns run, role (ladder, seed or target), params, tokens, flops and loss.
    Raises ValueError where a column is missing or ragged, or a number is not finite.
    """

    title: str
    created: str
    loss_unit: str  # "nats/token" or "bits/byte"
    params_convention: str
    flops_convention: str
    runs: tuple[Column, ...]
    reproduce: Reproduce
    headline: Headline | None = None
    warnings: tuple[Warn, ...] = ()
    curve: Curve | None = None
    valley: Valley | None = None
    laws: tuple[LawFit, ...] = ()
    backtest: Backtest | None = None
    ledger: tuple[Sealed, ...] = ()
    noise: Noise | None = None
    slopes: tuple[Slope, ...] = ()
    outlook: Outlook | None = None
    samples: tuple[Samples, ...] = ()
    tried: tuple[Tried, ...] = ()
    learning: tuple[Learning, ...] = ()
    knowing: tuple[Knowing, ...] = ()
    densities: tuple[Density, ...] = ()
    arms: tuple[Arms, ...] = ()
    costs: Costs | None = None

    def __post_init__(self) -> None:
        check_runs(self.runs)
        check_finite(dataclasses.asdict(self), "report")
        if self.valley is not None and self.valley.fixed not in ("flops", "tokens"):
            raise ValueError(f"valley: fixed is {self.valley.fixed!r}; say 'flops' or 'tokens'")
        if self.curve is not None:
            check_grid(self.curve)

    def column(self, name: str) -> tuple[str | int | float | None, ...]:
        """The values of one column of the run table."""
        return next(c.values for c in self.runs if c.name == name)


def check_runs(runs: tuple[Column, ...]) -> None:
    names = [column.name for column in runs]
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise ValueError(f"the run table has no column {', '.join(missing)}; it has {names}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the run table has column {', '.join(twice)} twice; rename one")
    if not runs[0].values:
        raise ValueError("the run table has no rows; a page needs at least one finished run")
    lengths = {column.name: len(column.values) for column in runs}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of the run table differ in length: {lengths}")
    columns = {column.name: column.values for column in runs}
    for row, role in enumerate(columns["role"]):
        if role not in ROLES:
            raise ValueError(f"column role, row {row}: {role!r} is none of {', '.join(ROLES)}")
        for name in NEEDED[2:]:
            value = columns[name][row]
            if isinstance(value, str) or value is None or not value > 0:
                raise ValueError(
                    f"column {name}, row {row}: {value!r} is not a positive number; "
                    "leave out a run that has not finished"
                )


def check_grid(curve: Curve) -> None:
    lines = {"median": curve.median}
    lines |= {f"band {b.level} low": b.low for b in curve.bands}
    lines |= {f"band {b.level} high": b.high for b in curve.bands}
    lines |= {f"member {m.law}": m.loss for m in curve.members}
    for name, line in lines.items():
        if len(line) != len(curve.flops):
            raise ValueError(f"curve: {name} has {len(line)} values for {len(curve.flops)} flops")


def check_finite(value: object, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path} is {value}; leave out what is not known, or say None")
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_finite(item, f"{path}.{key}")
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            check_finite(item, f"{path}[{index}]")


def report_json(report: Report) -> str:
    """The report as one line of ASCII JSON."""
    return json.dumps(dataclasses.asdict(report), allow_nan=False)


def report_from_json(text: str) -> Report:
    """Read `report_json` back strictly: a key it does not know is an error that names it."""
    from cattrs.preconf.json import make_converter

    return make_converter(forbid_extra_keys=True).loads(text, Report)
