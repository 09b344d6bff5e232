// Follows a stream with one of Go's SSE clients: peers NAME URL.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"

	ld "github.com/launchdarkly/eventsource"
	r3 "github.com/r3labs/sse/v2"
	tmax "github.com/tmaxmax/go-sse"
)

func say(event, data string) {
	if event == "" {
		event = "message"
	}
	line, err := json.Marshal([]string{event, data})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

func main() {
	name, url := os.Args[1], os.Args[2]
	scenario, place, _ := strings.Cut(os.Getenv("SCENARIO"), ":")
	if scenario != "resume" {
		place = ""
	}
	follow := map[string]func(url, place string) error{"r3labs": r3labs, "tmaxmax": tmaxmax, "launchdarkly": launchdarkly}
	if err := follow[name](url, place); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func r3labs(url, place string) error {
	client := r3.NewClient(url)
	if place != "" {
		client.Headers["Last-Event-ID"] = place
	}
	// It hands out frames without data, too.
	return client.SubscribeRaw(func(event *r3.Event) {
		if len(event.Data) > 0 {
			say(string(event.Event), string(event.Data))
		}
	})
}

func tmaxmax(url, place string) error {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	if place != "" {
		request.Header.Set("Last-Event-ID", place)
	}
	connection := tmax.NewConnection(request)
	connection.SubscribeToAll(func(event tmax.Event) { say(event.Type, event.Data) })
	return connection.Connect()
}

func launchdarkly(url, place string) error {
	request, err := http.NewRequest(http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	options := []ld.StreamOption{
		ld.StreamOptionErrorHandler(func(error) ld.StreamErrorHandlerResult { return ld.StreamErrorHandlerResult{} }),
	}
	if place != "" {
		options = append(options, ld.StreamOptionLastEventID(place))
	}
	stream, err := ld.SubscribeWithRequestAndOptions(request, options...)
	if err != nil {
		return err
	}
	for event := range stream.Events {
		say(event.Event(), event.Data())
	}
	return nil
}
