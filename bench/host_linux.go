package main

import (
	"fmt"
	"os"
	"sync"

	"github.com/afar-go/afar/internal/hosttest"
)

// distant is a host with an sshd, in namespaces of this machine, made when it is first asked for.
type distant struct {
	once   sync.Once
	host   *hosttest.Host
	config [2]string // of ssh: without and with a shared connection
	err    error
}

func (d *distant) start() error {
	d.once.Do(func() {
		if d.err = hosttest.Missing(); d.err != nil {
			if os.Getenv(hosttest.RequireVariable) != "1" {
				d.err = fmt.Errorf("%w: %w", errAbsent, d.err)
			}
			return
		}
		if d.host, d.err = hosttest.Start(hosttest.Options{}); d.err != nil {
			return
		}
		d.config[0] = d.host.Config()
		d.config[1], d.err = d.host.Master()
	})
	return d.err
}

func (d *distant) configFor(shared bool) string {
	if shared {
		return d.config[1]
	}
	return d.config[0]
}

// target is the host with one worker, for afar.
func (d *distant) target(shared bool) (string, error) {
	if err := d.start(); err != nil {
		return "", err
	}
	return fmt.Sprintf("ssh://%s?workers=1&config=%s", d.host.Name(), d.configFor(shared)), nil
}

// ssh is a command that runs a line of shell there, with the options that afar gives as far as they cost time.
func (d *distant) ssh(shared bool, line string) ([]string, error) {
	if err := d.start(); err != nil {
		return nil, err
	}
	return []string{"ssh", "-F", d.configFor(shared), "-T", "-oBatchMode=yes", "-oCompression=no", "--", d.host.Name(), line}, nil
}

// forget takes afar's programs off the host.
func (d *distant) forget() error { return os.RemoveAll(d.host.Path("/root/.cache/afar")) }

func (d *distant) close() error {
	if d.host == nil {
		return nil
	}
	return d.host.Close()
}
