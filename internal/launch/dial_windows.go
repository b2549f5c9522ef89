package launch

import (
	"context"
	"errors"
)

func dialUnix(context.Context, string) (Link, error) {
	return nil, errors.New("sockets in the file system are not for Windows")
}
