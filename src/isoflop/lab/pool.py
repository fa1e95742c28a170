"""The default place to run: one single-thread process a core, gone when the climb is gone."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing.synchronize import Event

THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def watch(parent: int, stop: Event) -> None:
    """End this worker as soon as its climb ends, even by kill -9; every file it leaves is whole."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

    def wait() -> None:
        while os.getppid() == parent and not stop.is_set():
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for processes started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def open_pool(executor: Executor | None, *, workers: int) -> Iterator[Executor]:
    """Give the caller's executor, or a fresh pool of processes that ends with this block."""
    if executor is not None:
        yield executor
        return
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with environment(THREADS):
        pool = ProcessPoolExecutor(
            workers, mp_context=context, initializer=watch, initargs=(os.getpid(), stop)
        )
        try:
            yield pool
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()
