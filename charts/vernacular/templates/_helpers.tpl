{{- define "vernacular.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "vernacular.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "vernacular.mlflow.fullname" -}}
{{- printf "%s-mlflow" (include "vernacular.fullname" .) }}
{{- end }}

{{- define "vernacular.openai.fullname" -}}
{{- printf "%s-openai" (include "vernacular.fullname" .) }}
{{- end }}

{{/* Name under which pods of jobs reach the OpenAI-compatible API */}}
{{- define "vernacular.openai.host" -}}
{{- printf "%s.%s.svc" (include "vernacular.openai.fullname" .) .Release.Namespace }}
{{- end }}

{{/* Configuration file of the OpenAI-compatible API */}}
{{- define "vernacular.openai.config" -}}
downloadHost: {{ include "vernacular.openai.host" . }}
jobDefaults: {{ .Values.openaiApi.jobDefaults | toJson }}
models: {{ .Values.openaiApi.models | toJson }}
files:
  maxFileMiB: {{ int64 .Values.openaiApi.files.maxFileMiB }}
  maxNamespaceMiB: {{ int64 .Values.openaiApi.files.maxNamespaceMiB }}
{{- end }}

{{/* "true" when the bundled MLflow server keeps anything on a volume */}}
{{- define "vernacular.mlflow.hasVolume" -}}
{{- with .Values.mlflow.bundled }}
{{- if not (and (.database | default dict).secretName (.artifacts | default dict).destination) }}true{{ end }}
{{- end }}
{{- end }}

{{- define "vernacular.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "vernacular.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Labels that select the pods of one component: dict "root" . "component" NAME */}}
{{- define "vernacular.selector" -}}
app.kubernetes.io/name: {{ include "vernacular.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* What every pod of the restricted policy says; argument: the user */}}
{{- define "vernacular.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ int64 . }}
runAsGroup: {{ int64 . }}
fsGroup: {{ int64 . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "vernacular.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Address of MLflow as pods reach it; says what to write when there is none, or one too many */}}
{{- define "vernacular.trackingUri" -}}
{{- if and .Values.mlflow.bundled.enabled .Values.mlflow.trackingUri }}
{{- fail "mlflow.trackingUri and mlflow.bundled.enabled exclude each other: leave mlflow.trackingUri empty to use the bundled server, or set mlflow.bundled.enabled=false" }}
{{- else if .Values.mlflow.bundled.enabled }}
{{- printf "http://%s.%s:5000" (include "vernacular.mlflow.fullname" .) .Release.Namespace }}
{{- else if .Values.mlflow.trackingUri }}
{{- .Values.mlflow.trackingUri | trimSuffix "/" }}
{{- else }}
{{- fail "no MLflow server: set mlflow.trackingUri to the address of yours, or mlflow.bundled.enabled=true to install one" }}
{{- end }}
{{- end }}

{{/* The operator's configuration file */}}
{{- define "vernacular.config" -}}
images:
  data: {{ .Values.images.data | quote }}
  trainer: {{ .Values.images.trainer | quote }}
  pullPolicy: {{ .Values.images.pullPolicy }}
  pullSecrets: {{ .Values.images.pullSecrets | toJson }}
watchNamespaces: {{ .Values.watchNamespaces | toJson }}
mlflow:
  trackingUri: {{ include "vernacular.trackingUri" . | quote }}
  externalUrl: {{ .Values.mlflow.externalUrl | quote }}
{{- $config := deepCopy .Values.config }}
{{- if .Values.openaiApi.enabled }}
{{- /* prepare pods read uploaded files from it */}}
{{- $_ := set $config.https "hosts" (append $config.https.hosts (include "vernacular.openai.host" .)) }}
{{- end }}
{{ toYaml $config }}
{{- end }}

{{/* Pods of every stage of every job */}}
{{- define "vernacular.stagePods" -}}
matchLabels:
  app.kubernetes.io/managed-by: vernacular
matchExpressions:
  - key: vernacular.dev/stage
    operator: Exists
{{- end }}

{{- define "vernacular.egressToNames" -}}
# names; some clusters answer them on another port than 53
- ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - port: {{ . }}
      protocol: UDP
    - port: {{ . }}
      protocol: TCP
    {{- end }}
{{- end }}

{{- define "vernacular.egressToMlflow" -}}
{{- if .Values.mlflow.bundled.enabled -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ .Release.Namespace }}
      podSelector:
        matchLabels:
          {{- include "vernacular.selector" (dict "root" . "component" "mlflow") | nindent 10 }}
  ports:
    - port: 5000
{{- else -}}
{{- $url := urlParse (include "vernacular.trackingUri" .) -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
- ports:
    - port: {{ $port | default (ternary "443" "80" (eq $url.scheme "https")) }}
{{- end }}
{{- end }}
