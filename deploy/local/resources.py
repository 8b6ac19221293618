"""What a process uses, as Linux counts it."""

from __future__ import annotations

import os
import re
from pathlib import Path

CPU_RESOLUTION = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds."""


def cpu_seconds(pid: int) -> float:
    """User and system CPU time since the start of a process (/proc/PID/stat, fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * CPU_RESOLUTION


def memory_bytes(pid: int) -> int:
    """Resident memory of a process now (VmRSS)."""
    return _memory(pid, "VmRSS")


def peak_memory_bytes(pid: int) -> int:
    """Peak resident memory of a process (VmHWM)."""
    return _memory(pid, "VmHWM")


def _memory(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024  # type: ignore[index]  # always present
