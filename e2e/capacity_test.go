package e2e_test

import (
	"testing"

	"headgate/e2e/internal/need"
	"headgate/e2e/internal/proc"
	"headgate/e2e/internal/stack"
)

// The commands of the page, on a headgate with a route of each kind; the connections that the page promises are those that NATS counts.
func TestCapacity_ItsCommandsWork(t *testing.T) {
	t.Parallel()
	need.Program(t, "curl", "curl")
	monitor := proc.FreeAddr(t)
	broker := stack.StartNATS(t, `http: "`+monitor+`"`)
	h := stack.StartHeadgate(t, stack.Options{NATS: broker.URL(), Routes: `
version: 1
routes:
  - {name: prices, path: "/v1/prices/{symbol}", source: {type: core, subject: "prices.{symbol}"}}
  - {name: orders, path: /v1/orders, source: {type: stream, stream: ORDERS, subject: "orders.>"}}
`})
	ledger := stack.NewLedger(t, "docs/capacity.md")
	here := place{ledger: ledger, names: []string{"localhost:9090", h.AdminAddr, "localhost:8222", monitor}}
	blocks := stack.Blocks(t, "../docs/capacity.md")
	for _, b := range blocks {
		if !ledger.Mine(stack.Commands(b.Commands)[0]) {
			continue
		}
		t.Run(b.Heading, func(t *testing.T) { here.runs(t, b) })
	}
	if len(blocks) < 5 {
		t.Errorf("only %d blocks", len(blocks))
	}
}
