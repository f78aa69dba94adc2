package control

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"headgate/gateway"
)

const (
	usualPage = 100
	maxPage   = 1000
	pageRoom  = 256 // bytes around the list
)

// page is an answer to connections.
type page struct {
	Instance    string               `json:"instance"`
	Connections []gateway.Connection `json:"connections"`
	Next        string               `json:"next,omitempty"`
}

// connections lists open streams, a page at a time. A page ends with how many were asked for, or with the room that NATS leaves. Its next
// names the replica that it is of, which alone goes on with it.
func (d *Desk) connections(_ context.Context, _ string, request []byte, room int) ([]byte, error) {
	var ask struct {
		choice
		Limit *int   `json:"limit"`
		After string `json:"after"`
	}
	if err := decode(request, &ask); err != nil {
		return nil, err
	}
	f, err := d.filter(ask.choice)
	if err != nil {
		return nil, err
	}
	limit := usualPage
	if ask.Limit != nil {
		limit = *ask.Limit
	}
	if limit < 1 || limit > maxPage {
		return nil, refuse("400", "limit is %d; expected 1 to %d", limit, maxPage)
	}
	answer := page{Instance: d.streams.Numbers().Instance, Connections: []gateway.Connection{}}
	from := uint64(0)
	if ask.After != "" {
		instance, place, _ := strings.Cut(ask.After, "/")
		if from, err = strconv.ParseUint(place, 10, 32); err != nil {
			return nil, refuse("400", "after is not the next of an earlier answer")
		}
		if instance != answer.Instance {
			return json.Marshal(answer) // of another replica, which answers too
		}
	}
	list, next := d.streams.Connections(f, uint32(from), limit)
	room -= pageRoom
	for _, c := range list {
		text, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		if room -= len(text) + 1; room < 0 {
			if len(answer.Connections) == 0 { // it alone is too large: its subjects are what can be long
				c.Subjects = []string{"…"}
				answer.Connections = append(answer.Connections, c)
				continue
			}
			next = c.Place
			break
		}
		answer.Connections = append(answer.Connections, c)
	}
	if next != 0 {
		answer.Next = answer.Instance + "/" + strconv.FormatUint(uint64(next), 10)
	}
	return json.Marshal(answer)
}
