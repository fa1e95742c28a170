"""Tokens per CPU-second of a training step, beside eager PyTorch and transformers, in one run.

python bench/train.py [--rounds 5] [--steps 4] [--widths 64 128 256]

One thread each, the same model (Qwen3's layout: RMSNorm, QK-norm, rotary, SwiGLU, untied), the
same batches, AdamW with the same rates (and Muon with its own, for the record); every peer in
float32 and in bfloat16 where it can, the better counts. Rounds alternate between the systems, so
that a busy machine slows all.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import argparse
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from isoflop.lab.device import pick_precision, single_thread
from isoflop.lab.model import Shape, count_params, flops_per_token, forward, init_weights, rotation
from isoflop.lab.optim import REFERENCE_WIDTH, Rates, gradients, init_state, update

SIZES = ((64, 4), (128, 4), (256, 5))  # width, depth: .2M, .8M and 4M parameters in the layers
BATCH, CONTEXT, VOCAB = 16, 256, 256
RATE = 2e-3
Step = Callable[[torch.Tensor], float]


def batches(seed: int) -> Iterator[torch.Tensor]:
    """Windows of a noisy periodic text: something a model learns within a dozen steps."""
    rng = np.random.default_rng(seed)
    base = rng.integers(VOCAB, size=97)
    while True:
        text = np.tile(base, BATCH * (CONTEXT + 1) // 97 + 1)[: BATCH * (CONTEXT + 1)].copy()
        noise = rng.random(len(text)) < 0.2
        text[noise] = rng.integers(VOCAB, size=int(noise.sum()))
        yield torch.from_numpy(text.reshape(BATCH, CONTEXT + 1))


def ours(shape: Shape, dtype: torch.dtype, *, optimizer: str) -> Step:
    """The lab's own step."""
    weights = init_weights(shape, seed=0)
    rates = Rates()
    if optimizer == "adamw":  # every weight at the peers' rate: widths are scaled back to it
        wide = RATE * shape.width / REFERENCE_WIDTH
        rates = Rates(matrix=wide, embedding=RATE, head=wide, gain=RATE)
    state = init_state(weights, shape=shape, optimizer=optimizer)
    table = rotation(shape, dtype=dtype)
    for weight in weights.values():
        weight.requires_grad_()
    count = 0

    def step(text: torch.Tensor) -> float:
        nonlocal count
        logits = forward(weights, text[:, :-1], shape=shape, table=table)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), text[:, 1:].flatten())
        grads = gradients(loss, weights)
        update(weights, grads, state, shape=shape, step=count, rates=rates, scale=1.0,
               optimizer=optimizer, dtype=dtype)  # fmt: skip
        count += 1
        return loss.item()

    return step


class Block(nn.Module):
    """A layer as most people write it: modules, SDPA, one projection for q, k and v."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.heads = width // 32
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        self.first, self.second = nn.RMSNorm(width, eps=1e-6), nn.RMSNorm(width, eps=1e-6)
        self.q_norm, self.k_norm = nn.RMSNorm(32, eps=1e-6), nn.RMSNorm(32, eps=1e-6)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        q, k, v = (
            part.view(batch, length, self.heads, 32).transpose(1, 2)
            for part in self.qkv(self.first(x)).chunk(3, dim=-1)
        )

        def turn(y: torch.Tensor) -> torch.Tensor:
            a, b = y.chunk(2, dim=-1)
            return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(v.dtype)

        q, k = turn(self.q_norm(q)), turn(self.k_norm(k))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        gate, up = self.gate_up(self.second(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Eager(nn.Module):
    """The same model in plain modules."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocab, shape.width)
        self.blocks = nn.ModuleList(Block(shape.width, 3 * shape.width) for _ in range(shape.depth))
        self.norm = nn.RMSNorm(shape.width, eps=1e-6)
        self.head = nn.Linear(shape.width, shape.vocab, bias=False)
        table = rotation(shape, dtype=torch.float32)[:, :, 0]
        self.register_buffer("cos", table[0])
        self.register_buffer("sin", table[1])
        weights = init_weights(shape, seed=0)
        with torch.no_grad():
            self.embedding.weight.copy_(weights["embedding_VD"])
            self.head.weight.copy_(weights["head_VD"])
            for k, block in enumerate(self.blocks):
                block.qkv.weight.copy_(weights["qkv_LRD"][k])
                block.out.weight.copy_(weights["out_LDI"][k])
                block.gate_up.weight.copy_(weights["gate_up_LRD"][k])
                block.down.weight.copy_(weights["down_LDF"][k])

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return self.head(self.norm(x))


