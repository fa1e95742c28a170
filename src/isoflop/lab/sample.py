"""Sample many completions of many prompts: what samples have in common is computed once.

Samples of a prompt that wrote the same so far are one sequence of the batch until they part, and
those that ended leave it.

Shapes: P prompts, N samples of each, T generated tokens at most, R = P * N, L living samples, B
sequences in the batch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from isoflop.lab.decode import begin, copy_rows, extend
from isoflop.lab.device import pick_precision
from isoflop.lab.model import Shape, Weights, count_params, rotation

ROWS = 512  # sequences decoded together
DEAD_SHARE = 1 / 8  # of the batch: where more has ended the last sequences move into its place


@dataclass(frozen=True, kw_only=True)
class Samples:
    """`count` completions of each prompt.

    texts_PN: without the character that stopped them. tokens_PNT: bytes, the stop included, 0
    after the end. log_probs_PNT: the model's own at temperature 1, 0 after the end. lengths_PN:
    tokens generated, the stop included. finished_PN: whether a stop came before `length` ran out.
    """

    texts: tuple[tuple[str, ...], ...]
    tokens_PNT: NDArray[np.uint8]
    log_probs_PNT: NDArray[np.float32]
    lengths_PN: NDArray[np.int64]
    finished_PN: NDArray[np.bool_]
    prompt_tokens: int
    seconds: float

    @property
    def generated_tokens(self) -> int:
        return int(self.lengths_PN.sum())

    @property
    def log_prob_PN(self) -> NDArray[np.float64]:
        """The log-probability of each whole completion."""
        return self.log_probs_PNT.sum(axis=2, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Prompts of one length that are sampled together, and where their rows go."""

    tokens_BU: torch.Tensor
    places: NDArray[np.int64]  # of the prompts
    uniform_RT: torch.Tensor  # one random number a row and token, R = B * N


def sample(
    weights: Weights,
    shape: Shape,
    prompts: Sequence[str],
    *,
    count: int,
    temperature: float,
    length: int,
    seed: int,
    stop: str = "\n",
    rows: int = ROWS,
) -> Samples:
    """Draw `count` completions of every prompt; any character of `stop` ends one.

    Temperature 0 takes the likeliest token. A prompt's random numbers depend on the seed and on
    its place in the list, not on the batch it falls into. Raises ValueError where a prompt and
    `length` do not fit the model's context.
    """
    started = time.perf_counter()
    _check(prompts, shape, count=count, temperature=temperature, length=length, stop=stop)
    device = str(next(iter(weights.values())).device)
    table = rotation(shape, dtype=pick_precision(device), device=device)
    low = {name: weight.detach().to(table.dtype) for name, weight in weights.items()}
    coded = [prompt.encode() for prompt in prompts]
    tokens_PNT = np.zeros((len(prompts), count, length), np.uint8)
    log_probs_PNT = np.zeros(tokens_PNT.shape, np.float32)
    with torch.inference_mode():
        for batch in _batches(coded, count=count, length=length, seed=seed, rows=rows):
            tokens_RT, log_probs_RT = _decode(
                low, batch, shape=shape, table=table, count=count, temperature=temperature,
                stop=stop,
            )  # fmt: skip
            tokens_PNT[batch.places] = tokens_RT.reshape(-1, count, length).cpu().numpy()
            log_probs_PNT[batch.places] = log_probs_RT.reshape(-1, count, length).cpu().numpy()
    return _collect(
        tokens_PNT, log_probs_PNT, stop=stop, prompt_tokens=sum(map(len, coded)), started=started
    )


def sampling_flops(shape: Shape, prompt_tokens: float, generated_tokens: float) -> float:
    """FLOPs of prefill and decoding: 2 per matmul parameter and token (attention left out)."""
    return 2.0 * count_params(shape)["matmul"] * (prompt_tokens + generated_tokens)


def _check(
    prompts: Sequence[str], shape: Shape, *, count: int, temperature: float, length: int, stop: str
) -> None:
    if count < 1 or length < 1:
        raise ValueError(f"count {count} and length {length} must be 1 or more")
    if temperature < 0:
        raise ValueError(f"temperature {temperature} must be 0 (greedy) or more")
    if not stop.isascii() or not stop:
        raise ValueError(f"stop {stop!r} must be one or more ASCII characters")
    for prompt in prompts:
        size = len(prompt.encode())
        if not size:
            raise ValueError("a prompt is empty: give it one character at least")
        if size + length > shape.context:
            raise ValueError(
                f"prompt {prompt[:40]!r} ({size} bytes) and {length} more do not fit the context "
                f"of {shape.context}: lower length"
            )


