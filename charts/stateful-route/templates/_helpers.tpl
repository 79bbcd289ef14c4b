{{- define "stateful-route.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "stateful-route.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "stateful-route.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "stateful-route.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* Names of cluster-scoped objects, and of Roles in other namespaces: releases of the same name do not meet there. */}}
{{- define "stateful-route.globalName" -}}
{{- printf "%s:%s" .Release.Namespace (include "stateful-route.fullname" .) }}
{{- end }}

{{- define "stateful-route.selectorLabels" -}}
app.kubernetes.io/name: {{ include "stateful-route.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "stateful-route.operatorLabels" -}}
{{ include "stateful-route.selectorLabels" . }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "stateful-route.labels" -}}
{{ include "stateful-route.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "stateful-route.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "stateful-route.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "stateful-route.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{- define "stateful-route.valkeyName" -}}
{{ include "stateful-route.fullname" . }}-valkey
{{- end }}

{{- /* Its URL, its password, and a configuration with the password. */}}
{{- define "stateful-route.valkeySecret" -}}
{{ default (include "stateful-route.valkeyName" .) .Values.valkey.existingSecret.name }}
{{- end }}

{{- /* What the operator needs of StatefulRoutes, StatefulSets and pods where it serves. */}}
{{- define "stateful-route.servingRules" -}}
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch]
{{- range .Values.workloads }}
- apiGroups: [{{ .group }}]
  resources:
    {{- range .resources }}
    - {{ . }}
    - {{ . }}/scale
    {{- end }}
  verbs: [get]
{{- end }}
- apiGroups: [statefulroute.io]
  resources: [statefulroutes]
  verbs: [list, watch, patch]
- apiGroups: [statefulroute.io]
  resources: [statefulroutes/status]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{- define "stateful-route.checkValues" -}}
{{- $sources := 0 }}
{{- range list .Values.redis.url .Values.redis.existingSecret.name .Values.valkey.enabled }}
{{- if . }}{{ $sources = add1 $sources }}{{ end }}
{{- end }}
{{- if gt (int $sources) 1 }}
{{- fail "set one of redis.url, redis.existingSecret.name and valkey.enabled: the operator has one default store" }}
{{- end }}
{{- /* Not in the schema: what it says of a pattern has the value, which may be a password, and not the way out. */}}
{{- if not (regexMatch "^((rediss?(\\+(cluster|sentinel))?|unix)://[^\\s]+)?$" .Values.redis.url) }}
{{- fail "redis.url is not the URL of a store: it begins with redis://, rediss://, unix://, redis+cluster://, rediss+cluster://, redis+sentinel:// or rediss+sentinel://, and has no spaces" }}
{{- end }}
{{- if regexMatch "://.*:.*@|[?&](?i:[^=&]*password|[^=&]*%[^=&]*)=" .Values.redis.url }}
{{- fail "redis.url has a password, or a setting whose name is %-encoded: values end up in manifests. Put the URL into a Secret and name that in redis.existingSecret.name, or the password alone into one that redis.passwordSecret.name names" }}
{{- end }}
{{- if .Values.redis.passwordSecret.name }}
{{- if not .Values.redis.url }}
{{- fail "redis.passwordSecret.name is for the URL in redis.url, which is not set; a URL in redis.existingSecret has its password itself, and so has that of valkey.enabled" }}
{{- end }}
{{- if not (regexMatch "[?&](sentinel_)?password_file=(/|%2[Ff])etc(/|%2[Ff])stateful-route(/|%2[Ff])login(/|%2[Ff])password(&|$)" .Values.redis.url) }}
{{- fail "redis.passwordSecret.name is set, but redis.url does not use the password: add password_file=/etc/stateful-route/login/password to its settings (or sentinel_password_file=…, where only Sentinels want it)" }}
{{- end }}
{{- end }}
{{- if and (gt (int .Values.replicas) 1) (not .Values.leaderElection.enabled) }}
{{- fail (printf "replicas is %d, but leaderElection.enabled is false: two operators at once would contradict each other" (int .Values.replicas)) }}
{{- end }}
{{- if .Values.watchNamespaces }}
{{- range $namespace, $names := .Values.redis.secretNames }}
{{- if not (has $namespace $.Values.watchNamespaces) }}
{{- fail (printf "redis.secretNames names the namespace %q, which watchNamespaces does not" $namespace) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Of what exists during an uninstallation only; what failed stays, for its log. */}}
{{- define "stateful-route.preDelete" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
