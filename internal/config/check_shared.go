package config

// checkDefaults checks what the file's defaults say, so that a mistake there shows once and not at every route.
func (b *builder) checkDefaults() {
	route := b.c.routeDefaults()
	b.shared(&route, &b.defaults)
	b.checkShared(&route, &b.defaults)
	if at := b.defaults.Auth.Required.at; at.line > 0 && route.AuthRequired && b.nobodyKnown() {
		b.d.fail(at, needsIdentity)
	}
	b.checkDefaultRequire()
	b.checkUsers(b.defaults.Limits.ConnectionsPerUser)
}

// checkUsers refuses a limit that would limit nobody.
func (b *builder) checkUsers(perUser val[int]) {
	if perUser.said() && perUser.v > 0 && b.nobodyKnown() {
		b.d.fail(perUser.at, Problem{Message: "limits.connections_per_user: with AUTH_MODE=none nobody is a user",
			Hint: "say AUTH_MODE=jwt, or limit client addresses: LIMIT_CONNECTIONS_PER_IP"})
	}
}

// checkLimits refuses what the route itself says and nobody can reach.
func (b *builder) checkLimits(route *Route, y *routeYAML) {
	b.checkUsers(y.Limits.ConnectionsPerUser)
	if rate := y.Limits.PublishRate; rate.said() && rate.v > 0 && route.Publish == nil {
		b.d.fail(rate.at, Problem{Message: "limits.publish_rate: nobody publishes here", Hint: "drop it, or say publish: {subject: …}"})
	}
}

// checkShared checks what y says of the fields that routes and defaults have in common, where it depends on more than one of
// them. route has the values that result.
func (b *builder) checkShared(route *Route, y *sharedYAML) {
	if y.CORS.Origins != nil || y.CORS.Credentials.said() {
		checkOrigins(route.CORS, func(i int, p Problem) {
			at := y.CORS.Credentials.at
			if i < len(y.CORS.Origins) {
				at = y.CORS.Origins[i].at
			}
			if at.line > 0 {
				p.Message = "cors.origins: " + p.Message
				b.d.fail(at, p)
			}
		})
	}
	for _, h := range y.Headers {
		if h.said() && !headerName.MatchString(h.v) {
			b.d.fail(h.at, Problem{Message: "headers: " + quoteShort(h.v) + " is not a header name"})
		}
	}
	if route.has(typeStream, typeKV) {
		return // they keep nothing here, and lose nothing
	}
	if y.Resume.Enabled.v && route.Resume.MaxEvents == 0 {
		b.d.fail(y.Resume.Enabled.at, Problem{Message: "resume is on, but no events are kept", Hint: "set resume.max_events, since SSE_RESUME_EVENTS is 0"})
	}
	if y.Resume.MaxAge.said() && route.Resume.MaxEvents == 0 {
		b.d.fail(y.Resume.MaxAge.at, Problem{Message: "max_age without events that are kept", Hint: "set resume.max_events, since SSE_RESUME_EVENTS is 0"})
	}
}
