{{- /* The instance: `metrics-worker` and what the name of the release adds to it. The alerts select by this beginning. */}}
{{- define "metrics-worker.suffix" -}}
{{- $rest := trimPrefix "metrics-worker" .Release.Name | trimPrefix "-" -}}
{{- $suffix := ternary "" (printf "-%s" $rest) (empty $rest) -}}
{{- if gt (len $suffix) 31 }}
{{- fail (printf "release name %q is too long: metrics-worker%s must have at most 45 characters, so that Kubernetes can name the CronJob's Jobs" .Release.Name $suffix) }}
{{- end }}
{{- if contains "." $suffix }}
{{- fail (printf "release name %q: a dot is not allowed in the name of a Service, metrics-worker%s" .Release.Name $suffix) }}
{{- end }}
{{- $suffix }}
{{- end }}

{{- define "metrics-worker.instance" -}}
metrics-worker{{ include "metrics-worker.suffix" . }}
{{- end }}

{{- define "metrics-worker.labels" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "metrics-worker.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "metrics-worker.instance" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "metrics-worker.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- /* Longer than the worker's own time to stop, so that SIGKILL ends only a worker that does not stop by itself. */}}
{{- define "metrics-worker.gracePeriodSeconds" -}}
{{- add 15 (ceil (.Values.settings.SHUTDOWN_TIMEOUT_SECONDS | default 30)) }}
{{- end }}

{{- define "metrics-worker.migrationHook" -}}
helm.sh/hook: {{ .Values.migration.hook }}
helm.sh/hook-delete-policy: before-hook-creation
{{- end }}

