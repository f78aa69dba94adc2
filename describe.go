package main

import (
	"headgate/internal/admin"
	"headgate/internal/config"
)

// documents are the descriptions on the admin listener: how a routes file is written, for editors.
func documents() []admin.Document {
	return []admin.Document{{Path: "/schema/routes.json", Text: config.RoutesSchema}}
}
