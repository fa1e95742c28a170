"""What a family of models does that its config.json does not say.

A row of `dense` or `sparse` holds constants of the family's definition and the names under which
its sizes are written. A flag may be a bool or the name of the config key that holds it, "key"
(absent: false) or "key=true" (absent: true).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Flag = bool | str


@dataclass(frozen=True, kw_only=True)
class Routed:
    """Under which keys a family writes its mixture of experts; "" where it has no such size.

    `shared_fixed` counts shared experts that the family always has.
    """

    experts: str
    top_k: str = "num_experts_per_tok"
    hidden: str = "moe_intermediate_size"
    shared_count: str = ""
    shared_fixed: int = 0
    shared_hidden: str = ""
    dense_first: str = ""
    shared_gate: bool = False
    router_bias: bool = False
    correction_bias: bool = False
    bias: bool = False


@dataclass(frozen=True, kw_only=True)
class Family:
    """Definition of one model_type: what is fixed, and which key holds what is not.

    `window` says which layers a sliding window holds for when no layer_types are listed: "none",
    "all", "switch" (those from max_window_layers on, if use_sliding_window) or a period (every
    n-th layer sees everything). `ignored` are keys that change no count in this family, `expects`
    keys whose other values are not understood.
    """

    tied: bool = False
    gated: bool = True
    norm: Literal["rms", "layer", "layer_no_bias", "none"] = "rms"
    norms: int = 2
    embedding_norm: bool = False
    qkv_bias: Flag = False
    out_bias: Flag = False
    mlp_bias: Flag = False
    qk_norm: Literal["none", "head", "head+bias", "full"] = "none"
    qk_norm_if: Flag = True
    sinks: bool = False
    gate: Literal["none", "head", "channel"] = "none"
    head_bias: bool = False
    window: Literal["none", "all", "switch"] | int = "none"
    positions: str = ""
    extra_positions: int = 0
    latent: bool = False
    routed: Routed | None = None
    mlp_width: str = "intermediate_size"
    names: Mapping[str, str] = field(default_factory=dict)
    default: Mapping[str, object] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    expects: Mapping[str, object] = field(default_factory=dict)
