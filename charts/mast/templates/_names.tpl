{{/* Names, labels and addresses. */}}

{{- define "mast.namespace" -}}
{{ .Values.global.istioNamespace | default .Release.Namespace }}
{{- end }}

{{/* "-REVISION", or nothing for the default one. */}}
{{- define "mast.suffix" -}}
{{- if and .Values.revision (ne .Values.revision "default") }}-{{ .Values.revision }}{{ end -}}
{{- end }}

{{- define "mast.revision" -}}
{{ .Values.revision | default "default" }}
{{- end }}

{{- define "mast.tag" -}}
{{ .Values.global.tag | default .Chart.AppVersion }}
{{- end }}

{{/* An image of ours by its name, or a whole reference: (list $ NAME). */}}
{{- define "mast.image" -}}
{{- $root := index . 0 }}{{ $name := index . 1 }}
{{- if contains "/" $name }}{{ $name }}{{ else }}{{ $root.Values.global.hub }}/{{ $name }}:{{ include "mast.tag" $root }}{{ end -}}
{{- end }}

{{/* The proxy's image, whose tag may have a variant. */}}
{{- define "mast.proxyImage" -}}
{{- $image := include "mast.image" (list . .Values.global.proxy.image) }}
{{- if or (contains "/" .Values.global.proxy.image) (not .Values.global.variant) }}{{ $image }}{{ else }}{{ $image }}-{{ .Values.global.variant }}{{ end -}}
{{- end }}

{{/* Labels of every object: (list $ COMPONENT). */}}
{{- define "mast.labels" -}}
{{ include "mast.labels.shared" . }}
istio.io/rev: {{ include "mast.revision" (index . 0) }}
{{- end }}

{{/* Labels of configuration, which counts for every revision. */}}
{{- define "mast.labels.shared" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/part-of: mast
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ include "mast.tag" $root | quote }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* What Deployments and Services select pods by; these labels never change. */}}
{{- define "mast.selector" -}}
{{- $root := index . 0 }}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- end }}

{{/* Members of etcd, HOST:PORT with commas. */}}
{{- define "mast.etcd.endpoints" -}}
{{- if .Values.etcd.enabled }}
{{- $namespace := include "mast.namespace" . }}{{ $domain := .Values.global.proxy.clusterDomain }}
{{- range $i := until (int .Values.etcd.replicaCount) }}
{{- if $i }},{{ end }}mast-etcd-{{ $i }}.mast-etcd.{{ $namespace }}.svc.{{ $domain }}:2379
{{- end }}
{{- else }}{{ join "," .Values.etcd.external.endpoints }}{{ end -}}
{{- end }}

{{- define "mast.ca.address" -}}
{{ .Values.global.caAddress | default (printf "istio-citadel.%s.svc:8060" (include "mast.namespace" .)) }}
{{- end }}

{{/* The level of our own logs, of Istio's "default:info,ads:debug". */}}
{{- define "mast.logLevel" -}}
{{- $level := "info" }}
{{- range splitList "," .Values.global.logging.level }}
{{- $parts := splitList ":" . }}
{{- if or (eq (len $parts) 1) (eq (first $parts) "default") (eq (first $parts) "all") }}{{ $level = last $parts }}{{ end }}
{{- end }}
{{- get (dict "warn" "warning" "fatal" "error" "none" "error") $level | default $level }}
{{- end }}

{{/* Pilot's values, with those that current Istio has at the top over them. */}}
{{- define "mast.pilot" -}}
{{- $own := deepCopy .Values.pilot }}
{{- range $key := list "autoscaleEnabled" "autoscaleMin" "autoscaleMax" "replicaCount" "traceSampling" "resources" "env" }}
{{- $given := index $.Values $key }}
{{- if not (kindIs "invalid" $given) }}{{ $_ := set $own $key $given }}{{ end }}
{{- end }}
{{- toJson $own }}
{{- end }}

{{/* "true" if several pods are wanted at all times. */}}
{{- define "mast.several" -}}
{{- $least := ternary .autoscaleMin .replicaCount .autoscaleEnabled }}
{{- if gt (int $least) 1 }}true{{ end -}}
{{- end }}
