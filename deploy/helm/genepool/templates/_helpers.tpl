{{- define "genepool.name" -}}
{{ printf "%s-pool" .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "genepool.selector" -}}
app.kubernetes.io/name: genepool
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: pool
{{- end }}

{{- define "genepool.labels" -}}
{{ include "genepool.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "genepool.image" -}}
{{- if contains "@" .Values.image.repository -}}
{{ .Values.image.repository }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "genepool.secrets" -}}
{{- with .Values.ledger.passwordSecret.name }}
- name: PGPASSWORD
  valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: {{ $.Values.ledger.passwordSecret.key | quote }}}}
{{- end }}
{{- with .Values.blobs.keysSecret }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $.Values.blobs.keysSecret | quote }}, key: {{ . }}}}
{{- end }}
{{- end }}
{{- end }}

{{- define "genepool.closed" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "genepool.mounts" -}}
- {name: pool, mountPath: /var/lib/genepool}
- {name: temporary, mountPath: /tmp}
- {name: shared-memory, mountPath: /dev/shm}
{{- end }}
