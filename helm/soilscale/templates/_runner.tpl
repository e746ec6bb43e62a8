{{/*
The one pod template: of the Job, of every CronJob. `.run` names the run, `.file` its configuration, `.period` its months; `.only` the one
stage that it has, in a JobSet.
*/}}
{{- define "soilscale.podTemplate" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- $operator := eq $values.mode "operator" -}}
metadata:
  labels:
    {{- include "soilscale.runnerLabels" . | nindent 4 }}
    {{- with $values.runner.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/files: {{ include "soilscale.runFiles" . | sha256sum }}
    {{- with include "soilscale.annotations" (dict "root" $root "of" "runner") }}
    {{- . | nindent 4 }}
    {{- end }}
spec:
  restartPolicy: Never
  serviceAccountName: {{ include "soilscale.account" (dict "root" $root "of" "runner") | quote }}
  automountServiceAccountToken: {{ $operator }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ int $values.runner.gracePeriod }}
  securityContext:
    {{- include "soilscale.podSecurity" $root | nindent 4 }}
    {{- with include "soilscale.groupPolicy" (dict "root" $root "of" "runner") | trim }}
    {{- . | nindent 4 }}
    {{- end }}
  {{- with include "soilscale.placement" (dict "root" $root "of" "runner") | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- if .only }}
  containers:
    {{- include "soilscale.runner" (merge (dict "stage" .only) $) | nindent 4 }}
  {{- else if $values.stages.separate }}
  initContainers:
    {{- range list "search" "cube" "samples" "train" "map" }}
    {{- include "soilscale.runner" (merge (dict "stage" .) $) | nindent 4 }}
    {{- end }}
  containers:
    {{- include "soilscale.runner" (merge (dict "stage" "report") $) | nindent 4 }}
  {{- else }}
  containers:
    {{- include "soilscale.runner" (merge (dict "stage" "run") .) | nindent 4 }}
  {{- end }}
  volumes:
    {{- include "soilscale.volumes" (dict "root" $root "scratch" $values.runner.resources.scratch) | nindent 4 }}
    {{- if eq $values.mode "external" }}
    {{- with include "soilscale.tlsVolume" $root | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- with include "soilscale.moreVolumes" (dict "root" $root "of" "runner") | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- if $operator }}
    - name: cluster
      configMap:
        name: {{ include "soilscale.fullname" $root }}-cluster
    {{- end }}
{{- end -}}

{{- define "soilscale.runnerLabels" -}}
{{ include "soilscale.selector" .root }}
app.kubernetes.io/component: runner
soilscale/run: {{ .run | quote }}
{{- end -}}

{{/*
A container that runs one stage, or all (`.stage` is `run`). Only the last one names the port of the metrics: Prometheus reads a pod
once for each that does, and the stages, which run one after another, share it.
*/}}
{{- define "soilscale.runner" -}}
{{- $values := .root.Values -}}
{{- $override := get ($values.stages.overrides | default dict) .stage | default dict -}}
{{- $kind := eq .run "once" | ternary $values.job.kind "Job" -}}
- name: {{ .stage }}
  image: {{ include "soilscale.image" .root | quote }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  args:
    {{- include "soilscale.arguments" . | nindent 4 }}
  env:
    {{- include "soilscale.environment" .root | nindent 4 }}
    {{- with include "soilscale.moreEnvironment" (dict "root" .root "of" "runner") | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- if eq $values.mode "external" }}
    - {name: DASK_SCHEDULER_ADDRESS, value: {{ $values.external.scheduler | quote }}}
    {{- with include "soilscale.tlsEnvironment" (dict "root" .root "of" "client") | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- if $values.stages.separate }}
    - name: SOILSCALE_SEQUENCE
      {{- if eq $kind "Workflow" }}
      value: "{{ "{{workflow.uid}}" }}"
      {{- else if eq $kind "JobSet" }}
      valueFrom: {fieldRef: {fieldPath: "metadata.labels['jobset.sigs.k8s.io/jobset-name']"}}
      {{- else }}
      valueFrom: {fieldRef: {fieldPath: "metadata.labels['batch.kubernetes.io/controller-uid']"}}
      {{- end }}
    {{- end }}
    {{- if eq $values.mode "operator" }}
    - {name: SOILSCALE_WORKERS_DEADLINE, value: {{ int $values.operator.deadline | quote }}}
    - {name: SOILSCALE_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    {{- if eq $kind "Workflow" }}
    - {name: SOILSCALE_OWNER_KIND, value: Workflow}
    - {name: SOILSCALE_OWNER_NAME, value: "{{ "{{workflow.name}}" }}"}
    - {name: SOILSCALE_OWNER_UID, value: "{{ "{{workflow.uid}}" }}"}
    {{- else }}
    - name: SOILSCALE_OWNER_NAME
      valueFrom: {fieldRef: {fieldPath: "metadata.labels['batch.kubernetes.io/job-name']"}}
    - name: SOILSCALE_OWNER_UID
      valueFrom: {fieldRef: {fieldPath: "metadata.labels['batch.kubernetes.io/controller-uid']"}}
    {{- end }}
    {{- end }}
  envFrom:
    - configMapRef:
        name: {{ include "soilscale.fullname" .root }}-settings
    {{- with $values.credentials.existingSecret }}
    - secretRef:
        name: {{ . | quote }}
    {{- end }}
  {{- if and $values.metrics.enabled $values.config (has .stage (list "run" "report")) }}
  ports:
    - {name: metrics, containerPort: {{ int $values.metrics.port }}, protocol: TCP}
  {{- end }}
  resources:
    {{- include "soilscale.resources" (merge dict ($override.runner | default dict) $values.runner.resources) | nindent 4 }}
  securityContext:
    {{- include "soilscale.containerSecurity" .root | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    {{- include "soilscale.mounts" .root | nindent 4 }}
    {{- if eq $values.mode "external" }}
    {{- with include "soilscale.tlsMount" .root | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- with include "soilscale.moreMounts" (dict "root" .root "of" "runner") | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- if eq $values.mode "operator" }}
    - {name: cluster, mountPath: /etc/soilscale/cluster, readOnly: true}
    {{- end }}
{{- end -}}

{{/* The command line, as a list. A stage before the last one goes on past missing units: one bad file must not stop a nation. */}}
{{- define "soilscale.arguments" -}}
{{- $values := .root.Values -}}
{{- $override := get ($values.stages.overrides | default dict) .stage | default dict -}}
{{- $workers := merge dict ($override.workers | default dict) $values.workers -}}
{{- $arguments := list .stage (printf "/etc/soilscale/config/%s" .file) -}}
{{- if not $values.config -}}
{{- $arguments = list "demo" "/tmp/demo" -}}
{{- else -}}
{{- with .period -}}
{{- $arguments = concat $arguments (list "-o" (printf "period=%s" (kindIs "string" . | ternary . (toJson .)))) -}}
{{- end -}}
{{- if not (has .stage (list "run" "report")) -}}
{{- $arguments = concat $arguments (list "--missing" "tolerate") -}}
{{- end -}}
{{- with int $values.job.waitForLeaseSeconds -}}
{{- $arguments = concat $arguments (list "--wait-for-lease" (printf "%ds" .)) -}}
{{- end -}}
{{- if $values.metrics.enabled -}}
{{- $arguments = concat $arguments (list "--metrics-port" (int $values.metrics.port | toString) "--metrics-address" "0.0.0.0") -}}
{{- end -}}
{{- end -}}
{{- if eq $values.mode "local" -}}
{{- $arguments = concat $arguments (list "--workers" (int $workers.maximum | toString)) -}}
{{- else if eq $values.mode "operator" -}}
{{- $arguments = concat $arguments (list "--cluster" (printf "/etc/soilscale/cluster/%s.yaml" ($values.stages.separate | ternary .stage "cluster"))) -}}
{{- end -}}
{{- toYaml $arguments -}}
{{- end -}}

{{/*
What a run is: its configuration, its files, its image. The Job's name is made of it, so what else is changed is no other Job and does
not end a run of days.
*/}}
{{- define "soilscale.jobName" -}}
{{- $identity := list (include "soilscale.runFiles" (dict "root" . "file" "config.yaml")) (include "soilscale.image" .) | toJson -}}
{{- printf "%s-%s" (include "soilscale.fullname" .) ($identity | sha256sum | trunc 10) -}}
{{- end -}}

{{/*
The pod template of the Job that installing starts. One that is there keeps its own, without what the server has added to it: Kubernetes
refuses another one, and with it the whole upgrade.
*/}}
{{- define "soilscale.keptTemplate" -}}
{{- $live := lookup "batch/v1" "Job" .root.Release.Namespace (include "soilscale.jobName" .root) | default dict -}}
{{- if $live -}}
{{- $template := $live.spec.template -}}
{{- $labels := omit $template.metadata.labels "batch.kubernetes.io/controller-uid" "batch.kubernetes.io/job-name" "controller-uid" "job-name" -}}
{{- $metadata := set (omit $template.metadata "creationTimestamp") "labels" $labels -}}
{{- toYaml (dict "metadata" $metadata "spec" $template.spec) -}}
{{- else -}}
{{- include "soilscale.podTemplate" . -}}
{{- end -}}
{{- end -}}

{{/* Of a Job, and of the Jobs of a CronJob. */}}
{{- define "soilscale.jobSpec" -}}
{{- $only := .only -}}
{{- with .root.Values.job -}}
backoffLimit: {{ int .backoffLimit }}
activeDeadlineSeconds: {{ include "soilscale.deadline" . }}
{{- if not (or $only (kindIs "invalid" .ttlSecondsAfterFinished)) }}
ttlSecondsAfterFinished: {{ int .ttlSecondsAfterFinished }}
{{- end }}
{{- end }}
podReplacementPolicy: Failed
podFailurePolicy:
  rules:
    - action: Ignore
      onPodConditions:
        - {type: DisruptionTarget, status: "True"}
    - action: FailJob
      onExitCodes: {operator: In, values: [64, 65, 78]}
template:
  {{- $kept := and (eq .run "once") (eq .root.Values.job.kind "Job") }}
  {{- include ($kept | ternary "soilscale.keptTemplate" "soilscale.podTemplate") . | nindent 2 }}
{{- end -}}

{{- define "soilscale.deadline" -}}
{{- add (int .activeDeadlineSeconds) (int .waitForLeaseSeconds) -}}
{{- end -}}

{{/* The parts of a run of several Jobs or steps. */}}
{{- define "soilscale.parts" -}}
{{- toYaml (.Values.stages.separate | ternary (list "search" "cube" "samples" "train" "map" "report") (list "run")) -}}
{{- end -}}

{{/* A Job for each part, each after the one before. One that is there keeps them: only its suspension may change. */}}
{{- define "soilscale.jobSetSpec" -}}
{{- $job := .root.Values.job -}}
{{- $live := lookup "jobset.x-k8s.io/v1alpha2" "JobSet" .root.Release.Namespace (include "soilscale.jobName" .root) | default dict -}}
network: {enableDNSHostnames: false}
{{- if not (kindIs "invalid" $job.ttlSecondsAfterFinished) }}
ttlSecondsAfterFinished: {{ int $job.ttlSecondsAfterFinished }}
{{- end }}
replicatedJobs:
  {{- if $live }}
  {{- toYaml $live.spec.replicatedJobs | nindent 2 }}
  {{- else }}
  {{- $before := "" }}
  {{- range $part := include "soilscale.parts" .root | fromYamlArray }}
  - name: {{ $part }}
    replicas: 1
    {{- with $before }}
    dependsOn:
      - {name: {{ . }}, status: Complete}
    {{- end }}
    template:
      spec:
        {{- include "soilscale.jobSpec" (merge (dict "only" $part) $) | nindent 8 }}
  {{- $before = $part }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/*
Steps of Argo, one after the other, with the pods of a Job. What Argo has no field for is a patch of the pods. Its executor reports by the
token of the pod's account.
*/}}
{{- define "soilscale.workflowSpec" -}}
{{- $job := .root.Values.job -}}
{{- $pod := include "soilscale.podTemplate" (merge (dict "only" "run") .) | fromYaml -}}
entrypoint: stages
serviceAccountName: {{ $pod.spec.serviceAccountName }}
automountServiceAccountToken: true
activeDeadlineSeconds: {{ include "soilscale.deadline" $job }}
{{- if not (kindIs "invalid" $job.ttlSecondsAfterFinished) }}
ttlStrategy: {secondsAfterCompletion: {{ int $job.ttlSecondsAfterFinished }}}
{{- end }}
podMetadata:
  {{- toYaml $pod.metadata | nindent 2 }}
securityContext:
  {{- toYaml $pod.spec.securityContext | nindent 2 }}
podSpecPatch: |
  {{- omit $pod.spec "containers" "volumes" "securityContext" "serviceAccountName" "automountServiceAccountToken" "restartPolicy" | toYaml | nindent 2 }}
volumes:
  {{- toYaml $pod.spec.volumes | nindent 2 }}
templates:
  - name: stages
    steps:
      {{- range include "soilscale.parts" .root | fromYamlArray }}
      - - {name: {{ . }}, template: {{ . }}}
      {{- end }}
  {{- range $part := include "soilscale.parts" .root | fromYamlArray }}
  - name: {{ $part }}
    retryStrategy:
      limit: {{ int $job.backoffLimit | quote }}
      retryPolicy: Always
      expression: asInt(lastRetry.exitCode) not in [64, 65, 78]
      backoff: {duration: 30s, factor: 2}
    container:
      {{- $container := include "soilscale.runner" (merge (dict "stage" $part) $) | fromYamlArray | first }}
      {{- /* Argo starts what it is told, and does not look into the image. */}}
      {{- $container = set (omit $container "name") "command" (list "/opt/soilscale/bin/soilscale") }}
      {{- toYaml $container | nindent 6 }}
  {{- end }}
{{- end -}}
