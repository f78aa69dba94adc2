package main

import (
	"headgate/internal/admin"
	"headgate/internal/config"
)

// documents are the descriptions on the admin listener: how a routes file is written, for editors, and what the routes are, for clients.
func (s *system) documents() []admin.Document {
	return []admin.Document{
		{Path: "/schema/routes.json", Text: config.RoutesSchema},
		{Path: "/openapi.json", Text: func() []byte { return s.gateway.OpenAPI(versionText()) }},
	}
}
