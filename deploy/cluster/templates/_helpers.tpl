{{- define "medallion.labels" -}}
app.kubernetes.io/name: medallion
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "medallion.meta" -}}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{ include "medallion.labels" . }}
{{- end -}}

{{- define "medallion.brokers" -}}
{{- $name := .Release.Name -}}
{{- $hosts := list -}}
{{- range $i := until (int .Values.redpanda.brokers) -}}
{{- $hosts = append $hosts (printf "%s-redpanda-%d.%s-redpanda:9092" $name $i $name) -}}
{{- end -}}
{{- join "," $hosts -}}
{{- end -}}

{{- define "medallion.node" -}}
{{ .root.Release.Name }}-clickhouse-{{ .shard }}-{{ .replica }}.{{ .root.Release.Name }}-clickhouse
{{- end -}}

{{/* One of the keys of the Secret, as a variable. */}}
{{- define "medallion.secret" -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef: {name: {{ .root.Values.secret }}, key: {{ .key }}}
{{- end -}}

{{/* What all our containers have in common. */}}
{{- define "medallion.container" -}}
image: {{ .Values.images.medallion }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
envFrom:
  - configMapRef: {name: {{ .Release.Name }}-settings}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if .Values.symbols }}
  # The folder, not its file: otherwise the workers do not see changes of the ConfigMap.
  - {name: symbols, mountPath: /etc/medallion, readOnly: true}
  {{- end }}
{{- end -}}

{{/* What all our pods have in common. */}}
{{- define "medallion.pod" -}}
automountServiceAccountToken: false
{{- with .Values.serviceAccount }}
serviceAccountName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  # Group of a disk, which otherwise belongs to root.
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
volumes:
  - name: tmp
    emptyDir: {medium: Memory, sizeLimit: 64Mi}
  {{- with .Values.symbols }}
  - name: symbols
    configMap: {name: {{ . }}}
  {{- end }}
{{- end -}}

{{/* How services that use the cold tier reach ClickHouse, the catalog and the bucket. */}}
{{- define "medallion.coldTier" -}}
- {name: MEDALLION_CLICKHOUSE_USER, value: ingest}
{{ include "medallion.secret" (dict "root" . "variable" "MEDALLION_CLICKHOUSE_PASSWORD" "key" "CLICKHOUSE_INGEST_PASSWORD") }}
- {name: MEDALLION_ICEBERG_CATALOG_URI, value: {{ .Values.catalog.uri | quote }}}
- {name: MEDALLION_ICEBERG_WAREHOUSE, value: {{ .Values.catalog.warehouse | quote }}}
{{- with .Values.catalog.tokenKey }}
{{ include "medallion.secret" (dict "root" $ "variable" "MEDALLION_ICEBERG_CATALOG_TOKEN" "key" .) }}
{{- end }}
{{- with .Values.catalog.credentialKey }}
{{ include "medallion.secret" (dict "root" $ "variable" "MEDALLION_ICEBERG_CATALOG_CREDENTIAL" "key" .) }}
{{- end }}
- {name: MEDALLION_S3_ENDPOINT, value: {{ .Values.s3.endpoint | quote }}}
- {name: MEDALLION_S3_REGION, value: {{ .Values.s3.region | quote }}}
{{ include "medallion.secret" (dict "root" . "variable" "MEDALLION_S3_ACCESS_KEY_ID" "key" "OBJECT_STORE_ACCESS_KEY") }}
{{ include "medallion.secret" (dict "root" . "variable" "MEDALLION_S3_SECRET_ACCESS_KEY" "key" "OBJECT_STORE_SECRET_KEY") }}
{{- end -}}

{{/* Prefers different nodes for the pods of a component. */}}
{{- define "medallion.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "medallion.labels" . | nindent 8 }}
{{- end -}}

{{/* The login of a broker's user. */}}
{{- define "medallion.kafkaLogin" -}}
- {name: MEDALLION_KAFKA_SECURITY_PROTOCOL, value: SASL_PLAINTEXT}
- {name: MEDALLION_KAFKA_SASL_MECHANISM, value: SCRAM-SHA-256}
- {name: MEDALLION_KAFKA_SASL_USERNAME, value: {{ .user }}}
{{ include "medallion.secret" (dict "root" .root "variable" "MEDALLION_KAFKA_SASL_PASSWORD" "key" .key) }}
{{- end -}}

{{/*
The disk of each pod of the StatefulSet `.name`, as the values of `.of` say. Kubernetes does not change it in place and
would only say that it is forbidden.
*/}}
{{- define "medallion.disk" -}}
{{- $values := get .root.Values .of -}}
{{- range (dig "spec" "volumeClaimTemplates" list (lookup "apps/v1" "StatefulSet" .root.Release.Namespace .name)) -}}
{{- $has := .spec.resources.requests.storage -}}
{{- if ne $has $values.storage -}}
{{- fail (printf "%s.storage is %s and the StatefulSet %s has %s. If that is the same size, write it as the cluster does. To grow the disks, see `Grow a disk` in deploy/cluster/README.md." $.of $values.storage $.name $has) -}}
{{- end -}}
{{- end -}}
volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with $values.storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      resources: {requests: {storage: {{ $values.storage }}}}
{{- end -}}
