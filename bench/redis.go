package main

import (
	"context"
	"crypto/tls"
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/rueidis"
)

// A redisServer is a server of this run's own, behind a socket in the session's directory. Nothing of it is kept, but
// in that directory if it has an AOF.
type redisServer struct {
	aof bool

	once   sync.Once
	link   *link // of its keeper, with which it ends
	socket string
	pid    int
	client rueidis.Client
	err    error
}

// A redisOrder asks a keeper for a server.
type redisOrder struct {
	Program, Dir, Socket string
	AOF                  bool
}

// redis gives the session's server, which is started when it is first asked for.
func (s *session) redis(ctx context.Context, aof bool) (*redisServer, error) {
	r := &s.plainRedis
	if aof {
		r = &s.aofRedis
	}
	r.once.Do(func() {
		r.aof = aof
		r.err = r.start(ctx, s.dir)
	})
	return r, r.err
}

func (r *redisServer) start(ctx context.Context, dir string) error {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("%w: %w", errAbsent, err)
	}
	if dir, err = os.MkdirTemp(dir, "redis-"); err != nil {
		return err
	}
	r.socket = filepath.Join(dir, "s")
	// The server outlives a run that is stopped until the session is closed.
	if r.link, err = openLink(context.WithoutCancel(ctx), "redis"); err != nil {
		return err
	}
	if err := gob.NewEncoder(r.link).Encode(redisOrder{Program: path, Dir: dir, Socket: r.socket, AOF: r.aof}); err != nil {
		return err
	}
	if err := gob.NewDecoder(r.link).Decode(&r.pid); err != nil {
		return fmt.Errorf("redis-server did not start: %w", err)
	}
	r.client, err = dialRedis(r.socket)
	return err
}

func (r *redisServer) close() error {
	if r.client != nil {
		r.client.Close()
		r.client = nil
	}
	if r.link == nil {
		return nil
	}
	return r.link.stop()
}

// used is how much memory the server has given to what it keeps.
func (r *redisServer) used(ctx context.Context) (float64, error) {
	text, err := r.client.Do(ctx, r.client.B().Info().Section("memory").Build()).ToString()
	if err != nil {
		return 0, err
	}
	_, text, _ = strings.Cut(text, "used_memory:")
	text, _, _ = strings.Cut(text, "\r\n")
	return strconv.ParseFloat(text, 64)
}

// keepRedis starts a server, says which process it is, and kills it at the end of the input, so that it never
// outlives the run.
func keepRedis(l *link) error {
	var o redisOrder
	if err := gob.NewDecoder(l).Decode(&o); err != nil {
		return err
	}
	args := []string{"--port", "0", "--unixsocket", o.Socket, "--dir", o.Dir, "--save", "", "--daemonize", "no", "--loglevel", "warning"}
	if o.AOF {
		args = append(args, "--appendonly", "yes", "--appendfsync", "everysec")
	}
	cmd := exec.Command(o.Program, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if err := awaitRedis(o.Socket); err != nil {
		return err
	}
	if err := gob.NewEncoder(l).Encode(cmd.Process.Pid); err != nil {
		return err
	}
	_, err := l.Read(make([]byte, 1))
	return err
}

func awaitRedis(socket string) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		c, err := net.Dial("unix", socket)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

func dialRedis(socket string) (rueidis.Client, error) {
	return rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{socket}, ForceSingleClient: true, DisableCache: true,
		DialCtxFn: func(ctx context.Context, to string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return d.DialContext(ctx, "unix", to)
		},
	})
}

// A workPlace tells a worker where its queue is.
type workPlace struct {
	Address string
	Queue   string        // its name, of asynq
	Every   time.Duration // how often asynq looks
}

// openWorker starts a copy of this binary that works for a queue.
func openWorker(ctx context.Context, name string, o workPlace) (*link, error) {
	l, err := openLink(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := gob.NewEncoder(l).Encode(o); err != nil {
		return nil, errors.Join(err, l.stop())
	}
	return l, nil
}

// serveWorker makes a server of a function that works until its context ends.
func serveWorker(work func(ctx context.Context, o workPlace) error) func(*link) error {
	return func(l *link) error {
		var o workPlace
		if err := gob.NewDecoder(l).Decode(&o); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			defer cancel()
			_, _ = l.Read(make([]byte, 1))
		}()
		return work(ctx, o)
	}
}

// What "raw" calls its streams.
const (
	rawTasks   = "bench:tasks"
	rawResults = "bench:results"
	rawBatch   = 256
	rawWindow  = 4 // batches that are out
	rawBegun   = "begun"
)

