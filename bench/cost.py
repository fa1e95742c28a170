"""How long costing takes: the import, one call, and 100,000 candidates at once.

Prints, writes nothing. The plan searches over candidates, so both figures matter to it.
"""

import subprocess
import sys
import time

import numpy as np

from isoflop.cost import accelerator, architecture, check, cost, count, flops, published


def best(work, repeats):
    """Least seconds of several repetitions."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def candidates(number):
    """Random mixtures of experts with sliding windows, as arrays."""
    rng = np.random.default_rng(0)
    heads = rng.integers(4, 64, number)
    return architecture(
        layers=rng.integers(4, 100, number),
        width=128 * heads,
        vocab=128256,
        heads=heads,
        kv_heads=8,
        head_dim=128,
        ff=512 * heads,
        experts=rng.integers(8, 256, number),
        top_k=8,
        expert_ff=64 * heads,
        shared_experts=1,
        dense_layers=1,
        windows=(1024, 1024, 1024, 0),
    )


def main():
    """Print the table."""
    code = (
        "import time; t = time.perf_counter(); import isoflop.cost; print(time.perf_counter() - t)"
    )
    imports = min(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                             check=True).stdout)
        for _ in range(5)
    )  # fmt: skip
    model, chip = published("DeepSeek-V3"), accelerator("H800")
    many, tokens = candidates(100_000), np.full(100_000, 1e12)
    rows = [
        ("import isoflop.cost (numpy included)", imports),
        ("count(DeepSeek-V3)", best(lambda: count(model), 200)),
        ("flops(DeepSeek-V3, 4096)", best(lambda: flops(model, 4096), 200)),
        ("cost(...) with time, dollars, decoding",
         best(lambda: cost(model, 14.8e12, machine=chip, chips=2048), 200)),
        ("cost of 100,000 candidates", best(lambda: cost(many, tokens, machine=chip, chips=64), 5)),
        ("check(): every published number", best(check, 3)),
    ]  # fmt: skip
    for what, seconds in rows:
        print(f"{what:<42}{seconds * 1e3:>10.3f} ms")


if __name__ == "__main__":
    main()
