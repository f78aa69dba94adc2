{{- /* headgate.files: every file that a setting names, as a list of {env, secret or configMap, key}. */ -}}
{{- define "headgate.files" -}}
{{- $files := list }}
{{- $nats := .Values.nats }}
{{- range $env, $ref := dict "NATS_CREDS_FILE" $nats.credsSecret "NATS_NKEY_FILE" $nats.nkeySecret "NATS_TOKEN_FILE" $nats.tokenSecret
      "NATS_PASSWORD_FILE" $nats.passwordSecret "AUTH_KEY_FILE" .Values.auth.keySecret "AUTH_SECRET_FILE" .Values.auth.sharedSecret }}
{{- with $ref.name }}{{ $files = append $files (dict "env" $env "secret" . "key" $ref.key) }}{{ end }}
{{- end }}
{{- if $nats.tls.secret }}
{{- range $env, $key := dict "NATS_TLS_CA_FILE" $nats.tls.ca "NATS_TLS_CERT_FILE" $nats.tls.cert "NATS_TLS_KEY_FILE" $nats.tls.key }}
{{- with $key }}{{ $files = append $files (dict "env" $env "secret" $nats.tls.secret "key" .) }}{{ end }}
{{- end }}
{{- end }}
{{- with .Values.http.tlsSecret }}
{{- $files = concat $files (list (dict "env" "HTTP_TLS_CERT_FILE" "secret" . "key" "tls.crt") (dict "env" "HTTP_TLS_KEY_FILE" "secret" . "key" "tls.key")) }}
{{- end }}
{{- toYaml (concat $files .Values.files) }}
{{- end }}

{{- /* headgate.own: the settings that values of their own make, name: value. What is empty is left to headgate. */ -}}
{{- define "headgate.own" -}}
{{- $v := .Values }}
{{- $more := list }}
{{- range $v.http.extraPorts }}{{ $more = append $more (printf ":%d" (int .)) }}{{ end }}
{{- $own := dict
  "HTTP_ADDR" (printf ":%d" (int $v.http.port))
  "HTTP_MORE_ADDRS" (join "," $more)
  "ADMIN_ADDR" (printf ":%d" (int $v.http.adminPort))
  "HTTP_BASE_PATH" $v.http.basePath
  "HTTP_H2C" (ternary "true" "" $v.http.h2c)
  "HTTP_TRUSTED_PROXIES" (join "," $v.trustedProxies)
  "NATS_URL" $v.nats.url
  "NATS_USER" $v.nats.user
  "NATS_TLS_FIRST" (ternary "true" "" $v.nats.tls.first)
  "AUTH_MODE" $v.auth.mode
  "AUTH_ISSUER" $v.auth.issuer
  "AUTH_AUDIENCE" (join "," $v.auth.audience)
  "AUTH_JWKS_URL" $v.auth.jwksURL
  "AUTH_COOKIE" $v.auth.cookie
  "SHUTDOWN_DRAIN" (printf "%ds" (int $v.drain.drainSeconds))
  "SHUTDOWN_TIMEOUT" (printf "%ds" (add (int $v.drain.drainSeconds) 10))
  "ROUTES_FILE" (ternary (printf "/etc/headgate/routes/%s" $v.routes.key) "" (eq (include "headgate.hasRoutes" .) "yes"))
  "GOMEMLIMIT" (include "headgate.goMemLimit" .) -}}
{{- range (include "headgate.files" . | fromYamlArray) }}
{{- $_ := set $own .env (printf "/etc/headgate/files/%s/%s" (include "headgate.volume" .) .key) }}
{{- end }}
{{- toYaml $own }}
{{- end }}

