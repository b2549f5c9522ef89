package natsq

import "time"

// SmallLogs returns a Config with which logs are cleaned all the time.
func SmallLogs(c Config) Config {
	c.tune = tuning{spareLog: 8 << 10, cleanStep: 4 << 10, deleteAfter: time.Millisecond}
	return c
}
