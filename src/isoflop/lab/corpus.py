"""Text to train on: the running Python's own sources, or the user's files, as cached tokens.

Whole files go to training or validation by a hash of their name. Exact and near duplicates are
removed first, so that no validation text was seen in training.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sysconfig
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isoflop.lab.files import LabError, clear_errors, make_folder, write_json

SEPARATOR = b"\0"  # stands between files; counts as one byte and one token
VALIDATION_SHARE = 0.04
NEAR = 0.5  # a file is dropped when more of its distinct lines were seen before
SHORT_LINE = 16  # characters; shorter lines repeat by chance
BLOCK = 32_768  # bytes; longer texts of the user are cut here, so that they can be split
VERSION = 2  # of this preparation: enters the hash

Sources = list[tuple[str, bytes]]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A prepared corpus: what it holds, and the folder with its token files."""

    name: str
    tokenizer: str
    digest: str
    vocab: int
    train_tokens: int
    train_bytes: int
    validation_tokens: int
    validation_bytes: int
    files: int
    dropped: int


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "isoflop" / "corpora"


def load_corpus(name: str, tokenizer: str, *, cache: Path | None = None) -> tuple[Corpus, Path]:
    """Prepare a corpus once, or find it in the cache; returns it and its folder.

    `name` is `pystd` (the running Python's .py files) or a path to a text file or folder.
    `tokenizer` is `bytes` or `bpe-V` with a vocabulary of V. A different Python has a different
    `pystd`: the digest in every result says which text was used.
    """
    sources = read_sources(name)
    sha = hashlib.sha256(f"{VERSION} {tokenizer}".encode())
    for path, text in sources:
        sha.update(f"{path} {len(text)}\n".encode())
        sha.update(text)
    digest = sha.hexdigest()[:16]
    label = "pystd" if name == "pystd" else Path(name).name
    folder = make_folder(cache or cache_folder()) / f"{label}-{tokenizer}-{digest}"
    if not (folder / "manifest.json").exists():
        _prepare(sources, folder, name=label, tokenizer=tokenizer, digest=digest)
    return open_corpus(folder), folder


def open_corpus(folder: Path) -> Corpus:
    return Corpus(**json.loads((folder / "manifest.json").read_text()))


def open_tokens(folder: Path, part: str) -> NDArray[np.uint16]:
    """Memory-map the tokens of `train` or `validation`."""
    return np.load(folder / f"{part}.npy", mmap_mode="r", allow_pickle=False)


def open_token_bytes(folder: Path) -> NDArray[np.uint16]:
    """Read how many bytes of text each token of the vocabulary stands for."""
    return np.load(folder / "token_bytes.npy", allow_pickle=False)


def read_sources(name: str) -> Sources:
    """Read all texts in a fixed order as (relative name, bytes); raises ValueError where none."""
    if name == "pystd":
        root, pattern = Path(sysconfig.get_paths()["stdlib"]), "*.py"
        skipped = {"site-packages", "dist-packages", "__pycache__"}
        paths = [p for p in root.rglob(pattern) if not skipped & set(p.parts)]
    else:
        root = Path(name).expanduser()
        if not root.exists():
            raise ValueError(f"corpus {name!r} is neither 'pystd' nor an existing file or folder")
        paths = [root] if root.is_file() else [p for p in root.rglob("*") if p.is_file()]
        root = root.parent if root.is_file() else root
    texts = [(p.relative_to(root).as_posix(), p.read_bytes()) for p in sorted(paths)]
    texts = [(path, text) for path, text in texts if text.strip() and is_text(text)]
    if name != "pystd":
        texts = [block for path, text in texts for block in cut(path, text)]
    if not texts:
        raise ValueError(f"corpus {name!r} holds no UTF-8 text file")
    return texts


def is_text(data: bytes) -> bool:
    if SEPARATOR in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def cut(path: str, text: bytes) -> Sources:
    """Cut a long text at line ends into blocks of at least BLOCK bytes."""
    blocks, start = [], 0
    while start < len(text):
        stop = text.find(b"\n", start + BLOCK) + 1 or len(text)
        blocks.append((f"{path}#{len(blocks)}", text[start:stop]))
        start = stop
    return blocks


def drop_duplicates(sources: Sources) -> Sources:
    """Keep each text of which at most half of the distinct lines stand in texts kept before it."""
    seen: set[bytes] = set()
    exact: set[bytes] = set()
    kept = []
    for path, text in sources:
        lines = {x.strip() for x in text.splitlines() if len(x.strip()) >= SHORT_LINE}
        sha = hashlib.sha256(text).digest()
        if sha in exact or len(lines & seen) > NEAR * len(lines):
            continue
        exact.add(sha)
        seen |= lines
        kept.append((path, text))
    return kept


