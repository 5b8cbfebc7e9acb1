// Reads Headgate's events with the CloudEvents SDK for Go. Argument: the file that cloudevents_test.cc writes.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

type message struct {
	Name       string            `json:"name"`
	Prefix     string            `json:"prefix"`
	Headers    map[string]string `json:"headers"`
	Body       string            `json:"body"`
	Attributes map[string]string `json:"attributes"`
	Data       string            `json:"data"`
}

func read(m message) (*event.Event, error) {
	body, err := base64.StdEncoding.DecodeString(m.Body)
	if err != nil {
		return nil, err
	}
	if m.Prefix == "" {
		e := event.New()
		return &e, e.UnmarshalJSON(body)
	}
	header := http.Header{}
	for name, value := range m.Headers {
		if len(name) > 3 && name[:3] == m.Prefix {
			name = "ce-" + name[3:]
		}
		// HTTP's binding, which stands for the others, has this one in content-type alone.
		if name != "ce-datacontenttype" {
			header.Set(name, value)
		}
	}
	return binding.ToEvent(context.Background(), cehttp.NewMessage(header, io.NopCloser(bytes.NewReader(body))))
}

func check(m message) error {
	e, err := read(m)
	if err != nil {
		return err
	}
	if err := e.Validate(); err != nil {
		return err
	}
	got := map[string]string{"specversion": e.SpecVersion(), "id": e.ID(), "source": e.Source(), "type": e.Type(),
		"subject": e.Subject(), "dataschema": e.DataSchema(), "datacontenttype": e.DataContentType(),
		"time": e.Time().UTC().Format("2006-01-02T15:04:05.000000Z")}
	for name, value := range e.Extensions() {
		got[name] = fmt.Sprint(value)
	}
	for name, value := range m.Attributes {
		if got[name] != value {
			return fmt.Errorf("%s is '%s', not '%s'", name, got[name], value)
		}
	}
	data, err := base64.StdEncoding.DecodeString(m.Data)
	if err == nil && e.DataContentType() == "application/json" {
		var left, right any
		if json.Unmarshal(e.Data(), &left) != nil || json.Unmarshal(data, &right) != nil || fmt.Sprint(left) != fmt.Sprint(right) {
			return fmt.Errorf("other data: %s", e.Data())
		}
	} else if err != nil || !bytes.Equal(e.Data(), data) {
		return fmt.Errorf("other data (%v)", err)
	}
	return nil
}

func main() {
	file, err := os.Open(os.Args[1])
	if err != nil {
		panic(err)
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	count, failed := 0, 0
	for lines.Scan() {
		var m message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			panic(err)
		}
		count++
		if err := check(m); err != nil {
			failed++
			fmt.Printf("%s: %v\n", m.Name, err)
		}
	}
	fmt.Printf("read %d, failed %d\n", count, failed)
	if failed > 0 || count == 0 {
		os.Exit(1)
	}
}
