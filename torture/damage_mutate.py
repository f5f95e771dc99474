"""How the torture damages files: bytes at random, and values inside of what a digest or a CRC would refuse at once."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutator = Callable[[Random], bytes]

_WORDS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 40,
    (1 << 63) - 1,
    (1 << 64) - 1,
)
_LEAVES = (
    *(None, True, False, 0, 1, -1, 2, 10**6, 1 << 40, 1 << 70, -(1 << 63), 0.5, -0.0, 1e-320, 1e308),
    *("", "x", "a\nb", "\x1b[2J", "\0", "../../escape", "/etc/passwd", "é\u202e", "\ud800", "x" * 3000, "NaN", "10"),
    *([], {}, [[]], [1, "a"], {"a": None}, [[[[1]]]], list(range(200))),
)


def damaged(rng: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """One to four random changes: bits, numbers, pieces that go, come, move, or belong to another file."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        size = len(found)
        place = rng.randrange(size) if size else 0
        if rng.random() < 0.3:
            place = min(place, rng.randrange(64))  # heads decide more
        piece = rng.choice((1, 2, 4, 8, 20, 200, size // 2 + 1))
        how = rng.randrange(10)
        if how == 0 and size:
            found[place] ^= 1 << rng.randrange(8)
        elif how == 1 and size:
            found[place] = rng.randrange(256)
        elif how <= 4:
            width = rng.choice((1, 2, 4, 8))
            number = rng.choice((*_WORDS, size, size - 1, rng.getrandbits(32))) % (1 << 8 * width)
            found[place : place + width] = number.to_bytes(width, rng.choice(("little", "big")))
        elif how == 5:
            del found[place : place + piece]
        elif how == 6:
            found[place:place] = found[place : place + piece]
        elif how == 7:
            found[place:place] = rng.randbytes(min(piece, 300))
        elif how == 8:
            del found[place:]
        else:
            other = rng.choice(others) if others else bytes(found)
            start = rng.randrange(len(other) + 1)
            found[place : place + piece] = other[start : start + piece]
    return bytes(found)


def changed(rng: Random, value: Any) -> Any:
    """A plain value (as of JSON) with one to three changes inside; the given one stays as it is."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 2, 3))):
        holders = [(holder, key) for holder in _holders(value) for key in _keys(holder)]
        if not holders:
            return _leaf(rng)
        holder, key = rng.choice(holders)
        other, other_key = rng.choice(holders)
        how = rng.randrange(9)
        if how <= 3:
            holder[key] = _leaf(rng)
        elif how == 4:
            del holder[key]
        elif how == 5:
            holder[key] = json.loads(json.dumps(other[other_key]))
        elif how == 6:
            holder[key] = rng.choice(([holder[key]], {"a": holder[key]}, str(holder[key])))
        elif how == 7 and isinstance(holder, dict):
            holder[rng.choice((*map(str, _LEAVES[:20]), key.upper(), key + " "))] = holder.pop(key)
        elif isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            holder[key] = holder[key] * rng.choice((-1, 2, 10, 1000, 0.5, 1e300))
        else:
            holder[key] = _leaf(rng)
    return value


def _leaf(rng: Random) -> Any:
    value = rng.choice(_LEAVES)
    return json.loads(json.dumps(value)) if isinstance(value, dict | list) else value


def _holders(value: Any) -> list[Any]:
    found, todo = [], [value]
    while todo:
        one = todo.pop()
        if isinstance(one, dict | list):
            found.append(one)
            todo.extend(one.values() if isinstance(one, dict) else one)
    return found


def _keys(holder: Any) -> list[Any]:
    return list(holder) if isinstance(holder, dict) else list(range(len(holder)))


def text_of(rng: Random, value: Any) -> bytes:
    """JSON of a changed value; sometimes what only Python takes for JSON; sometimes damaged bytes."""
    text = json.dumps(changed(rng, value), indent=rng.choice((None, 2))).encode()
    how = rng.randrange(20)
    if how < 6:
        return damaged(rng, json.dumps(value).encode() if how < 4 else text)
    if how == 6:
        for old, new in ((b"null", b"NaN"), (b" 1", b" -Infinity"), (b"0.", b"1e999"), (b": ", b": 1" + b"0" * 5000)):
            if rng.random() < 0.5:
                text = text.replace(old, new, 1)
    if how == 7:
        deep = rng.choice((60, 900, 20_000))
        text = (
            text[:-1]
            + b', "deep": '
            + rng.choice((b"[" * deep + b"]" * deep, b'{"a":' * deep + b"1" + b"}" * deep))
            + b"}"
        )
    if how == 8:
        text = text[:-1] + b", " + text[1:]  # every key twice
    return text


def json_of(value: Any) -> Mutator:
    """Damage to a file of JSON."""
    return lambda rng: text_of(rng, value)


def bytes_of(*sound: bytes) -> Mutator:
    """Damage to the bytes of one of the files."""
    return lambda rng: damaged(rng, rng.choice(sound), sound)


def gzipped(inner: Mutator, *sound: bytes) -> Mutator:
    """Damage inside a gzip file that is sound, and outside."""
    outer = bytes_of(*(gzip.compress(one) for one in sound))
    return lambda rng: gzip.compress(inner(rng), 1) if rng.random() < 0.5 else outer(rng)


def png_of(content: bytes) -> Mutator:
    """Damaged chunks of a PNG under CRCs that hold; pixels damaged before they are packed."""
    chunks, place = [], 8
    while place < len(content):
        (size,) = struct.unpack_from(">I", content, place)
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + size]))
        place += size + 12
    kinds = (
        b"IHDR",
        b"IDAT",
        b"IEND",
        b"PLTE",
        b"tRNS",
        b"zTXt",
        b"iTXt",
        b"iCCP",
        b"acTL",
        b"fcTL",
        b"fdAT",
        b"eXIf",
        b"pHYs",
    )

    def mutate(rng: Random) -> bytes:
        if rng.random() < 0.3:
            return damaged(rng, content)
        found = list(chunks)
        for _ in range(rng.choice((1, 1, 2, 3))):
            at = rng.randrange(len(found)) if found else 0
            how = rng.randrange(6)
            if how == 0 or not found:
                inner = rng.choice((b"", b"a\0\0" + zlib.compress(bytes(100_000)), rng.randbytes(30)))
                found.insert(at, (rng.choice(kinds), inner))
            elif how == 1:
                found.append(found.pop(at))
            elif how == 2 and found[at][0] == b"IDAT":
                found[at] = (b"IDAT", zlib.compress(damaged(rng, zlib.decompress(chunks[1][1]))))
            elif how == 3:
                found[at] = (rng.choice(kinds), found[at][1])
            else:
                found[at] = (found[at][0], damaged(rng, found[at][1]))
        out = content[:8]
        for kind, data in found:
            out += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        return out

    return mutate


def zip_of(members: dict[str, bytes]) -> Mutator:
    """A zip whose bytes are damaged, its directory most of all; or sound, with damaged names and contents."""
    packed = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        packed.append(stream.getvalue())

    def mutate(rng: Random) -> bytes:
        if rng.random() < 0.3:
            found = dict(members)
            name = rng.choice(list(found))
            if rng.random() < 0.5:
                found[name] = damaged(rng, found[name])
            else:
                found[damaged(rng, name.encode()).decode("latin1").replace("\0", "") or "x"] = found.pop(name)
            stream = io.BytesIO()
            with zipfile.ZipFile(stream, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
                for name, content in found.items():
                    archive.writestr(name, content)
            return stream.getvalue()
        data = rng.choice(packed)
        directory = data.index(b"PK\x01\x02")
        if rng.random() < 0.6:
            return data[:directory] + damaged(rng, data[directory:], [data])
        return damaged(rng, data, packed)

    return mutate
