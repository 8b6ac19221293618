"""Where the templates of the chart differ from the manifests of the kustomize tree: each place, and what is there.

To add a component: an entry in `COMPONENTS`, a function with its places, its values in `values_schema` and in
`values.yaml` of the chart, and a case in `tests/deploy/test_helm_chart.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.helm_chart.paths import condition_at, extend_at, get_at, set_at
from deploy.helm_chart.source import SUFFIX
from deploy.helm_chart.template_yaml import Block, Either, Text, When, expression

if TYPE_CHECKING:
    from deploy.checks.manifests import Manifest

    Manifests = dict[str, Manifest]

COMPONENTS = {
    "console": ".Values.console.enabled",
    "dlq-watch": ".Values.dlqWatch.enabled",
    "external-secrets": ".Values.externalSecrets.enabled",
    "keda": ".Values.keda.enabled",
}
"""The components in the chart, each with the condition for its manifests."""
NOT_IN_CHART = {"namespace": "Helm creates no namespace with labels; README.md of the chart has the command"}
"""The other components, each with the reason."""
_EXTERNAL = "ExternalSecret/metrics-worker"
CONDITIONS = {
    "ServiceAccount/metrics-worker": ".Values.serviceAccount.create",
    "Job/metrics-worker-migrate": ".Values.migration.enabled",
    "CronJob/metrics-worker-replay": ".Values.replay.enabled",
    "PodDisruptionBudget/metrics-worker": ".Values.podDisruptionBudget.enabled",
    "NetworkPolicy/metrics-worker": ".Values.networkPolicy.enabled",
    "NetworkPolicy/metrics-worker-dlq-watch": ".Values.networkPolicy.enabled",
    "NetworkPolicy/metrics-worker-console": ".Values.networkPolicy.enabled",
    f"{_EXTERNAL}-kafka": ".Values.secrets.kafka",
    f"{_EXTERNAL}-clickhouse": ".Values.secrets.clickhouse",
    f"{_EXTERNAL}-clickhouse-migrator": "and .Values.migration.enabled .Values.secrets.clickhouseMigrator",
    f"{_EXTERNAL}-dlq-watch-kafka": "and .Values.dlqWatch.enabled .Values.secrets.dlqWatchKafka",
}
"""Manifests that are there only under a condition, beside that of their component."""
SECRETS = {
    "metrics-worker-kafka": ".Values.secrets.kafka",
    "metrics-worker-clickhouse": ".Values.secrets.clickhouse",
    "metrics-worker-clickhouse-migrator": ".Values.secrets.clickhouseMigrator",
    "metrics-worker-console-kafka": ".Values.secrets.consoleKafka",
    "metrics-worker-console-clickhouse": ".Values.secrets.consoleClickhouse",
    "metrics-worker-console-oidc": ".Values.secrets.consoleOidc",
    "metrics-worker-dlq-watch-kafka": ".Values.secrets.dlqWatchKafka",
}
"""The names of the Secrets; an empty value says that there is none."""


def put_expressions(manifests: Manifests) -> None:
    """Replace what the values decide by expressions, in all manifests."""
    _every_manifest(manifests)
    _worker(manifests)
    _migration(manifests["Job/metrics-worker-migrate"])
    _replay(manifests["CronJob/metrics-worker-replay"])
    _network_policies(manifests)
    _dlq_watch(manifests["Deployment/metrics-worker-dlq-watch"])
    _console(manifests)
    _keda(manifests["ScaledObject/metrics-worker"])
    _external_secrets(manifests)


def _every_manifest(manifests: Manifests) -> None:
    for manifest in manifests.values():
        set_at(manifest, "metadata.namespace", expression(".Release.Namespace"))
        extend_at(manifest, "metadata.labels", 'include "metrics-worker.labels" .', None)
        extend_at(manifest, "metadata.annotations", "toYaml .Values.commonAnnotations", ".Values.commonAnnotations")


def _worker(manifests: Manifests) -> None:
    account = manifests["ServiceAccount/metrics-worker"]
    set_at(account, "metadata.name", expression('include "metrics-worker.serviceAccountName" .'))
    extend_at(account, "metadata.annotations", "toYaml .Values.serviceAccount.annotations", _ACCOUNT_ANNOTATIONS)
    set_at(manifests["ConfigMap/metrics-worker"], "data", Block('include "metrics-worker.settings" .'))
    budget = manifests["PodDisruptionBudget/metrics-worker"]
    set_at(budget, "spec.maxUnavailable", expression(".Values.podDisruptionBudget.maxUnavailable"))
    workers = manifests["StatefulSet/metrics-worker"]
    set_at(workers, "spec.replicas", When("not .Values.keda.enabled", expression(".Values.replicas")))
    pod = "spec.template"
    _pod(workers, pod, ".Values.resources")
    set_at(workers, f"{pod}.spec.terminationGracePeriodSeconds", _GRACE_PERIOD)
    spread = f"{pod}.spec.topologySpreadConstraints"
    set_at(workers, spread, Either(".Values.topologySpreadConstraints", get_at(workers, spread)))


_ACCOUNT_ANNOTATIONS = ".Values.serviceAccount.annotations"
_GRACE_PERIOD = expression('include "metrics-worker.gracePeriodSeconds" .')


def _migration(job: Manifest) -> None:
    # A Job cannot be changed, so every revision has one of its own, which Helm deletes with the next revision.
    revision = '{{ if eq .Values.migration.hook "none" }}-{{ .Release.Revision }}{{ end }}'
    set_at(job, "metadata.name", Text(f"metrics-worker-migrate{SUFFIX}{revision}"))
    hook = 'include "metrics-worker.migrationHook" .'
    extend_at(job, "metadata.annotations", hook, 'ne .Values.migration.hook "none"')
    pod = "spec.template"
    _pod(job, pod, ".Values.migration.resources")
    env = f"{pod}.spec.containers.[name=migrate].env"
    set_at(job, f"{env}.[name=CLICKHOUSE_USER].value", expression(".Values.migration.user | quote"))
    condition_at(job, f"{env}.[name=CLICKHOUSE_PASSWORD_FILE]", ".Values.secrets.clickhouseMigrator")


def _replay(cron: Manifest) -> None:
    set_at(cron, "spec.schedule", expression(".Values.replay.schedule | quote"))
    pod = "spec.jobTemplate.spec.template"
    _pod(cron, pod, ".Values.replay.resources")
    set_at(cron, f"{pod}.spec.terminationGracePeriodSeconds", _GRACE_PERIOD)


def _dlq_watch(watch: Manifest) -> None:
    pod = "spec.template"
    _pod(watch, pod, ".Values.dlqWatch.resources")
    env = f"{pod}.spec.containers.[name=watch].env"
    set_at(watch, f"{env}.[name=KAFKA_SASL_USERNAME].value", expression(".Values.dlqWatch.user | quote"))
    for name in ("KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD_FILE"):
        condition_at(watch, f"{env}.[name={name}]", ".Values.secrets.dlqWatchKafka")


def _console(manifests: Manifests) -> None:
    settings = 'include "metrics-worker.consoleSettings" .'
    set_at(manifests["ConfigMap/metrics-worker-console"], "data", Block(settings))
    deployment = manifests["Deployment/metrics-worker-console"]
    pod = "spec.template"
    _pod(deployment, pod, ".Values.console.resources")
    get_at(deployment, f"{pod}.metadata.annotations")["checksum/console"] = expression(f"{settings} | sha256sum")
    set_at(deployment, f"{pod}.spec.terminationGracePeriodSeconds", _GRACE_PERIOD)


def _network_policies(manifests: Manifests) -> None:
    sources = dict.fromkeys(("", "-dlq-watch"), ".Values.networkPolicy.prometheusNamespace")
    sources["-console"] = ".Values.console.ingressNamespace"
    for name, source in sources.items():
        policy = manifests[f"NetworkPolicy/metrics-worker{name}"]
        labels = get_at(policy, "spec.ingress.[0].from.[0].namespaceSelector.matchLabels")
        labels["kubernetes.io/metadata.name"] = expression(source)
        set_at(policy, "spec.egress.[1].ports.[0].port", expression(".Values.networkPolicy.kafkaPort"))
        addresses = ".Values.networkPolicy.addresses"
        set_at(policy, "spec.egress.[1].to", When(addresses, Block(f"toYaml {addresses}")))
        extend_at(
            policy, "spec.egress", "toYaml .Values.networkPolicy.extraEgress", ".Values.networkPolicy.extraEgress"
        )
        if name != "-dlq-watch":
            set_at(policy, "spec.egress.[1].ports.[1].port", expression(".Values.networkPolicy.clickhousePort"))


def _keda(scaled: Manifest) -> None:
    set_at(scaled, "spec.minReplicaCount", expression(".Values.keda.minReplicas"))
    set_at(scaled, "spec.fallback.replicas", expression(".Values.keda.minReplicas"))
    set_at(scaled, "spec.maxReplicaCount", expression(".Values.keda.maxReplicas"))
    set_at(
        scaled, "spec.triggers.[name=lag].metadata.threshold", expression(".Values.keda.lagThreshold | int64 | quote")
    )
    own = {
        'namespace="metrics"': 'namespace="{{ .Release.Namespace }}"',
        'instance="metrics-worker"': f'instance="metrics-worker{SUFFIX}"',
    }
    for trigger in get_at(scaled, "spec.triggers"):
        metadata = trigger["metadata"]
        metadata["serverAddress"] = expression(".Values.keda.prometheusAddress")
        for default, value in own.items():
            metadata["query"] = metadata["query"].replace(default, value)
        metadata["query"] = Text(f"'{metadata['query']}'")


def _external_secrets(manifests: Manifests) -> None:
    values = ".Values.externalSecrets"
    for name, manifest in manifests.items():
        if name.startswith("ExternalSecret/"):
            secret = SECRETS[manifest["spec"]["target"]["name"]]
            # Secrets are shared by the instances of a namespace, so they have neither suffix nor label of one.
            set_at(manifest, "metadata.name", expression(secret))
            set_at(manifest, "spec.target.name", expression(secret))
            manifest["metadata"]["labels"].pop("app.kubernetes.io/instance")
            set_at(manifest, "spec.refreshInterval", expression(f"{values}.refreshInterval"))
            set_at(manifest, "spec.secretStoreRef", Block(f"toYaml {values}.secretStoreRef"))
            key = secret.removeprefix(".Values.secrets.")
            for entry in get_at(manifest, "spec.data"):
                set_at(entry, "remoteRef.key", expression(f"{values}.keys.{key} | quote"))


def _pod(manifest: Manifest, pod: str, resources: str) -> None:
    """What every pod has; `pod` is the path of its template."""
    checksum = expression('include "metrics-worker.settings" . | sha256sum')
    set_at(manifest, f"{pod}.metadata.annotations", {"checksum/settings": checksum})
    for key, value in {"annotations": ".Values.podAnnotations", "labels": ".Values.podLabels"}.items():
        extend_at(manifest, f"{pod}.metadata.{key}", f"toYaml {value}", value)
    spec = f"{pod}.spec"
    set_at(manifest, f"{spec}.serviceAccountName", expression('include "metrics-worker.serviceAccountName" .'))
    for key, value in _POD_VALUES.items():
        extend_at(manifest, f"{spec}.{key}", f"toYaml {value}", value)
    container = f"{spec}.containers.[0]"
    set_at(manifest, f"{container}.image", expression('include "metrics-worker.image" .'))
    set_at(manifest, f"{container}.imagePullPolicy", expression(".Values.image.pullPolicy"))
    set_at(manifest, f"{container}.resources", Block(f"toYaml {resources}"))
    _pod_secrets(manifest, spec, container)
    for place, value in {
        f"{container}.env": ".Values.extraEnv",
        f"{container}.volumeMounts": ".Values.extraVolumeMounts",
        f"{spec}.volumes": ".Values.extraVolumes",
    }.items():
        extend_at(manifest, place, f"toYaml {value}", value)


_POD_VALUES = {
    "imagePullSecrets": ".Values.image.pullSecrets",
    "nodeSelector": ".Values.nodeSelector",
    "tolerations": ".Values.tolerations",
    "affinity": ".Values.affinity",
}


def _pod_secrets(manifest: Manifest, spec: str, container: str) -> None:
    """Mount each Secret by the name in the values, and not at all if that is empty."""
    for volume in list(get_at(manifest, f"{spec}.volumes")):
        if "secret" in volume:
            secret = SECRETS[volume["secret"]["secretName"]]
            volume["secret"]["secretName"] = expression(secret)
            for place in (f"{spec}.volumes", f"{container}.volumeMounts"):
                condition_at(manifest, f"{place}.[name={volume['name']}]", secret)
