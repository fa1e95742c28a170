"""Files that are complete or absent: atomic writes, hashed checkpoints, one lock a folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors


class LabError(RuntimeError):
    """Training cannot go on; the message names the folder and the cure."""


CURES = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "the folder is not writable: choose another, or change its permissions",
    errno.EPERM: "the folder is not writable: choose another, or change its permissions",
    errno.ENOTDIR: "a file stands where a folder is needed: choose another folder",
}


@contextlib.contextmanager
def clear_errors(folder: Path) -> Iterator[None]:
    """Turn the operating system's errors about `folder` into ones that say what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in CURES:
            raise
        raise LabError(
            f"cannot write in {folder}: {CURES[error.errno]}, then start again; "
            "finished runs are kept and the rest continues"
        ) from error


def make_folder(folder: Path) -> Path:
    with clear_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that after a crash at any moment it is wholly old or wholly new."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with clear_errors(path.parent):
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name itself must survive a power cut
        finally:
            os.close(folder)


def write_json(path: Path, value: object) -> None:
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def append_line(path: Path, value: dict[str, object]) -> None:
    """Append one JSON line; a torn last line is possible after a crash and ignored by readers."""
    with clear_errors(path.parent), path.open("a") as file:
        file.write(json.dumps(value) + "\n")


def read_lines(path: Path) -> list[dict]:
    """Read a JSON-lines file up to the first torn line; empty where there is none."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def read_whole(path: Path) -> dict | None:
    """Read a JSON object; None where the file is torn or is not one."""
    try:
        value = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    return value if isinstance(value, dict) else None


def write_rows(path: Path, rows: list[dict]) -> None:
    write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def write_array(path: Path, array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def digest_tensors(tensors: dict[str, torch.Tensor], meta: str) -> str:
    """Hash names, types, shapes, contents and the metadata beside them."""
    sha = hashlib.sha256(meta.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.numpy().tobytes())
    return sha.hexdigest()


def save_checkpoint(path: Path, tensors: dict[str, torch.Tensor], meta: dict) -> None:
    """Write tensors and JSON metadata to one safetensors file that carries its own hash."""
    text = json.dumps(meta, sort_keys=True)
    tensors = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
    header = {"meta": text, "sha256": digest_tensors(tensors, text)}
    write_bytes(path, save_tensors(tensors, metadata=header))


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Read a checkpoint back; LabError where it is torn or was changed."""
    data = path.read_bytes()
    try:
        tensors = load_tensors(data)
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])["__metadata__"]
        intact = digest_tensors(tensors, header["meta"]) == header["sha256"]
        meta = json.loads(header["meta"])
    except (SafetensorError, ValueError, KeyError) as error:
        raise LabError(f"checkpoint {path} cannot be read: {error}") from error
    if not intact:
        raise LabError(f"checkpoint {path} is corrupt: its contents do not match their hash")
    return tensors, meta


@contextlib.contextmanager
def lock(folder: Path, *, patience: float = 20.0) -> Iterator[None]:
    """Hold `folder` for this process alone; the system releases it even after kill -9.

    Raises LabError where another process still holds it after `patience` seconds.
    """
    with clear_errors(folder):
        file = (folder / "lock").open("a")
    with file:
        give_up = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise LabError(
                        f"another process is training in {folder}: wait for it, end it, "
                        "or choose another folder"
                    ) from None
                time.sleep(0.1)
        yield
