// An event-sourced copy of every tenant's relationships and attributes, out of Redis Streams.
//
// The file holds the copy and, in the same write, the place in each stream that it stands for. A transaction in parts
// and a snapshot are taken over as a whole or not at all: the place moves when they are complete.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

type entity struct{ Type, ID, Relation string }

type change struct {
	Operation        string
	Tuple, Attribute *struct {
		Entity, Subject     entity
		Relation, Attribute string
		Value               json.RawMessage
	}
}

// "document:1#viewer@team:2#member" and true, or "document:1$public" and its value.
func (c change) row() (string, json.RawMessage) {
	if a := c.Attribute; a != nil {
		return a.Entity.Type + ":" + a.Entity.ID + "$" + a.Attribute, a.Value
	}
	t := c.Tuple
	text := t.Entity.Type + ":" + t.Entity.ID + "#" + t.Relation + "@" + t.Subject.Type + ":" + t.Subject.ID
	if t.Subject.Relation != "" {
		text += "#" + t.Subject.Relation
	}
	return text, json.RawMessage("true")
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
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
	kind, late, replaced := text("type"), text("late") == "true", false
	sequence, _ := strconv.ParseUint(text("sequence"), 10, 64)
	if kind == "dev.headgate.feed.heartbeat.v1" || sequence <= t.count {
		return // not numbered, or known already
	}
	if first := t.count == 0; first && text("previoustoken") != "" || !first && sequence != t.count+1 {
		t.Incomplete, t.pending, t.snapshot = "the stream has lost what was before "+text("id"), nil, false
	}
	t.count = sequence
	var data struct{ Data_Changes []change }          // as in "data_changes"
	must(json.Unmarshal([]byte(text("data")), &data)) // the sink needs format: json
	t.pending = append(t.pending, data.Data_Changes...)
	parts := kind == "dev.headgate.permission.changed.v1" && text("moreparts") == "true"
	if parts || kind == "dev.headgate.feed.snapshot-page.v1" {
		return // more is to come
	}
	switch kind {
	case "dev.headgate.feed.snapshot-begin.v1":
		t.pending, t.snapshot = nil, true
		return
	case "dev.headgate.feed.snapshot-end.v1":
		replaced = t.snapshot
	case "dev.headgate.tenant.created.v1", "dev.headgate.tenant.removed.v1":
		t.pending, replaced = nil, !late || kind == "dev.headgate.tenant.removed.v1"
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

func main() {
	address := flag.String("redis", "127.0.0.1:6379", "host:port")
	index := flag.String("index", "headgate:{streams}", "set of the streams' keys")
	path := flag.String("file", "copy.json", "the copy")
	flag.Parse()
	server, ctx := redis.NewClient(&redis.Options{Addr: *address, Protocol: 2}), context.Background()
	copies := map[string]*tenant{} // by stream
	if bytes, err := os.ReadFile(*path); err == nil {
		must(json.Unmarshal(bytes, &copies))
	}
	for ; ; time.Sleep(50 * time.Millisecond) {
		streams, err := server.SMembers(ctx, *index).Result() // all there are, new ones too
		places := []string{}
		for _, stream := range streams {
			if copies[stream] == nil {
				copies[stream] = &tenant{Place: "0-0", Rows: map[string]json.RawMessage{}}
			}
			if t := copies[stream]; t.read == "" {
				t.read, t.count = t.Place, t.Sequence
			}
			places = append(places, copies[stream].read)
		}
		var found []redis.XStream
		if len(streams) > 0 {
			wanted := redis.XReadArgs{Streams: append(streams, places...), Count: 500, Block: 500 * time.Millisecond}
			found, err = server.XRead(ctx, &wanted).Result()
		}
		if err != nil && err != redis.Nil {
			log.Print(err)
		}
		for _, stream := range found {
			for _, entry := range stream.Messages {
				copies[stream.Stream].apply(entry)
			}
		}
		if len(found) > 0 { // the old copy stays until the new one is whole
			bytes, err := json.MarshalIndent(copies, "", " ")
			must(err)
			must(os.WriteFile(*path+".new", bytes, 0o644))
			must(os.Rename(*path+".new", *path))
		}
	}
}
