package queuetest

import "testing"

var (
	deadStories    []story
	inspectStories []story
	blobStories    []story
	limitStories   []story
	stormStories   []story
)

const maxTask = 256 << 10

func hashOf(b []byte) string {
	return "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
}

func compareWithModel(t *testing.T, b *Backend)              {}
func hurtAll(t *testing.T, open func(t *testing.T) *Backend) {}
