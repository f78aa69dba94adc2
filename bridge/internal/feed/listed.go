package feed

import (
	"errors"
	"slices"

	"headgate/bridge/internal/encode"
	"headgate/internal/subject"
)

// What Table fails with.
var (
	ErrNoTable = errors.New("there is no table") // not wanted, not loaded, or too large for the budget
	ErrCrowded = errors.New("no room for a list of the table at present")
)

// Rows are the last message of every matching subject that has a value, in the order of their sequences, as it was when everything up
// to At had been taken. The list is shared.
type Rows struct {
	Items []*encode.Item
	At    uint64
	Inc   *Incarnation
	Use   *Use // of the memory of the list; that of the items is the table's
}

// rowCost is what a row takes in a list.
const rowCost = 8

// listed is what Table answered last: those who come at the same time share it. It is only read.
type listed struct {
	table   *table
	filters []string
	rows    Rows
	room    *Room
}

// list keeps a list, or none, in place of the one before. It needs mu.
func (f *Feed) list(l listed) {
	f.listed.rows.Use.End()
	f.listed = l
}

// Table is what the table has of some subjects, as it is now.
func (f *Feed) Table(filters []string) (Rows, error) {
	f.mu.Lock()
	if f.table == nil || !f.caughtUp || f.ended {
		f.mu.Unlock()
		return Rows{}, ErrNoTable
	}
	if l := f.listed; l.table == f.table && l.rows.At == f.Cursor && slices.Equal(l.filters, filters) {
		r := l.rows
		r.Use = l.room.Use()
		f.mu.Unlock()
		return r, nil
	}
	of := f.table
	r := Rows{Items: f.table.match(filters), At: f.Cursor, Inc: f.Inc}
	f.mu.Unlock()
	room := f.cfg.Budget.Room()
	if !room.Grow(int64(cap(r.Items)) * rowCost) {
		return Rows{}, ErrCrowded
	}
	slices.SortFunc(r.Items, bySeq)
	r.Use = room.Use()
	if room.isAlone() { // kept, it would be in the way of whatever else is too large
		return r, nil
	}
	kept := r
	kept.Use = room.Use()
	f.mu.Lock()
	if f.ended {
		kept.Use.End()
	} else {
		f.list(listed{of, slices.Clone(filters), kept, room})
	}
	f.mu.Unlock()
	return r, nil
}

// match lists the matching rows that have a value, each once.
func (t *table) match(filters []string) (items []*encode.Item) {
	for i, p := range filters {
		t.rows.Match(p, func(literal string, r row) bool {
			twice := slices.ContainsFunc(filters[:i], func(before string) bool { return subject.Match(before, literal) })
			if r.it != nil && !twice {
				items = append(items, r.it)
			}
			return true
		})
	}
	return items
}
