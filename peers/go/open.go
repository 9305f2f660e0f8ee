package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	pb "peer/echo"
)

// Calls that begin at random, so many a second in the mean, whatever becomes of those before. How long one took counts from when it should have begun; one given
// up at its deadline failed, and counts among the latencies too.
func (o order) open(client pb.EchoClient) tally {
	var (
		all     tally
		guard   sync.Mutex
		calls   sync.WaitGroup
		payload = make([]byte, o.Payload)
		begin   = time.Now()
		window  = time.Duration(o.Millis) * time.Millisecond
		limit   = time.Duration(o.DeadlineMillis) * time.Millisecond
	)
	gap := func() time.Duration { return time.Duration(rand.ExpFloat64() / o.Rate * float64(time.Second)) }
	for at := gap(); at < window; at += gap() {
		meant := begin.Add(at)
		time.Sleep(time.Until(meant))
		calls.Add(1)
		go func() {
			defer calls.Done()
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			_, err := client.Unary(ctx, &pb.EchoRequest{Payload: payload})
			late := ctx.Err() != nil
			guard.Lock()
			defer guard.Unlock()
			if all.note(meant, err); err != nil && late {
				all.took = append(all.took, time.Since(meant))
			}
		}()
	}
	calls.Wait()
	return all
}
