"""Programs that this machine has, else from Debian's packages: unpacked and not installed, without root."""

from __future__ import annotations

import shutil
from pathlib import Path

from deploy.checks import tools
from deploy.checks.tools import ToolMissingError, is_made, made, run

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
_UNPACKED = Path("usr/lib/chromium/chromium-headless-shell")
_LIBRARIES = tuple(f"{top}lib/*-linux-gnu*{place}" for top in ("", "usr/") for place in ("", "/nss", "/pulseaudio"))
_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>/usr/share/fonts</dir><dir>{fonts}</dir><cachedir>{cache}</cachedir></fontconfig>
"""


def ensure_prometheus() -> tuple[Path, Path]:
    """The programs prometheus and promtool.

    Raises:
        ToolMissingError: this machine does not have them, and they are not to be had.
    """
    installed = shutil.which("prometheus"), shutil.which("promtool")
    if installed[0] and installed[1]:
        return Path(installed[0]), Path(installed[1])
    folder = tools.CACHE / "prometheus"
    if not is_made(folder, "deb"):
        _unpack("prometheus", folder)
        made(folder, "deb")
    return folder / "usr" / "bin" / "prometheus", folder / "usr" / "bin" / "promtool"


def ensure_chromium() -> tuple[str, ...]:
    """The words that start a Chromium, to which its options are added.

    Raises:
        ToolMissingError: this machine has none, and Debian's is not to be had or does not start here.
    """
    if installed := next(filter(None, map(shutil.which, _CHROMIUM)), None):
        return (installed,)
    folder = tools.CACHE / "chromium"
    try:
        if not is_made(folder, "deb"):
            # The one without windows: it needs the fewest libraries.
            _unpack("chromium-headless-shell", folder, with_libraries=True)
            fonts = _FONTS.format(fonts=folder / "usr/share/fonts", cache=folder / "cache")
            (folder / "fonts.conf").write_text(fonts, "utf-8")
            run((*_unpacked_chromium(folder), "--version"))
            made(folder, "deb")
    except ToolMissingError as error:
        names = ", ".join(_CHROMIUM)
        raise ToolMissingError(f"install Chromium: none of {names} is on the PATH, and Debian's: {error}") from error
    return _unpacked_chromium(folder)


def _unpacked_chromium(folder: Path) -> tuple[str, ...]:
    """Its libraries, and those that they load by name, are where the linker does not look of itself."""
    places = [path for pattern in _LIBRARIES for path in folder.glob(pattern)]
    linker = f"LD_LIBRARY_PATH={':'.join(map(str, places))}"
    return ("env", linker, f"FONTCONFIG_FILE={folder / 'fonts.conf'}", str(folder / _UNPACKED))


def _unpack(package: str, folder: Path, *, with_libraries: bool = False) -> None:
    """Download with the lists of this machine; with lists of our own, which need no root, where it has none."""
    try:
        _download(package, folder, (), with_libraries=with_libraries)
    except ToolMissingError:
        lists, cache = tools.CACHE / "apt" / "state", tools.CACHE / "apt" / "cache"
        (lists / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        own = (f"Dir::State={lists}", f"Dir::Cache={cache}", "Dir::State::status=/var/lib/dpkg/status")
        options = tuple(word for option in own for word in ("-o", option))
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
