{{/* Parts of pods. Where a template takes a dict: root is $, name the component, own its values. */}}

{{- define "mast.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "mast.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1337
runAsGroup: 1337
fsGroup: 1337
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "mast.pullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ kindIs "map" . | ternary (get (kindIs "map" . | ternary . dict) "name") . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where pods run: dict root own name. */}}
{{- define "mast.scheduling" -}}
{{- $global := .root.Values.global }}
{{- with $global.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with (.own.nodeSelector | default $global.defaultNodeSelector) }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with (.own.tolerations | default $global.defaultTolerations) }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- range $key, $skew := dict "kubernetes.io/hostname" 1 "topology.kubernetes.io/zone" 1 }}
  - maxSkew: {{ $skew }}
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "mast.selector" (list $.root $.name) | nindent 8 }}
{{- end }}
{{- end }}

{{- define "mast.resources" -}}
{{- toYaml (.own.resources | default .root.Values.global.defaultResources) }}
{{- end }}

{{/* Variables of a container by name: numbers and switches are texts, too. */}}
{{- define "mast.env" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}

{{/* Flags that every service has: (list $ USER), USER being the service's in etcd. */}}
{{- define "mast.flags" -}}
{{- $root := index . 0 }}
{{- $bind := $root.Values.bindAddress }}
- --monitoring-listen={{ $bind }}:15014
- --plaintext-beyond-loopback=true
- --trust-domain={{ $root.Values.global.trustDomain }}
- --namespace={{ include "mast.namespace" $root }}
- --etcd-endpoints={{ include "mast.etcd.endpoints" $root }}
- --etcd-root={{ $root.Values.etcd.root }}
- --etcd-ca=/etc/mast/etcd/ca.crt
- --etcd-cert=/etc/mast/etcd/tls.crt
- --etcd-key=/etc/mast/etcd/tls.key
- --log-level={{ include "mast.logLevel" $root }}
{{- end }}

{{/* Flags of those who get their certificates from Citadel. */}}
{{- define "mast.flags.ca" }}
- --ca-address={{ include "mast.ca.address" . }}
- --ca-token-file=/var/run/secrets/tokens/istio-token
{{- end }}

{{- define "mast.volumes.etcd" -}}
- name: etcd
  secret:
    secretName: mast-etcd-{{ . }}
    defaultMode: 0440
- name: tmp
  emptyDir:
    medium: Memory
    sizeLimit: 64Mi
{{- end }}

{{- define "mast.mounts.etcd" -}}
- name: etcd
  mountPath: /etc/mast/etcd
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- end }}

{{- define "mast.volumes.token" -}}
- name: istio-token
  projected:
    sources:
      - serviceAccountToken:
          audience: istio-ca
          expirationSeconds: 43200
          path: istio-token
{{- end }}

{{- define "mast.mounts.token" -}}
- name: istio-token
  mountPath: /var/run/secrets/tokens
  readOnly: true
{{- end }}

{{/* A sealing key of a Secret: its name. */}}
{{- define "mast.volumes.key" -}}
- name: {{ . }}
  secret:
    secretName: mast-{{ . }}
    defaultMode: 0440
{{- end }}

{{/* Probes of a service on its monitoring port: dict port path. */}}
{{- define "mast.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: 15014}
  periodSeconds: 1
  timeoutSeconds: 3
  failureThreshold: 120
livenessProbe:
  httpGet: {path: {{ .live | default "/healthz" }}, port: 15014}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /ready, port: {{ .port | default 15014 }}}
  initialDelaySeconds: 1
  periodSeconds: 3
  timeoutSeconds: 5
{{- end }}

{{/* Deployment, autoscaler, disruption budget and account of a service.

root, own: as above; name: of the objects; component: label; image; account; args, ports, volumes,
mounts: YAML; scraped: port of metrics; token: whether the pod may speak to the API server; probes: YAML; drain:
seconds for what is open when it ends, 5 unless given. */}}
{{- define "mast.service" -}}
{{- $root := .root }}{{ $own := .own }}{{ $drain := .drain | default 5 }}
{{- $namespace := include "mast.namespace" $root }}
{{- if not (eq (toString .makeAccount) "false") }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .account }}
  namespace: {{ $namespace }}
  labels:
    {{- include "mast.labels" (list $root .component) | nindent 4 }}
