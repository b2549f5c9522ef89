package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/queue"
)

// summary is what there is to say of a directory.
type summary struct {
	Files int
	Bytes int64
}

// report writes a report and says so. The task that it runs for has the time at which it was due
// in its name, and the report gets that name. So does one that is written again, since
// its first worker was lost before it could say that it has written it: that is what makes
// reports, and not only tasks, one a night.
var report = afar.NamedFunc("nightly.report", func(ctx context.Context, o order) (summary, error) {
	task, ok := queue.Current(ctx)
	if !ok {
		return summary{}, errors.New("a report is made for a task, and named after it")
	}
	s, err := summarize(ctx, o.Of)
	if err != nil {
		return s, err
	}
	path := filepath.Join(o.Into, task.ID+".txt")
	part := fmt.Sprintf("%s.%d.part", path, task.Token) // no two workers have a token
	if err := os.WriteFile(part, fmt.Appendf(nil, "%s: %d files, %d bytes\n", o.Of, s.Files, s.Bytes), 0o644); err != nil {
		return s, err
	}
	if err := os.Rename(part, path); err != nil {
		return s, err
	}
	fmt.Println("wrote", path)
	return s, nil
})

// summarize looks at everything below a directory.
func summarize(ctx context.Context, dir string) (s summary, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		s.Files++
		s.Bytes += info.Size()
		return context.Cause(ctx)
	})
	return s, err
}
