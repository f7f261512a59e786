"""A preparation that is killed at a step of its own choosing, in a module that a process loads quickly."""

import os
import signal
import sys
from pathlib import Path

from lungseg_helpers.preprocessing.prepare import prepare


def steps_of(folder: Path, last: float, *job) -> None:
    """Prepare ``job`` in a process of its own, killed when it has taken ``last`` steps that change files of ``folder``.

    Its exit status is the number of steps where it comes to its end.
    """
    taken = 0

    def step(event: str, arguments: tuple) -> None:
        nonlocal taken
        changes = event in ("os.mkdir", "os.rename", "os.chmod")
        changes = changes or (event == "open" and bool((arguments[2] or 0) & (os.O_WRONLY | os.O_CREAT)))
        # what a folder is emptied of is named without its path
        if event in ("os.remove", "os.rmdir") or (changes and str(folder) in str(arguments[0])):
            taken += 1
            if taken > last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(step)
    prepare(*job, folder, workers=1)
    sys.exit(taken)