// rawCrew adds to a stream, takes from it, removes what is done and adds results to another, as
// many in a request as there are, and has nothing else.
func rawCrew(aof bool) muster {
	return func(ctx context.Context, s *session) (*crew, error) {
		r, err := s.redis(ctx, aof)
		if err != nil {
			return nil, err
		}
		c := r.client
		for _, a := range c.DoMulti(ctx, c.B().Del().Key(rawTasks, rawResults).Build(),
			c.B().XgroupCreate().Key(rawTasks).Group("g").Id("$").Mkstream().Build()) {
			if err := a.Error(); err != nil {
				return nil, err
			}
		}
		worker, err := openWorker(ctx, "queue-raw", workPlace{Address: r.socket})
		if err != nil {
			return nil, err
		}
		cursor := "0"
		return &crew{
			redis: r, worker: worker.process.Process.Pid, close: worker.stop,
			pass: func(ctx context.Context, n int) error {
				w := &rawRound{client: c, cursor: &cursor, texts: texts(n), window: make(chan struct{}, rawWindow)}
				return w.run(ctx)
			},
			begun: func(ctx context.Context) (time.Time, error) {
				w := &rawRound{client: c, cursor: &cursor, texts: []string{rawBegun}, window: make(chan struct{}, 1)}
				err := w.run(ctx)
				return w.begun, err
			},
		}, nil
	}
}

// rawKeeper keeps strings that expire.
func rawKeeper(ctx context.Context, s *session) (*crew, error) {
	r, err := s.redis(ctx, false)
	if err != nil {
		return nil, err
	}
	keep := func(ctx context.Context, n int) error {
		cmds := make(rueidis.Commands, n)
		for i, t := range texts(n) {
			cmds[i] = r.client.B().Set().Key(fmt.Sprintf("bench:kept:%016d", i)).Value(t).ExSeconds(3600).Build()
		}
		for _, a := range r.client.DoMulti(ctx, cmds...) {
			if err := a.Error(); err != nil {
				return err
			}
		}
		return nil
	}
	return &crew{redis: r, keep: keep}, nil
}

// A rawRound is tasks on their way.
type rawRound struct {
	client rueidis.Client
	cursor *string // in the stream of results
	texts  []string
	window chan struct{}
	begun  time.Time
}

func (r *rawRound) run(ctx context.Context) error {
	ctx, cancel := within(ctx)
	defer cancel()
	submitted := make(chan error, 1)
	go func() {
		err := r.submit(ctx)
		if err != nil {
			cancel()
		}
		submitted <- err
	}()
	err := r.hear(ctx)
	cancel()
	if bad := <-submitted; err != nil {
		return errors.Join(bad, err)
	}
	return nil
}

func (r *rawRound) submit(ctx context.Context) error {
	for at := 0; at < len(r.texts); at += rawBatch {
		select {
		case r.window <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		batch := r.texts[at:min(at+rawBatch, len(r.texts))]
		cmds := make(rueidis.Commands, len(batch))
		for i, t := range batch {
			cmds[i] = r.client.B().Xadd().Key(rawTasks).Id("*").FieldValue().FieldValue(strconv.Itoa(at+i), t).Build()
		}
		for _, a := range r.client.DoMulti(ctx, cmds...) {
			if err := a.Error(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *rawRound) hear(ctx context.Context) error {
	seen := make([]bool, len(r.texts))
	for n, freed := 0, 0; n < len(r.texts); {
		entries, err := r.client.Do(ctx, r.client.B().Xread().Block(1000).Streams().Key(rawResults).Id(*r.cursor).Build()).AsXReadSlices()
		if rueidis.IsRedisNil(err) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range entries[rawResults] {
			*r.cursor = e.ID
			for _, f := range e.FieldValues {
				if err := r.check(f.Field, f.Value, seen); err != nil {
					return err
				}
				n++
			}
		}
		for ; freed+rawBatch <= n; freed += rawBatch {
			<-r.window
		}
	}
	return nil
}

func (r *rawRound) check(number, result string, seen []bool) (err error) {
	i, err := strconv.Atoi(number)
	if err != nil || i < 0 || i >= len(seen) || seen[i] {
		return errWrongReply
	}
	seen[i] = true
	if r.texts[i] == rawBegun {
		nanos, err := strconv.ParseInt(result, 10, 64)
		r.begun = time.Unix(0, nanos)
		return err
	}
	if result != r.texts[i] {
		return errWrongReply
	}
	return nil
}

// workRaw does the tasks of a stream.
func workRaw(ctx context.Context, o workPlace) error {
	c, err := dialRedis(o.Address)
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		streams, err := c.Do(ctx, c.B().Xreadgroup().Group("g", "w").Count(rawBatch).Block(1000).Streams().Key(rawTasks).Id(">").Build()).AsXReadSlices()
		if ctx.Err() != nil {
			return nil
		}
		if rueidis.IsRedisNil(err) {
			continue
		}
		if err != nil {
			return err
		}
		ids := make([]string, 0, rawBatch)
		results := c.B().Xadd().Key(rawResults).Maxlen().Almost().Threshold("100").Id("*").FieldValue()
		for _, e := range streams[rawTasks] {
			ids = append(ids, e.ID)
			result := e.FieldValues[0].Value
			if result == rawBegun {
				result = strconv.FormatInt(time.Now().UnixNano(), 10)
			}
			results = results.FieldValue(e.FieldValues[0].Field, result)
		}
		for _, a := range c.DoMulti(ctx, results.Build(), c.B().Xack().Key(rawTasks).Group("g").Id(ids...).Build(), c.B().Xdel().Key(rawTasks).Id(ids...).Build()) {
			if err := a.Error(); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}
