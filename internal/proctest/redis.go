package proctest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Redis starts a server of the test's own, behind a socket, and returns its URL. Where there
// is no redis-server the test is skipped, but it fails in continuous integration.
func Redis(t *testing.T) string {
	t.Helper()
	server, err := exec.LookPath("redis-server")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("redis-server is not there")
	}
	dir, err := os.MkdirTemp("", "redis") // a socket's path must be short, which t.TempDir's is not
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "socket")
	cmd := exec.CommandContext(t.Context(), server, "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "")
	Begin(t, cmd).Await(t, "now ready to accept connections")
	return "unix://" + socket
}
