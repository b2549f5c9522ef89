package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/afar-go/afar/internal/agent"
	"github.com/afar-go/afar/internal/reach"
	"github.com/afar-go/afar/internal/ship"
	"github.com/afar-go/afar/internal/target"
	"github.com/afar-go/afar/internal/wire"
)

func runCommand() *cli.Command {
	one := 1
	return &cli.Command{
		Name: "run", Usage: "build a Go program and run it, here or elsewhere", ArgsUsage: "PACKAGE [-- ARGUMENT…]",
		Description: `It builds a main package for the target's system, brings it there unless it is there
already, and runs it with the standard input, output and error of this command; signals
go to it, and its exit code comes back. The target needs no Go.

   afar run ./cmd/hello
   afar run --on ssh://me@build1 ./cmd/hello -- --name world <input >output
   afar run --on 'tcp://build1?env.DEBUG=1' --tags netgo .`,
		StopOnNthArg: &one,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "on", Usage: "the target; none: this host"},
			&cli.StringFlag{Name: "tags", Usage: "as for go build"},
			&cli.StringFlag{Name: "ldflags", Usage: "as for go build"},
			&cli.BoolFlag{Name: "trimpath", Usage: "as for go build"},
			&cli.DurationFlag{Name: "timeout", Value: 30 * time.Second, Usage: "how long the way to the target may be silent"},
		},
		Action: runProgram,
	}
}

// runProgram is afar run.
func runProgram(ctx context.Context, c *cli.Command) error {
	if strings.TrimSpace(c.Args().First()) == "" {
		return usage("%s needs a package", c.FullName())
	}
	patience, err := timeout(c)
	if err != nil {
		return err
	}
	pkg, args := c.Args().First(), c.Args().Tail()
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	build := func(system string) (*ship.Image, error) {
		image, err := ship.Build(ctx, "", pkg, system,
			ship.BuildFlags{Tags: c.String("tags"), LDFlags: c.String("ldflags"), Trimpath: c.Bool("trimpath")})
		return image, notBuilt(ctx, pkg, err)
	}
	if !c.IsSet("on") {
		return runHere(ctx, build, args)
	}
	t, err := target.Parse(c.String("on"))
	switch {
	case err != nil:
		return usageError{err}
	case t.Workers > 1:
		return usage("a program runs once, not on %d workers", t.Workers)
	case t.Remote == nil:
		return usage("%s is this host: leave --on out", t.Text)
	}
	return runThere(ctx, c, t, patience, build, args)
}

// notBuilt says of which package there is no program.
func notBuilt(ctx context.Context, pkg string, err error) error {
	e, ok := errors.AsType[*ship.Error](err)
	if !ok || e.Stage != ship.StageNoProgram || ctx.Err() != nil {
		return err
	}
	if strings.HasPrefix(pkg, ".") || filepath.IsAbs(pkg) {
		if _, missing := os.Stat(pkg); errors.Is(missing, fs.ErrNotExist) {
			return fmt.Errorf("there is no package %s here", pkg)
		}
	}
	if e.Output == "" {
		return fmt.Errorf("package %s was not built: %w", pkg, e.Err)
	}
	return fmt.Errorf("package %s was not found, or did not build: %w\n%s", pkg, e.Err, e.Output)
}

// runHere runs a program on this host. Where that is possible it takes this one's place.
func runHere(ctx context.Context, build func(system string) (*ship.Image, error), args []string) error {
	image, err := build(runtime.GOOS + "/" + runtime.GOARCH)
	if err != nil {
		return err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	images, err := agent.OpenImages(filepath.Join(cache, "afar", "run"), 0, 0)
	if err != nil {
		return err
	}
	path, err := stored(ctx, images, image)
	if err != nil {
		return err
	}
	return become(path, args)
}

// stored returns the path of an image, which is stored unless it is there already. What is there by its name, but has
// become something else, is replaced.
func stored(ctx context.Context, images *agent.Images, image *ship.Image) (path string, err error) {
	if path, ok := images.Path(image.Hash()); ok {
		there, err := ship.File(path, image.System())
		if err == nil && there.Hash() == image.Hash() && os.Chmod(path, 0o700) == nil {
			return path, nil
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	r, err := image.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	if err := images.Put(ctx, image.Hash(), image.Size(), r); err != nil {
		return "", err
	}
	path, _ = images.Path(image.Hash())
	return path, nil
}

// runThere runs a program on another host.
func runThere(ctx context.Context, c *cli.Command, t *target.Target, patience time.Duration,
	build func(system string) (*ship.Image, error), args []string) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, passed...)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	names := make(chan string)
	begun := make(chan struct{})
	go relay(ctx, signals, names, begun, cancel)

	h := reach.New(reach.Here{}, *t.Remote, hostConfig(c, t, patience))
	defer h.Close()
	place, hello, err := h.Place(ctx)
	if err != nil {
		return named(t, err)
	}
	image, err := build(hello.System)
	if err != nil {
		return err
	}
	if err := bring(ctx, place, image); err != nil {
		return fmt.Errorf("%s did not take the program: %w", t.Text, err)
	}
	close(begun)
	exit, err := place.Run(ctx, &wire.Launch{Image: image.Hash(), Dir: t.Dir, Argv: args, Env: t.Env, Nice: t.Nice},
		agent.Streams{Stdin: c.Root().Reader, Stdout: c.Root().Writer, Stderr: c.Root().ErrWriter, Signals: names})
	if err != nil {
		if _, lost := place.Status(ctx); lost != nil && ctx.Err() == nil {
			err = &reach.Error{Where: t.Remote.String(), Reason: reach.Lost, Err: err}
		}
		return named(t, err)
	}
	return ended(c, exit)
}

// relay passes signals on. Before the program has begun, one ends the command.
func relay(ctx context.Context, signals <-chan os.Signal, names chan<- string, begun <-chan struct{}, cancel context.CancelCauseFunc) {
	for {
		select {
		case s := <-signals:
			select {
			case <-begun:
			default:
				cancel(fmt.Errorf("signal: %s", s))
				return
			}
			select {
			case names <- s.String():
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// bring sees to it that the image is there.
func bring(ctx context.Context, place *agent.Place, image *ship.Image) error {
	size, err := image.CompressedSize()
	if err != nil {
		return err
	}
	_, err = place.PutImage(ctx, image.Hash(), size, image.Compressed)
	return err
}

// ended ends this command as the program has ended.
func ended(c *cli.Command, exit *wire.Exit) error {
	if exit.Code == 0 {
		return nil
	}
	if exit.Stderr != "" { // of the node, about its limits: the program's own was passed on
		fmt.Fprintln(c.Root().ErrWriter, "afar:", strings.TrimSpace(exit.Stderr))
	}
	if exit.Signal == "" {
		return programExit(exit.Code)
	}
	text := exit.Signal
	if exit.OutOfMemory {
		text += " (out of memory)"
	}
	fmt.Fprintln(c.Root().ErrWriter, "afar: signal:", text)
	return programExit(128 + signalNumber(exit.Signal))
}
