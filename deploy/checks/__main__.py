"""`python -m deploy.checks`: install the tools and run every check. Exit code 1 if a check failed or could not run.

With `--allow-missing`, a check whose tool cannot be installed is listed, but does not change the exit code.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from deploy.checks import charts, debian, manifests, rules, tools
from deploy.local.process import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_DOCKERFILE = REPOSITORY / "deploy" / "Dockerfile"
_RULE_TESTS = REPOSITORY / "tests" / "deploy" / "rules_test.yaml"
_CHART = "chart"
_TESTS = "tests/deploy: image, real Prometheus, status page in Chromium"


class CheckFailedError(Exception):
    """A check failed; the message lists what it found."""


def main() -> int:
    """Run every check, even after a failure; print one line for each and a summary."""
    arguments = argparse.ArgumentParser(prog="python -m deploy.checks", description="check the deployment")
    arguments.add_argument("--allow-missing", action="store_true", help="do not fail when a tool cannot be installed")
    allow_missing = arguments.parse_args().allow_missing
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(1) as executor:
        checks = _checks(Path(scratch))
        tests = executor.submit(_run_check, _TESTS, checks.pop(_TESTS))  # they mostly wait for alerts
        counts = Counter(_run_check(name, check) for name, check in checks.items())
        counts[tests.result()] += 1
    _print_line(f"{counts['ok']} passed, {counts['FAILED']} failed, {counts['COULD NOT RUN']} could not run")
    return 1 if counts["FAILED"] or (counts["COULD NOT RUN"] and not allow_missing) else 0


def _run_check(name: str, check: Callable[[], str]) -> str:
    started = time.monotonic()
    try:
        summary = check()
    except CheckFailedError as error:
        _print_line(f"FAILED  {name}\n{error}")
        return "FAILED"
    except tools.ToolError as error:
        _print_line(f"COULD NOT RUN  {name}\n{error}")
        return "COULD NOT RUN"
    _print_line(f"ok      {name} ({summary}; {time.monotonic() - started:.1f} s)")
    return "ok"


def _checks(scratch: Path) -> dict[str, Callable[[], str]]:
    """Return each check by name. A check returns a short summary, or raises CheckFailedError or ToolError."""
    return {
        "kustomize builds every overlay and the monitoring": lambda: _build_all(scratch),
        "helm lint and helm template": lambda: _render_chart(scratch),
        "schemas: Kubernetes, KEDA, Prometheus operator, External Secrets": lambda: _check_schemas(scratch),
        "restricted Pod Security": lambda: _check_pod_security(scratch),
        "checkov, offline": lambda: _run_checkov(scratch),
        "hadolint": _run_hadolint,
        "promtool check rules": lambda: _check_rules(scratch),
        "promtool test rules": lambda: _test_rules(scratch),
        _TESTS: _run_tests,
    }


def _build_all(scratch: Path) -> str:
    """Build with the pinned kustomize; if kubectl is installed, compare with what its kustomize builds."""
    kustomize, _ = tools.ensure_go_tools()
    kubectl = shutil.which("kubectl")
    for name, folder in manifests.BUILDS.items():
        built = _run_tool((kustomize, "build", folder))
        parse = manifests.parse_manifests
        if kubectl and parse(_run_tool((kubectl, "kustomize", folder))) != parse(built):
            raise CheckFailedError(f"{name}: kubectl kustomize and kustomize build different manifests")
        (scratch / f"{name}.yaml").write_text(built, "utf-8")
    return f"{', '.join(manifests.BUILDS)}; kubectl kustomize {'builds the same' if kubectl else 'is not installed'}"


def _render_chart(scratch: Path) -> str:
    helm = tools.ensure_helm()
    try:
        linted = charts.lint_chart(helm)
        rendered = charts.render_everything(helm)
    except tools.ToolFailedError as error:
        raise CheckFailedError(str(error)) from error
    (scratch / f"{_CHART}.yaml").write_text(yaml.safe_dump_all(rendered), "utf-8")
    return f"{linted}; {len(rendered)} manifests"


def _load_rendered(scratch: Path) -> dict[str, list[manifests.Manifest]]:
    files = {name: scratch / f"{name}.yaml" for name in (*manifests.BUILDS, _CHART)}
    if missing := [name for name, file in files.items() if not file.exists()]:
        raise tools.ToolError(f"not built: {', '.join(missing)}")
    return {name: manifests.parse_manifests(file.read_text("utf-8")) for name, file in files.items()}


def _check_schemas(scratch: Path) -> str:
    crd_files, count = tools.fetch_crds(), 0
    for overlay, found in _load_rendered(scratch).items():
        _fail_if_any(f"{overlay}: {error}" for error in manifests.schema_errors(found, crd_files))
        count += len(found)
    return f"{count} manifests, Kubernetes {' and '.join(manifests.KUBERNETES_VERSIONS)}"


def _check_pod_security(scratch: Path) -> str:
    _, podsecurity = tools.ensure_go_tools()
    count = 0
    for overlay, found in _load_rendered(scratch).items():
        templates = manifests.pod_templates(found)
        _fail_if_any(f"{overlay}: {error}" for error in manifests.pod_security_violations(podsecurity, templates))
        count += len(templates)
    return f"{count} Pod templates, {manifests.PROFILE_VERSION}"


def _run_checkov(scratch: Path) -> str:
    _load_rendered(scratch)
    (scratch / "Dockerfile").write_text(_DOCKERFILE.read_text("utf-8"), "utf-8")
    options = ("--skip-download", "--framework", "kubernetes", "dockerfile", "--compact", "--quiet")
    output = _run_tool((tools.ensure_checkov(), *options, "--directory", scratch), {"BC_SKIP_MAPPING": "TRUE"})
    return ", ".join(line for line in output.splitlines() if line.startswith("Passed checks"))


def _run_hadolint() -> str:
    return _run_tool((Path(sys.executable).parent / "hadolint", _DOCKERFILE)) or _DOCKERFILE.name


def _check_rules(scratch: Path) -> str:
    _, promtool = debian.ensure_prometheus()
    file = scratch / "rules.yml"
    file.write_text(yaml.safe_dump(rules.load_rule_file(), sort_keys=False), "utf-8")
    _run_tool((promtool, "check", "rules", file))
    return f"{len(rules.load_alerts())} alerts"


def _test_rules(scratch: Path) -> str:
    _, promtool = debian.ensure_prometheus()
    tests = scratch / "rules_test.yml"
    tests.write_text(_RULE_TESTS.read_text("utf-8"), "utf-8")  # it refers to rules.yml in the same folder
    _run_tool((promtool, "test", "rules", tests))
    return f"{len(yaml.safe_load(tests.read_text('utf-8'))['tests'])} cases"


def _run_tests() -> str:
    # The tests of alerts come first, because they mostly wait.
    parallel = ("-n", "10", "--dist", "loadfile", "--no-loadscope-reorder")
    output = _run_tool((sys.executable, "-m", "pytest", "-q", "--show-capture=no", *parallel, "tests/deploy"))
    return output.strip().splitlines()[-1].strip("= ")


def _run_tool(command: tuple[str | Path, ...], environment: dict[str, str] | None = None) -> str:
    """Return the output of a tool. A tool that fails has found a defect, so its failure is the check's."""
    try:
        return tools.run(command, environment=environment)
    except tools.ToolFailedError as error:
        raise CheckFailedError(str(error)) from error


def _fail_if_any(errors: Iterable[str]) -> None:
    if found := "\n".join(errors):
        raise CheckFailedError(found)


def _print_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
