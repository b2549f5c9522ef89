package redisq

import (
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"fmt"
	"strings"
)

//go:embed lua/*.lua
var sources embed.FS

// script is one that the server runs. It is sent once, and named by its SHA-1 then, as Redis has it.
type script struct {
	name string
	text string
	sha  string
}

var (
	submitScript  = load("submit")
	takeScript    = load("take")
	settleScript  = load("settle")
	renewScript   = load("renew")
	followScript  = load("follow")
	inspectScript = load("inspect")
	changeScript  = load("change")
	blobScript    = load("blob")
)

// load makes a script of what all have in common and its own part. The numbers from 000 to 999
// are written out, since making them costs a script more than anything else it does for a task.
func load(name string) *script {
	var digits strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&digits, "%03d", i)
	}
	text := strings.Replace(source("base"), "DIGITS", `"`+digits.String()+`"`, 1) + source(name)
	sum := sha1.Sum([]byte(text))
	return &script{name: name, text: text, sha: hex.EncodeToString(sum[:])}
}

func source(name string) string {
	text, err := sources.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(err) // a file of this package is missing
	}
	return string(text)
}
