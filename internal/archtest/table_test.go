package archtest

import "strings"

// module is the path of this module; its root is the package afar.
const module = "github.com/afar-go/afar"

// A row says what one package is for and what it may import.
type row struct {
	// path is relative to the module; "" is the root package. A path that ends
	// in "/..." stands for every package below it.
	path string
	// layer orders the packages: one imports only from layers below its own.
	layer int
	// beside are packages of the same layer that it may import as well.
	beside []string
	// duty is the one responsibility of the package.
	duty string
	// modules are the third-party modules that it may import, with the reason.
	modules map[string]string
	// exits is why the package may end the process; "" if it may not.
	exits string
}

// table holds every package of the module, also those that are still to come.
var table = []row{
	{path: "internal/wire", layer: 0, duty: "frame header and control messages, encode, decode, limits"},
	{path: "internal/codec", layer: 0, duty: "Go values to bytes and back, type checks at registration, size limits",
		modules: map[string]string{"github.com/fxamacker/cbor/v2": "the encoding of every value, in one mode fixed here"}},
	{path: "internal/launch", layer: 0, beside: []string{"internal/ring"},
		duty:    "start or reach something, give back a byte pipe, Wait, Kill and the last stderr",
		modules: map[string]string{"golang.org/x/sys": "process groups and socket pairs, which syscall does not have everywhere"},
		exits:   "a worker whose link has ended must not outlive it"},
	{path: "internal/ring", layer: 0, duty: "bytes through memory that two processes share",
		modules: map[string]string{"golang.org/x/sys": "memory without a name, and mapping it"}},
	{path: "internal/hosttest", layer: 0, duty: "hosts for tests: network namespaces, each with an sshd",
		modules: map[string]string{"golang.org/x/sys": "waiting for the end of a process that is not a child"}},
	{path: "internal/proctest", layer: 0, duty: "processes for tests: the test binary as a program, and a redis-server"},
	{path: "internal/testlink", layer: 0, duty: "links that delay, cut, corrupt and throttle, for tests only"},

	{path: "internal/mux", layer: 1, duty: "many streams on one link: credit, keepalive, go-away"},
	{path: "internal/registry", layer: 1, duty: "name and type to function, class, routine"},
	{path: "internal/ship", layer: 1, duty: "the right image on the far side: hash, compress, cache, cross-build, upload once"},
	{path: "internal/member", layer: 1, duty: "the members of a Go type by name: called, read and written"},
	{path: "trust", layer: 1, duty: "keys, authorised keys, TLS configurations, signatures"},

	{path: "internal/peer", layer: 2, duty: "both ends of a link: calls, cancel, remote errors, logs, how streams end"},
	{path: "internal/dispatch", layer: 2, beside: []string{"internal/peer"},
		duty: "places calls on links: queues, chunks, windows, retries, timeouts"},
	{path: "internal/handle", layer: 2, beside: []string{"internal/peer"},
		duty: "handles that travel: homes, and the way from one to the other"},
	{path: "internal/channel", layer: 2, beside: []string{"internal/peer", "internal/handle"},
		duty: "ends of channels in encoded form; runs routines"},
	{path: "internal/object", layer: 2, beside: []string{"internal/peer", "internal/handle"},
		duty: "objects in a worker, and the handles by which they are used"},
	{path: "internal/agent", layer: 2, beside: []string{"internal/peer"},
		duty:    "starts, runs and connects for the other end of a link, and relays the bytes",
		modules: map[string]string{"golang.org/x/sys": "signals and process groups of programs that it runs"}},
	{path: "internal/reach", layer: 2, beside: []string{"internal/peer", "internal/agent"},
		duty: "keeps a host within reach: connects, brings the program, starts workers there"},
	{path: "internal/target", layer: 2, beside: []string{"internal/reach"},
		duty: "the strings that say how workers are reached"},
	{path: "internal/push", layer: 2, duty: "makes directories like another, by their differences",
		modules: map[string]string{"golang.org/x/sys": "times of links, which os does not set"}},
	{path: "internal/conversation", layer: 2,
		beside: []string{"internal/peer", "internal/dispatch", "internal/handle", "internal/channel", "internal/object"},
		duty:   "a gateway's channels and objects: watched, counted, taken in at the worker"},

	{path: "", layer: 3, duty: "what users import", exits: "Main never returns in a worker process"},

	{path: "afartest", layer: 4, duty: "in-process pools with Kill, delay and cut, for users' tests too"},
	{path: "queue", layer: 4, duty: "durable tasks, and the small Broker interface",
		modules: map[string]string{"github.com/adhocore/gronx": "cron expressions"}},
	{path: "guest", layer: 4, duty: "source as a program: Go, Python, WebAssembly, each in a killable worker"},
	{path: "guest/wasm", layer: 5, duty: "WebAssembly guests",
		modules: map[string]string{"github.com/tetratelabs/wazero": "the WebAssembly runtime, kept out of programs without such guests"}},

	{path: "queue/internal/check", layer: 5, duty: "what a broker refuses"},
	{path: "queue/queuetest", layer: 5, duty: "the conformance suite that every broker passes",
		modules: map[string]string{"pgregory.net/rapid": "a model that any order of operations is compared with"}},
	{path: "queue/memq", layer: 5, beside: []string{"queue/internal/check"}, duty: "the broker in memory"},
	{path: "queue/natsq", layer: 5, beside: []string{"queue/internal/check"}, duty: "the broker on NATS JetStream", modules: map[string]string{
		"github.com/nats-io/nats.go":        "its client",
		"github.com/nats-io/nats-server/v2": "the embedded server; 11.5 MiB, so linked only by those who ask for it",
	}},
	{path: "queue/redisq", layer: 5, beside: []string{"queue/internal/check"}, duty: "the broker on Redis",
		modules: map[string]string{"github.com/redis/rueidis": "its client, with pipelined batches"}},
	{path: "node", layer: 5, duty: "the daemon: authenticated links, images, workers, queues, drain",
		modules: map[string]string{"golang.org/x/sys": "who is at the other end of a socket, control groups, limits"}},
	{path: "dash", layer: 5, duty: "one http.Handler over read-only snapshots that it declares itself"},

	{path: "cmd/afar", layer: 6, duty: "flags and wiring only", exits: "a program ends with a status",
		modules: map[string]string{"github.com/urfave/cli/v3": "commands, flags, help and completion"}},

	{path: "examples/...", layer: 7, duty: "one runnable story each, also a test",
		modules: map[string]string{"github.com/schollz/progressbar/v3": "the progress bar of wordcount"},
		exits:   "a program ends with a status"},
	{path: "queue/chaos", layer: 7, duty: "tests of queues whose processes are killed"},
	{path: "internal/archtest", layer: 7, duty: "tests of the shape of the module"},
}

