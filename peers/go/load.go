package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	pb "peer/echo"
)

// What to do: as many calls at once, for this long, of this size. With `stream` a call is a message and its answer.
type order struct {
	Kind        string `json:"kind"`
	Concurrency int    `json:"concurrency"`
	Millis      int    `json:"millis"`
	Payload     int    `json:"payload"`
	// Unary calls at this rate in place of `concurrency`, each with a deadline; 0 is none.
	Rate           float64 `json:"rate"`
	DeadlineMillis int     `json:"deadline_ms"`
}

type result struct {
	Calls      int     `json:"calls"`
	Failed     int     `json:"failed"`
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpu_seconds"`
	P50        float64 `json:"p50_us"`
	P90        float64 `json:"p90_us"`
	P99        float64 `json:"p99_us"`
	P999       float64 `json:"p999_us"`
	Max        float64 `json:"max_us"`
}

// What one of those who call has seen.
type tally struct {
	took     []time.Duration
	answered int
	failed   int
	first    error
}

func (t *tally) note(start time.Time, err error) {
	if err == nil {
		t.answered++
		t.took = append(t.took, time.Since(start))
		return
	}
	if t.failed++; t.first == nil {
		t.first = err
	}
}

func (o order) run(client pb.EchoClient) (result, error) {
	work, known := map[string]func(pb.EchoClient, []byte, time.Time, *tally){"unary": unary, "stream": stream}[o.Kind]
	if !known {
		return result{}, fmt.Errorf("kind %q, allowed are unary and stream", o.Kind)
	}
	if o.Concurrency < 1 || o.Millis < 1 || o.Payload < 0 {
		return result{}, fmt.Errorf("an order of nothing: %+v", o)
	}
	if o.Rate > 0 && (o.Kind != "unary" || o.DeadlineMillis < 1) {
		return result{}, fmt.Errorf("a rate is of unary calls with a deadline: %+v", o)
	}
	if o.Rate > 0 {
		cpu, start := cpuTime(), time.Now()
		tallies := []tally{o.open(client)}
		return summary(tallies, time.Since(start).Seconds(), cpuTime()-cpu), nil
	}
	tallies := make([]tally, o.Concurrency)
	payload := make([]byte, o.Payload)
	cpu, start := cpuTime(), time.Now()
	end := start.Add(time.Duration(o.Millis) * time.Millisecond)
	var callers sync.WaitGroup
	for i := range tallies {
		callers.Add(1)
		go func() {
			defer callers.Done()
			work(client, payload, end, &tallies[i])
		}()
	}
	callers.Wait()
	seconds, cpu := time.Since(start).Seconds(), cpuTime()-cpu
	return summary(tallies, seconds, cpu), nil
}

func unary(client pb.EchoClient, payload []byte, end time.Time, seen *tally) {
	for start := time.Now(); start.Before(end); start = time.Now() {
		_, err := client.Unary(context.Background(), &pb.EchoRequest{Payload: payload})
		seen.note(start, err)
	}
}

// A stream that breaks is a failed call, and replaced.
func stream(client pb.EchoClient, payload []byte, end time.Time, seen *tally) {
	for time.Now().Before(end) {
		if err := converse(client, payload, end, seen); err != nil {
			seen.note(time.Time{}, err)
		}
	}
}

func converse(client pb.EchoClient, payload []byte, end time.Time, seen *tally) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := client.Bidi(ctx)
	if err != nil {
		return err
	}
	for start := time.Now(); start.Before(end); start = time.Now() {
		// An error of sending says only that the stream has ended; receiving says why.
		if err := stream.Send(&pb.EchoRequest{Payload: payload}); err != nil && err != io.EOF {
			return err
		}
		if _, err := stream.Recv(); err != nil {
			return err
		}
		seen.note(start, nil)
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if _, err := stream.Recv(); err != io.EOF {
		return fmt.Errorf("a stream did not end well: %v", err)
	}
	return nil
}

func summary(tallies []tally, seconds, cpu float64) result {
	var took []time.Duration
	answered, failed := 0, 0
	for _, tally := range tallies {
		took = append(took, tally.took...)
		answered += tally.answered
		if tally.first != nil && failed == 0 {
			fmt.Fprintln(os.Stderr, "peer: the first call to fail:", tally.first)
		}
		failed += tally.failed
	}
	slices.Sort(took)
	at := func(share float64) float64 {
		if len(took) == 0 {
			return 0
		}
		rank := max(int(math.Ceil(share*float64(len(took)))), 1)
		return float64(took[rank-1]) / 1e3
	}
	return result{answered, failed, seconds, cpu, at(0.5), at(0.9), at(0.99), at(0.999), at(1)}
}

// What the whole process has used so far, in seconds.
func cpuTime() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}
