package mux

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
)

var errShut = errors.New("shut")

// Whoever waits in a stream that is shut is told, the far side is not, and
// Finish still says how it ended.
func TestShut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := opened(t, a, b)
		if err := far.Send(t.Context(), nil, []byte("unread")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		failed := make(chan error, 3)
		go func() {
			for {
				if err := near.Send(context.Background(), nil, make([]byte, 1000)); err != nil {
					failed <- err
					return
				}
			}
		}()
		synctest.Wait() // no credit is left
		near.Shut(errShut)
		near.Shut(errors.New("again"))
		go func() { _, err := near.Recv(context.Background()); failed <- err }()
		go func() { failed <- near.Ready(context.Background()) }()
		for range 3 {
			if err := <-failed; err != errShut {
				t.Errorf("%v", err)
			}
		}
		if err := far.Send(t.Context(), nil, []byte("ignored")); err != nil {
			t.Error(err)
		}
		near.End()
		synctest.Wait()
		if near.Err() != nil || far.Err() != nil {
			t.Errorf("the stream is over: %v, %v", near.Err(), far.Err())
		}
		near.Finish([]byte("done"))
		for {
			_, err := far.Recv(t.Context())
			if err == nil {
				continue
			}
			if finished, ok := err.(*Finished); !ok || string(finished.Payload) != "done" {
				t.Errorf("the far side: %v", err)
			}
			break
		}
		near.Shut(errShut)
		if _, err := near.Recv(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("shut when it was over: %v", err)
		}
	})
}

// A stream that is shut inside an item can be finished.
func TestShutInsideAnItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := opened(t, a, b)
		failed := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { failed <- near.Send(ctx, nil, make([]byte, 2*DefaultWindow)) }()
		synctest.Wait()
		near.Shut(errShut)
		cancel() // it does not reset what is shut
		if err := <-failed; err != errShut {
			t.Error(err)
		}
		near.End()
		near.Finish(nil)
		if _, err := far.Recv(t.Context()); err == nil || errors.Is(err, ErrReset) {
			t.Error(err)
		}
		if a.Err() != nil || b.Err() != nil {
			t.Errorf("the link has ended: %v, %v", a.Err(), b.Err())
		}
	})
}

// A canceled Send of an item that is not large has sent nothing, and the stream
// goes on.
func TestCanceledSendOfASmallItem(t *testing.T) {
	for _, size := range []int{0, 1, 100, 20_000, 70_000, 200_000} {
		synctest.Test(t, func(t *testing.T) {
			a, b := pair(t, quiet())
			near, far := opened(t, a, b)
			item := bytes.Repeat([]byte{7}, size)
			sent := 0
			for {
				ctx, cancel := context.WithCancelCause(t.Context())
				failed := make(chan error, 1)
				go func() { failed <- near.Send(ctx, nil, item) }()
				synctest.Wait()
				cancel(errShut)
				if err := <-failed; err == errShut {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				sent++
			}
			go near.End()
			for range sent {
				if got, err := far.Recv(t.Context()); err != nil || !bytes.Equal(got, item) {
					t.Fatalf("%d bytes, %v", len(got), err)
				}
			}
			if _, err := far.Recv(t.Context()); err != io.EOF {
				t.Errorf("after %d items of %d bytes: %v", sent, size, err)
			}
		})
	}
}
