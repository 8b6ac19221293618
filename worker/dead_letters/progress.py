"""The progress of replays: which dead letters of one partition are done.

Kafka stores, for a consumer group, one committed offset per partition and a short text as its metadata. All dead
letters before the offset are done. A filter, or a dead letter that cannot be replayed, leaves gaps, so that the text
says which offsets after it are done too. What does not fit the text is forgotten, and the text says so: these dead
letters are replayed again, which costs time and changes nothing in the view.
"""

import re
import zlib
from base64 import b64decode, b64encode
from itertools import accumulate, chain, pairwise

_MAX_TEXT = 3_900
"""Bytes; Kafka allows 4,096 (`offset.metadata.max.bytes`)."""
_MAX_RUNS = 20_000
"""Runs that are considered; more never fit."""
_FORM = re.compile(r"1(?:\+([0-9]{1,18}))? (\S*)", re.ASCII)
_UNKNOWN = 2**62
_MAX_BEYOND = 2**30
"""Largest accepted distance between the first open and the last done offset, 128 MB; anybody can write the text."""
_RUNS = re.compile(rb"\x01+")


class ReplayProgress:
    """The set of done offsets, with one bit per offset after the first open one: a million take 125 kB.

    Every offset before `first` is done. Those before `forgotten_before` may be done although the set lacks them.
    """

    def __init__(self, first: int = 0, forgotten_before: int = 0) -> None:
        self._forgotten_before = forgotten_before
        self._base = first - first % 8  # the offset of the first bit
        self._bits = bytearray()
        self.mark_range_done(self._base, first)

    def __eq__(self, other: object) -> bool:
        """Whether both contain the same offsets and have forgotten the same."""
        if not isinstance(other, ReplayProgress):
            return NotImplemented
        mine, others = (self.first_open, self._forgotten_before), (other.first_open, other._forgotten_before)
        return mine == others and self._bits.rstrip(b"\0") == other._bits.rstrip(b"\0")

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __contains__(self, offset: int) -> bool:
        byte, bit = divmod(offset - self._base, 8)
        return byte < 0 or (byte < len(self._bits) and bool(self._bits[byte] >> bit & 1))

    @property
    def first_open(self) -> int:
        """The first offset that is not done."""
        done = len(self._bits) - len(self._bits.lstrip(b"\xff"))
        del self._bits[:done]
        self._base += 8 * done
        rest = self._bits[0] if self._bits else 0
        return self._base + (~rest & rest + 1).bit_length() - 1

    @property
    def has_forgotten(self) -> bool:
        """Whether offsets may be done that the set does not contain."""
        return self.first_open < self._forgotten_before

    @property
    def end(self) -> int:
        """The offset after the last done one; 0 if none is done."""
        last = len(self._bits.rstrip(b"\0"))
        return self._base + 8 * (last - 1) + self._bits[last - 1].bit_length() if last else self._base

    def mark_done(self, offset: int) -> None:
        """Add one offset."""
        self._set(offset, 1)

    def mark_range_done(self, start: int, stop: int) -> None:
        """Add every offset from `start` to before `stop`."""
        first = self.first_open  # moves the base
        if start >= stop or stop <= self._base:
            return
        if start <= first:  # no bits for what retention has deleted: it may be ten million
            start = max(self._base, stop - stop % 8)
            del self._bits[: (start - self._base) // 8]
            self._base = start
        whole, wholes_end = -(-start // 8) * 8, stop // 8 * 8
        if whole > wholes_end:  # both within one byte
            self._set(start, (1 << stop - start) - 1)
            return
        self._set(start, (1 << whole - start) - 1)
        self._set(wholes_end, (1 << stop - wholes_end) - 1)
        first, last = (whole - self._base) // 8, (wholes_end - self._base) // 8
        self._bits.extend(bytes(max(0, first - len(self._bits))))
        self._bits[first:last] = b"\xff" * (last - first)

    def merge(self, other: "ReplayProgress") -> None:
        """Add the offsets of another set."""
        self._forgotten_before = max(self._forgotten_before, other._forgotten_before)  # noqa: SLF001 - its own class
        self.mark_range_done(self.first_open, other.first_open)
        for start, stop in other.done_runs():
            self.mark_range_done(start, stop)

    def _set(self, offset: int, bits: int) -> None:
        """Add those offsets from `offset` to the end of its byte whose bit is set."""
        if not bits:
            return
        byte, bit = divmod(offset - self._base, 8)
        if byte < 0:
            return
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1 - len(self._bits)))
        self._bits[byte] |= bits << bit

    def done_runs(self) -> list[tuple[int, int]]:
        """Return the runs of done offsets after `first_open`: the first offset and the one after the last."""
        first = self.first_open
        if not self._bits:
            return []
        flags = _expand_bits(self._bits)
        runs = ((self._base + run.start(), self._base + run.end()) for run in _RUNS.finditer(flags))
        return [run for run in runs if run[0] > first]

    def encode(self) -> str:
        """Return the text that Kafka stores: as many of the `done_runs` as fit, from the first on."""
        runs = self.done_runs()
        ends = [self.first_open, *chain.from_iterable(runs[:_MAX_RUNS])]
        lengths = [later - earlier for earlier, later in pairwise(ends)]
        least, most = 0, len(lengths) // 2
        while least < most:  # how many runs fit, by bisection
            middle = (least + most + 1) // 2
            least, most = (middle, most) if len(_compress(lengths[: 2 * middle])) <= _MAX_TEXT else (least, middle - 1)
        forgotten = max(self._forgotten_before, runs[-1][1] if least < len(runs) else 0)
        mark = f"+{forgotten}" if forgotten > self.first_open else ""
        return f"1{mark} {_compress(lengths[: 2 * least])}"

    @classmethod
    def parse(cls, first: int, text: str) -> "ReplayProgress":
        """Parse the result of `encode`. If the text is missing or unknown to this version, only `first` is used."""
        match = _FORM.fullmatch(text)
        try:
            if match is None:
                raise ValueError(text)
            unpacked = zlib.decompress(b64decode(match[2], validate=True)) if match[2] else b""
            lengths = [int(length) for length in unpacked.split()]
        except (ValueError, zlib.error):
            return cls(first, _UNKNOWN)
        done = cls(first, int(match[1] or 0))
        ends = list(accumulate(lengths, initial=first))[1:]
        if ends and ends[-1] - first > _MAX_BEYOND:
            return cls(first, _UNKNOWN)
        for start, stop in zip(ends[::2], ends[1::2], strict=False):
            done.mark_range_done(start, stop)
        return done


def merge_progress(mine: ReplayProgress, kept: ReplayProgress | None, stale: ReplayProgress | None) -> ReplayProgress:
    """Return what to store in place of `kept`, which another replay may have stored meanwhile; `kept` may be changed.

    `stale` is progress of a deleted topic of the same name; if this is what is stored, it is ignored.
    """
    if kept is None or kept == stale:
        return mine
    kept.merge(mine)
    return kept


def _compress(lengths: list[int]) -> str:
    return b64encode(zlib.compress(" ".join(map(str, lengths)).encode(), 9)).decode() if lengths else ""


def _expand_bits(bits: bytearray) -> bytes:
    """Return one byte, 0 or 1, for each bit."""
    return b"".join(_OF_BYTE[byte] for byte in bits)


_OF_BYTE = [bytes(byte >> bit & 1 for bit in range(8)) for byte in range(256)]
