"""Which dead letters of one partition need no replay any more: the progress of replays.

Kafka keeps, for a consumer group, one offset for each partition and a short text with it. The offset says: all before
it are done. Filters and letters that cannot be put back leave some of them undone, so that the text says which ones
beyond the offset are done all the same. What does not fit the text is forgotten, and the text says so: those letters
are offered again, which costs time and changes nothing in the view.
"""

import re
import zlib
from base64 import b64decode, b64encode
from itertools import accumulate, chain, pairwise

_MAX_TEXT = 3_900
"""Bytes; Kafka allows 4,096 (`offset.metadata.max.bytes`)."""
_MAX_RUNS = 20_000
"""Runs that are tried to fit; more never have."""
_FORM = re.compile(r"1(?:\+([0-9]{1,18}))? (\S*)", re.ASCII)
_UNKNOWN = 2**62
_RUNS = re.compile(rb"\x01+")


class Done:
    """A set of offsets, one bit for each that lies beyond the first undone one: a million take 125 kB.

    Args:
        first: every offset before it is done.
        forgotten_before: some before this one may be done without being in the set.
    """

    def __init__(self, first: int = 0, forgotten_before: int = 0) -> None:
        self._forgotten_before = forgotten_before
        self._base = first - first % 8  # the offset of the first bit
        self._bits = bytearray()
        self.add_range(self._base, first)

    def __contains__(self, offset: int) -> bool:
        byte, bit = divmod(offset - self._base, 8)
        return byte < 0 or (byte < len(self._bits) and bool(self._bits[byte] >> bit & 1))

    @property
    def first(self) -> int:
        """The first offset that is not done."""
        done = len(self._bits) - len(self._bits.lstrip(b"\xff"))
        del self._bits[:done]
        self._base += 8 * done
        rest = self._bits[0] if self._bits else 0
        return self._base + (~rest & rest + 1).bit_length() - 1

    @property
    def is_complete(self) -> bool:
        """Whether nothing that was done is forgotten."""
        return self.first >= self._forgotten_before

    def add(self, offset: int) -> None:
        """Take one offset down as done."""
        byte, bit = divmod(offset - self._base, 8)
        if byte < 0:
            return
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1 - len(self._bits)))
        self._bits[byte] |= 1 << bit

    def add_range(self, start: int, stop: int) -> None:
        """Take down every offset from `start` to before `stop`."""
        for offset in range(max(start, self._base), stop):
            self.add(offset)

    def add_all(self, other: "Done") -> None:
        """Take down what another knows to be done."""
        self._forgotten_before = max(self._forgotten_before, other._forgotten_before)  # noqa: SLF001 - its own class
        self.add_range(self.first, other.first)
        for start, stop in other.beyond():
            self.add_range(start, stop)

    def beyond(self) -> list[tuple[int, int]]:
        """The runs of done offsets beyond `first`: where each starts, and where it has ended."""
        first = self.first
        if not self._bits:
            return []
        flags = _flags(self._bits)
        runs = ((self._base + run.start(), self._base + run.end()) for run in _RUNS.finditer(flags))
        return [run for run in runs if run[0] > first]

    def text(self) -> str:
        """What of `beyond` fits the text that Kafka keeps, from the first on."""
        runs = self.beyond()
        ends = [self.first, *chain.from_iterable(runs[:_MAX_RUNS])]
        lengths = [later - earlier for earlier, later in pairwise(ends)]
        least, most = 0, len(lengths) // 2
        while least < most:  # how many runs fit, by bisection
            middle = (least + most + 1) // 2
            least, most = (middle, most) if len(_written(lengths[: 2 * middle])) <= _MAX_TEXT else (least, middle - 1)
        forgotten = max(self._forgotten_before, runs[-1][1] if least < len(runs) else 0)
        mark = f"+{forgotten}" if forgotten > self.first else ""
        return f"1{mark} {_written(lengths[: 2 * least])}"

    @classmethod
    def read(cls, first: int, text: str) -> "Done":
        """What was written down. Of a text that is lost, or that this version cannot read, only `first` is known."""
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
        for start, stop in zip(ends[::2], ends[1::2], strict=False):
            done.add_range(start, stop)
        return done


def _written(lengths: list[int]) -> str:
    return b64encode(zlib.compress(" ".join(map(str, lengths)).encode(), 9)).decode() if lengths else ""


def _flags(bits: bytearray) -> bytes:
    """One byte, 0 or 1, for each bit."""
    return b"".join(_OF_BYTE[byte] for byte in bits)


_OF_BYTE = [bytes(byte >> bit & 1 for bit in range(8)) for byte in range(256)]
