package gateway_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if config := os.Getenv(serverConfig); config != "" {
		serveNATS(config) // a process of a cluster, to be killed
		return
	}
	goleak.VerifyTestMain(m)
}
