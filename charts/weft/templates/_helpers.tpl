{{/* weft.labels: of every object; call with (list $ "component") */}}
{{- define "weft.labels" -}}
{{- $top := index . 0 -}}
{{- $component := index . 1 -}}
app.kubernetes.io/name: {{ $component }}
app.kubernetes.io/part-of: weft
app.kubernetes.io/version: {{ $top.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $top.Release.Service }}
app.kubernetes.io/instance: {{ $top.Release.Name }}
helm.sh/chart: {{ printf "%s-%s" $top.Chart.Name $top.Chart.Version | replace "+" "_" }}
{{- with $top.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* weft.selector: what never changes of a component's labels */}}
{{- define "weft.selector" -}}
app.kubernetes.io/name: {{ . }}
app.kubernetes.io/part-of: weft
{{- end }}

{{- define "weft.image" -}}
{{- $top := index . 0 -}}
{{ printf "%s/%s:%s" $top.Values.hub (index . 1) ($top.Values.tag | default $top.Chart.AppVersion) }}
{{- end }}

{{/* weft.caSecret: the Secret with the root; only weft-ca is made by the controller */}}
{{- define "weft.caSecret" -}}
{{- if and .Values.ca.existingSecret .Values.ca.certManager.enabled }}
{{- fail "ca.existingSecret and ca.certManager.enabled exclude each other: who is to make the root?" }}
{{- end -}}
{{- if .Values.ca.certManager.enabled }}weft-ca-issued{{ else }}{{ .Values.ca.existingSecret | default "weft-ca" }}{{ end }}
{{- end }}

{{/* weft.scrape: annotations of pods for Prometheus; call with (list $ port) */}}
{{- define "weft.scrape" -}}
{{- $top := index . 0 -}}
{{- if and $top.Values.monitoring.annotations (not $top.Values.monitoring.podMonitor.enabled) }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ index . 1 | quote }}
prometheus.io/path: /metrics
{{- end }}
{{- end }}

{{- define "weft.podEnv" -}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- end }}

{{/* weft.placement: what values say of where a component's pods run */}}
{{- define "weft.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}