// testModules are the third-party modules that any test may import.
var testModules = map[string]string{
	"go.uber.org/goleak":              "no goroutine outlives Close",
	"pgregory.net/rapid":              "property tests",
	"github.com/rogpeppe/go-internal": "testscript, for the command line",
	"golang.org/x/sys":                "what the system says about processes under test; the core has it already",
}

// testPackages are packages that exist for tests: a test may import them from
// any layer, anything else only as forTests says.
var testPackages = []string{"internal/hosttest", "internal/proctest", "internal/testlink", "afartest", "queue/queuetest"}

// fakes are packages for users that are also what tests of any layer may have in place of
// a server.
var fakes = []string{"queue/memq"}

// forTests are the packages that may import testPackages outside of tests,
// because they are made for tests themselves.
var forTests = []string{"afartest", "queue/queuetest", "internal/proctest"}

// forbidden are packages that must not be reachable from the root package.
var forbidden = map[string]string{
	"net":      "it is linked into every worker that is shipped: size on the way, memory and start time there; links other than pipes are layer 5's",
	"net/http": "it makes a worker start in 2.3 ms and 7.3 MiB, not 1.1 ms and 2.7 MiB; only dash and programs serve HTTP",
}

// tolerated are imports that do not count for forbidden: from, to, the reason.
var tolerated = map[[2]string]string{
	{"golang.org/x/sys/windows", "net"}: "it names a type of net, and there is no way to job objects without it",
}

// The house numbers: beyond them, code smells. One that must be passed is raised
// here, in a commit that says why.
const (
	maxFileLines = 500 // of any file in a library package
	maxRootFiles = 16  // the last three of the root package, without its tests
	// Conversations and objects add three nouns (channel, routine, object) and
	// what they are made with to what was 2,500 lines and 60 names.
	maxRootLines    = 4300
	maxRootExported = 68
)

// find returns the row of a package, nil if there is none.
func find(path string) *row {
	for i := range table {
		r := &table[i]
		prefix, all := strings.CutSuffix(r.path, "/...")
		if r.path == path || all && strings.HasPrefix(path, prefix+"/") {
			return r
		}
	}
	return nil
}