def _batches(
    coded: Sequence[bytes], *, count: int, length: int, seed: int, rows: int
) -> list[Batch]:
    """Prompts of equal length, as many together as fill the rows."""
    sizes = np.array([len(prompt) for prompt in coded])
    per_batch = max(1, rows // count)
    batches = []
    for size in np.unique(sizes):
        alike = np.flatnonzero(sizes == size)
        for start in range(0, len(alike), per_batch):
            places = alike[start : start + per_batch]
            joined = b"".join(coded[p] for p in places)
            tokens = np.frombuffer(joined, np.uint8).reshape(len(places), size).astype(np.int64)
            uniform = np.stack(
                [
                    np.random.default_rng([seed, p]).random((count, length), np.float32)
                    for p in places
                ]
            )
            batches.append(
                Batch(
                    tokens_BU=torch.from_numpy(tokens),
                    places=places,
                    uniform_RT=torch.from_numpy(uniform).flatten(0, 1),
                )
            )
    return batches


def _decode(
    weights: Weights,
    batch: Batch,
    *,
    shape: Shape,
    table: torch.Tensor,
    count: int,
    temperature: float,
    stop: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generate all rows of a batch; returns tokens and log-probabilities, both (R, T)."""
    device = table.device
    uniform_RT = batch.uniform_RT.to(device)
    rows, length = uniform_RT.shape
    tokens_RT = torch.zeros(rows, length, dtype=torch.uint8, device=device)
    log_probs_RT = torch.zeros(rows, length, device=device)
    stops = torch.tensor([ord(c) for c in stop], device=device)
    size = batch.tokens_BU.shape[1]
    cache = begin(shape, rows, length=size + length, dtype=table.dtype, device=str(device))
    logits_BV = extend(weights, batch.tokens_BU.to(device), cache, shape=shape, table=table)[:, -1]
    live_L = torch.arange(rows, device=device)  # the sample that each
    place_L = live_L // count  # sequence of the batch continues
    for t in range(length):
        token_L, log_prob_L = choose(
            logits_BV[place_L], uniform_RT[live_L, t], temperature=temperature
        )
        tokens_RT[live_L, t] = token_L.to(torch.uint8)
        log_probs_RT[live_L, t] = log_prob_L
        goes_on = ~torch.isin(token_L, stops)
        live_L, place_L, token_L = live_L[goes_on], place_L[goes_on], token_L[goes_on]
        if not len(live_L) or t == length - 1:
            break
        parted = part(place_L.cpu().numpy(), token_L.cpu().numpy(), used=len(logits_BV))
        place_L, source, target = (torch.from_numpy(x).to(device) for x in parted[:3])
        if len(source):
            copy_rows(cache, source, target)
        next_B1 = token_L.new_zeros(parted.used, 1)
        next_B1[place_L, 0] = token_L
        logits_BV = extend(weights, next_B1, cache, shape=shape, table=table)[:, -1]
    return tokens_RT, log_probs_RT


class Parted(NamedTuple):
    """Where each living sample goes on (L,), the sequences to copy from and to, and how many of
    the batch are then in use."""

    place_L: NDArray[np.int64]
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    used: int


def part(place_L: NDArray[np.int64], token_L: NDArray[np.int64], *, used: int) -> Parted:
    """Give samples that wrote different tokens a sequence each, those that wrote the same one.

    The first to part from a sequence keeps its place, the others take places of ended sequences
    and then new ones. Where too many ended places stay, the last sequences move into them.
    """
    tokens = int(token_L.max()) + 1
    each, owner_L = np.unique(place_L * tokens + token_L, return_inverse=True)
    parent = each // tokens
    first = np.diff(parent, prepend=-1) > 0
    taken = np.zeros(used, bool)
    taken[parent[first]] = True
    free = np.flatnonzero(~taken)
    more = int((~first).sum())
    place = parent.copy()
    place[~first] = np.concatenate([free, np.arange(used, used + more)])[:more]
    count = len(parent)
    used = max(used, count)
    moved = ~first
    if used - count > DEAD_SHARE * used:
        late = place >= count
        place[late] = np.setdiff1d(np.arange(count), place)
        moved, used = moved | late, count
    return Parted(place[owner_L], parent[moved], place[moved], used)


def choose(
    logits_BV: torch.Tensor, uniform_B: torch.Tensor, *, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a token a row by inverting its distribution; returns it and its log-probability."""
    log_p_BV = torch.log_softmax(logits_BV.float(), dim=-1)
    if temperature == 0:
        token_B = log_p_BV.argmax(dim=-1)
    else:
        weight_BV = log_p_BV if temperature == 1 else log_p_BV / temperature
        sum_BV = torch.softmax(weight_BV, dim=-1).cumsum(dim=-1)
        # The last sum differs from 1 by rounding; scaling keeps every draw inside.
        drawn_B1 = uniform_B[:, None] * sum_BV[:, -1:]
        token_B = torch.searchsorted(sum_BV, drawn_B1, right=True)[:, 0]
        token_B = token_B.clamp_max(sum_BV.shape[1] - 1)
    return token_B, log_p_BV.gather(1, token_B[:, None])[:, 0]


def _collect(
    tokens_PNT: NDArray[np.uint8],
    log_probs_PNT: NDArray[np.float32],
    *,
    stop: str,
    prompt_tokens: int,
    started: float,
) -> Samples:
    length = tokens_PNT.shape[2]
    stopped_PNT = np.isin(tokens_PNT, np.frombuffer(stop.encode(), np.uint8))
    finished_PN = np.asarray(stopped_PNT.any(axis=2))
    lengths_PN = np.where(finished_PN, stopped_PNT.argmax(axis=2) + 1, length)
    texts = tuple(
        tuple(
            row[: size - ended].tobytes().decode(errors="replace")
            for row, size, ended in zip(*three, strict=True)
        )
        for three in zip(tokens_PNT, lengths_PN, finished_PN, strict=True)
    )
    return Samples(
        texts=texts,
        tokens_PNT=tokens_PNT,
        log_probs_PNT=log_probs_PNT,
        lengths_PN=lengths_PN.astype(np.int64),
        finished_PN=finished_PN,
        prompt_tokens=prompt_tokens,
        seconds=time.perf_counter() - started,
    )
