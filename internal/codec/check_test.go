//lint:file-ignore U1000 the fields are never used: what matters is their types

package codec

import (
	"encoding/json"
	"errors"
	"math/big"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/fxamacker/cbor/v2"
)

type (
	jobChan struct{ Done chan int }
	jobDeep struct{ Steps []map[string]*jobChan }
	jobOut  struct{ Err error }
	jobJSON struct {
		Secret string `json:"-"`
	}
	jobDropped struct {
		Secret chan int `cbor:"-"`
		Kept   int
	}
	jobRenamed struct {
		Secret string `cbor:"Secret" json:"-"`
	}
	opaque struct{ a, b int }
	mixed  struct {
		A int
		b chan int //nolint:unused // it must not travel
	}
	list struct {
		Value int
		Next  *list
	}
	tree struct {
		Left, Right *tree
		Kids        []tree
		ByName      map[string]tree
	}
	pair[A, B any] struct {
		First  A
		Second B
	}
	endless   *endless
	celsius   float64
	base      struct{ ID int }
	Base      struct{ ID int }
	embedding struct {
		Base
		base2
		Name string
	}
	base2      struct{ Kind string }
	embedPtr   struct{ *Base }
	embedHid   struct{ *base }
	embedNamed struct {
		base `cbor:"b"`
	}
	embedLock struct {
		sync.Mutex
		N int
	}
	embedMarks struct {
		marker
		N int
	}
	marker struct{}
	clash  struct {
		Base
		Name string
		ID   string
	}
	clashTag struct {
		A int `cbor:"x"`
		B int `cbor:"x"`
	}
	clashInt struct {
		A int `cbor:"1,keyasint"`
		B int `cbor:"01,keyasint"`
	}
	intKeys struct {
		A int `cbor:"1,keyasint"`
		B int `cbor:"2,keyasint,omitempty"`
		C int `cbor:"1"`
	}
	notInt struct {
		A int `cbor:"a,keyasint"`
	}
	asArray struct {
		_ struct{} `cbor:",toarray"`
		A int
		B string
	}
	EmbedsSelf struct {
		*EmbedsSelf
		N int
	}
	event struct {
		time.Time
		Note string
	}
	eventNamed struct {
		time.Time `cbor:"Time"`
		Note      string
	}
	addrAndTime struct {
		time.Time
		netip.Addr
	}
	onlyTime struct{ time.Time }
	goodKey  struct {
		Host string
		Port int
	}
	hiddenKey struct {
		Host string
		port int
	}
	pointerKey struct{ P *int }
	anyInKey   struct{ A any }
)

type oneWay struct{ n int }

func (oneWay) MarshalText() ([]byte, error) { return []byte("x"), nil }

type otherWay struct{ N int }

func (otherWay) MarshalText() ([]byte, error)     { return []byte("x"), nil }
func (*otherWay) UnmarshalCBOR(data []byte) error { return nil }

type backOnly string

func (*backOnly) UnmarshalText([]byte) error { return nil }

type backBytes []byte

func (*backBytes) UnmarshalBinary([]byte) error { return nil }

type backCBOR struct{ N int }

func (*backCBOR) UnmarshalCBOR([]byte) error { return nil }

// chanID is of a kind that cannot travel, but its methods can.
type chanID chan int

func (chanID) MarshalText() ([]byte, error) { return []byte("chan"), nil }
func (*chanID) UnmarshalText([]byte) error  { return nil }

// eventOwn embeds a type that marshals itself, and overrides its methods.
type eventOwn struct {
	time.Time
	Note string
}

func (e eventOwn) MarshalBinary() ([]byte, error)  { return []byte(e.Note), nil }
func (e *eventOwn) UnmarshalBinary(b []byte) error { e.Note = string(b); return nil }

type eventOwnPointer struct {
	time.Time
	Note string
}

func (e *eventOwnPointer) MarshalBinary() ([]byte, error) { return []byte(e.Note), nil }
func (e *eventOwnPointer) UnmarshalBinary(b []byte) error { e.Note = string(b); return nil }