{{- /* A value as the worker reads it: 1000000, not 1e+06. */}}
{{- define "metrics-worker.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ printf "%d" (int64 .) }}{{ else }}{{ toString . }}{{ end }}
{{- end }}

{{- /* The variables of all pods. */}}
{{- define "metrics-worker.settings" -}}
{{- $instance := include "metrics-worker.instance" . }}
{{- $other := ne $instance "metrics-worker" }}
{{- $settings := dict "KAFKA_TOPIC" "execution-completed" "KAFKA_GROUP_ID" $instance }}
{{- if .Values.secrets.kafka }}{{ $_ := set $settings "KAFKA_SASL_PASSWORD_FILE" "/run/secrets/kafka/password" }}{{ end }}
{{- if .Values.secrets.clickhouse }}{{ $_ := set $settings "CLICKHOUSE_PASSWORD_FILE" "/run/secrets/clickhouse/password" }}{{ end }}
{{- range $name, $value := .Values.settings }}
{{- if not (kindIs "invalid" $value) }}{{ $_ := set $settings $name (include "metrics-worker.text" $value) }}{{ end }}
{{- end }}
{{- if not (or $settings.KAFKA_DLQ_TOPIC $other) }}{{ $_ := set $settings "KAFKA_DLQ_TOPIC" (printf "%s.dlq" $settings.KAFKA_TOPIC) }}{{ end }}
{{- if not $settings.KAFKA_DLQ_TOPIC }}
{{- fail (printf "settings.KAFKA_DLQ_TOPIC: instance %s needs a dead-letter topic of its own; of two instances with one, each would count, replay and settle the dead letters of the other" $instance) }}
{{- end }}
{{- if and $other (eq $settings.KAFKA_DLQ_TOPIC "execution-completed.dlq") }}
{{- fail (printf "settings.KAFKA_DLQ_TOPIC: execution-completed.dlq is that of the instance metrics-worker; give instance %s one of its own" $instance) }}
{{- end }}
{{- if and $other (eq $settings.KAFKA_GROUP_ID "metrics-worker") }}
{{- fail (printf "settings.KAFKA_GROUP_ID: metrics-worker is the consumer group of the instance metrics-worker; leave it out, and it is %s" $instance) }}
{{- end }}
{{- include "metrics-worker.checkSecrets" . }}
{{- include "metrics-worker.checkPorts" (dict "values" .Values "settings" $settings) }}
{{- if and .Values.keda.enabled (gt (int .Values.keda.minReplicas) (int .Values.keda.maxReplicas)) }}
{{- fail (printf "keda.minReplicas: %d are more than keda.maxReplicas, %d" (int .Values.keda.minReplicas) (int .Values.keda.maxReplicas)) }}
{{- end }}
{{- range $name, $value := $settings }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}

{{- /* All pods read the path of the workers' password: one that mounts no Secret in its place would never start. */}}
{{- define "metrics-worker.checkSecrets" -}}
{{- $secrets := .Values.secrets }}
{{- $needed := list (list .Values.migration.enabled "clickhouseMigrator" "clickhouse") (list .Values.dlqWatch.enabled "dlqWatchKafka" "kafka") (list .Values.console.enabled "consoleKafka" "kafka") (list .Values.console.enabled "consoleClickhouse" "clickhouse") }}
{{- range $needed }}
{{- if and (index . 0) (get $secrets (index . 2)) (not (get $secrets (index . 1))) }}
{{- fail (printf "secrets.%s: a name is needed beside secrets.%s; it may be the same Secret, if the user is the same" (index . 1) (index . 2)) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A port that the NetworkPolicy does not allow is a time-out without a reason. With extraEgress it may be allowed. */}}
{{- define "metrics-worker.checkPorts" -}}
{{- $policy := .values.networkPolicy }}
{{- if and $policy.enabled (not $policy.extraEgress) }}
{{- $port := .settings.CLICKHOUSE_PORT | default (ternary "9440" "9000" (eq (.settings.CLICKHOUSE_SECURE | default "false") "true")) }}
{{- range splitList "," .settings.KAFKA_BOOTSTRAP_SERVERS }}
{{- if not (hasSuffix (printf ":%d" (int $policy.kafkaPort)) (trim .)) }}
{{- fail (printf "networkPolicy.kafkaPort: %d does not reach %s of settings.KAFKA_BOOTSTRAP_SERVERS; change one, or allow both by networkPolicy.extraEgress" (int $policy.kafkaPort) (trim .)) }}
{{- end }}
{{- end }}
{{- range splitList "," .settings.CLICKHOUSE_HOST }}
{{- $own := regexFind ":[0-9]+$" (regexReplaceAll "^[^\\[]*:.*:.*$" (trim .) "") | trimPrefix ":" | default $port }}
{{- if ne $own (toString (int $policy.clickhousePort)) }}
{{- fail (printf "networkPolicy.clickhousePort: %d does not reach %s at port %s; change networkPolicy.clickhousePort or settings.CLICKHOUSE_PORT, or allow both by networkPolicy.extraEgress" (int $policy.clickhousePort) (trim .) $own) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The variables of the console alone, which count before those of all pods. */}}
{{- define "metrics-worker.consoleSettings" -}}
{{- $settings := dict "CONSOLE_WORKERS_URL" (printf "http://%s:8080" (include "metrics-worker.instance" .)) }}
{{- if .Values.secrets.consoleKafka }}{{ $_ := set $settings "KAFKA_SASL_PASSWORD_FILE" "/run/secrets/kafka-console/password" }}{{ end }}
{{- if .Values.secrets.consoleClickhouse }}{{ $_ := set $settings "CLICKHOUSE_PASSWORD_FILE" "/run/secrets/clickhouse-console/password" }}{{ end }}
{{- if .Values.secrets.consoleOidc }}{{ $_ := set $settings "CONSOLE_OIDC_CLIENT_SECRET_FILE" "/run/secrets/oidc/client-secret" }}{{ end }}
{{- range $name, $value := .Values.console.settings }}
{{- if not (kindIs "invalid" $value) }}{{ $_ := set $settings $name (include "metrics-worker.text" $value) }}{{ end }}
{{- end }}
{{- $_ := required "console.settings.CONSOLE_PUBLIC_URL: the address at which browsers reach the console" $settings.CONSOLE_PUBLIC_URL }}
{{- range $name, $value := $settings }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}
