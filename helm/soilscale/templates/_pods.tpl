{{/* What every pod has, those of the Dask cluster too: only fields that the Dask operator's definitions know. */}}

{{- define "soilscale.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.user }}
runAsUser: {{ int . }}
runAsGroup: {{ int . }}
fsGroup: {{ int . }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "soilscale.groupPolicy" -}}
{{- with ((index .root.Values .of).pod | default dict).fsGroupChangePolicy }}
fsGroupChangePolicy: {{ . }}
{{- end }}
{{- end -}}

{{/* Of the `pod` of `.of`, what its containers have more: variables, mounts, and the volumes for them. */}}
{{- define "soilscale.moreEnvironment" -}}
{{- with ((index .root.Values .of).pod | default dict).env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "soilscale.moreMounts" -}}
{{- with ((index .root.Values .of).pod | default dict).volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "soilscale.moreVolumes" -}}
{{- with ((index .root.Values .of).pod | default dict).volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "soilscale.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* A request is a limit: nobody's pod is evicted for what another one took. */}}
{{- define "soilscale.resources" -}}
{{- $amounts := dict "cpu" (toString .cpu) "memory" .memory "ephemeral-storage" .scratch -}}
{{- toYaml (dict "requests" $amounts "limits" $amounts) -}}
{{- end -}}

{{- define "soilscale.environment" -}}
- {name: OMP_NUM_THREADS, value: "1"}
- {name: OPENBLAS_NUM_THREADS, value: "1"}
- {name: GDAL_NUM_THREADS, value: "1"}
- {name: MALLOC_TRIM_THRESHOLD_, value: "33554432"}
- {name: MALLOC_MMAP_THRESHOLD_, value: "16777216"}
- {name: DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED, value: "False"}
{{- range $name, $value := .Values.env }}
- name: {{ $name | quote }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/*
The certificates of Dask in the pods of `.of`, who is `scheduler`, `worker` or `client`: a Secret that the run makes (mode `operator`), or
an existing one (mode `external`). The runner puts the name of its own in the place of `dask-tls`.
*/}}
{{- define "soilscale.tlsSecret" -}}
{{- if and (eq .Values.mode "operator") .Values.operator.tls -}}
dask-tls
{{- else if eq .Values.mode "external" -}}
{{ .Values.external.tlsSecret }}
{{- end -}}
{{- end -}}

{{- define "soilscale.tlsEnvironment" -}}
{{- if include "soilscale.tlsSecret" .root }}
- {name: DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION, value: "True"}
- {name: DASK_DISTRIBUTED__COMM__TLS__CA_FILE, value: /etc/soilscale/tls/ca.crt}
- {name: DASK_DISTRIBUTED__COMM__TLS__{{ upper .of }}__CERT, value: /etc/soilscale/tls/tls.crt}
- {name: DASK_DISTRIBUTED__COMM__TLS__{{ upper .of }}__KEY, value: /etc/soilscale/tls/tls.key}
{{- end }}
{{- end -}}

{{- define "soilscale.tlsMount" -}}
{{- if include "soilscale.tlsSecret" . }}
- {name: dask-tls, mountPath: /etc/soilscale/tls, readOnly: true}
{{- end }}
{{- end -}}

{{- define "soilscale.tlsVolume" -}}
{{- with include "soilscale.tlsSecret" . }}
- name: dask-tls
  secret: {secretName: {{ . | quote }}, defaultMode: 0440}
{{- end }}
{{- end -}}

{{- define "soilscale.secretEnvironment" -}}
{{- with .Values.credentials.existingSecret }}
envFrom:
  - secretRef:
      name: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "soilscale.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: config, mountPath: /etc/soilscale/config, readOnly: true}
{{- with .Values.data }}
{{- if .existingClaim }}
- name: data
  mountPath: {{ .mountPath | quote }}
  readOnly: {{ .readOnly }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "soilscale.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .scratch }}
- name: config
  configMap:
    name: {{ include "soilscale.fullname" .root }}-config
{{- with .root.Values.data }}
{{- if .existingClaim }}
- name: data
  persistentVolumeClaim:
    claimName: {{ .existingClaim | quote }}
    readOnly: {{ .readOnly }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Provider -> the label by which it marks nodes that may be taken away, and whether it taints them. */}}
{{- define "soilscale.spot" -}}
{{- $marks := dict
  "aks" (dict "key" "kubernetes.azure.com/scalesetpriority" "value" "spot" "tainted" true)
  "eks" (dict "key" "eks.amazonaws.com/capacityType" "value" "SPOT")
  "gke" (dict "key" "cloud.google.com/gke-spot" "value" "true" "tainted" true)
  "karpenter" (dict "key" "karpenter.sh/capacity-type" "value" "spot") -}}
{{- get $marks .Values.worker.spot | default dict | toYaml -}}
{{- end -}}

{{/*
Where the pods of `.of` may run, and the rest of its `pod` that is of the whole pod: runner and scheduler keep off the nodes that may be
taken away, workers look for them.
*/}}
{{- define "soilscale.placement" -}}
{{- $values := index .root.Values .of -}}
{{- $spot := include "soilscale.spot" .root | fromYaml -}}
{{- $selector := $values.nodeSelector | default dict -}}
{{- $tolerations := $values.tolerations | default list -}}
{{- $pod := $values.pod | default dict -}}
{{- $affinity := dict -}}
{{- if $spot -}}
{{- $operator := eq .of "worker" | ternary "In" "NotIn" -}}
{{- $nodes := dict "matchExpressions" (list (dict "key" $spot.key "operator" $operator "values" (list $spot.value))) -}}
{{- if ne .of "worker" -}}
{{- $affinity = dict "nodeAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" (list $nodes))) -}}
{{- else if $values.spotFallback -}}
{{- $affinity = dict "nodeAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" (list (dict "weight" 100 "preference" $nodes))) -}}
{{- end -}}
{{- end -}}
{{- if and $spot (eq .of "worker") -}}
{{- if not $values.spotFallback -}}
{{- $selector = merge (dict $spot.key $spot.value) $selector -}}
{{- end -}}
{{- if $spot.tainted -}}
{{- $tolerations = append $tolerations (dict "key" $spot.key "operator" "Equal" "value" $spot.value "effect" "NoSchedule") -}}
{{- end -}}
{{- end -}}
{{- with $selector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with mergeOverwrite $affinity (deepCopy ($pod.affinity | default dict)) }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $key := list "topologySpreadConstraints" "schedulerName" "runtimeClassName" "dnsPolicy" "dnsConfig" "hostAliases" }}
{{- with get $pod $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* What keeps autoscalers of nodes from moving a pod that cannot be moved without loss of time; `podAnnotations` win. */}}
{{- define "soilscale.annotations" -}}
{{- $stay := dict "cluster-autoscaler.kubernetes.io/safe-to-evict" "false" "karpenter.sh/do-not-disrupt" "true" -}}
{{- merge dict ((index .root.Values .of).podAnnotations | default dict) $stay | toYaml -}}
{{- end -}}
