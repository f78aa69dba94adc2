{{- define "headgate.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "headgate.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "headgate.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "headgate.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "headgate.selector" -}}
app.kubernetes.io/name: {{ include "headgate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The pods of helm test. headgate.selector must not fit them: a Service leads to what it selects. */ -}}
{{- define "headgate.testSelector" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end }}

{{- define "headgate.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "headgate.selector" . }}
app.kubernetes.io/version: {{ include "headgate.version" . | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* A tag may be longer than a label, and may then be cut where no label may end. */ -}}
{{- define "headgate.version" -}}
{{- .Values.image.tag | default .Chart.AppVersion | trunc 63 | regexFind "^.*[a-zA-Z0-9]" }}
{{- end }}

{{- define "headgate.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "headgate.fullname" .) }}
{{- else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- define "headgate.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "headgate.routesConfigMap" -}}
{{- .Values.routes.existingConfigMap | default (printf "%s-routes" (include "headgate.fullname" .)) }}
{{- end }}

{{- /* The routes file as text; empty when the chart makes none. */ -}}
{{- define "headgate.routesText" -}}
{{- if .Values.routes.text }}{{ .Values.routes.text }}{{ else if .Values.routes.file }}{{ toYaml .Values.routes.file }}{{ end }}
{{- end }}

{{- define "headgate.hasRoutes" -}}
{{- if or (include "headgate.routesText" .) .Values.routes.existingConfigMap }}yes{{ end }}
{{- end }}

{{- define "headgate.appProtocol" -}}
{{- if .Values.service.appProtocol }}{{ .Values.service.appProtocol }}
{{- else if .Values.http.tlsSecret }}https
{{- else if .Values.http.h2c }}kubernetes.io/h2c
{{- else }}http{{ end }}
{{- end }}

{{- define "headgate.scheme" -}}
{{- if .Values.http.tlsSecret }}https{{ else }}http{{ end }}
{{- end }}

{{- /* Can there be more than one pod? */ -}}
{{- define "headgate.several" -}}
{{- if .Values.autoscaling.enabled }}{{ if gt (int .Values.autoscaling.maxReplicas) 1 }}yes{{ end }}
{{- else if gt (int .Values.replicaCount) 1 }}yes{{ end }}
{{- end }}
