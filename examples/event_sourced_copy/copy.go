// The copy of one tenant: events in, rows out. It knows nothing of Redis but what an entry looks like.
package main

import (
	"encoding/json"
	"log"
	"strconv"

	"github.com/redis/go-redis/v9"
)

type entity struct{ Type, ID, Relation string }

func (e entity) String() string { return e.Type + ":" + e.ID }

type change struct {
	Operation string
	Tuple     *struct {
		Entity, Subject entity
		Relation        string
	}
	Attribute *struct {
		Entity    entity
		Attribute string
		Value     json.RawMessage
	}
}

// "document:1#viewer@team:2#member" and true, or "document:1$public" and its value.
func (c change) row() (string, json.RawMessage) {
	if c.Tuple == nil {
		return c.Attribute.Entity.String() + "$" + c.Attribute.Attribute, c.Attribute.Value
	}
	text := c.Tuple.Entity.String() + "#" + c.Tuple.Relation + "@" + c.Tuple.Subject.String()
	if c.Tuple.Subject.Relation != "" {
		text += "#" + c.Tuple.Subject.Relation
	}
	return text, json.RawMessage("true")
}

type tenant struct {
	Place      string // id of the stream's last entry that is in the copy
	Sequence   uint64 // of that event
	Token      string
	Incomplete string // empty, or why something may be missing until the next snapshot
	Rows       map[string]json.RawMessage
	pending    []change // of a transaction or a snapshot that is not complete yet
	snapshot   bool
	read       string // like Place and Sequence, of what was read; ahead of them while something is pending
	count      uint64
}

func (t *tenant) apply(entry redis.XMessage) {
	text := func(name string) string { value, _ := entry.Values[name].(string); return value }
	t.read = entry.ID
	kind := text("type")
	sequence, _ := strconv.ParseUint(text("sequence"), 10, 64)
	if kind == "dev.headgate.feed.heartbeat.v1" || sequence <= t.count {
		return // not numbered; or known already: a stream that was lost is filled again
	}
	if first := t.count == 0; first && text("previoustoken") != "" || !first && sequence != t.count+1 {
		t.Incomplete, t.pending, t.snapshot = "the stream has lost what was before "+text("id"), nil, false
	}
	t.count = sequence
	var data struct {
		Changes []change `json:"data_changes"`
	}
	if err := json.Unmarshal([]byte(text("data")), &data); err != nil {
		log.Fatalf("%s: %v (the sink needs format: json)", text("id"), err)
	}
	t.pending = append(t.pending, data.Changes...)
	replaced, late := false, text("late") == "true"
	switch kind {
	case "dev.headgate.permission.changed.v1":
		if text("moreparts") == "true" {
			return
		}
	case "dev.headgate.feed.snapshot-begin.v1":
		t.pending, t.snapshot = nil, true
		return
	case "dev.headgate.feed.snapshot-page.v1":
		return
	case "dev.headgate.feed.snapshot-end.v1":
		replaced = t.snapshot
	case "dev.headgate.tenant.created.v1":
		t.pending, replaced = nil, !late
	case "dev.headgate.tenant.removed.v1":
		t.pending, replaced = nil, true
	case "dev.headgate.feed.gap.v1":
		t.pending, t.Incomplete = nil, text("reason")
	}
	if replaced {
		t.Rows, t.Incomplete = map[string]json.RawMessage{}, ""
		if late {
			t.Incomplete = "the removal was found late: what was in front of it may be of the life behind it"
		}
	}
	for _, c := range t.pending {
		row, value := c.row()
		if delete(t.Rows, row); c.Operation == "OPERATION_CREATE" {
			t.Rows[row] = value
		}
	}
	t.pending, t.snapshot = nil, false
	t.Place, t.Sequence, t.Token = t.read, t.count, text("snaptoken")
}
