package admin_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"headgate/internal/admin"
)

func TestConsistency_SaysWhatIsBrokenAndWalksOnceAtATime(t *testing.T) {
	if rec := get(t, handler(admin.Options{}), "/debug/consistency"); rec.Code != http.StatusNotFound {
		t.Errorf("without a walk: %d", rec.Code)
	}
	var broken []string
	var failed error
	entered, goOn := make(chan struct{}, 8), make(chan struct{})
	h := handler(admin.Options{Walk: func(context.Context) ([]string, error) {
		entered <- struct{}{}
		<-goOn
		return broken, failed
	}})
	first := make(chan int)
	go func() { first <- get(t, h, "/debug/consistency").Code }()
	<-entered
	if rec := get(t, h, "/debug/consistency"); rec.Code != http.StatusTooManyRequests {
		t.Errorf("a second one at the same time: %d", rec.Code)
	}
	close(goOn)
	if code := <-first; code != http.StatusOK {
		t.Errorf("all is well, and the answer is %d", code)
	}
	broken = []string{"delivery: slot 7"}
	if rec := get(t, h, "/debug/consistency"); rec.Code != http.StatusInternalServerError || !strings.Contains(rec.Body.String(), "slot 7") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	broken, failed = nil, errors.New("too busy")
	if rec := get(t, h, "/debug/consistency"); rec.Code != http.StatusServiceUnavailable || !strings.Contains(rec.Body.String(), "too busy") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}
