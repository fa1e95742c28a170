"""Rules of lint that look at one run: units, hours, utilisation, FLOPs and dollars."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from isoflop.cost.findings import Finding, finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isoflop.cost.table import Row

HIGHEST_MFU = 0.62  # above every published whole-run value
# Full recomputation makes HFU 4/3 of MFU; a whole run at goodput 1 then shows 0.75 of its HFU.
RECOMPUTED = 1.325


def not_positive(row: Row) -> list[Finding]:
    return [
        finding(row, name, "not_positive", message=f"{value:g} must be positive")
        for name, value in row.numbers.items()
        if value is not None and value <= 0
    ]


def units(row: Row, runs: Sequence[Row]) -> list[Finding]:
    params, tokens = row("params") or row("active_params"), row("tokens")
    others = [value for other in runs if (value := other("tokens")) is not None]
    if params is not None and params < 1000:
        return [
            finding(
                row,
                "params",
                "params_unit",
                message=f"{params:g} parameters: write the count, for example {params:g}e9",
            )
        ]
    if tokens is None:
        return []
    middle = sorted(others)[len(others) // 2]
    few = tokens / params < 0.01 if params is not None else tokens < 1e-5 * middle
    if few:
        scale = "1e9" if tokens >= 100 or params is None or tokens * 1e9 > 0.1 * params else "1e12"
        return [
            finding(
                row,
                "tokens",
                "tokens_unit",
                message=f"{tokens:g} tokens for {params or 0:.3g} parameters: write the count, "
                f"for example {tokens:g} x {scale}",
            )
        ]
    if params is not None and tokens / params > 1e6:
        return [
            finding(
                row,
                "params",
                "params_unit",
                message=f"{params:g} parameters for {tokens:.3g} tokens: write the count",
            )
        ]
    return []


def hours(row: Row) -> list[Finding]:
    """Hours against 6ND and the peak, and against chips x days."""
    hours, chips, days, tokens = row("chip_hours"), row("chips"), row("days"), row("tokens")
    trillions = None if tokens is None else tokens / 1e12
    if hours and chips and days:
        ratio = chips * days * 24 / hours
        if not 0.8 < ratio < 1.25:
            if trillions and abs(ratio / trillions - 1) < 0.1:
                return [_per_trillion(row, hours, trillions)]
            return [
                finding(
                    row,
                    "chip_hours",
                    "hours_mismatch",
                    message=f"{hours:g} hours, but {chips:g} chips x {days:g} days are "
                    f"{chips * days * 24:g}",
                )
            ]
    implied = row.implied
    if implied is None or 1e-3 < implied < HIGHEST_MFU:
        return []
    confirmed = chips and days  # then the hours are a total, and something else is wrong
    many = hours and trillions and trillions > 1.2 and not confirmed
    if hours and trillions and many and 0.03 < implied / trillions < HIGHEST_MFU:
        return [_per_trillion(row, hours, trillions)]
    return [
        finding(
            row,
            "chip_hours" if hours else "days",
            "implied_mfu",
            message=f"6ND = {row.six_nd:.3g} over {row.hours:g} chip-hours at a dense peak of "
            f"{(row.peak or 0) / 1e12:g} TFLOP/s is a utilisation of {implied:.3g}: check "
            "the hours, the tokens and which parameters are active",
        )
    ]


def _per_trillion(row: Row, hours: float, trillions: float) -> Finding:
    implied = row.implied
    shares = ""
    if implied is not None:
        shares = f" imply a utilisation of {implied:.2f}, {implied / trillions:.2f} if they"
    return finding(
        row,
        "chip_hours",
        "hours_per_trillion",
        message=f"{hours:g} chip-hours for {trillions:g}T tokens{shares} are per trillion: "
        f"the total would be {hours * trillions:,.0f}",
    )


def effective_column(row: Row) -> list[Finding]:
    """A printed 6ND / (hours x peak) beside what the row gives."""
    printed, implied = row("effective"), row.implied
    if printed is None or implied is None:
        return []
    ratio = implied / printed
    if 1.8 < ratio < 2.2:
        return [
            finding(
                row,
                "effective",
                "sparsity_peak",
                message=f"{printed:g} is half of {implied:.3g}: the dense peak of "
                f"{row.chip.name if row.chip else ''} is "
                f"{(row.peak or 0) / 1e12:g} TFLOP/s",
            )
        ]
    trillions = (row("tokens") or 0) / 1e12
    if row("chip_hours") and abs(ratio - 1) > 0.1 and abs(ratio / trillions - 1) < 0.02:
        return [_per_trillion(row, row("chip_hours") or 0, trillions)]
    if not 0.98 < ratio < 1.02:
        return [
            finding(
                row,
                "effective",
                "implied_mfu",
                message=f"{printed:g} is printed, {implied:.4g} follows from the row",
            )
        ]
    return []


def _label(row: Row) -> tuple[float | None, str, str]:
    """The utilisation, what it is called (MFU, HFU or nothing) and its column."""
    for name in ("mfu", "hfu"):
        if row(name) is not None:
            return row(name), "MFU and HFU" if row("mfu") and row("hfu") else name.upper(), name
    kind = row.text.get("utilisation_kind", "").upper()
    label = " and ".join(name for name in ("MFU", "HFU") if name in kind)
    return row("utilisation"), label, "utilisation"


def utilisation(row: Row) -> list[Finding]:
    share, label, column = _label(row)
    found = _peaks(row, share, label)
    if share is not None and share > 1:
        return [
            *found,
            finding(
                row,
                column,
                "utilisation_percent",
                message=f"{share:g} is no share of a peak; {share:g}% is {share / 100:g}",
            ),
        ]
    if found:
        return found
    implied = row.implied
    if share is not None and implied is not None and share < 0.9 * implied:
        halved = 2 * share > 0.95 * implied
        return [
            finding(
                row,
                column,
                "sparsity_peak" if halved else "implied_mfu",
                message=f"{share:g} is below the {implied:.3g} that 6ND over all hours gives"
                + (": twice it, against the dense peak, is not" if halved else ""),
            )
        ]
    if label == "MFU":
        return _recomputed(row, share, column)
    return []


def _peaks(row: Row, share: float | None, label: str) -> list[Finding]:
    """The peak a utilisation rests on, by whichever figures give it away."""
    if row.chip is None or row.peak is None:
        return []
    quotient = re.search(r"\d\s*/\s*(\d{2,}[\d.]*)", row.text.get("utilisation_kind", ""))
    named = row("peak_tflops") or (float(quotient.group(1)) if quotient else None)
    rate = row("tflops_per_chip")
    peaks = {"peak_tflops": named}
    if rate is not None and share:
        peaks["utilisation"] = rate / (share / 100 if share > 1 else share)
    eight_bits = (
        "8" in row.text.get("precision", "")
        or "FP8" in row.text.get("utilisation_kind", "").upper()
    )
    for column, peak in peaks.items():
        if peak is None or eight_bits:
            continue
        ratio = peak * 1e12 / row.peak
        if column == "utilisation" and label == "MFU" and 1.2 < ratio < 1.45:
            continue  # hardware FLOP/s, recomputation counted, beside a true MFU
        if 1.85 < ratio < 2.15:
            return [
                finding(
                    row,
                    column,
                    "sparsity_peak",
                    message=f"rests on {peak:,.4g} TFLOP/s, which {row.chip.name} reaches with "
                    f"2:4 sparsity (or in FP8); dense BF16 is {row.peak / 1e12:g}",
                )
            ]
        if not 0.9 < ratio < 1.1:
            return [
                finding(
                    row,
                    column,
                    "implied_mfu",
                    message=f"rests on {peak:,.4g} TFLOP/s; the dense peak of {row.chip.name} is "
                    f"{row.peak / 1e12:g}",
                )
            ]
    return []


def _recomputed(row: Row, share: float | None, column: str) -> list[Finding]:
    """An MFU that its own row shows to hold recomputation."""
    rate = row("tflops_per_chip")
    if share is not None and row.peak is not None:
        rate = share * row.peak
    elif rate is not None:
        rate = rate * 1e12
    else:
        return []
    convention = row.text.get("flops_convention", "").lower()
    flops, spent = row("train_flops"), row.hours
    same = not flops or not spent or 0.9 < flops / (spent * 3600 * rate) < 1.1
    if same and ("recompute" in convention or "hardware" in convention):
        return [
            finding(
                row,
                column,
                "hfu_as_mfu",
                message=f"its FLOPs are {row.text['flops_convention']!r}: call it HFU",
            )
        ]
    for model, known, limit in _model_rates(row):
        ratio = rate / model
        if ratio > limit:
            return [
                finding(
                    row,
                    column,
                    "hfu_as_mfu",
                    message=f"{rate / 1e12:.4g} TFLOP/s a chip is {ratio:.2f} x what 6ND over "
                    f"{known} gives: recomputation is in it (call it HFU)"
                    + ("" if limit < RECOMPUTED else ", or give the goodput and the HFU beside it"),
                )
            ]
    return []


def _model_rates(row: Row) -> list[tuple[float, str, float]]:
    """Model FLOP/s per chip from a step and from the whole run, with what they may differ by."""
    rates = []
    batch, step, chips = row("batch_tokens"), row("step_seconds"), row("chips")
    if batch and step and chips and row.params:
        rates.append((6 * row.params * batch / (step * chips), "a step", 1.2))
    if row.six_nd and row.hours:
        rates.append((row.six_nd / (row.hours * 3600), "all hours", RECOMPUTED))
    return rates


def flops(row: Row) -> list[Finding]:
    reported, expected = row("train_flops"), row.six_nd
    if reported is None or expected is None:
        return []
    ratio = reported / expected
    plain = re.sub(r"\s", "", row.text.get("flops_convention", "")).upper() in ("6ND", "6N")
    if 0.6 < ratio < 1.7 and not (plain and not 0.95 < ratio < 1.05):
        return []
    return [
        finding(
            row,
            "train_flops",
            "train_flops",
            message=f"{reported:.3g} is {ratio:.3g} x 6ND = {expected:.3g}: another count of "
            "parameters, other tokens, or recomputation",
        )
    ]


def dollars(row: Row) -> list[Finding]:
    usd, hours = row("usd"), row.hours
    if usd is None or not hours or 0.05 < usd / hours < 50:
        return []
    return [
        finding(
            row,
            "usd",
            "usd_rate",
            message=f"${usd:,.6g} over {hours:,.6g} chip-hours is ${usd / hours:.3g} an hour",
        )
    ]


def active(row: Row) -> list[Finding]:
    params, active = row("params"), row("active_params")
    if params is not None and active is not None and active > params * 1.001:
        return [
            finding(
                row,
                "active_params",
                "params_convention",
                message=f"{active:.4g} active of {params:.4g} parameters",
            )
        ]
    printed, expected = row("six_nd"), row.six_nd
    if printed is not None and expected is not None and not 0.995 < printed / expected < 1.005:
        return [
            finding(
                row,
                "six_nd",
                "params_convention",
                message=f"{printed:.4g} is not 6 x {row.params:.5g} x {row('tokens'):.5g} = "
                f"{expected:.4g}: another count of parameters or tokens",
            )
        ]
    return []
