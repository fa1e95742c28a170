"""Trial and error against clean data at equal tokens: trains 18 models, prints the verdict.

python bench/trials.py [folder]    (about 15 minutes of one core; a second call goes on)
"""

from __future__ import annotations

import sys
from pathlib import Path

from isoflop.lab.device import single_thread
from isoflop.lab.trials import countdown_design, run_trials


def main() -> None:
    single_thread()
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/trials")
    found = run_trials(countdown_design(), folder, on_event=print)
    print(found)
    print(f"page: {folder / 'page.html'}")


if __name__ == "__main__":
    main()
