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

{{- define "weft.caSecret" -}}
{{ .Values.ca.existingSecret | default "weft-ca" }}
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
