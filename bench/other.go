//go:build !linux

// Command bench needs Linux: its load generator is an epoll loop and it reads /proc.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: runs on Linux only")
	os.Exit(1)
}
