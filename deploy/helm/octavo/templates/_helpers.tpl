{{- define "octavo.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "octavo.selector" -}}
app.kubernetes.io/name: octavo
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "octavo.labels" -}}
{{ include "octavo.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* Every node tells the whole cluster's figures, so a series counts once however many nodes are scraped. */ -}}
{{- define "octavo.wanted" -}}
sum(max by (state, reason) (octavo_queue_tasks{namespace={{ .Release.Namespace | quote }},service={{ include "octavo.name" . | quote }},state=~"queued|running|released",reason=~"|slot"}))
{{- end -}}
