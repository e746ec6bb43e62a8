{{/* Checks that depend on several keys, which values.schema.json cannot express. */}}
{{- define "soilscale.refuse" -}}
{{- $values := .Values -}}
{{- if gt (int $values.workers.minimum) (int $values.workers.maximum) -}}
{{- fail (printf "workers.minimum %v is more than workers.maximum %v: lower the one or raise the other" $values.workers.minimum $values.workers.maximum) -}}
{{- end -}}
{{- range $stage, $override := $values.stages.overrides -}}
{{- with (merge dict ($override.workers | default dict) $values.workers) -}}
{{- if gt (int .minimum) (int .maximum) -}}
{{- fail (printf "stages.overrides.%s.workers: minimum %v is more than maximum %v: set both" $stage .minimum .maximum) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq $values.mode "operator") (regexMatch "^[0-9]" (include "soilscale.fullname" .)) -}}
{{- fail (printf "the name %s begins with a digit, which the name of a Dask cluster's Service must not: set fullnameOverride to one that begins with a letter" (include "soilscale.fullname" .)) -}}
{{- end -}}
{{- if and (eq $values.mode "external") (ne (hasPrefix "tls://" $values.external.scheduler) (ne $values.external.tlsSecret "")) -}}
{{- fail (printf "external.scheduler %s and external.tlsSecret %q do not fit: a scheduler at tls:// needs a Secret with ca.crt, tls.crt and tls.key, and only such a scheduler does" $values.external.scheduler $values.external.tlsSecret) -}}
{{- end -}}
{{- $names := list -}}
{{- range $values.schedules -}}
{{- if eq .name "once" -}}
{{- fail "schedules: the name \"once\" is that of the Job that installing starts: choose another" -}}
{{- end -}}
{{- if has .name $names -}}
{{- fail (printf "schedules: the name %q occurs twice: each schedule is a CronJob and needs its own name" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- include "soilscale.refuseOutput" (dict "root" $ "output" ((.config | default dict).output | default $values.config.output) "key" (printf "schedules, %s: config.output" .name)) -}}
{{- end -}}
{{- if $values.config -}}
{{- include "soilscale.refuseOutput" (dict "root" $ "output" $values.config.output "key" "config.output") -}}
{{- end -}}
{{- $size := len (include "soilscale.files" .) -}}
{{- if gt $size 1000000 -}}
{{- fail (printf "config and files take %d bytes, more than the 1000000 that a ConfigMap holds: put large files below an http or s3 URL, or on data.existingClaim" $size) -}}
{{- end -}}
{{- end -}}

{{- define "soilscale.refuseOutput" -}}
{{- $data := .root.Values.data -}}
{{- if not (hasPrefix "s3://" .output) -}}
{{- if not $data.existingClaim -}}
{{- fail (printf "%s: %s is a folder of the pod and would be lost with it: write to s3://bucket/prefix, or name a volume in data.existingClaim" .key .output) -}}
{{- else if not (hasPrefix (printf "%s/" (trimSuffix "/" $data.mountPath)) .output) -}}
{{- fail (printf "%s: %s is not on the volume: write below data.mountPath %s" .key .output $data.mountPath) -}}
{{- else if $data.readOnly -}}
{{- fail (printf "%s: %s is on a volume that data.readOnly mounts read-only: write elsewhere, or set it to false" .key .output) -}}
{{- end -}}
{{- end -}}
{{- end -}}
