//go:build !linux

package delivery_test

const socketsHere = false
