package ship

import (
	"context"
	"runtime"
	"sync"

	"github.com/afar-go/afar/internal/launch"
)

// mainFile is the source file of the program's main, by which its source is found; of a
// test it is a generated one. It may be empty.
var mainFile string

// RememberMain finds the source file of main.main, which is to be among the callers. It
// is called once, at the start.
func RememberMain() {
	callers := make([]uintptr, 64)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	for {
		frame, more := frames.Next()
		if frame.Function == "main.main" || !more {
			mainFile = frame.File
			return
		}
	}
}

// Running returns the source of the running program. prebuilt is as in Own; without any,
// everybody has the same source.
func Running(prebuilt map[string]string) *Source {
	if len(prebuilt) > 0 {
		return Own(launch.Executable(), mainFile, prebuilt)
	}
	return running()
}

var running = sync.OnceValue(func() *Source { return Own(launch.Executable(), mainFile, nil) })

// foreignKey marks a context.
type foreignKey struct{}

// Foreign returns a context with which a pool is opened of another program than this one:
// the one that Config.Images names, with functions of its own. Calls that say what
// they call are made as well there.
func Foreign(ctx context.Context) context.Context {
	return context.WithValue(ctx, foreignKey{}, true)
}

// IsForeign tells whether Foreign returned the context.
func IsForeign(ctx context.Context) bool { return ctx.Value(foreignKey{}) != nil }
