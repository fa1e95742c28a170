"""Public data comes from a cache folder: ISOFLOP_DATA, or ../shared/data/raw beside the project."""

import os
from pathlib import Path

BESIDE = Path(__file__).parents[2] / "shared" / "data" / "raw"
if "ISOFLOP_DATA" not in os.environ and BESIDE.is_dir():
    os.environ["ISOFLOP_DATA"] = str(BESIDE)
