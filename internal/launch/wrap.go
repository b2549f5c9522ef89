package launch

import "context"

// Wrapper puts something between a worker and its caller: tests delay and cut
// links that way. It is called with every link that is made, on the caller's
// side.
type Wrapper func(id string, link Link) Link

type wrapperKey struct{}

// WithWrapper returns a context that a pool opened with wraps its links by.
func WithWrapper(ctx context.Context, w Wrapper) context.Context {
	return context.WithValue(ctx, wrapperKey{}, w)
}

// WrapperOf returns the context's wrapper, or one that changes nothing.
func WrapperOf(ctx context.Context) Wrapper {
	if w, ok := ctx.Value(wrapperKey{}).(Wrapper); ok {
		return w
	}
	return func(_ string, link Link) Link { return link }
}
