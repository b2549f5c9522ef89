//go:build race

package afar_test

const raceEnabled = true