func forError[T any]() error {
	_, err := For[T]()
	return err
}

func TestForRefuses(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string // the start of the message
	}{
		{forError[chan int](), "codec: chan int cannot travel"},
		{forError[func()](), "codec: func() cannot travel"},
		{forError[complex128](), "codec: complex128 cannot travel"},
		{forError[uintptr](), "codec: uintptr cannot travel"},
		{forError[unsafe.Pointer](), "codec: unsafe.Pointer cannot travel"},
		{forError[syscall.Errno](), "codec: syscall.Errno cannot travel"},
		{forError[jobChan](), "codec: codec.jobChan.Done: chan int cannot travel"},
		{forError[*jobChan](), "codec: codec.jobChan.Done: chan int cannot travel"},
		{forError[jobDeep](), "codec: codec.jobDeep.Steps[][].Done: chan int cannot travel"},
		{forError[map[string]func()](), "codec: map[string]func()[]: func() cannot travel"},
		{forError[[3]chan int](), "codec: [3]chan int[]: chan int cannot travel"},
		{forError[pair[int, chan int]](), "codec: codec.pair[int,chan int].Second: chan int cannot travel"},

		{forError[opaque](), "codec: codec.opaque cannot travel because it has no exported fields"},
		{forError[pair[int, sync.Mutex]](), "codec: codec.pair[int,sync.Mutex].Second: sync.Mutex cannot travel because it has no exported"},
		{forError[embedLock](), "codec: codec.embedLock.Mutex: sync.Mutex cannot travel because"},
		{forError[os.File](), "codec: os.File cannot travel because it has no exported"},
		{forError[strings.Builder](), "codec: strings.Builder cannot travel because"},
		{forError[error](), "codec: error cannot travel because it is an interface with methods"},
		{forError[jobOut](), "codec: codec.jobOut.Err: error cannot travel because it is an interface with methods"},
		{forError[pair[int, *big.Float]](), "codec: codec.pair[int,*math/big.Float].Second: big.Float cannot travel because its text form loses precision: send"},

		{forError[oneWay](), "codec: codec.oneWay cannot travel because it has MarshalText but not the method that undoes it"},
		{forError[otherWay](), "codec: codec.otherWay cannot travel because it would be encoded by MarshalText and decoded by UnmarshalCBOR"},
		{forError[backOnly](), "codec: codec.backOnly cannot travel because it has UnmarshalText but not"},
		{forError[backBytes](), "codec: codec.backBytes cannot travel because it has UnmarshalBinary but not"},
		{forError[backCBOR](), "codec: codec.backCBOR cannot travel because it has UnmarshalCBOR but not"},
		{forError[event](), "codec: codec.event cannot travel because its MarshalBinary is that of an embedded field"},
		{forError[addrAndTime](), "codec: codec.addrAndTime.Time: an embedded type that marshals itself would travel as its fields: write cbor:\"Time\""},

		{forError[jobJSON](), `codec: codec.jobJSON.Secret: its tag json:"-" would drop it in silence: write cbor:"-" to drop it or cbor:"Secret" to send it`},
		{forError[clash](), "codec: codec.clash.ID: it has the same name on the wire as Base.ID"},
		{forError[clashTag](), "codec: codec.clashTag.B: it has the same name on the wire as A"},
		{forError[clashInt](), "codec: codec.clashInt.B: it has the same name on the wire as A"},
		{forError[notInt](), `codec: codec.notInt.A: its tag says keyasint, but "a" is not an integer`},
		{forError[embedHid](), "codec: codec.embedHid.base: an unexported embedded struct travels only without a pointer"},
		{forError[embedNamed](), "codec: codec.embedNamed.base: an unexported embedded struct travels only without a pointer"},
		{forError[EmbedsSelf](), "codec: codec.EmbedsSelf.EmbedsSelf: codec.EmbedsSelf embeds itself"},

		{forError[map[*int]int](), "codec: map[*int]int[key]: *int cannot travel in a map's key"},
		{forError[map[pointerKey]int](), "codec: map[codec.pointerKey]int[key].P: *int cannot travel in a map's key"},
		{forError[map[hiddenKey]int](), "codec: map[codec.hiddenKey]int[key].port: a map's key cannot have a field that does not travel"},
		{forError[map[anyInKey]int](), "codec: map[codec.anyInKey]int[key].A: interface {} cannot travel in a map's key"},
		{forError[map[chan int]int](), "codec: map[chan int]int[key]: chan int cannot travel in a map's key"},
		{forError[endless](), "codec: codec.endless cannot travel because it points to pointers only"},
	} {
		if test.err == nil {
			t.Errorf("accepted, want %s", test.want)
			continue
		}
		var e *Error
		if !errors.As(test.err, &e) {
			t.Errorf("%v is a %T", test.err, test.err)
		}
		if !strings.HasPrefix(test.err.Error(), test.want) {
			t.Errorf("got  %v\nwant %s", test.err, test.want)
		}
		if strings.Contains(test.err.Error(), "\n") {
			t.Errorf("%v has several lines", test.err)
		}
	}
}

