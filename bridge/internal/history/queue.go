package history

import (
	"container/list"
	"slices"
)

// queue is the requests that wait, served in turn user by user, so that who asks for much waits for itself. Guarded by
// Coordinator.mu.
type queue struct {
	users map[string]*user
	turns list.List // of *user, with something waiting
}

type user struct {
	name  string
	reads []*read
	turn  *list.Element
}

func (q *queue) push(r *read) {
	if r.queued {
		return
	}
	r.queued = true
	u := q.users[r.User]
	if u == nil {
		u = &user{name: r.User}
		u.turn = q.turns.PushBack(u)
		q.users[r.User] = u
	}
	u.reads = append(u.reads, r)
}

// pop takes the next request that is not answered; nil when there is none.
func (q *queue) pop() *read {
	for q.turns.Len() > 0 {
		u := q.turns.Front().Value.(*user)
		r := u.reads[0]
		u.reads = u.reads[1:]
		r.queued = false
		if len(u.reads) == 0 {
			q.drop(u)
		} else {
			q.turns.MoveToBack(u.turn)
		}
		if !r.answered {
			return r
		}
	}
	return nil
}

// lists are the Lists that are being made, and those that wait since half of the workers are at others: who has missed a few messages must not
// wait until four large states are listed. Guarded by Coordinator.mu.
type lists struct {
	making  int
	waiting []*read
}

func (l *lists) begin(r *read, workers int) bool {
	if l.making >= max(1, workers/2) {
		l.waiting = append(l.waiting, r)
		return false
	}
	l.making++
	return true
}

func (l *lists) end(q *queue) {
	l.making--
	for _, r := range l.waiting {
		q.push(r)
	}
	l.waiting = nil
}

func (q *queue) drop(u *user) {
	q.turns.Remove(u.turn)
	delete(q.users, u.name)
}

// remove takes out what f says.
func (q *queue) remove(f func(*read) bool) {
	for _, u := range q.users {
		u.reads = slices.DeleteFunc(u.reads, func(r *read) bool {
			if !f(r) {
				return false
			}
			r.queued = false
			return true
		})
		if len(u.reads) == 0 {
			q.drop(u)
		}
	}
}
