{{- /* The instance: `metrics-worker` and what the name of the release adds to it. The alerts select by this beginning. */}}
{{- define "metrics-worker.suffix" -}}
{{- $rest := trimPrefix "metrics-worker" .Release.Name | trimPrefix "-" -}}
{{- $suffix := ternary "" (printf "-%s" $rest) (empty $rest) -}}
{{- if gt (len $suffix) 31 }}
{{- fail (printf "release name %q is too long: metrics-worker%s must have at most 45 characters, so that Kubernetes can name the CronJob's Jobs" .Release.Name $suffix) }}
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
{{- range $name, $value := $settings }}
{{ $name }}: {{ $value | quote }}
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