func TestForAccepts(t *testing.T) {
	for name, err := range map[string]error{
		"struct{}":        forError[struct{}](),
		"any":             forError[any](),
		"[]any":           forError[[]any](),
		"map[string]any":  forError[map[string]any](),
		"map[any]any":     forError[map[any]any](),
		"mixed":           forError[mixed](),
		"list":            forError[list](),
		"tree":            forError[tree](),
		"generic":         forError[pair[pair[int, string], *pair[[]byte, celsius]]](),
		"embedding":       forError[embedding](),
		"embedPtr":        forError[embedPtr](),
		"embedMarks":      forError[embedMarks](),
		"jobDropped":      forError[jobDropped](),
		"jobRenamed":      forError[jobRenamed](),
		"intKeys":         forError[intKeys](),
		"asArray":         forError[asArray](),
		"chanID":          forError[chanID](),
		"time.Time":       forError[time.Time](),
		"time.Duration":   forError[time.Duration](),
		"onlyTime":        forError[onlyTime](),
		"eventOwn":        forError[eventOwn](),
		"eventOwnPointer": forError[eventOwnPointer](),
		"eventNamed":      forError[pair[int, eventOwn]](),
		"big.Int":         forError[big.Int](),
		"*big.Rat":        forError[*big.Rat](),
		"regexp":          forError[*regexp.Regexp](),
		"url.URL":         forError[url.URL](),
		"netip.AddrPort":  forError[netip.AddrPort](),
		"json.Number":     forError[json.Number](),
		"json.RawMessage": forError[json.RawMessage](),
		"cbor.RawMessage": forError[cbor.RawMessage](),
		"cbor.Tag":        forError[cbor.Tag](),
		"map[goodKey]":    forError[map[goodKey]int](),
		"map[netip.Addr]": forError[map[netip.Addr]int](),
		"map[[16]byte]":   forError[map[[16]byte]int](),
		"map[time.Time]":  forError[map[time.Time]int](),
		"map[[2]goodKey]": forError[map[[2]goodKey]int](),
		"[]struct{}":      forError[[]struct{}](),
		"***int":          forError[***int](),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An embedded type that is named by a tag still lends its methods to the struct.
func TestForRefusesPromotedMethodsDespiteTag(t *testing.T) {
	if err := forError[eventNamed](); err == nil {
		t.Error("accepted a struct that would travel as its time only")
	}
}

func TestVerdictsAreNotChangedByTheirReaders(t *testing.T) {
	want := forError[jobDeep]().Error()
	for range 3 {
		if got := forError[jobDeep]().Error(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestForConcurrently(t *testing.T) {
	type local struct{ Nodes map[string]*tree }
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			c, err := For[local]()
			if err != nil {
				t.Error(err)
				return
			}
			v := local{map[string]*tree{"a": {Left: &tree{}}}}
			data, err := c.Append(nil, v)
			if err != nil {
				t.Error(err)
			}
			if _, err := c.Decode(data); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
