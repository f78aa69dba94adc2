// Package ext stands for a module of Traefik's that is not published. What extends its configuration is empty.
package ext

// HTTP extends what is below http.
type HTTP struct{}

// Router extends a router.
type Router struct{}
