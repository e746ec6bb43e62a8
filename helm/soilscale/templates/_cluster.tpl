{{/* The runner adds to it what makes it its own. */}}
{{- define "soilscale.clusterName" -}}
{{- include "soilscale.fullname" .root -}}
{{- with .stage -}}
-{{ . }}
{{- end -}}
{{- end -}}

{{/* A Dask cluster. Its labels become selectors: nothing in them changes from release to release. */}}
{{- define "soilscale.cluster" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- $override := get ($values.stages.overrides | default dict) .stage | default dict -}}
{{- $workers := merge dict ($override.workers | default dict) $values.workers -}}
{{- $resources := merge dict ($override.worker | default dict) $values.worker.resources -}}
{{- $name := include "soilscale.clusterName" . -}}
apiVersion: kubernetes.dask.org/v1
kind: DaskCluster
metadata:
  name: {{ $name | quote }}
  labels:
    {{- include "soilscale.selector" $root | nindent 4 }}
spec:
  idleTimeout: {{ int $values.operator.idleTimeout }}
  scheduler:
    metadata:
      labels:
        {{- include "soilscale.clusterLabels" (dict "root" $root "of" "scheduler") | nindent 8 }}
      {{- with include "soilscale.annotations" (dict "root" $root "of" "scheduler") }}
      annotations:
        {{- . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "soilscale.schedulerPod" $root | nindent 6 }}
    service:
      type: ClusterIP
      selector:
        dask.org/cluster-name: {{ $name | quote }}
        dask.org/component: scheduler
      ports:
        - {name: tcp-comm, protocol: TCP, port: 8786, targetPort: tcp-comm}
        - {name: http-dashboard, protocol: TCP, port: 8787, targetPort: http-dashboard}
  worker:
    replicas: {{ int $workers.minimum }}
    metadata:
      labels:
        {{- include "soilscale.clusterLabels" (dict "root" $root "of" "worker") | nindent 8 }}
      {{- with $values.worker.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "soilscale.workerPod" (dict "root" $root "resources" $resources) | nindent 6 }}
{{- end -}}

{{- define "soilscale.autoscaler" -}}
{{- $values := .root.Values -}}
{{- $override := get ($values.stages.overrides | default dict) .stage | default dict -}}
{{- $workers := merge dict ($override.workers | default dict) $values.workers -}}
{{- $name := include "soilscale.clusterName" . -}}
apiVersion: kubernetes.dask.org/v1
kind: DaskAutoscaler
metadata:
  name: {{ $name | quote }}
  labels:
    {{- include "soilscale.selector" .root | nindent 4 }}
spec:
  cluster: {{ $name | quote }}
  minimum: {{ int $workers.minimum }}
  maximum: {{ int $workers.maximum }}
{{- end -}}