{{- /* headgate.volume: the volume of one entry of headgate.files. */ -}}
{{- define "headgate.volume" -}}
{{- ternary (printf "secret-%s" (default "" .secret)) (printf "config-%s" (default "" .configMap)) (not (empty .secret)) | replace "." "-" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* headgate.check refuses what can only go wrong, and says what to do instead. */ -}}
{{- define "headgate.check" -}}
{{- $v := .Values }}
{{- if not $v.auth.mode }}{{ fail "auth.mode must be said: none (everybody may use every route) or jwt. For example --set auth.mode=none" }}{{ end }}
{{- $given := 0 }}
{{- range list $v.routes.file $v.routes.text $v.routes.existingConfigMap }}{{ if . }}{{ $given = add $given 1 }}{{ end }}{{ end }}
{{- if gt (int $given) 1 }}{{ fail "routes: at most one of file, text and existingConfigMap may be set" }}{{ end }}
{{- if contains "@" $v.nats.url }}{{ fail "nats.url has a user or password in it: put them into a Secret, and name it in nats.passwordSecret or nats.tokenSecret" }}{{ end }}
{{- $ways := 0 }}
{{- range list $v.nats.credsSecret.name $v.nats.nkeySecret.name $v.nats.tokenSecret.name $v.nats.user }}{{ if . }}{{ $ways = add $ways 1 }}{{ end }}{{ end }}
{{- if gt (int $ways) 1 }}{{ fail "nats: at most one of credsSecret, nkeySecret, tokenSecret and user may be set" }}{{ end }}
{{- if ne (empty $v.nats.user) (empty $v.nats.passwordSecret.name) }}{{ fail "nats.user and nats.passwordSecret.name belong together: set both" }}{{ end }}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) }}{{ fail "httpRoute.parentRefs is empty: name the Gateway, for example --set httpRoute.parentRefs[0].name=public" }}{{ end }}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) }}{{ fail "ingress.hosts is empty: for example --set 'ingress.hosts[0].host=edge.example'" }}{{ end }}
{{- $ports := list (int $v.http.port) (int $v.http.adminPort) }}
{{- range $v.http.extraPorts }}
{{- $ports = append $ports (int .) }}
{{- if eq (int .) (int $v.service.port) }}{{ fail "service.port is one of http.extraPorts, which are ports of the Service too: choose another one" }}{{ end }}
{{- end }}
{{- if ne (len $ports) (len (uniq $ports)) }}{{ fail "http: port, adminPort and extraPorts must all be different" }}{{ end }}
{{- $own := include "headgate.own" . | fromYaml }}
{{- $values := dict "HTTP_ADDR" "http.port" "HTTP_MORE_ADDRS" "http.extraPorts" "ADMIN_ADDR" "http.adminPort" "HTTP_BASE_PATH" "http.basePath" "HTTP_H2C" "http.h2c"
  "HTTP_TLS_CERT_FILE" "http.tlsSecret" "HTTP_TLS_KEY_FILE" "http.tlsSecret" "HTTP_TRUSTED_PROXIES" "trustedProxies" "NATS_URL" "nats.url"
  "NATS_USER" "nats.user" "NATS_PASSWORD" "nats.passwordSecret" "NATS_PASSWORD_FILE" "nats.passwordSecret" "NATS_TOKEN" "nats.tokenSecret"
  "NATS_TOKEN_FILE" "nats.tokenSecret" "NATS_CREDS_FILE" "nats.credsSecret" "NATS_NKEY_FILE" "nats.nkeySecret"
  "NATS_TLS_CA_FILE" "nats.tls" "NATS_TLS_CERT_FILE" "nats.tls" "NATS_TLS_KEY_FILE" "nats.tls" "NATS_TLS_FIRST" "nats.tls.first"
  "AUTH_MODE" "auth.mode" "AUTH_ISSUER" "auth.issuer" "AUTH_AUDIENCE" "auth.audience" "AUTH_JWKS_URL" "auth.jwksURL"
  "AUTH_KEY_FILE" "auth.keySecret" "AUTH_SECRET_FILE" "auth.sharedSecret" "AUTH_COOKIE" "auth.cookie" "ROUTES_FILE" "routes"
  "SHUTDOWN_DRAIN" "drain.drainSeconds" "SHUTDOWN_TIMEOUT" "drain.drainSeconds" "GOMEMLIMIT" "goMemLimitPercent" }}
{{- range $name, $_ := $v.config }}
{{- if hasKey $values $name }}{{ fail (printf "config.%s: the chart sets this from the value %s; say it there" $name (get $values $name)) }}{{ end }}
{{- if hasKey $own $name }}{{ fail (printf "config.%s is set by files as well: drop one of them" $name) }}{{ end }}
{{- end }}
{{- $volumes := dict }}
{{- range (include "headgate.files" . | fromYamlArray) }}
{{- $name := include "headgate.volume" . }}
{{- $from := printf "%s%s" (default "" .secret) (default "" .configMap) }}
{{- if ne (default $from (get $volumes $name)) $from }}{{ fail (printf "files: %s and %s would be one volume, %s: give one of them another name" (get $volumes $name) $from $name) }}{{ end }}
{{- $_ := set $volumes $name $from }}
{{- end }}
{{- range $v.files }}
{{- if hasKey $values .env }}{{ fail (printf "files: %s is what the value %s is for; say it there" .env (get $values .env)) }}{{ end }}
{{- if eq (empty .secret) (empty .configMap) }}{{ fail (printf "files: %s needs either secret or configMap" .env) }}{{ end }}
{{- end }}
{{- end }}

