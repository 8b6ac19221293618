"""Prometheus and Chromium: from this machine, else unpacked from Debian's packages, without root."""

from __future__ import annotations

import shutil
from pathlib import Path

from deploy.checks import tools
from deploy.checks.tools import ToolError, hold_lock, install_once, run

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
_UNPACKED = Path("usr/lib/chromium/chromium-headless-shell")
_LIBRARIES = tuple(f"{top}lib/*-linux-gnu*{place}" for top in ("", "usr/") for place in ("", "/nss", "/pulseaudio"))
_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>/usr/share/fonts</dir><dir>{fonts}</dir><cachedir>{cache}</cachedir></fontconfig>
"""


def ensure_prometheus() -> tuple[Path, Path]:
    """Return the programs prometheus and promtool; unpack Debian's package if this machine has none.

    Raises:
        ToolError: the package could not be downloaded or unpacked.
    """
    installed = shutil.which("prometheus"), shutil.which("promtool")
    if installed[0] and installed[1]:
        return Path(installed[0]), Path(installed[1])
    folder = tools.CACHE / "prometheus"
    install_once(folder, "deb", lambda folder: _unpack("prometheus", folder))
    return folder / "usr" / "bin" / "prometheus", folder / "usr" / "bin" / "promtool"


def ensure_chromium() -> tuple[str, ...]:
    """Return the command that starts Chromium, without options; unpack Debian's package if this machine has none.

    Raises:
        ToolError: the package could not be downloaded, or its Chromium does not start on this machine.
    """
    if installed := next(filter(None, map(shutil.which, _CHROMIUM)), None):
        return (installed,)
    folder = tools.CACHE / "chromium"
    try:
        install_once(folder, "deb", _unpack_chromium)
    except ToolError as error:
        names = ", ".join(_CHROMIUM)
        raise ToolError(f"install Chromium: none of {names} is on the PATH, and Debian's: {error}") from error
    return _unpacked_chromium_command(folder)


def _unpack_chromium(folder: Path) -> None:
    # The headless shell needs the fewest libraries.
    _unpack("chromium-headless-shell", folder, with_libraries=True)
    fonts = _FONTS.format(fonts=folder / "usr/share/fonts", cache=folder / "cache")
    (folder / "fonts.conf").write_text(fonts, "utf-8")
    run((*_unpacked_chromium_command(folder), "--version"))


def _unpacked_chromium_command(folder: Path) -> tuple[str, ...]:
    """Return the command with LD_LIBRARY_PATH set: the libraries are not in the linker's default folders."""
    places = [path for pattern in _LIBRARIES for path in folder.glob(pattern)]
    linker = f"LD_LIBRARY_PATH={':'.join(map(str, places))}"
    return ("env", linker, f"FONTCONFIG_FILE={folder / 'fonts.conf'}", str(folder / _UNPACKED))


def _unpack(package: str, folder: Path, *, with_libraries: bool = False) -> None:
    """Unpack a package into `folder`. If this machine has no package lists, fetch our own, which needs no root."""
    try:
        _download(package, folder, (), with_libraries=with_libraries)
    except ToolError:
        lists, cache = tools.CACHE / "apt" / "state", tools.CACHE / "apt" / "cache"
        (lists / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        own = (f"Dir::State={lists}", f"Dir::Cache={cache}", "Dir::State::status=/var/lib/dpkg/status")
        options = tuple(word for option in own for word in ("-o", option))
        with hold_lock("apt"):
            run(("apt-get", *options, "--quiet", "update"))
        _download(package, folder, options, with_libraries=with_libraries)
    for file in folder.glob("*.deb"):
        run(("dpkg-deb", "--extract", file, folder))
        file.unlink()


def _download(package: str, folder: Path, options: tuple[str, ...], *, with_libraries: bool) -> None:
    packages = {package}
    if with_libraries:
        install = ("apt-get", *options, "--simulate", "--no-install-recommends", "install", package)
        packages |= {line.split()[1] for line in run(install).splitlines() if line.startswith("Inst ")}
    run(("apt-get", *options, "--quiet", "download", *sorted(packages)), cwd=folder)
