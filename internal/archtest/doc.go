// Package archtest tests the shape of this module: who may import whom, which
// third-party modules are let in and why, and the house rules that a tool can
// check. It has no code, only tests; the table in table_test.go is the design.
package archtest