def modules(model: nn.Module, dtype: torch.dtype, logits: Callable[..., torch.Tensor]) -> Step:
    """A step of any module: autocast, AdamW in one fused call."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )

    def step(text: torch.Tensor) -> float:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            out = logits(model, text[:, :-1])
        loss = F.cross_entropy(out.flatten(0, 1).float(), text[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def eager(shape: Shape, dtype: torch.dtype) -> Step:
    return modules(Eager(shape), dtype, lambda model, tokens: model(tokens))


def huggingface(shape: Shape, dtype: torch.dtype) -> Step:
    """transformers' own Qwen3 with SDPA."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=shape.vocab, hidden_size=shape.width, intermediate_size=3 * shape.width,
        num_hidden_layers=shape.depth, num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads, head_dim=32, max_position_embeddings=CONTEXT,
        tie_word_embeddings=False, use_cache=False, attn_implementation="sdpa",
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(config)
    source = Eager(shape)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(source.embedding.weight)
        model.lm_head.weight.copy_(source.head.weight)
        for theirs, layer in zip(model.model.layers, source.blocks, strict=True):
            q, k, v = layer.qkv.weight.chunk(3)
            gate, up = layer.gate_up.weight.chunk(2)
            attention, feed = theirs.self_attn, theirs.mlp
            for target, value in (
                (attention.q_proj, q), (attention.k_proj, k), (attention.v_proj, v),
                (attention.o_proj, layer.out.weight), (feed.gate_proj, gate), (feed.up_proj, up),
                (feed.down_proj, layer.down.weight),
            ):  # fmt: skip
                target.weight.copy_(value)
    return modules(model, dtype, lambda model, tokens: model(input_ids=tokens).logits)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--widths", type=int, nargs="+", default=[width for width, _ in SIZES])
    chosen = parser.parse_args()
    single_thread()
    # torch.nn.RMSNorm keeps float32 gains under autocast, and says at every call that it may.
    warnings.filterwarnings("ignore", message="Mismatch dtype between input and weight")
    low = pick_precision("cpu")
    precisions = (torch.float32, low) if low != torch.float32 else (low,)
    tokens = BATCH * CONTEXT
    for width, depth in (size for size in SIZES if size[0] in chosen.widths):
        shape = Shape(width=width, depth=depth, vocab=VOCAB, context=CONTEXT)
        systems: dict[str, Step] = {
            "isoflop, AdamW": ours(shape, low, optimizer="adamw"),
            "isoflop, Muon": ours(shape, low, optimizer="muon"),
        }
        for dtype in precisions:
            name = str(dtype).removeprefix("torch.")
            systems[f"eager PyTorch, {name}"] = eager(shape, dtype)
            systems[f"transformers, {name}"] = huggingface(shape, dtype)
        speeds: dict[str, list[float]] = {name: [] for name in systems}
        losses: dict[str, float] = {}
        feeds = {name: batches(0) for name in systems}
        for lap in range(chosen.rounds + 1):
            for name, step in systems.items():
                texts = [next(feeds[name]) for _ in range(chosen.steps)]
                began = time.process_time()
                for text in texts:
                    losses[name] = step(text)
                if lap:  # the first lap warms up
                    seconds = time.process_time() - began
                    speeds[name].append(tokens * chosen.steps / seconds)
        count = count_params(shape)["non_embedding"]
        print(f"\n{count:,} parameters in the layers, {flops_per_token(shape):,} FLOPs a token; "
              f"{(chosen.rounds + 1) * chosen.steps} steps of {tokens:,} tokens")  # fmt: skip
        peers = [n for n in systems if not n.startswith("isoflop")]
        best = max(peers, key=lambda n: np.median(speeds[n]))
        for name, laps in speeds.items():
            ratio = np.median(np.array(laps) / np.array(speeds[best]))
            print(f"  {name:<28} {np.median(laps):9,.0f} tokens/core-s {ratio:6.2f} x   "
                  f"loss {losses[name]:.4f}")  # fmt: skip


if __name__ == "__main__":
    main()
