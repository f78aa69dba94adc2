//go:build !linux

package delivery

import (
	"errors"
	"net"
)

// CanHandover says that no socket is taken over here: every client is served through its ResponseWriter.
func CanHandover(net.Conn) bool { return false }

var errNoSockets = errors.New("delivery: sockets are taken over on Linux only")

// Tune leaves the connection to the system's defaults.
func Tune(net.Conn) {}

func takeSocket(net.Conn) (int32, error)     { return -1, errNoSockets }
func send(int32, []byte) (int, error)        { return 0, errNoSockets }
func recv(int32, []byte) (int, error)        { return 0, errNoSockets }
func closeFriendly(fd int32, scratch []byte) {}
func closeHard(fd int32, reset bool)         {}