{{- /* headgate.goMemLimit: a part of the memory limit, in bytes; empty without a limit. */ -}}
{{- define "headgate.goMemLimit" -}}
{{- $limit := dig "limits" "memory" "" .Values.resources | toString }}
{{- if and $limit (gt (int .Values.goMemLimitPercent) 0) }}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 }}
{{- $unit := regexFind "[a-zA-Z]*$" $limit }}
{{- $number := trimSuffix $unit $limit }}
{{- if not (and (hasKey $units $unit) (regexMatch "^[0-9]+(\\.[0-9]+)?$" $number)) }}{{ fail (printf "resources.limits.memory=%s: write it with Mi or Gi, or set goMemLimitPercent to 0" $limit) }}{{ end }}
{{- mulf (float64 $number) (float64 (get $units $unit)) (divf (float64 .Values.goMemLimitPercent) 100.0) | floor | int64 }}
{{- end }}
{{- end }}

{{- /* headgate.scalar: text of a value of config; a number as large as 268435456 must not become 2.68435456e+08. */ -}}
{{- define "headgate.scalar" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toJson . }}{{ end }}
{{- end }}

{{- /* headgate.containerEnv: env and envFrom of the container. */ -}}
{{- define "headgate.containerEnv" -}}
env:
  {{- range $name, $value := include "headgate.own" . | fromYaml }}
  {{- if ne (toString $value) "" }}
  - {name: {{ $name }}, value: {{ toString $value | quote }}}
  {{- end }}
  {{- end }}
  {{- range $name, $value := .Values.config }}
  - {name: {{ $name }}, value: {{ include "headgate.scalar" $value | quote }}}
  {{- end }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* headgate.volumeMounts: whole directories. A subPath is never updated when the ConfigMap or Secret changes. */ -}}
{{- define "headgate.volumeMounts" -}}
{{- $mounts := list }}
{{- if include "headgate.hasRoutes" . }}{{ $mounts = append $mounts (dict "name" "routes" "mountPath" "/etc/headgate/routes" "readOnly" true) }}{{ end }}
{{- range (include "headgate.files" . | fromYamlArray) }}
{{- $name := include "headgate.volume" . }}
{{- $mounts = append $mounts (dict "name" $name "mountPath" (printf "/etc/headgate/files/%s" $name) "readOnly" true) }}
{{- end }}
{{- $mounts = concat (uniq $mounts) .Values.extraVolumeMounts }}
{{- with $mounts }}
volumeMounts:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "headgate.volumes" -}}
{{- $volumes := list }}
{{- if include "headgate.hasRoutes" . }}
{{- $volumes = append $volumes (dict "name" "routes" "configMap" (dict "name" (include "headgate.routesConfigMap" .))) }}
{{- end }}
{{- range (include "headgate.files" . | fromYamlArray) }}
{{- if .secret }}
{{- $volumes = append $volumes (dict "name" (include "headgate.volume" .) "secret" (dict "secretName" .secret "defaultMode" 288)) }}{{/* 0440 */}}
{{- else }}
{{- $volumes = append $volumes (dict "name" (include "headgate.volume" .) "configMap" (dict "name" .configMap)) }}
{{- end }}
{{- end }}
{{- $volumes = concat (uniq $volumes) .Values.extraVolumes }}
{{- with $volumes }}
volumes:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