{{- define "soilscale.clusterLabels" -}}
{{ include "soilscale.selector" .root }}
app.kubernetes.io/component: {{ .of }}
{{- with (index .root.Values .of).podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The route `api` lets the operator ask which workers can go without loss; it is off by default. */}}
{{- define "soilscale.schedulerPod" -}}
serviceAccountName: {{ include "soilscale.account" (dict "root" . "of" "scheduler") | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "soilscale.podSecurity" . | nindent 2 }}
    {{- with include "soilscale.groupPolicy" (dict "root" . "of" "scheduler") | trim }}
    {{- . | nindent 2 }}
    {{- end }}
{{- with include "soilscale.placement" (dict "root" . "of" "scheduler") | trim }}
{{- . | nindent 0 }}
{{- end }}
containers:
  - name: scheduler
    image: {{ include "soilscale.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [/opt/soilscale/bin/dask, scheduler]
    args: [{{ with include "soilscale.tlsSecret" . }}--protocol, tls, {{ end }}--port, "8786", --dashboard-address, ":8787"]
    env:
      - name: DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES
        value: '["distributed.http.scheduler.api", "distributed.http.scheduler.prometheus", "distributed.http.scheduler.info", "distributed.http.scheduler.json", "distributed.http.health", "distributed.http.proxy", "distributed.http.statics"]'
      - {name: DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES, value: {{ int .Values.scheduler.allowedFailures | quote }}}
      - {name: DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT, value: {{ .Values.scheduler.noWorkersTimeout | quote }}}
    {{- with include "soilscale.tlsEnvironment" (dict "root" . "of" "scheduler") | trim }}
    {{- . | nindent 6 }}
    {{- end }}
    {{- with include "soilscale.moreEnvironment" (dict "root" . "of" "scheduler") | trim }}
    {{- . | nindent 6 }}
    {{- end }}
    ports:
      - {name: tcp-comm, containerPort: 8786, protocol: TCP}
      - {name: http-dashboard, containerPort: 8787, protocol: TCP}
    readinessProbe:
      httpGet: {path: /health, port: http-dashboard}
      periodSeconds: 5
      timeoutSeconds: 5
    resources:
      {{- include "soilscale.resources" .Values.scheduler.resources | nindent 6 }}
    securityContext:
      {{- include "soilscale.containerSecurity" . | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
    {{- with include "soilscale.tlsMount" . | trim }}
    {{- . | nindent 6 }}
    {{- end }}
    {{- with include "soilscale.moreMounts" (dict "root" . "of" "scheduler") | trim }}
    {{- . | nindent 6 }}
    {{- end }}
volumes:
  - name: tmp
    emptyDir:
      sizeLimit: {{ .Values.scheduler.resources.scratch }}
    {{- with include "soilscale.tlsVolume" . | trim }}
    {{- . | nindent 2 }}
    {{- end }}
    {{- with include "soilscale.moreVolumes" (dict "root" . "of" "scheduler") | trim }}
    {{- . | nindent 2 }}
    {{- end }}
{{- end -}}

{{/* One thread a worker. Before it is stopped it hands over what it holds; the operator's definitions know no other preStop than exec. */}}
{{- define "soilscale.workerPod" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
serviceAccountName: {{ include "soilscale.account" (dict "root" $root "of" "worker") | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ int $values.worker.gracePeriod }}
securityContext:
  {{- include "soilscale.podSecurity" $root | nindent 2 }}
    {{- with include "soilscale.groupPolicy" (dict "root" $root "of" "worker") | trim }}
    {{- . | nindent 2 }}
    {{- end }}
{{- with include "soilscale.placement" (dict "root" $root "of" "worker") | trim }}
{{- . | nindent 0 }}
{{- end }}
containers:
  - name: worker
    image: {{ include "soilscale.image" $root | quote }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    command: [/opt/soilscale/bin/dask, worker]
    args:
      - --name
      - $(DASK_WORKER_NAME)
      - --nworkers
      - "1"
      - --nthreads
      - "1"
      - --memory-limit
      - {{ $values.worker.memoryFraction | quote }}
      - --death-timeout
      - {{ int $values.worker.deathTimeout | quote }}
      - --local-directory
      - /tmp
      - --worker-port
      - "8789"
      - --nanny-port
      - "8790"
      - --dashboard-address
      - ":8788"
    env:
      {{- include "soilscale.environment" $root | nindent 6 }}
    {{- with include "soilscale.tlsEnvironment" (dict "root" $root "of" "worker") | trim }}
    {{- . | nindent 6 }}
    {{- end }}
    {{- with include "soilscale.moreEnvironment" (dict "root" $root "of" "worker") | trim }}
    {{- . | nindent 6 }}
    {{- end }}
    {{- with include "soilscale.secretEnvironment" $root | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    lifecycle:
      preStop:
        exec:
          command:
            - /opt/soilscale/bin/python
            - -c
            - |
              import asyncio, contextlib, os
              from distributed import Security, rpc
              async def retire():
                  way = Security().get_connection_args("worker")
                  async with rpc(os.environ["DASK_SCHEDULER_ADDRESS"], connection_args=way, timeout=5) as scheduler:
                      await scheduler.retire_workers(names=[os.environ["DASK_WORKER_NAME"]])
              with contextlib.suppress(OSError, TimeoutError):
                  asyncio.run(asyncio.wait_for(retire(), {{ sub (int $values.worker.gracePeriod) 10 }}))
    ports:
      - {name: http-dashboard, containerPort: 8788, protocol: TCP}
      - {name: tcp-worker, containerPort: 8789, protocol: TCP}
      - {name: tcp-nanny, containerPort: 8790, protocol: TCP}
    resources:
      {{- include "soilscale.resources" .resources | nindent 6 }}
    securityContext:
      {{- include "soilscale.containerSecurity" $root | nindent 6 }}
    volumeMounts:
      {{- include "soilscale.mounts" $root | nindent 6 }}
    {{- with include "soilscale.tlsMount" $root | trim }}
    {{- . | nindent 6 }}
    {{- end }}
    {{- with include "soilscale.moreMounts" (dict "root" $root "of" "worker") | trim }}
    {{- . | nindent 6 }}
    {{- end }}
volumes:
  {{- include "soilscale.volumes" (dict "root" $root "scratch" .resources.scratch) | nindent 2 }}
    {{- with include "soilscale.tlsVolume" $root | trim }}
    {{- . | nindent 2 }}
    {{- end }}
    {{- with include "soilscale.moreVolumes" (dict "root" $root "of" "worker") | trim }}
    {{- . | nindent 2 }}
    {{- end }}
{{- end -}}
