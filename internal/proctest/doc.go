// Package proctest has tests play with processes: the test binary as the program under
// test, and a redis-server of the test's own. None outlives its test. It is for tests only.
package proctest
