{{/* Names stay short: a CronJob's has at most 52 characters, a Dask cluster's, which the runner makes from its Job's, 53. */}}
{{- define "soilscale.fullname" -}}
{{- $name := .Values.fullnameOverride | default (contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name)) | replace "." "-" -}}
{{- if gt (len $name) 34 -}}
{{- printf "%s-%s" ($name | trunc 27 | trimSuffix "-") ($name | sha256sum | trunc 6) -}}
{{- else -}}
{{- $name -}}
{{- end -}}
{{- end -}}

{{/* What selects: nothing in it changes from release to release. */}}
{{- define "soilscale.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "soilscale.labels" -}}
{{ include "soilscale.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "-._" | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Annotations of an object: the common ones, and over them `.more`. */}}
{{- define "soilscale.ownAnnotations" -}}
{{- with merge dict (.more | default dict) (.root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "soilscale.account" -}}
{{- $account := index .root.Values.serviceAccount .of -}}
{{- $account.name | default (.root.Values.serviceAccount.create | ternary (printf "%s-%s" (include "soilscale.fullname" .root) .of) "default") -}}
{{- end -}}

{{- define "soilscale.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The file of a schedule's configuration. */}}
{{- define "soilscale.configFile" -}}
{{- empty .config | ternary "config.yaml" (printf "config-%s.yaml" .name) -}}
{{- end -}}
