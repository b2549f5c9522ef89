package member

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A table holds all members of a type. It does not change.
type table struct {
	methods map[string]*method
	fields  map[string]*field // Unexported ones too, for errors.
	offers  string
}

// newTable looks at the members of t, a pointer.
func newTable(t reflect.Type) *table {
	all := &table{methods: make(map[string]*method), fields: make(map[string]*field)}
	for i := range t.NumMethod() {
		m := newMethod(t.Method(i))
		all.methods[m.name] = m
	}
	if object := t.Elem(); object.Kind() == reflect.Struct {
		for _, f := range reflect.VisibleFields(object) {
			if all.methods[f.Name] == nil && !hidden(object, f.Name, len(f.Index)-1) {
				all.fields[f.Name] = newField(f)
			}
		}
	}
	all.offers = all.offersText()
	return all
}

// offered returns the names of the methods and of the fields that are offered, sorted.
func (t *table) offered() (methods, fields []string) {
	for _, name := range slices.Sorted(maps.Keys(t.methods)) {
		if t.methods[name].refusal == nil {
			methods = append(methods, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.fields)) {
		if t.fields[name].offered() {
			fields = append(fields, name)
		}
	}
	return methods, fields
}

// offersText is what Type.Offers returns.
func (t *table) offersText() string {
	const most = 12 // members of both sorts together, at least half of them for either sort
	methods, fields := t.offered()
	showFields := min(len(fields), max(most-len(methods), most/2))
	showMethods := min(len(methods), most-showFields)

	var parts []string
	if len(methods) > 0 {
		parts = append(parts, "methods "+list(methods, showMethods, func(name string) string { return t.methods[name].text }))
	}
	if len(fields) > 0 {
		parts = append(parts, "fields "+list(fields, showFields, func(name string) string { return t.fields[name].text }))
	}
	if len(parts) == 0 {
		return "no members"
	}
	return strings.Join(parts, "; ")
}

// list joins the texts of the first names, and says how many are left.
func list(names []string, first int, text func(name string) string) string {
	var texts []string
	for _, name := range names[:first] {
		texts = append(texts, text(name))
	}
	all := strings.Join(texts, ", ")
	if rest := len(names) - first; rest > 0 {
		all += " and " + strconv.Itoa(rest) + " more"
	}
	return all
}

// closest returns the offered name that was probably meant, or "".
func (t *table) closest(name string) string {
	const most = 2
	methods, fields := t.offered()
	best, least := "", most+1
	for _, candidate := range slices.Concat(methods, fields) {
		if d := distance(name, candidate); d < least {
			best, least = candidate, d
		}
	}
	// If more than half of the letters are wrong, another name was meant.
	if 2*least > utf8.RuneCountInString(name) {
		return ""
	}
	return best
}

// distance is the number of letters by which two names differ, regardless of case: letters to change, to add, to take
// away, or to swap with the next one. For names whose lengths differ by more than a few bytes it is only known to
// be large, so that a long name costs nothing.
func distance(a, b string) int {
	const far = 1 << 10
	if d := len(a) - len(b); d > 8 || d < -8 {
		return far
	}
	x, y := []rune(strings.ToLower(a)), []rune(strings.ToLower(b))

	// Rows of the usual matrix: the distances of x[:i] from each y[:j].
	var before, last []int
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(x); i++ {
		before, last, row = last, row, make([]int, len(y)+1)
		row[0] = i
		for j := 1; j <= len(y); j++ {
			change := last[j-1]
			if x[i-1] != y[j-1] {
				change++
			}
			row[j] = min(change, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(y)]
}

// excerpt cuts a name that is too long for a member, so that errors do not repeat whatever a peer sends.
func excerpt(name string) string {
	const most = 64 // bytes
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "…"
}
