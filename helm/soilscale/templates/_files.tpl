{{/* The configuration, one more for each schedule that differs, and the files beside them: data of a ConfigMap. */}}
{{- define "soilscale.files" -}}
{{- $files := deepCopy (.Values.files | default dict) -}}
{{- with .Values.config -}}
{{- $_ := set $files "config.yaml" (mustToYaml .) -}}
{{- end -}}
{{- $base := .Values.config -}}
{{- range .Values.schedules -}}
{{- if .config -}}
{{- $_ := set $files (include "soilscale.configFile" .) (mergeOverwrite (deepCopy $base) .config | mustToYaml) -}}
{{- end -}}
{{- end -}}
{{- mustToYaml $files -}}
{{- end -}}

{{/* The Dask clusters that a runner may ask for: one, or one for each stage. */}}
{{- define "soilscale.clusterFiles" -}}
{{- $root := . -}}
{{- $files := dict -}}
{{- if .Values.stages.separate -}}
{{- range list "search" "cube" "samples" "train" "map" "report" -}}
{{- $_ := set $files (printf "%s.yaml" .) (include "soilscale.clusterFile" (dict "root" $root "stage" .)) -}}
{{- end -}}
{{- else -}}
{{- $_ := set $files "cluster.yaml" (include "soilscale.clusterFile" (dict "root" $root "stage" "")) -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{- define "soilscale.clusterFile" -}}
{{ include "soilscale.cluster" . | fromYaml | toYaml }}
---
{{ include "soilscale.autoscaler" . | fromYaml | toYaml }}
{{- end -}}

{{/* What a run reads of them: when it changes, the run is another one. */}}
{{- define "soilscale.runFiles" -}}
{{- toYaml .root.Values.files -}}
{{- get (include "soilscale.files" .root | fromYaml) .file -}}
{{- end -}}
