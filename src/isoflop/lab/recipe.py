"""What a ladder is, as strict TOML: rungs, token counts, recipe and target."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cattrs
from cattrs.gen import make_dict_structure_fn
from cattrs.v import format_exception

from isoflop.lab.corpus import vocab_of
from isoflop.lab.model import Shape, count_params
from isoflop.lab.optim import Rates


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How every run of a ladder is trained; the same for all sizes."""

    context: int = 256  # tokens a position can look back on
    sequences: int = 4  # per optimizer step
    warmup_steps: int = 64
    decay: float = 0.2  # last share of the steps, in which rates fall linearly to 0
    validation_windows: int = 768  # of `context` tokens, the same for every run
    rates: Rates = field(default_factory=Rates)

    def __post_init__(self) -> None:
        for name in ("context", "sequences", "warmup_steps", "validation_windows"):
            if getattr(self, name) < 1:
                raise ValueError(f"recipe.{name} = {getattr(self, name)} must be at least 1")
        if not 0 < self.decay < 1:
            raise ValueError(f"recipe.decay = {self.decay} must lie between 0 and 1")

    @property
    def tokens_per_step(self) -> int:
        return self.context * self.sequences

    def steps(self, tokens: int) -> int:
        return max(2, round(tokens / self.tokens_per_step))

    def branch_step(self, tokens: int) -> int:
        """The step at which a run of `tokens` leaves the trunk and begins to decay."""
        return max(1, round((1 - self.decay) * self.steps(tokens)))


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One trunk: a size, a seed, and the token counts at which a run branches off to its end."""

    width: int
    depth: int
    tokens: tuple[int, ...]
    seed: int = 0

    @property
    def name(self) -> str:
        return f"d{self.width}-L{self.depth}-s{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Rungs to train, and the larger target that is forecast from them before it is trained.

    Rungs whose seed is not the target's repeat a run to measure noise; they are told apart in
    the table by their role.
    """

    name: str
    corpus: str = "pystd"
    tokenizer: str = "bytes"
    device: str = "cpu"  # or "cuda"
    rungs: tuple[Rung, ...]
    target: Rung
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"device {self.device!r} must be 'cpu' or 'cuda'")
        if not self.rungs:
            raise ValueError("a ladder needs at least one rung")
        if len(self.target.tokens) != 1:
            raise ValueError("target.tokens must hold exactly one token count")
        names = [rung.name for rung in (*self.rungs, self.target)]
        for rung in (*self.rungs, self.target):
            if names.count(rung.name) > 1:
                raise ValueError(f"two rungs are both {rung.name}: give all token counts in one")
            if list(rung.tokens) != sorted(set(rung.tokens)) or not rung.tokens:
                raise ValueError(f"rung {rung.name}: tokens must be rising, without repeats")
            if self.recipe.steps(rung.tokens[0]) < 2 * self.recipe.warmup_steps:
                raise ValueError(
                    f"rung {rung.name}: {rung.tokens[0]:,} tokens are only "
                    f"{self.recipe.steps(rung.tokens[0])} steps; give at least twice the "
                    f"{self.recipe.warmup_steps} warm-up steps"
                )

    def role(self, rung: Rung) -> str:
        if rung == self.target:
            return "target"
        return "ladder" if rung.seed == self.target.seed else "seed"

    def shape(self, rung: Rung) -> Shape:
        return Shape(
            width=rung.width,
            depth=rung.depth,
            vocab=vocab_of(self.tokenizer),
            context=self.recipe.context,
        )


def params_of(shape: Shape) -> int:
    """Count parameters in the ladder's convention: the matrices every token is multiplied with."""
    return count_params(shape)["matmul"]


def make_converter() -> cattrs.Converter:
    """Build a converter that refuses unknown keys and other types at every level."""
    converter = cattrs.Converter(forbid_extra_keys=True)

    def whole(value: object, _: type) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"expected a whole number, got {value!r}")
        return value

    def number(value: object, _: type) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"expected a number, got {value!r}")
        return float(value)

    def text(value: object, _: type) -> str:
        if not isinstance(value, str):
            raise ValueError(f"expected text in quotes, got {value!r}")
        return value

    converter.register_structure_hook(int, whole)
    converter.register_structure_hook(float, number)
    converter.register_structure_hook(str, text)
    for kind in (Rates, Recipe, Rung, Ladder):  # after the plain kinds, which they resolve now
        hook = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)
        converter.register_structure_hook(kind, hook)
    return converter


def say_fault(error: BaseException, kind: type | None) -> str:
    """Repeat our own ValueErrors as they are, the converter's in its words."""
    return str(error) if type(error) is ValueError else format_exception(error, kind)


def read_ladder(source: str | Path) -> Ladder:
    """Read a ladder from a TOML file, or a shipped one by name (`laptop`, `ci`, `gpu`).

    Raises ValueError naming every unknown key, wrong type or impossible value.
    """
    shipped = Path(__file__).parents[1] / "ladders"
    path = shipped / f"{source}.toml"
    if not path.exists():
        path = Path(source)
    if not path.exists():
        names = ", ".join(sorted(p.stem for p in shipped.glob("*.toml")))
        raise ValueError(f"no ladder {str(source)!r}: give a TOML file or one of {names}")
    try:
        return make_converter().structure(tomllib.loads(path.read_text()), Ladder)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from error
    except cattrs.errors.BaseValidationError as error:
        faults = "; ".join(cattrs.transform_error(error, path="ladder", format_exception=say_fault))
        raise ValueError(f"{path}: {faults}") from error


def as_table(config: Ladder | Recipe) -> dict:
    """Turn a config into plain values for TOML or JSON."""

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(x) for key, x in value.items()}
        return [plain(x) for x in value] if isinstance(value, list | tuple) else value

    return {key: plain(value) for key, value in asdict(config).items()}
