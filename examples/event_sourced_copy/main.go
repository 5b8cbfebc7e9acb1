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
	"time"

	"github.com/redis/go-redis/v9"
)

// The index lists all streams. Finds new ones, and those that no longer hold what was read last: they were lost, and
// are read again.
func find(ctx context.Context, server *redis.Client, index string, copies map[string]*tenant) error {
	streams, err := server.SMembers(ctx, index).Result()
	for _, stream := range streams {
		t := copies[stream]
		if t == nil {
			t = &tenant{Place: "0-0", Rows: map[string]json.RawMessage{}}
			copies[stream] = t
		}
		if t.read == "" {
			t.read, t.count = t.Place, t.Sequence
		}
		if held, err := server.XRange(ctx, stream, t.read, t.read).Result(); err != nil {
			return err
		} else if len(held) == 0 {
			t.read = "0-0"
		}
	}
	return err
}

// One round of reading; true when something came.
func follow(ctx context.Context, server *redis.Client, copies map[string]*tenant) (bool, error) {
	var names, places []string
	for name, t := range copies {
		if t.read != "" {
			names, places = append(names, name), append(places, t.read)
		}
	}
	if len(names) == 0 {
		time.Sleep(200 * time.Millisecond)
		return false, nil
	}
	wanted := redis.XReadArgs{Streams: append(names, places...), Count: 500, Block: 500 * time.Millisecond}
	found, err := server.XRead(ctx, &wanted).Result()
	if err == redis.Nil {
		return false, nil
	}
	for _, stream := range found {
		for _, entry := range stream.Messages {
			copies[stream.Stream].apply(entry)
		}
	}
	return len(found) > 0, err
}

// The old copy stays until the new one is whole.
func save(path string, copies map[string]*tenant) {
	bytes, err := json.MarshalIndent(copies, "", " ")
	if err == nil {
		err = os.WriteFile(path+".new", bytes, 0o644)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	address := flag.String("redis", "127.0.0.1:6379", "host:port")
	index := flag.String("index", "headgate:{streams}", "set of the streams' keys")
	path := flag.String("file", "copy.json", "the copy")
	flag.Parse()
	ctx := context.Background()
	server := redis.NewClient(&redis.Options{Addr: *address, Protocol: 2})
	copies := map[string]*tenant{} // by stream
	if bytes, err := os.ReadFile(*path); err == nil {
		if err := json.Unmarshal(bytes, &copies); err != nil {
			log.Fatal(err)
		}
	}
	for listed := (time.Time{}); ; {
		var err error
		if time.Since(listed) > time.Second {
			err, listed = find(ctx, server, *index, copies), time.Now()
		}
		came := false
		if err == nil {
			came, err = follow(ctx, server, copies)
		}
		if came {
			save(*path, copies)
		}
		if err != nil {
			log.Print(err)
			time.Sleep(time.Second)
		}
	}
}
