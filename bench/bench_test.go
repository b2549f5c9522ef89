package main

import (
	"os"
	"testing"

	"github.com/afar-go/afar"
	"go.uber.org/goleak"
)

// TestMain lets copies of the test binary be the rivals' servers, as main does.
func TestMain(m *testing.M) {
	serve()
	afar.Main()
	goleak.VerifyTestMain(m)
}

// smokeSession is a session of the shortest length.
func smokeSession(t *testing.T) *session {
	t.Helper()
	s, err := newSession(options{smoke: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
			t.Errorf("the session left %s: %v", s.dir, err)
		}
	})
	return s
}