automountServiceAccountToken: false
---
{{- end }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  namespace: {{ $namespace }}
  labels:
    {{- include "mast.labels" (list $root .component) | nindent 4 }}
spec:
  {{- if not $own.autoscaleEnabled }}
  replicas: {{ $own.replicaCount }}
  {{- end }}
  revisionHistoryLimit: 3
  # A new replica takes over a part of the work before the next old one is asked to end.
  minReadySeconds: 5
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: {{ $own.rollingMaxSurge }}
      maxUnavailable: {{ $own.rollingMaxUnavailable }}
  selector:
    matchLabels:
      {{- include "mast.selector" (list $root .component) | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "mast.labels" (list $root .component) | nindent 8 }}
        app: {{ .app }}
        sidecar.istio.io/inject: "false"
        {{- with .labels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: {{ .scraped | default "15014" | quote }}
        {{- with $own.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ .account }}
      automountServiceAccountToken: {{ .token | default false }}
      enableServiceLinks: false
      # What it needs to end in order, and as much again as a slow machine may need.
      terminationGracePeriodSeconds: {{ add $root.Values.global.shutdownDelaySeconds $drain 10 }}
      securityContext:
        {{- include "mast.podSecurity" $root | nindent 8 }}
      {{- include "mast.pullSecrets" $root | nindent 6 }}
      {{- include "mast.scheduling" (dict "root" $root "own" $own "name" .component) | nindent 6 }}
      containers:
        - name: {{ .container }}
          image: {{ include "mast.image" (list $root .image) }}
          {{- with $root.Values.global.imagePullPolicy }}
          imagePullPolicy: {{ . }}
          {{- end }}
          args:
            {{- .args | nindent 12 }}
            - --shutdown-delay={{ $root.Values.global.shutdownDelaySeconds }}s
            - --drain={{ $drain }}s
            {{- range $own.extraArgs }}
            - {{ . | quote }}
            {{- end }}
          {{- with include "mast.env" $own.env | trim }}
          env:
            {{- . | nindent 12 }}
          {{- end }}
          ports:
            {{- .ports | nindent 12 }}
          {{- include "mast.probes" (.probes | default dict) | nindent 10 }}
          resources:
            {{- include "mast.resources" (dict "root" $root "own" $own) | nindent 12 }}
          securityContext:
            {{- include "mast.containerSecurity" $root | nindent 12 }}
          volumeMounts:
            {{- .mounts | nindent 12 }}
      volumes:
        {{- .volumes | nindent 8 }}
{{ include "mast.scaling" . }}
{{- end }}

{{/* Autoscaler and disruption budget of a Deployment. */}}
{{- define "mast.scaling" }}
{{- $root := .root }}{{ $own := .own }}
{{- $namespace := include "mast.namespace" $root }}
{{- if $own.autoscaleEnabled }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .name }}
  namespace: {{ $namespace }}
  labels:
    {{- include "mast.labels" (list $root .component) | nindent 4 }}
spec:
  minReplicas: {{ $own.autoscaleMin }}
  maxReplicas: {{ $own.autoscaleMax }}
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ .name }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ $own.cpu.targetAverageUtilization }}
{{- end }}
{{- if and $root.Values.global.defaultPodDisruptionBudget.enabled (include "mast.several" $own) }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  namespace: {{ $namespace }}
  labels:
    {{- include "mast.labels" (list $root .component) | nindent 4 }}
spec:
  minAvailable: 1
  selector:
    matchLabels:
      {{- include "mast.selector" (list $root .component) | nindent 6 }}
{{- end }}
{{- end }}

{{/* A Service: dict root name component ports (YAML), headless, labels. */}}
{{- define "mast.kubeService" }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  namespace: {{ include "mast.namespace" .root }}
  labels:
    {{- include "mast.labels" (list .root .component) | nindent 4 }}
    app: {{ .app | default .component }}
spec:
  {{- if .headless }}
  clusterIP: None
  publishNotReadyAddresses: true
  {{- end }}
  selector:
    {{- include "mast.selector" (list .root .component) | nindent 4 }}
  ports:
    {{- .ports | nindent 4 }}
{{- end }}