def split(sources: Sources) -> tuple[Sources, Sources]:
    """Split whole texts into training and validation, chosen by a hash of their names."""

    def rank(item: tuple[str, bytes]) -> bytes:
        return hashlib.sha256(item[0].encode()).digest()

    enough = VALIDATION_SHARE * sum(len(text) for _, text in sources)
    held_out, size = set(), 0
    for path, text in sorted(sources, key=rank)[:-1]:
        if size >= enough:
            break
        held_out.add(path)
        size += len(text)
    return (
        [item for item in sources if item[0] not in held_out],
        [item for item in sources if item[0] in held_out],
    )


def _prepare(sources: Sources, folder: Path, *, name: str, tokenizer: str, digest: str) -> None:
    """Fill a fresh folder beside `folder` and rename it there; the first of two processes wins."""
    kept = drop_duplicates(sources)
    train, validation = split(kept)
    if not train or not validation:
        raise ValueError(
            f"corpus {name!r} has {len(kept)} distinct texts, too few to hold any out: "
            f"give more files, or one of more than {2 * BLOCK:,} bytes"
        )
    with clear_errors(folder.parent):
        fresh = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
        try:
            token_bytes = _encode(train, validation, fresh, tokenizer=tokenizer)
            counts = {}
            for part in ("train", "validation"):
                tokens = open_tokens(fresh, part)
                counts[f"{part}_tokens"] = len(tokens)
                counts[f"{part}_bytes"] = int(token_bytes[tokens].sum(dtype=np.int64))
            corpus = Corpus(
                name=name,
                tokenizer=tokenizer,
                digest=digest,
                vocab=len(token_bytes),
                files=len(kept),
                dropped=len(sources) - len(kept),
                **counts,
            )
            write_json(fresh / "manifest.json", asdict(corpus))
            if not folder.exists():
                fresh.replace(folder)
        except OSError:
            if not (folder / "manifest.json").exists():  # else another process was first
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _encode(
    train: Sources, validation: Sources, folder: Path, *, tokenizer: str
) -> NDArray[np.uint16]:
    """Write train.npy, validation.npy and token_bytes.npy; returns the bytes of every token."""
    parts = {"train": train, "validation": validation}
    if tokenizer == "bytes":
        token_bytes = np.ones(256, np.uint16)
        encoded = {
            part: np.frombuffer(SEPARATOR.join(t for _, t in texts), np.uint8).astype(np.uint16)
            for part, texts in parts.items()
        }
    else:
        token_bytes, encoded = _encode_bpe(parts, folder, vocab=vocab_of(tokenizer))
    for part, texts in parts.items():
        size = sum(len(text) for _, text in texts) + len(texts) - 1
        assert int(token_bytes[encoded[part]].sum(dtype=np.int64)) == size, "bytes were lost"
        np.save(folder / f"{part}.npy", encoded[part])
    np.save(folder / "token_bytes.npy", token_bytes)
    return token_bytes


def vocab_of(tokenizer: str) -> int:
    """Read the vocabulary size off a tokenizer's name; raises ValueError for an unknown one."""
    if tokenizer == "bytes":
        return 256
    kind, _, size = tokenizer.partition("-")
    if kind != "bpe" or not size.isdecimal() or not 257 <= int(size) <= 65_536:
        raise ValueError(
            f"tokenizer {tokenizer!r} must be 'bytes' or 'bpe-V' with V from 257 to 65536"
        )
    return int(size)


def _encode_bpe(
    parts: dict[str, Sources], folder: Path, *, vocab: int
) -> tuple[NDArray[np.uint16], dict[str, NDArray[np.uint16]]]:
    """Train a byte-level BPE on the training texts alone and encode everything with it."""
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError as error:
        raise LabError("a BPE tokenizer needs: pip install 'isoflop[lab]'") from error
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab - 1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator((text.decode() for _, text in parts["train"]), trainer)
    pieces = sorted(bpe.get_vocab().items(), key=lambda item: item[1])
    separator = len(pieces)
    token_bytes = np.array([len(piece) for piece, _ in pieces] + [len(SEPARATOR)], np.uint16)
    bpe.save(str(folder / "tokenizer.json"))
    encoded = {}
    for part, texts in parts.items():
        ids = []
        for item in bpe.encode_batch([text.decode() for _, text in texts]):
            ids += [np.array(item.ids, np.uint16), np.array([separator], np.uint16)]
        encoded[part] = np.concatenate(ids[:-1])
    return token_bytes, encoded
